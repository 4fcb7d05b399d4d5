"""Emotion over time. Each encoder runs over a recording once, and the windows share its frames.

The frames of a window are cut out of a stretch of up to 30 s, the window of Whisper. They differ
from those of the window encoded alone: the encoder has more context, and Whisper counts positions
from the start of the stretch. ``docs/timeline.md`` reports how much predictions differ.

A text branch reads the transcripts of all parts with speech that overlap the window. If the
system uses the recogniser's encoder, it runs over each part once, and the frames of a window are
cut out of the parts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.data.audio import LONGEST, SAMPLE_RATE
from serctl.errors import SerctlError, UsageError, count
from serctl.progress import Advance
from serctl.system.prediction import Prediction
from serctl.system.predictor import Predictor
from serctl.system.sound import load_sound
from serctl.system.speech import Speech, find_speech, raise_first_error, start_of, stop_of
from serctl.system.utterances import LoadedUtterance
from serctl.timeline.course import (
    Spoken,
    Timeline,
    find_segments,
    name_emotions,
    settle_course,
    smooth,
)
from serctl.timeline.windows import Stretch, TimelineStep, plan_stretches, plan_windows

Item = TypeVar("Item")

STRETCH_SECONDS = 30
"""Seconds of a stretch: Whisper's window. Memory of other encoders is quadratic in the length."""
RELIABLE_SECONDS = 4.0
"""Shortest window in seconds with the same accuracy for shared frames of Whisper."""


@dataclass(frozen=True)
class TimelineSettings:
    """Settings of a prediction over time.

    Attributes:
        every: Seconds of a step.
        window: Seconds around a step that its prediction reads.
        smooth: Seconds over which probabilities are averaged; 0 is off.
        shortest: Minimum seconds of speech of a segment.
        alone: Encode every window separately instead of sharing frames.

    Raises:
        UsageError: A value is not a number in its range, or a step is longer than its window.
    """

    every: float = 1.0
    window: float = 4.0
    smooth: float = 0.0
    shortest: float = 2.0
    alone: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "window", "smooth", "shortest"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 <= value < math.inf:
                raise UsageError(f"{name} is {value!r}, expected seconds, at least 0 and finite.")
            # Times above the length of a recording have the same effect.
            object.__setattr__(self, name, float(min(value, 2 * LONGEST)))
        plan_windows(0, self.every, self.window)

    @property
    def smoothed_steps(self) -> int:
        """Number of steps whose probabilities are averaged, odd: a step and its neighbours."""
        return 2 * (max(1, round(self.smooth / self.every)) // 2) + 1

    @property
    def notes(self) -> tuple[str, ...]:
        """A note if the steps that are averaged have another length than ``smooth``."""
        steps = self.smoothed_steps
        if not self.smooth or math.isclose(steps * self.every, self.smooth):
            return ()
        averages = f"averages {count(steps, 'step')} of {self.every:g} s"
        return (f"--smooth {self.smooth:g} {averages}: the number of averaged steps is odd.",)


def predict_timeline(
    predictor: Predictor,
    waveform: NDArray[Any],
    settings: TimelineSettings,
    *,
    name: str = "",
    channel: str = "",
    predicted: Sequence[LoadedUtterance] = (),
    decoded: bool = False,
    advance: Advance = lambda n=1, note="": None,
) -> Timeline:
    """Predict the emotions of one recording, or of one channel of it, over time.

    Args:
        predictor: The system.
        waveform: Samples at 16 kHz; see `serctl.system.sound.Audio`.
        settings: Steps, windows and segments.
        name: Name of the file.
        channel: Name of the channel; '' for a mixed recording.
        predicted: Utterances of the recording that were predicted before. Their transcripts and
            frames are used where the timeline needs the same.
        decoded: Whether serctl decoded the waveform, so that it needs no check.
        advance: Receives shares of the recording, and a note on the seconds done.

    Raises:
        AudioError: The samples have a wrong type, shape or value.
        SerctlError: The recording cannot be encoded.
    """
    if not decoded:
        waveform = load_sound(waveform, SAMPLE_RATE, predictor.downmixed)
    steps = plan_windows(len(waveform), settings.every, settings.window)
    for note in list_setting_notes(predictor, settings):
        predictor.note(note)
    predictor.note_without_speakers()
    speech = find_speech(predictor, waveform, name, predicted)
    predict = _predict_alone if settings.alone else _predict_shared
    probabilities = _predict_steps(predict, predictor, waveform, steps, speech, advance)
    probabilities = smooth(probabilities, settings.smoothed_steps)
    lengths = np.array([speech.measure(step.start, step.stop) for step in steps])
    course = settle_course(probabilities, round(settings.shortest * SAMPLE_RATE), lengths)
    threshold = predictor.options.abstain_below
    emotions = name_emotions(course, probabilities, predictor.labels, threshold)
    starts, ends = np.array([(step.start, step.stop) for step in steps]).T / SAMPLE_RATE
    return Timeline(
        audio=name,
        channel=channel,
        model=predictor.parts.name,
        seconds=len(waveform) / SAMPLE_RATE,
        labels=predictor.labels,
        starts=starts,
        ends=ends,
        probabilities=probabilities,
        emotions=emotions,
        segments=find_segments(emotions, probabilities, predictor.labels, starts, ends),
        transcript=tuple(
            Spoken(start_of(span) / SAMPLE_RATE, stop_of(span) / SAMPLE_RATE, one.text)
            for span, one in zip(speech.spoken, speech.parts, strict=True)
            if one.text
        ),
    )


def list_setting_notes(predictor: Predictor, settings: TimelineSettings) -> tuple[str, ...]:
    """Return notes on settings that have another effect than their numbers say."""
    # Whisper's frames depend on the whole stretch; those of other encoders hardly do.
    whispers = [key.encoder for key in predictor.keys if key.window.endswith("s")]
    if not whispers or settings.alone or settings.window >= RELIABLE_SECONDS:
        return settings.notes
    return (
        *settings.notes,
        f"--window {settings.window:g}: windows of less than {RELIABLE_SECONDS:g} s with "
        f"shared frames of {whispers[0]} are less accurate. Encode each alone: --windows-alone",
    )


def _predict_steps(
    predict: Callable[..., Iterator[Prediction]],
    predictor: Predictor,
    waveform: NDArray[np.float32],
    steps: Sequence[TimelineStep],
    speech: Speech,
    advance: Advance,
) -> NDArray[np.float64]:
    """Return the probabilities ``(S, C)`` of S steps, NaN without speech, and report progress."""
    spoken = [i for i, step in enumerate(steps) if speech.touch(step.start, step.stop)]
    probabilities = np.full((len(steps), len(predictor.labels)), np.nan)
    chosen = [steps[i] for i in spoken]
    seconds, done = len(waveform) / SAMPLE_RATE, 0
    for i, found in zip(spoken, predict(predictor, waveform, chosen, speech), strict=True):
        probabilities[i] = list(found.probabilities.values())
        note = f"{steps[i].stop / SAMPLE_RATE:,.0f} of {seconds:,.0f} s"
        advance((i + 1 - done) / len(steps), note)
        done = i + 1
    advance(1 - done / len(steps))
    return probabilities


def _predict_shared(
    predictor: Predictor,
    waveform: NDArray[np.float32],
    steps: Sequence[TimelineStep],
    speech: Speech,
) -> Iterator[Prediction]:
    """Yield the prediction of each step from frames of the stretch around its window."""
    keys = [key for key in predictor.keys if key.modality != "text"]
    stretches = plan_stretches(steps, STRETCH_SECONDS * SAMPLE_RATE)
    if speech.whole:
        stretches = [Stretch(0, len(waveform), range(len(steps)))]
    for group in _group(stretches, round(predictor.group_seconds / STRETCH_SECONDS)):
        speech.recognise(predictor, group[0].start, group[-1].stop)
        parts = speech.touch(group[0].start, group[-1].stop)
        heard = [key for key in keys if all(key.digest in one.frames for one in parts)]
        others = [key for key in keys if key not in heard]
        encoded = speech.parts
        if not speech.whole:
            encoded = [
                LoadedUtterance("", waveform[s.start : s.stop], s.start / SAMPLE_RATE, text="")
                for s in group
            ]
        predictor.encode(encoded, keys=others)
        raise_first_error(encoded)
        windows = []
        for stretch, made in zip(group, encoded, strict=True):
            for step in (steps[i] for i in stretch.steps):
                window = _take_window(waveform, step, speech)
                touched = speech.touch(step.window_start, step.window_stop)
                window.frames |= cut_frames(touched, heard, step)
                window.frames |= cut_frames([made], others, step)
                windows.append(window)
        yield from _predict(predictor, windows)


def _predict_alone(
    predictor: Predictor,
    waveform: NDArray[np.float32],
    steps: Sequence[TimelineStep],
    speech: Speech,
) -> Iterator[Prediction]:
    """Yield the prediction of each step from frames of its window encoded alone."""
    for group in _group(steps, round(predictor.group_seconds)):
        speech.recognise(predictor, group[0].window_start, group[-1].window_stop)
        yield from _predict(predictor, [_take_window(waveform, step, speech) for step in group])


def _take_window(
    waveform: NDArray[np.float32], step: TimelineStep, speech: Speech
) -> LoadedUtterance:
    said = speech.touch(step.window_start, step.window_stop)
    return LoadedUtterance(
        "",
        waveform[step.window_start : step.window_stop],
        step.window_start / SAMPLE_RATE,
        text=" ".join(one.text for one in said if one.text),
    )


def cut_frames(
    encoded: Sequence[LoadedUtterance], keys: Sequence[FeatureKey], step: TimelineStep
) -> dict[str, NDArray[np.generic]]:
    """Return the frames of the utterances within a window, at least one frame.

    The frames of one utterance are a view; those of several are joined.
    """
    cut = {}
    for key in keys:
        pieces = [_cut(one, one.frames[key.digest], step) for one in encoded]
        cut[key.digest] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return cut


def _cut(
    one: LoadedUtterance, frames: NDArray[np.generic], step: TimelineStep
) -> NDArray[np.generic]:
    rate = len(frames) / len(one.waveform)
    first = min(round(max(0, step.window_start - start_of(one)) * rate), len(frames) - 1)
    return frames[first : max(first + 1, round((step.window_stop - start_of(one)) * rate))]


def _predict(predictor: Predictor, windows: Sequence[LoadedUtterance]) -> Iterator[Prediction]:
    """Yield predictions. Windows with the same transcript share its frames."""
    text_keys = [key for key in predictor.keys if key.modality == "text"]
    if text_keys:
        texts = dict.fromkeys(one.text for one in windows)
        encoded = [LoadedUtterance("", windows[0].waveform, text=text) for text in texts]
        predictor.encode(encoded, keys=text_keys)
        raise_first_error(encoded)
        frames = {one.text: one.frames for one in encoded}
        for one in windows:
            one.frames |= frames[one.text]
    for found in predictor.predict_utterances(windows):
        if isinstance(found, SerctlError):
            raise found
        yield found


def _group(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[i : i + size] for i in range(0, len(items), size))

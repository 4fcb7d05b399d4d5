"""Load given recordings as utterances with their transcripts and speakers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from os import PathLike
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE
from serctl.data.downmix import ReportProblem
from serctl.data.segments import cut_at_pauses
from serctl.errors import AudioError, SerctlError, TranscriptsError, UsageError
from serctl.options import PredictOptions
from serctl.system.prediction import Prediction
from serctl.system.sound import MOST_CHANNELS, Audio, load_sound, name_sound
from serctl.system.utterances import LoadedUtterance

One = TypeVar("One")
Other = TypeVar("Other")

WITHOUT_SPEAKERS = (
    "The model was trained on frames standardised per speaker. These recordings are predicted "
    "without."
)


def load_utterance(name: str, read: Callable[[], NDArray[np.float32]]) -> LoadedUtterance:
    """Return an utterance from the result of ``read``. An unreadable one has its error."""
    try:
        return LoadedUtterance(name, read())
    except SerctlError as error:
        return LoadedUtterance(name, np.empty(0, np.float32), error=error)


def load_each(
    audio: Iterable[Audio],
    sample_rate: int | None,
    texts: Iterable[str | None] | None,
    speakers: Iterable[str] | None,
    report: ReportProblem,
) -> Iterator[LoadedUtterance]:
    """Yield utterances in memory, read one at a time; see `Predictor.predict_batch`.

    Raises:
        UsageError: An argument is a single text or not a list, or lengths differ.
    """
    lists = {"audio": audio, "texts": texts, "speakers": speakers}
    for name, given in lists.items():
        if given is None and name != "audio":
            continue
        # A dict or a table would give its keys, and a set has no order.
        wrong = isinstance(given, str | bytes | PathLike | Mapping | set | frozenset)
        if wrong or hasattr(given, "columns") or not isinstance(given, Iterable):
            raise UsageError(
                f"'{name}' is {given!r:.80}, expected a list. For one recording: predict()"
            )
    _check_rows(getattr(audio, "shape", ()))
    for (one, text), speaker in _align(_align(audio, texts, "texts"), speakers, "speakers"):
        read = partial(load_sound, one, sample_rate, report)
        utterance = load_utterance(name_sound(one), read)
        utterance.text = text
        utterance.error = utterance.error or _find_text_error(text, utterance.utterance_id)
        if not isinstance(speaker, str | None):  # 0 would be unknown, all NaN one speaker
            raise UsageError(
                f"The speaker of '{utterance.utterance_id}' is {speaker!r:.40} "
                f"({type(speaker).__name__}), expected a str, '' if it is unknown."
            )
        utterance.speaker = speaker or ""
        yield utterance


def _check_rows(shape: Sequence[int]) -> None:
    """Check that the rows of an array ``(num_recordings, num_samples)`` may be recordings."""
    if len(shape) == 2 and shape[0] and shape[1] <= MOST_CHANNELS:
        raise UsageError(
            f"'audio' is an array of shape {tuple(shape)}, expected rows of more than "
            f"{MOST_CHANNELS} samples, one for each recording. For one recording: predict()"
        )


def _find_text_error(text: object, name: str) -> TranscriptsError | None:
    """Return the error of an invalid transcript, such as the NaN of an empty cell, or None."""
    try:
        if text is not None:
            str.encode(text)  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        shown = f"{text!r:.40} ({type(text).__name__})"
        return TranscriptsError(
            f"The text of '{name}' is {shown}, expected a str of Unicode characters, or None if it "
            f"is unknown."
        )
    return None


def cut_speech(name: str, waveform: NDArray[np.float32], longest: float) -> list[LoadedUtterance]:
    """Return the stretches of speech of a recording, each of at most ``longest`` seconds."""
    return [
        LoadedUtterance(name, waveform[part.start : part.stop], part.start / SAMPLE_RATE)
        for part in cut_at_pauses(waveform, longest)
    ]


def split_recording(
    name: str, waveform: NDArray[np.float32], options: PredictOptions, remedy: str = ""
) -> list[LoadedUtterance]:
    """Return a recording whole, or cut at its pauses if it is long.

    Raises:
        AudioError: The recording is long and holds no speech. ``remedy`` ends the message.
    """
    if len(waveform) <= options.cut_over * SAMPLE_RATE:
        return [LoadedUtterance(name, waveform)]
    segments = cut_speech(name, waveform, options.segment_seconds)
    if not segments:
        raise AudioError(f"'{name}': no speech found. {remedy}".rstrip())
    return segments


def _align(
    audio: Iterable[One], given: Iterable[Other] | None, name: str
) -> Iterator[tuple[One, Other | None]]:
    """Yield each recording with its item of another iterable, or None.

    Raises:
        UsageError: Their lengths differ.
    """
    if given is None:
        yield from ((one, None) for one in audio)
        return
    missing = object()
    for number, (one, other) in enumerate(zip_longest(audio, given, fillvalue=missing)):
        if one is missing or other is missing:
            few = name if other is missing else "audio"
            raise UsageError(f"'{few}' has {number} entries, expected one for each recording.")
        yield one, other  # type: ignore[misc]


def describe_error(one: LoadedUtterance, error: SerctlError) -> Prediction:
    """Return the prediction of an utterance that could not be predicted."""
    end = one.start + (len(one.waveform) / SAMPLE_RATE or np.nan)  # unread: unknown
    return Prediction(
        one.name, one.start, end, None, {}, text=one.text, error=str(error), channel=one.channel
    )

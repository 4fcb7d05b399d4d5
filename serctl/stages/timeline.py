"""`serctl predict --every`: predict the emotions of recordings over time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.config import Workspace
from serctl.data.channels import Choice, read_channels
from serctl.data.corpora.scan import note_unreadable
from serctl.data.downmix import PREDICT_CHANNELS, DownmixReport, ReportProblem
from serctl.data.recordings import find_recordings, is_table, note_repeated
from serctl.errors import SerctlError, UsageError
from serctl.options import PredictOptions
from serctl.progress import Advance, Progress, silent
from serctl.stages.predict import advise_skipping
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.system.timeline import TimelineSettings, predict_timeline
from serctl.timeline.course import Timeline


@dataclass(frozen=True)
class RecordingTimelines:
    """Timelines of one recording.

    Attributes:
        path: Audio file.
        timelines: One timeline for each channel.
        sound: Channels ``(num_samples, num_channels)`` at 16 kHz, for playback.
        notes: Notes for the user that were known when the recording was finished.
    """

    path: Path
    timelines: tuple[Timeline, ...]
    sound: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.timelines[0].seconds


@dataclass(frozen=True)
class TimelinesResult:
    """Timelines of several recordings.

    Attributes:
        model: Name of the system.
        recordings: Recordings in the order of the files.
        failures: Files without a timeline, and the reason.
        seconds: Duration of reading and predicting the files.
        notes: Notes for the user.
    """

    model: str
    recordings: tuple[RecordingTimelines, ...]
    failures: tuple[tuple[str, str], ...]
    seconds: float
    notes: tuple[str, ...] = ()


def predict_timelines(
    workspace: Workspace | None,
    options: PredictOptions,
    *,
    report: Callable[[RecordingTimelines], None] = lambda recording: None,
    progress: Progress = silent,
) -> TimelinesResult:
    """Predict the emotions of recordings over time, with ``channels`` separately per channel.

    ``report`` receives each recording at once, so that its timelines survive an error in a later
    file.

    Args:
        workspace: The project. A bundle needs none.
        options: See `PredictOptions`. ``every`` is the step.
        report: Receives each recording as soon as it is predicted.
        progress: Reports every finished file.

    Raises:
        SerctlError: The model cannot be loaded, or audio is unusable (unless ``skip_bad``).
    """
    _check_options(options)
    paths = find_recordings(options.audio)
    parts = find_parts(options.model, workspace)
    settings = TimelineSettings(
        options.every, options.window, options.smooth, options.shortest, options.windows_alone
    )
    predictor = Predictor(parts, options, workspace.weights if workspace else None)
    started = time.monotonic()
    found: list[RecordingTimelines] = []
    failures: list[tuple[str, str]] = []
    mixed = DownmixReport()

    def list_notes() -> tuple[str, ...]:
        return (*predictor.notes, *mixed.list_notes(PREDICT_CHANNELS))

    with progress.task(f"predict with {parts.name}", len(paths), "recordings") as advance:
        for path in paths:
            try:
                made = predict_recording(
                    predictor, path, settings, options.channels, mixed, advance
                )
            except SerctlError as error:
                if not options.skip_bad:
                    raise advise_skipping(error, len(paths)) from error
                failures.append((str(path), str(error)))
                advance()
                continue
            found.append(replace(made, notes=list_notes()))
            report(found[-1])
    seconds = time.monotonic() - started
    notes = (
        *(note for name in options.audio for note in note_unreadable(name)),
        *note_repeated(paths),
        *list_notes(),
    )
    return TimelinesResult(parts.name, tuple(found), tuple(failures), seconds, notes)


def _check_options(options: PredictOptions) -> None:
    if options.transcripts:
        raise UsageError(
            "--transcripts has no times, so it cannot be used with --every. Name a "
            "recogniser instead: --recogniser whisper-large-v3"
        )
    if tables := [name for name in options.audio if is_table(name)]:
        raise UsageError(f"--every takes recordings, not the table '{tables[0]}'. Leave it out.")
    if options.speaker_per != "none":
        raise UsageError(
            f"--speaker-per {options.speaker_per} cannot be used with --every, which does not "
            "standardise per speaker. Leave one of the flags out."
        )


def predict_recording(
    predictor: Predictor,
    path: Path,
    settings: TimelineSettings,
    channels: Choice,
    report: ReportProblem,
    advance: Advance,
) -> RecordingTimelines:
    """Predict one recording over time.

    Args:
        predictor: The system.
        path: Audio file.
        settings: Steps, windows and segments.
        channels: Channels to predict.
        report: Receives what the mean of the channels loses.
        advance: Receives shares of the recording as they are predicted.

    Raises:
        SerctlError: The file cannot be read, or does not have the channels.
    """
    waveforms = read_channels(path, channels, report)

    def advance_channel(n: float = 1, note: str = "") -> None:
        advance(n / len(waveforms), note and f"{path.name}: {note}")

    timelines = tuple(
        predict_timeline(
            predictor,
            waveform,
            settings,
            name=str(path),
            channel=name,
            decoded=True,
            advance=advance_channel,
        )
        for name, waveform in waveforms.items()
    )
    return RecordingTimelines(path, timelines, np.stack(list(waveforms.values()), axis=1))

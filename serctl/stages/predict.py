"""`serctl predict`: predict the emotions of recordings with a trained system."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.downmix import PREDICT_CHANNELS, DownmixReport
from serctl.data.recordings import Recording, check_files, read_recordings
from serctl.data.transcripts import read_rows
from serctl.encoding.pipeline import capture, run_ahead
from serctl.errors import ConfigError, SerctlError, TranscriptsError, UsageError, count, first_few
from serctl.options import PredictOptions
from serctl.progress import Progress, silent
from serctl.system.loading import split_recording
from serctl.system.parts import check_model, find_parts
from serctl.system.prediction import Prediction
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance

READ_AHEAD = 8
"""Number of files that are decoded ahead of the networks."""


@dataclass(frozen=True)
class PredictResult:
    """Predictions for recordings.

    Attributes:
        model: Name of the system.
        labels: Emotions of the system.
        predictions: Predictions of utterances and segments, in the order of the files.
        failures: File, start of the segment in seconds, and reason of each missing prediction.
        recordings: Number of files that were cut into segments.
        audio_seconds: Length of the predicted audio.
        loading_seconds: Duration of loading the system.
        seconds: Duration of reading and predicting the files.
        notes: Notes for the user.
    """

    model: str
    labels: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    failures: tuple[tuple[str, float, str], ...]
    recordings: int
    audio_seconds: float
    loading_seconds: float
    seconds: float
    notes: tuple[str, ...] = ()


def predict(
    workspace: Workspace | None,
    options: PredictOptions,
    *,
    report: Callable[[Prediction], None] = lambda prediction: None,
    progress: Progress = silent,
) -> PredictResult:
    """Predict the emotions in files and folders. Long recordings are cut at their pauses.

    Files are predicted in order, a few at a time. ``report`` receives each prediction at once, so
    that predictions survive an error in a later file.

    Args:
        workspace: The project. A bundle needs none.
        options: See `PredictOptions`.
        report: Receives each prediction as soon as it is made.
        progress: Reports every finished file.

    Raises:
        UsageError: ``every`` is set, which `serctl.stages.timeline.predict_timelines` reads.
        SerctlError: The model cannot be loaded, or audio is unusable (unless ``skip_bad``).
    """
    _refuse_timeline(options)
    check_model(options.model, workspace)
    rows, notes = _list_recordings(options)  # before a bundle is downloaded
    parts = find_parts(options.model, workspace)
    words = read_words(Path(options.transcripts)) if options.transcripts else None
    if words is not None and parts.needs_transcripts:
        _check_names(rows)
    started = time.monotonic()
    mapping = workspace.weights if workspace else None
    predictor = Predictor(parts, options, mapping, transcribe=words is None)
    if words is not None:
        predictor.note_unused("--transcripts")
    loaded = time.monotonic()
    recordings = _RecordingReader(predictor, options, words if parts.needs_transcripts else None)
    predictions: list[Prediction] = []
    failures: list[tuple[str, float, str]] = []
    with progress.task(f"predict with {parts.name}", len(rows), "recordings") as advance:
        for one, found in predictor.predict_stream(recordings.read(rows)):
            if isinstance(found, Prediction):
                predictions.append(found)
                report(found)
            elif options.skip_bad:
                failures.append((one.name, one.start, str(found)))
            else:
                raise advise_skipping(found, len(rows))
            advance(*recordings.measure_progress(one))
    return PredictResult(
        model=parts.name,
        labels=parts.labels,
        predictions=tuple(predictions),
        failures=tuple(failures),
        recordings=recordings.cut,
        audio_seconds=sum(found.end - found.start for found in predictions),
        loading_seconds=loaded - started,
        seconds=time.monotonic() - loaded,
        notes=(*notes, *predictor.notes, *recordings.list_notes()),
    )


def _refuse_timeline(options: PredictOptions) -> None:
    if options.every:
        raise UsageError(
            f"every is {options.every:g}, expected 0, because predict() makes no timeline. Call: "
            "serctl.stages.timeline.predict_timelines(workspace, options)"
        )


def advise_skipping(error: SerctlError, recordings: int) -> SerctlError:
    """Return the error of a recording with advice to continue, if there are others."""
    if recordings == 1 or isinstance(error, UsageError | ConfigError):
        return error
    return type(error)(f"{error} To continue without such files: --skip-bad")


def _list_recordings(options: PredictOptions) -> tuple[list[Recording], tuple[str, ...]]:
    """Return the recordings, those of each speaker together, and notes on what was left out.

    Raises:
        AudioError: Files do not exist (unless ``skip_bad``).
    """
    rows, notes = read_recordings(options.audio)
    paths = {row.path: None for row in rows}
    if options.speaker_per == "folder":
        rows.sort(key=lambda row: row.path.parent)
    elif options.speaker_per == "file":
        places = {path: i for i, path in enumerate(paths)}
        rows.sort(key=lambda row: (places[row.path], row.channel))
    if not options.skip_bad:
        check_files(paths)
    return rows, notes


class _RecordingReader:
    """Reads recordings ahead of the predictor. A long one is cut into segments.

    Attributes:
        cut: Files that were cut into segments.
        cut_seconds: Their length.
        speech_seconds: The length of their segments.
        report: Recordings whose mean of the channels mixes talkers or loses sound.
    """

    def __init__(
        self, predictor: Predictor, options: PredictOptions, words: dict[str, str] | None
    ) -> None:
        self._options, self._words = options, words
        self._shares: dict[LoadedUtterance, tuple[float, str]] = {}
        if options.speaker_per == "none":
            advice = "If recordings share a speaker: --speaker-per folder"
            predictor.note_without_speakers(advice)
        self.cut, self.cut_seconds, self.speech_seconds = 0, 0.0, 0.0
        self.report = DownmixReport()

    def read(self, rows: Sequence[Recording]) -> Iterator[LoadedUtterance]:
        """Yield the utterances of all rows in order. An unreadable one yields an error."""
        opened = run_ahead(capture(self._open), rows, ahead=READ_AHEAD)
        channels = any(row.channel for row in rows)
        for row, found in zip(rows, opened, strict=True):
            if isinstance(found, SerctlError):
                nothing = np.empty(0, np.float32)
                found = [LoadedUtterance(str(row.path), nothing, row.start, error=found)]
            for one in found:
                one.speaker = _name_speaker(self._options, row)
                one.channel = row.channel if channels else None
            self._shares |= _share_out(found)
            yield from found

    def measure_progress(self, utterance: LoadedUtterance) -> tuple[float, str]:
        """Return the share of its recording that an utterance is, and a note on a long one."""
        return self._shares.pop(utterance)

    def list_notes(self) -> tuple[str, ...]:
        """Return notes on silence that was left out, and on channels."""
        notes = self.report.list_notes(PREDICT_CHANNELS)
        if not self.cut:
            return notes
        whole, silent = self.cut_seconds, self.cut_seconds - self.speech_seconds
        return (
            f"The voice detector left out {silent:,.1f} s without speech of {whole:,.1f} s in "
            f"{count(self.cut, 'long recording')}. To predict without cutting: --cut-over inf",
            *notes,
        )

    def _open(self, row: Recording) -> list[LoadedUtterance]:
        """Read a recording or a part of one; a recording without a transcript may be cut."""
        path, name = row.path, row.name
        waveform = read_audio(path, row.start, row.end, row.channel, report=self.report)
        if self._words is not None:
            if name not in self._words:
                raise TranscriptsError(
                    f"'{path}': no transcript of utterance '{name}' in "
                    f"'{self._options.transcripts}'."
                )
            return [LoadedUtterance(str(path), waveform, row.start, text=self._words[name])]
        if row.listed or len(waveform) <= self._options.cut_over * SAMPLE_RATE:
            return [LoadedUtterance(str(path), waveform, row.start)]
        remedy = "Predict it uncut with --cut-over inf."
        found = split_recording(str(path), waveform, self._options, remedy)
        self.cut += 1
        self.cut_seconds += len(waveform) / SAMPLE_RATE
        self.speech_seconds += sum(len(one.waveform) for one in found) / SAMPLE_RATE
        return found


def _share_out(segments: Sequence[LoadedUtterance]) -> dict[LoadedUtterance, tuple[float, str]]:
    """Return the share of a recording that each segment is, and a note on the seconds done."""
    lengths = [max(len(one.waveform), 1) for one in segments]
    done = [end / SAMPLE_RATE for end in accumulate(lengths)]
    name = Path(segments[0].name).name
    of = f"of {done[-1]:,.0f} s of speech"
    notes = [f"{name}: {end:,.0f} {of}" if len(done) > 1 else "" for end in done]
    shares = [length / sum(lengths) for length in lengths]
    return dict(zip(segments, zip(shares, notes, strict=True), strict=True))


def _check_names(rows: Sequence[Recording]) -> None:
    """Check that recordings with transcripts have different names.

    Raises:
        UsageError: Two of them have one name.
    """
    names = Counter(row.name for row in dict.fromkeys(rows))
    if twice := [name for name, times in names.items() if times > 1]:
        raise UsageError(
            f"--transcripts has one text a name, but several recordings have the same: "
            f"{first_few(twice)}. Predict them in two commands, or as a table with utterance_id"
        )


def _name_speaker(options: PredictOptions, row: Recording) -> str:
    """Return the speaker's name: the channel of a file, a folder or ``all``; '' if unknown."""
    names = {"file": (row.path, row.channel), "folder": row.path.parent, "all": "all"}
    return str(names.get(options.speaker_per, ""))


def read_words(path: Path) -> dict[str, str]:
    """Return transcripts by id (the stem of a file), from a CSV with utterance_id and text."""
    return {row.utterance_id: row.text for row in read_rows(path)}


def speed_of(result: PredictResult) -> str:
    """Return a line with the speed of the prediction."""
    rate = result.audio_seconds / result.seconds if result.seconds else math.inf
    return (
        f"{count(len(result.predictions), 'prediction')} for {result.audio_seconds:,.1f} s of "
        f"audio in {result.seconds:,.1f} s: {rate:,.1f} s of audio per second "
        f"(loading: {result.loading_seconds:,.1f} s)"
    )

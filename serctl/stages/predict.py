"""`serctl predict`: any recordings through a trained system."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.recordings import find_recordings
from serctl.data.transcripts import read_rows
from serctl.encoding.failures import capture
from serctl.encoding.pipeline import run_ahead
from serctl.errors import AudioError, SerctlError, TranscriptsError, UsageError, count, first_few
from serctl.options import PredictOptions
from serctl.progress import Progress, silent
from serctl.system.loading import split_recording
from serctl.system.parts import find_parts
from serctl.system.prediction import Prediction
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance

READ_AHEAD = 8
"""Files that are decoded while the networks work on others."""


@dataclass(frozen=True)
class PredictResult:
    """What was predicted.

    Attributes:
        model: Name of the system.
        labels: Its emotions.
        predictions: Of utterances and segments, in the order of the files.
        failures: File, segment's beginning in seconds, and why there is no prediction.
        recordings: Files that were cut into segments.
        audio_seconds: Length of all that was predicted.
        loading_seconds: How long loading took.
        seconds: How long predicting took, reading the files included.
        notes: What a user should know.
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
    tell: Callable[[Prediction], None] = lambda prediction: None,
    progress: Progress = silent,
) -> PredictResult:
    """Predict the emotions in files and folders; long recordings are cut at their pauses.

    Predictions are made in the order of the files, a few at a time, and ``tell`` hears of each at
    once: what it kept of them survives an error in a later file.

    Args:
        workspace: The project, if there is one; a bundle needs none.
        options: See `PredictOptions`.
        tell: Hears of each prediction as soon as it is made.
        progress: Hears of every finished file.

    Raises:
        SerctlError: The model cannot be loaded; or audio cannot be used, unless ``skip_bad``.
    """
    if not options.model:
        raise UsageError("No model is named. Give a bundle, stacker or run: --model NAME")
    paths = find_recordings(options.audio)
    if options.speaker_per == "folder":
        paths = sorted(paths, key=lambda path: path.parent)  # a speaker's files one after another
    if absent := [path for path in paths if not path.exists() and not options.skip_bad]:
        raise AudioError(
            f"Audio that does not exist: {first_few(absent)}. To predict the others: --skip-bad"
        )
    words = read_words(Path(options.transcripts)) if options.transcripts else None
    started = time.monotonic()
    parts = find_parts(options.model, workspace)
    mapping = workspace.weights if workspace else None
    predictor = Predictor(parts, options, mapping, words=words is None)
    loaded = time.monotonic()
    recordings = _Recordings(predictor, options, words if parts.needs_words else None)
    predictions: list[Prediction] = []
    failures: list[tuple[str, float, str]] = []
    with progress.task(f"predict with {parts.name}", len(paths), "recordings") as advance:
        for one, found in predictor.predict_stream(recordings.read(paths)):
            if isinstance(found, Prediction):
                predictions.append(found)
                tell(found)
            elif options.skip_bad:
                failures.append((one.name, one.start, str(found)))
            else:
                raise type(found)(f"{found} To leave out what cannot be predicted: --skip-bad")
            if recordings.is_last(one):
                advance()
    return PredictResult(
        model=parts.name,
        labels=parts.labels,
        predictions=tuple(predictions),
        failures=tuple(failures),
        recordings=recordings.cut,
        audio_seconds=sum(found.end - found.start for found in predictions),
        loading_seconds=loaded - started,
        seconds=time.monotonic() - loaded,
        notes=predictor.notes,
    )


class _Recordings:
    """Reads files ahead of the predictor: an utterance each, or the segments of a long one.

    Attributes:
        cut: Files that were cut into segments.
    """

    def __init__(
        self, predictor: Predictor, options: PredictOptions, words: dict[str, str] | None
    ) -> None:
        self._options, self._words = options, words
        self._last: set[LoadedUtterance] = set()
        if predictor.reads_speakers and options.speaker_per == "none":
            predictor.note(
                "The model was trained on frames standardised per speaker, and reads these "
                "recordings without. Where recordings share a speaker: --speaker-per folder"
            )
        self.cut = 0

    def read(self, paths: Sequence[Path]) -> Iterator[LoadedUtterance]:
        """Yield the utterances of all files in order; a bad file is one with an error."""
        opened = run_ahead(capture(self._open), paths, ahead=READ_AHEAD)
        for path, found in zip(paths, opened, strict=True):
            if isinstance(found, SerctlError):
                found = [LoadedUtterance(str(path), np.empty(0, np.float32), error=found)]
            for one in found:
                one.speaker = self._name_speaker(path)
            self._last.add(found[-1])
            yield from found

    def _name_speaker(self, path: Path) -> str:
        """Return what all recordings of a speaker have in common; '' if nothing is known."""
        names = {"file": path, "folder": path.parent, "all": "all"}
        return str(names.get(self._options.speaker_per, ""))

    def is_last(self, utterance: LoadedUtterance) -> bool:
        """Return whether a file is done with this utterance."""
        if last := utterance in self._last:
            self._last.remove(utterance)
        return last

    def _open(self, path: Path) -> list[LoadedUtterance]:
        """Read one file. Transcripts that are given are of whole files: those are never cut."""
        waveform = read_audio(path)
        if self._words is not None:
            if path.stem not in self._words:
                raise TranscriptsError(
                    f"'{path}': no words for utterance '{path.stem}' in "
                    f"'{self._options.transcripts}'."
                )
            return [LoadedUtterance(str(path), waveform, text=self._words[path.stem])]
        remedy = "Take it whole with --cut-over inf."
        found = split_recording(str(path), waveform, self._options, remedy)
        self.cut += len(waveform) > self._options.cut_over * SAMPLE_RATE
        return found


def read_words(path: Path) -> dict[str, str]:
    """Read the words of recordings by the stem of their file, from any transcripts CSV."""
    return {row.utterance_id: row.text for row in read_rows(path)}


def speed_of(result: PredictResult) -> str:
    """Return how fast it was, in one line."""
    rate = result.audio_seconds / result.seconds if result.seconds else math.inf
    return (
        f"{count(len(result.predictions), 'prediction')} of {result.audio_seconds:,.1f} s of "
        f"audio in {result.seconds:,.1f} s: {rate:,.1f} s of audio per second "
        f"(and {result.loading_seconds:,.1f} s to load)"
    )

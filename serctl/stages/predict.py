"""`serctl predict`: any recordings through a trained system."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.corpora.scan import AUDIO
from serctl.data.transcripts import read_rows
from serctl.encoding.failures import capture
from serctl.encoding.pipeline import run_ahead
from serctl.errors import AudioError, SerctlError, TranscriptsError, UsageError, count, first_few
from serctl.options import PredictOptions
from serctl.progress import Progress, silent
from serctl.system.parts import find_parts
from serctl.system.predictor import Prediction, Predictor
from serctl.system.utterances import LoadedUtterance

GROUP_SECONDS = 600.0
"""Audio whose frames are held in memory at a time, about 0.5 MB a second for the paper's encoders;
three times as much where each encoder is loaded anew for it."""
FORMATS = frozenset({*AUDIO, ".aiff", ".aif", ".au", ".caf", ".opus", ".w64", ".oga", ".mp2"})
"""Endings by which audio is found in folders; a file that is named may have any."""


@dataclass(frozen=True)
class PredictResult:
    """What was judged.

    Attributes:
        model: Name of the system.
        labels: Its emotions.
        predictions: Of utterances and segments, in the order of the files.
        failures: File, segment's beginning in seconds, and why it could not be judged.
        recordings: Files that were cut into segments.
        audio_seconds: Length of all that was judged.
        loading_seconds: How long loading took.
        seconds: How long judging took, reading the files included.
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
    """Judge files and folders; long recordings are cut at their pauses.

    Args:
        workspace: The project, if there is one; a bundle needs none.
        options: See `PredictOptions`.
        tell: Hears of each prediction as soon as it is made.
        progress: Hears of every file.

    Raises:
        SerctlError: The model cannot be loaded; or audio cannot be judged, unless ``skip_bad``.
    """
    if not options.model:
        raise UsageError("No model is named. Give a bundle, stacker or run: --model NAME")
    paths = find_audio(options.audio)
    if absent := [path for path in paths if not path.exists() and not options.skip_bad]:
        raise AudioError(
            f"Audio that does not exist: {first_few(absent)}. To judge the others: --skip-bad"
        )
    words = read_words(Path(options.transcripts)) if options.transcripts else None
    started = time.monotonic()
    parts = find_parts(options.model, workspace)
    mapping = workspace.weights if workspace else None
    predictor = Predictor(parts, options, mapping, words=words is None)
    loaded = time.monotonic()
    work = _Work(predictor, options, words if parts.needs_words else None, tell)
    with progress.task(f"predict with {parts.name}", len(paths)) as advance:
        for path, opened in zip(paths, run_ahead(capture(work.open), paths, 8), strict=True):
            work.add(path, opened)
            advance()
        work.flush()
    return PredictResult(
        model=parts.name,
        labels=parts.labels,
        predictions=tuple(work.predictions),
        failures=tuple(work.failures),
        recordings=work.recordings,
        audio_seconds=sum(found.end - found.start for found in work.predictions),
        loading_seconds=loaded - started,
        seconds=time.monotonic() - loaded,
        notes=predictor.notes,
    )


class _Work:
    """What a prediction of many files has done so far, and the clips that wait to be judged."""

    def __init__(
        self,
        predictor: Predictor,
        options: PredictOptions,
        words: dict[str, str] | None,
        tell: Callable[[Prediction], None],
    ) -> None:
        self._predictor, self._options, self._words, self._tell = predictor, options, words, tell
        self._waiting: list[LoadedUtterance] = []
        self._held, self._group = 0, GROUP_SECONDS * (3 if options.one_at_a_time else 1)
        self.predictions: list[Prediction] = []
        self.failures: list[tuple[str, float, str]] = []
        self.recordings = 0

    def open(self, path: Path) -> list[LoadedUtterance]:
        """Read a file: one clip, or the segments of a long recording.

        Words that are given are those of the whole file, so such a file is never cut.
        """
        waveform = read_audio(path)
        if self._words is not None:
            if path.stem not in self._words:
                raise TranscriptsError(
                    f"'{path}': no words for utterance '{path.stem}' in "
                    f"'{self._options.transcripts}'."
                )
            return [LoadedUtterance(str(path), waveform, text=self._words[path.stem])]
        if len(waveform) <= self._options.cut_over * SAMPLE_RATE:
            return [LoadedUtterance(str(path), waveform)]
        segments = self._predictor.cut(str(path), waveform)
        if not segments:
            raise AudioError(f"'{path}': nobody speaks in it. Judge it whole with --cut-over inf.")
        self.recordings += 1
        return segments

    def add(self, path: Path, opened: list[LoadedUtterance] | SerctlError) -> None:
        """Take what came of a file; judge when so much waits that memory would fill."""
        if isinstance(opened, SerctlError):
            self._fail(str(path), 0.0, opened)
            return
        for one in opened:
            self._waiting.append(one)
            self._held += len(one.waveform)
            if self._held >= self._group * SAMPLE_RATE:
                self.flush()

    def flush(self) -> None:
        """Judge the clips that wait."""
        for one, found in zip(
            self._waiting, self._predictor.predict_utterances(self._waiting), strict=True
        ):
            if isinstance(found, Prediction):
                self.predictions.append(found)
                self._tell(found)
            else:
                self._fail(one.name, one.start, found)
        self._waiting, self._held = [], 0

    def _fail(self, name: str, start: float, error: SerctlError) -> None:
        if not self._options.skip_bad:
            raise type(error)(f"{error} To leave out what cannot be judged: --skip-bad")
        self.failures.append((name, start, str(error)))


def find_audio(names: Sequence[str]) -> list[Path]:
    """Return the files that names mean: themselves, or all audio below a folder, sorted.

    Raises:
        UsageError: Nothing is named.
        AudioError: A name is neither a file nor a folder with audio.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS)
            if not inside:
                raise AudioError(f"Folder '{name}' holds no audio ({', '.join(sorted(FORMATS))}).")
            found += inside
        else:
            found.append(path)
    if not found:
        raise UsageError("No audio is named. Give files, folders, or - and a list on stdin.")
    return found


def read_words(path: Path) -> dict[str, str]:
    """Read the words of recordings by the stem of their file, from any transcripts CSV."""
    return {row.utterance_id: row.text for row in read_rows(path)}


def speed_of(result: PredictResult) -> str:
    """Return how fast it was, in one line."""
    rate = result.audio_seconds / result.seconds if result.seconds else math.inf
    return (
        f"{count(len(result.predictions), 'prediction')} of {result.audio_seconds:,.1f} s of "
        f"audio in {result.seconds:,.1f} s: {rate:,.1f} s of audio a second "
        f"(and {result.loading_seconds:,.1f} s to load)"
    )

"""The engine of `serctl transcribe`: find missing transcripts, and run Whisper once for them."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace, options_to_dict
from serctl.data.journal import WHOLE, Journal, read_journals, remove_journals
from serctl.data.manifest import Manifest, Utterance
from serctl.data.transcripts import Transcript, copy_damaged, read_finished, write_transcripts
from serctl.encoding.disk_space import check_disk
from serctl.encoding.extraction import append_new
from serctl.encoding.failures import (
    FAILURES,
    Failures,
    check_failures,
    find_source,
    read_failures,
)
from serctl.encoding.inputs import AudioInputs
from serctl.encoding.kept import load_or_keep
from serctl.encoding.part import Part, plan_part
from serctl.encoding.pipeline import capture, ids_of, run_batches
from serctl.encoding.recognition import make_row, settle_recognition
from serctl.options import TranscribeOptions
from serctl.progress import Advance, Progress

if TYPE_CHECKING:
    from serctl.encoders.recognisers.base import Recogniser
    from serctl.encoders.whisper import WhisperEncoder

WORD_PACKAGES = ("serctl", "torch", "transformers", "faster-whisper", "ctranslate2")
"""Packages whose versions are recorded with the transcripts."""


@dataclass(frozen=True)
class Transcribed:
    """Result of one pass of Whisper.

    Attributes:
        seen: Utterances of this part of the work.
        words: Transcripts of these utterances, from now or from before.
        missing: Utterances of this part without transcripts or frames.
        transcribed: Number of utterances transcribed now.
        failures: Utterances that could not be read.
        size: Transcribed samples.
        windowed: Number of utterances longer than 30 s.
        seconds: Duration without loading the weights.
    """

    seen: frozenset[str]
    words: dict[str, Transcript]
    missing: set[str] = field(default_factory=set)
    transcribed: int = 0
    failures: Failures = field(default_factory=dict)
    size: int = 0
    windowed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Written:
    """Result of writing the CSV file.

    Attributes:
        left: Utterances that remain for other parts. The file is written if there are none.
        renamed: The transcripts of another source that were renamed, if there were any.
        unlisted: Transcripts of utterances that are no longer in the manifest.
        damaged: Copy of the file before, if rows of it could not be read.
    """

    left: int = 0
    renamed: tuple[str, Path] | None = None
    unlisted: Sequence[Transcript] = ()
    damaged: Path | None = None


class Transcription:
    """The transcripts of one recogniser, and the frames of the same pass.

    Attributes:
        recognition: Weights and back-end.
        inputs: The audio.
        store: Folder of the frames.
        part: i and n: every n-th batch from the i-th.
        journal: Journal of this part. Hold it while the part is running.
    """

    def __init__(
        self,
        workspace: Workspace,
        options: TranscribeOptions,
        part: tuple[int, int],
        hasher: SourceHasher,
    ) -> None:
        self._workspace, self._options = workspace, options
        self.recognition = settle_recognition(workspace, options)
        self.inputs = AudioInputs(hasher)
        self.store = workspace.cache / self.recognition.key.store_name
        self.part = part
        self.journal = Journal(workspace.transcripts, self.recognition.source, part)

    def run(self, rows: Sequence[Utterance], progress: Progress) -> Transcribed:
        """Run Whisper over every batch of this part with missing utterances.

        Whisper is not loaded if no part has missing utterances.

        Args:
            rows: All utterances of the manifest, sorted by id.
            progress: Reports every utterance.

        Raises:
            SerctlError: An utterance cannot be read (unless ``skip_bad``), or the disk is too
                small. Utterances that were transcribed before are kept.
        """
        known, ids = self._read_known(), ids_of(rows)
        if ids <= known.keys():
            words = self._keep_unchanged(rows, known)
            if not self._find_missing(rows, words):
                return Transcribed(frozenset(ids), words)
        return self._recognise(rows, known, progress)

    def _recognise(
        self, rows: Sequence[Utterance], known: Mapping[str, Transcript], progress: Progress
    ) -> Transcribed:
        options, loading = self._options, f"load {self.recognition.name}"
        with progress.task(loading, 1):
            # Imported late: it takes seconds, and a finished transcription does not need torch.
            from serctl.runtime import resolve_device, split_threads

            device = resolve_device(options.device)
        with split_threads(device) as workers:
            with progress.task(loading, 1):
                recogniser = load_or_keep(
                    (self.recognition.source, self.recognition.key, device, workers),
                    lambda: self.recognition.load(self._workspace.cache, device, workers),
                    keep=self.part != WHOLE,
                )
            encoder = recogniser.encoder
            windowed = encoder.windowed
            words: dict[str, Transcript] = {}

            def find_missing(own: Sequence[Utterance]) -> set[str]:
                words.update(self._keep_unchanged(own, known))
                return self._find_missing(own, words)

            own = plan_part(
                rows,
                self.inputs,
                encoder,
                find_missing,
                seconds=options.batch_seconds,
                part=self.part,
                skip_bad=options.skip_bad,
            )
            started = time.monotonic()
            task = f"transcribe {self.recognition.name}"
            with (
                self._open_store(encoder, own.sizes) as writer,
                self.journal,
                progress.task(task, len(own.sizes), "utterances") as advance,
            ):
                new, unread = self._write(own, recogniser, writer, workers, advance)
        return Transcribed(
            seen=own.seen,
            words=words | new,
            missing=own.missing,
            transcribed=len(new),
            failures=own.failures | unread,
            size=sum(own.sizes),
            windowed=encoder.windowed - windowed,
            seconds=time.monotonic() - started,
        )

    def _write(
        self,
        own: Part,
        recogniser: "Recogniser",
        writer: StoreWriter | None,
        workers: int,
        advance: Advance,
    ) -> tuple[dict[str, Transcript], Failures]:
        """Write transcripts to the journal and frames to the store; return the new and failed."""
        words: dict[str, Transcript] = {}
        failures: Failures = {}
        for batch in run_batches(recogniser.recognise, self.inputs, own.batches, workers):
            failures |= batch.failed
            check_failures(batch.failed, self._options.skip_bad)
            if writer:
                append_new(writer, batch.done, [one.made.frames for one in batch.done])
            made = map(make_row, batch.done)
            new = {row.utterance_id: row for row in made if row.utterance_id in own.missing}
            self.journal.append(list(new.values()))
            words |= new
            advance(len(new))
        return words, failures

    def write(self, manifest: Manifest, rows: Sequence[Utterance]) -> Written:
        """Write the CSV file in the order of the manifest, if no utterance remains."""
        known = self._read_known()
        failed = read_failures(self._workspace.root / FAILURES, self.recognition.source)
        if self.part != WHOLE and (left := ids_of(rows) - known.keys() - failed.keys()):
            return Written(len(left))  # before the audio of other parts is hashed
        done = self._keep_unchanged(rows, known)
        others = [row for row in rows if row.utterance_id not in done]
        sources = {row.utterance_id: find_source(self.inputs.hash_of, row) for row in others}
        # Audio that is missing now, as on a disk that is not mounted, loses no transcript.
        done |= {name: known[name] for name in sources.keys() & known.keys() if not sources[name]}
        left = {name for name in sources.keys() - done.keys() if failed.get(name) != sources[name]}
        if self.part != WHOLE and left:
            return Written(len(left))
        # A dry run keeps the transcripts of the other utterances.
        limited = set(manifest.ids) - ids_of(rows)
        words = {name: known[name] for name in limited & known.keys()} | done
        ordered = [words[name] for name in manifest.ids if name in words]
        unlisted = find_unlisted(known.values(), manifest)
        written = [*ordered, *unlisted]
        path, source = self._workspace.transcripts, self.recognition.source
        damaged = copy_damaged(path, source)
        renamed = write_transcripts(path, written, self._describe())
        remove_journals(path, source)
        return Written(0, renamed, unlisted, damaged)

    def _read_known(self) -> dict[str, Transcript]:
        """Return the transcripts of this source, finished or from an interrupted run."""
        path, source = self._workspace.transcripts, self.recognition.source
        rows = [*read_finished(path, source), *read_journals(path, source)]
        return {row.utterance_id: row for row in rows}

    def _find_missing(self, rows: Sequence[Utterance], done: Mapping[str, Transcript]) -> set[str]:
        """Return the ids without transcripts or, if they are kept, without frames."""
        missing = ids_of(rows) - done.keys()
        if not self._options.keep_frames:
            return missing
        stored = FeatureStore.open(self.store) if self.store.exists() else None
        return missing | {
            name
            for name, row in done.items()
            if stored is None or name not in stored or stored.source_of(name) != row.audio
        }

    def _keep_unchanged(
        self, rows: Sequence[Utterance], known: Mapping[str, Transcript]
    ) -> dict[str, Transcript]:
        hash_of = capture(self.inputs.hash_of)
        return {
            row.utterance_id: known[row.utterance_id]
            for row in rows
            if row.utterance_id in known and known[row.utterance_id].audio == hash_of(row)
        }

    def _open_store(
        self, encoder: "WhisperEncoder", sizes: Sequence[int]
    ) -> AbstractContextManager[StoreWriter | None]:
        if not self._options.keep_frames:
            return nullcontext()
        from serctl.runtime import environment

        key, rate = self.recognition.key, encoder.frame_rate
        check_disk(self.store.parent, [key], encoder, sizes)
        return StoreWriter(
            self.store,
            key,
            encoder.dim,
            rate,
            versions=environment(),
            shared=self.part != WHOLE,
        )

    def _describe(self) -> dict[str, Any]:
        """Return the content of the JSON file of the transcripts, the same for all parts."""
        versions = {}
        for name in WORD_PACKAGES:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
        settings = options_to_dict(dataclasses.replace(self._options, shard=""))
        return {**self.recognition.to_dict(), "settings": settings, "versions": versions}


def find_unlisted(known: Iterable[Transcript], manifest: Manifest) -> list[Transcript]:
    """Return the rows of utterances that have left the manifest.

    They are kept: hours of Whisper made them, and a manifest may lose rows by mistake.
    """
    listed = set(manifest.ids)
    return [row for row in known if row.utterance_id not in listed]

"""`serctl transcribe`: the words of every utterance, and in the same pass its Whisper frames."""

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace, options_to_dict
from serctl.data.audio import SAMPLE_RATE
from serctl.data.journal import WHOLE, Journal, read_journals, remove_journals
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import read_manifest
from serctl.data.transcripts import FROM_MANIFEST, Transcript, read_finished, write_transcripts
from serctl.encoding.disk_space import check_disk
from serctl.encoding.extraction import append_new
from serctl.encoding.failures import (
    FAILURES,
    Failures,
    capture,
    check_failures,
    find_source,
    list_failures,
    read_failures,
)
from serctl.encoding.inputs import AudioInputs
from serctl.encoding.pipeline import measure_sizes, plan_rows, run_batches
from serctl.encoding.recognition import Recognition, make_row, settle_recognition
from serctl.encoding.shards import parse_shard
from serctl.errors import SerctlError, TranscriptsError, UsageError
from serctl.locks import hold
from serctl.options import TranscribeOptions
from serctl.progress import Progress, silent

if TYPE_CHECKING:
    from serctl.encoders.whisper import WhisperEncoder

WORD_PACKAGES = ("serctl", "torch", "transformers", "faster-whisper", "ctranslate2")
"""Packages whose version is noted beside the words."""


@dataclass(frozen=True)
class TranscribeResult:
    """What a transcription did.

    Attributes:
        transcripts: The CSV; the JSON of the same name says whose words they are.
        source: Of the words, as it goes into the keys of text features.
        utterances: Rows of the manifest, or of its dry run.
        whole: Rows of the manifest.
        present: Utterances whose words (and frames) were there and whose audio has not changed.
        transcribed: Utterances transcribed now.
        suspects: Reasons for doubt and how many of the utterances have each.
        suspect: Utterances with any doubt.
        retried: Suspects whose words were drawn at a higher temperature.
        failed: Utterances that could not be read; they are listed in ``failures``.
        windowed: Utterances transcribed now that are longer than 30 s.
        audio_seconds: Length of the audio transcribed now.
        seconds: How long that took, loading the weights aside.
        store: Folder of the kept frames, if they are kept.
        failures: List of the failed utterances, None if all went well.
        notes: What a user should know.
        shard: The part of the work that this was, '' for all of it.
        left: Utterances that other parts have still to do; the CSV is written when none is left.
    """

    transcripts: Path
    source: str
    utterances: int
    present: int = 0
    transcribed: int = 0
    suspects: dict[str, int] = field(default_factory=dict)
    suspect: int = 0
    retried: int = 0
    failed: int = 0
    windowed: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    store: Path | None = None
    failures: Path | None = None
    whole: int = 0
    notes: tuple[str, ...] = ()
    shard: str = ""
    left: int = 0


def transcribe(
    workspace: Workspace, options: TranscribeOptions, *, progress: Progress = silent
) -> TranscribeResult:
    """Transcribe the utterances of the manifest that have no words of this source yet.

    Finished batches stand in a journal (and their frames in the cache): an interrupted run,
    called again, continues. The CSV is written when all utterances are done. Parts (``shard``) may
    run at once; the one that finds all utterances done writes the CSV.

    Raises:
        UsageError: ``shard`` is no part.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are not at
            hand or not Whisper's, or the back-end is not installed.
    """
    part = parse_shard(options.shard)
    manifest = read_manifest(workspace.manifest)
    if options.from_manifest:
        with hold(workspace.transcripts, wait=True):  # the tasks of an array all come here
            return _take_manifest(workspace, manifest, options)
    recognition = settle_recognition(workspace, options)
    with SourceHasher(workspace.cache) as hasher:
        run = _Transcription(workspace, recognition, AudioInputs(hasher), part)
        return run.over(manifest, progress)


def _take_manifest(
    workspace: Workspace, manifest: Manifest, options: TranscribeOptions
) -> TranscribeResult:
    """Take the words of all utterances, whatever the limit: it costs nothing."""
    if options.keep_frames:
        raise UsageError("--keep-frames needs Whisper to run; --from-manifest runs no model.")
    if not any(row.transcript for row in manifest):
        raise TranscriptsError(
            f"Manifest '{workspace.manifest}' holds no words in its column 'transcript'. "
            f"Let Whisper find them: serctl transcribe"
        )
    rows = [Transcript(row.utterance_id, row.transcript or "") for row in manifest]
    present = len(set(rows).intersection(read_finished(workspace.transcripts, FROM_MANIFEST)))
    notes = _tell_aside(write_transcripts(workspace.transcripts, rows, {"source": FROM_MANIFEST}))
    if options.limit:
        notes += ("The manifest's own words cost nothing: all are taken, whatever --limit.",)
    return TranscribeResult(
        workspace.transcripts,
        FROM_MANIFEST,
        len(rows),
        present,
        len(rows) - present,
        whole=len(rows),
        notes=notes,
    )


def _tell_aside(aside: tuple[str, Path] | None) -> tuple[str, ...]:
    """Return a note on the words of another source that made room."""
    if aside is None:
        return ()
    source, path = aside
    again = "serctl transcribe --from-manifest" if source == FROM_MANIFEST else "what made them"
    return (f"The words of '{source}' are in {path.name} now; {again} brings them back.",)


class _Transcription:
    """One run over a manifest: what is done, what is missing, and where both are written."""

    def __init__(
        self,
        workspace: Workspace,
        recognition: Recognition,
        inputs: AudioInputs,
        part: tuple[int, int],
    ) -> None:
        self.workspace = workspace
        self.recognition = recognition
        self.options = recognition.options
        self.inputs = inputs
        self.store = workspace.cache / recognition.key.store_name
        self.part = part
        self.journal = Journal(workspace.transcripts, recognition.source, part)
        self.failures: Failures = {}

    def over(self, manifest: Manifest, progress: Progress) -> TranscribeResult:
        """Transcribe what is missing of this part; the last part writes the CSV."""
        rows = sorted(manifest.limit(self.options.limit), key=lambda row: row.utterance_id)
        with self.journal.hold():
            done = self._find_done(rows, self._read_known())
            missing = self._find_missing(rows, done)
            result = TranscribeResult(
                self.workspace.transcripts,
                self.recognition.source,
                len(rows),
                present=len(rows) - len(missing),
                store=self.store if self.options.keep_frames else None,
                whole=len(manifest),
            )
            seen = rows
            if missing:
                result, seen = self._recognise(rows, missing, done, result, progress)
        listed = list_failures(
            self.workspace.root / FAILURES,
            f"{self.recognition.name} (words)",
            self.recognition.source,
            seen,
            self.failures,
            self.inputs.hash_of,
            manifest.ids,
        )
        # Two parts that end at once: the second of them sees what both have done.
        with hold(self.workspace.transcripts, wait=True):
            result = self._write(manifest, rows, result)
        own = [done[row.utterance_id] for row in seen if row.utterance_id in done]
        return _summarise(result, own, len(self.failures), listed)

    def _write(
        self, manifest: Manifest, rows: Sequence[Utterance], result: TranscribeResult
    ) -> TranscribeResult:
        """Write the CSV in the order of the manifest, unless other parts have utterances left."""
        known = self._read_known()
        done = self._find_done(rows, known)
        failed = read_failures(self.workspace.root / FAILURES, self.recognition.source)
        left = [
            row
            for row in rows
            if row.utterance_id not in done
            and failed.get(row.utterance_id) != find_source(self.inputs.hash_of, row)
        ]
        if left and self.part != WHOLE:
            return dataclasses.replace(result, left=len(left))
        # A dry run of a few does not forget the words of the others.
        others = set(manifest.ids) - {row.utterance_id for row in rows}
        words = {name: known[name] for name in others & known.keys()} | done
        ordered = [words[name] for name in manifest.ids if name in words]
        aside = write_transcripts(self.workspace.transcripts, ordered, self._describe())
        remove_journals(self.workspace.transcripts, self.recognition.source)
        return dataclasses.replace(result, notes=_tell_aside(aside))

    def _read_known(self) -> dict[str, Transcript]:
        """Return the words of this source, finished or from an interrupted run."""
        path, source = self.workspace.transcripts, self.recognition.source
        rows = [*read_finished(path, source), *read_journals(path, source)]
        return {row.utterance_id: row for row in rows}

    def _find_done(
        self, rows: Sequence[Utterance], known: Mapping[str, Transcript]
    ) -> dict[str, Transcript]:
        """Return the known words of rows whose audio has not changed."""
        hash_of = capture(self.inputs.hash_of)
        return {
            row.utterance_id: known[row.utterance_id]
            for row in rows
            if row.utterance_id in known and known[row.utterance_id].audio == hash_of(row)
        }

    def _find_missing(self, rows: Sequence[Utterance], done: Mapping[str, Transcript]) -> set[str]:
        """Return the ids that lack words or, where they are kept, frames."""
        missing = {row.utterance_id for row in rows} - done.keys()
        if not self.options.keep_frames:
            return missing
        stored = FeatureStore.open(self.store) if self.store.exists() else None
        return missing | {
            name
            for name, row in done.items()
            if stored is None or name not in stored or stored.source_of(name) != row.audio
        }

    def _recognise(
        self,
        rows: Sequence[Utterance],
        missing: set[str],
        done: dict[str, Transcript],
        result: TranscribeResult,
        progress: Progress,
    ) -> tuple[TranscribeResult, list[Utterance]]:
        """Run Whisper over every batch of this part of which anything is missing.

        Adds to ``done``; returns also the utterances of this part.
        """
        # Late: torch takes seconds to import, and what is finished need not wait for it.
        from serctl.runtime import resolve_device, split_threads

        options = self.options
        device = resolve_device(options.device)
        with split_threads(device) as workers:
            recogniser = self.recognition.load(self.workspace.cache, device, workers)
            encoder = recogniser.encoder
            sizes = measure_sizes(rows, self.inputs, encoder)
            by_id = dict(zip((row.utterance_id for row in rows), sizes, strict=True))
            self.failures = {n: it for n, it in by_id.items() if isinstance(it, SerctlError)}
            check_failures(self.failures, options.skip_bad)
            first, step = self.part
            batches = plan_rows(rows, sizes, encoder, options.batch_seconds)[first - 1 :: step]
            own = {row.utterance_id for batch in batches for row in batch} | self.failures.keys()
            missing = missing & own
            pending = [b for b in batches if not missing.isdisjoint(row.utterance_id for row in b)]
            left = {n: it for n in missing if isinstance(it := by_id[n], int)}
            started = time.monotonic()
            with (
                self._open_store(encoder, list(left.values())) as writer,
                self.journal as journal,
                progress.task(
                    f"transcribe {self.recognition.name}", len(left), "utterances"
                ) as advance,
            ):
                for batch in run_batches(recogniser.recognise, self.inputs, pending, workers):
                    self.failures |= batch.failed
                    check_failures(batch.failed, options.skip_bad)
                    if writer:
                        append_new(writer, batch.done, [one.made.frames for one in batch.done])
                    made = map(make_row, batch.done)
                    new = {row.utterance_id: row for row in made if row.utterance_id in missing}
                    journal.append(list(new.values()))
                    done |= new
                    advance(len(new))
        result = dataclasses.replace(
            result,
            utterances=len(own),
            present=len(own - missing),
            shard="" if self.part == WHOLE else "{}/{}".format(*self.part),
            transcribed=len(missing & done.keys()),
            windowed=encoder.windowed,
            audio_seconds=sum(left.values()) / SAMPLE_RATE,
            seconds=time.monotonic() - started,
        )
        return result, [row for row in rows if row.utterance_id in own]

    def _open_store(
        self, encoder: "WhisperEncoder", sizes: Sequence[int]
    ) -> AbstractContextManager[StoreWriter | None]:
        if not self.options.keep_frames:
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
        """Return what stands beside the CSV."""
        versions = {}
        for name in WORD_PACKAGES:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
        settings = options_to_dict(self.options)
        return {**self.recognition.to_dict(), "settings": settings, "versions": versions}


def _summarise(
    result: TranscribeResult, words: Sequence[Transcript], failed: int, failures: Path | None
) -> TranscribeResult:
    doubts = Counter(doubt for row in words for doubt in row.suspect.split("+") if doubt)
    return dataclasses.replace(
        result,
        suspects=dict(doubts.most_common()),
        suspect=sum(bool(row.suspect) for row in words),
        retried=sum(bool(row.temperature) for row in words),
        failed=failed,
        failures=failures,
    )

"""`serctl transcribe`: transcribe utterances with Whisper, and optionally cache its frames."""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    check_failures,
    find_source,
    list_failures,
    read_failures,
)
from serctl.encoding.inputs import AudioInputs
from serctl.encoding.pipeline import capture, measure_sizes, plan_rows, run_batches
from serctl.encoding.recognition import Recognition, make_row, settle_recognition
from serctl.encoding.shards import parse_shard
from serctl.errors import SerctlError, TranscriptsError, UsageError, count, first_few
from serctl.locks import hold
from serctl.options import TranscribeOptions
from serctl.progress import Progress, silent

if TYPE_CHECKING:
    from serctl.encoders.whisper import WhisperEncoder

WORD_PACKAGES = ("serctl", "torch", "transformers", "faster-whisper", "ctranslate2")
"""Packages whose versions are recorded with the transcripts."""


@dataclass(frozen=True)
class TranscribeResult:
    """Result of a transcription.

    Attributes:
        transcripts: CSV file. The JSON file of the same name records the source.
        source: Source of the transcripts, a part of the keys of text features.
        utterances: Number of utterances of the manifest, or of its dry run.
        whole: Number of utterances of the manifest.
        present: Utterances with transcripts (and frames) whose audio has not changed.
        transcribed: Utterances transcribed now.
        suspects: Number of utterances for each reason of suspicion.
        suspect: Utterances with at least one reason.
        retried: Suspects that were sampled again at a higher temperature.
        failed: Utterances that could not be read. ``failures`` lists them.
        windowed: Utterances transcribed now that are longer than 30 s.
        audio_seconds: Length of the audio transcribed now.
        seconds: Duration of the transcription without loading the weights.
        store: Folder of the cached frames, if they are kept.
        failures: File that lists the failed utterances; None if there are none.
        notes: Notes for the user.
        shard: Part of the work; '' for all of it.
        left: Utterances that remain for other parts. The last part writes the CSV file.
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
    """Transcribe the utterances of the manifest that have no transcript of this source yet.

    Finished batches are kept in a journal, and their frames in the cache. An interrupted run
    continues when it is called again. The CSV file is written when all utterances are finished.
    Parts (``shard``) may run in parallel. The last one to finish writes the CSV file.

    Raises:
        UsageError: ``shard`` is malformed.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are missing or
            not Whisper's, or the back-end is not installed.
    """
    part = parse_shard(options.shard)
    manifest = read_manifest(workspace.manifest)
    if options.from_manifest:
        with hold(workspace.transcripts, wait=True):  # all tasks of an array write this file
            return _take_manifest(workspace, manifest, options)
    recognition = settle_recognition(workspace, options)
    with SourceHasher(workspace.cache) as hasher:
        run = _Transcription(workspace, recognition, AudioInputs(hasher), part)
        return run.over(manifest, progress)


def _take_manifest(
    workspace: Workspace, manifest: Manifest, options: TranscribeOptions
) -> TranscribeResult:
    """Take the transcripts of all utterances, without a limit, because no model is run."""
    if options.keep_frames:
        raise UsageError("--keep-frames needs Whisper, which --from-manifest does not run.")
    if not any(row.transcript for row in manifest):
        raise TranscriptsError(
            f"Manifest '{workspace.manifest}' has no transcripts in its column 'transcript'. "
            f"Transcribe with Whisper: serctl transcribe"
        )
    rows = [Transcript(row.utterance_id, row.transcript or "") for row in manifest]
    known = read_finished(workspace.transcripts, FROM_MANIFEST)
    present, kept = len(set(rows).intersection(known)), _find_unlisted(known, manifest)
    written = [*rows, *kept]
    aside = write_transcripts(workspace.transcripts, written, {"source": FROM_MANIFEST})
    notes = (*_note_renamed(aside), *_note_unlisted(kept))
    if options.limit:
        notes += ("All transcripts of the manifest were taken: --limit has no effect here.",)
    return TranscribeResult(
        workspace.transcripts,
        FROM_MANIFEST,
        len(rows),
        present,
        len(rows) - present,
        whole=len(rows),
        notes=notes,
    )


def _find_unlisted(known: Iterable[Transcript], manifest: Manifest) -> list[Transcript]:
    """Return the rows of utterances that have left the manifest.

    They are kept: hours of Whisper made them, and a manifest may lose rows by mistake.
    """
    listed = set(manifest.ids)
    return [row for row in known if row.utterance_id not in listed]


def _note_unlisted(kept: Sequence[Transcript]) -> tuple[str, ...]:
    if not kept:
        return ()
    ids = first_few(row.utterance_id for row in kept)
    return (
        f"{count(len(kept), 'transcript')} of utterances that the manifest does not list ({ids}): "
        "kept at the end of the CSV and read by nothing. Delete the rows if you need them no more.",
    )


def _note_renamed(aside: tuple[str, Path] | None) -> tuple[str, ...]:
    """Return a note on the transcripts of another source, which were renamed."""
    if aside is None:
        return ()
    source, path = aside
    again = "serctl transcribe --from-manifest" if source == FROM_MANIFEST else "the same command"
    return (f"The transcripts of '{source}' are in {path.name} now; {again} restores them.",)


class _Transcription:
    """One run over a manifest: finished and missing utterances, and the files for both."""

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
        """Transcribe the missing utterances of this part. The last part writes the CSV file."""
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
        # If two parts end at the same time, the second one sees the results of both.
        with hold(self.workspace.transcripts, wait=True):
            result = self._write(manifest, rows, result)
        result = dataclasses.replace(result, notes=(*result.notes, *self.inputs.notes))
        own = [done[row.utterance_id] for row in seen if row.utterance_id in done]
        return _summarise(result, own, len(self.failures), listed)

    def _write(
        self, manifest: Manifest, rows: Sequence[Utterance], result: TranscribeResult
    ) -> TranscribeResult:
        """Write the CSV file in the order of the manifest, if no utterance remains."""
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
        # A dry run keeps the transcripts of the other utterances.
        others = set(manifest.ids) - {row.utterance_id for row in rows}
        words = {name: known[name] for name in others & known.keys()} | done
        ordered = [words[name] for name in manifest.ids if name in words]
        kept = _find_unlisted(known.values(), manifest)
        ordered += kept
        aside = write_transcripts(self.workspace.transcripts, ordered, self._describe())
        remove_journals(self.workspace.transcripts, self.recognition.source)
        notes = (*result.notes, *_note_renamed(aside), *_note_unlisted(kept))
        return dataclasses.replace(result, notes=notes)

    def _read_known(self) -> dict[str, Transcript]:
        """Return the transcripts of this source, finished or from an interrupted run."""
        path, source = self.workspace.transcripts, self.recognition.source
        rows = [*read_finished(path, source), *read_journals(path, source)]
        return {row.utterance_id: row for row in rows}

    def _find_done(
        self, rows: Sequence[Utterance], known: Mapping[str, Transcript]
    ) -> dict[str, Transcript]:
        """Return the known transcripts of rows whose audio has not changed."""
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
        # Imported late: it takes seconds, and a finished transcription does not need torch.
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
        """Return the content of the JSON file of the transcripts."""
        versions = {}
        for name in WORD_PACKAGES:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
        settings = options_to_dict(self.options)
        return {**self.recognition.to_dict(), "settings": settings, "versions": versions}


def _summarise(
    result: TranscribeResult, words: Sequence[Transcript], failed: int, failures: Path | None
) -> TranscribeResult:
    reasons = Counter(name for row in words for name in row.suspect.split("+") if name)
    return dataclasses.replace(
        result,
        suspects=dict(reasons.most_common()),
        suspect=sum(bool(row.suspect) for row in words),
        retried=sum(bool(row.temperature) for row in words),
        failed=failed,
        failures=failures,
    )

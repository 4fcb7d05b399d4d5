"""`serctl transcribe`: transcribe utterances with Whisper, and optionally cache its frames."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from serctl.cache.sources import SourceHasher, hash_bytes
from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.data.transcripts import (
    FROM_MANIFEST,
    Transcript,
    copy_beside,
    copy_damaged,
    read_finished,
    read_source,
    transcribe_command,
    write_transcripts,
)
from serctl.encoding.failures import FAILURES, list_failures
from serctl.encoding.shards import parse_shard
from serctl.encoding.transcription import Transcribed, Transcription, find_unlisted
from serctl.errors import TranscriptsError, UsageError, count, first_few
from serctl.locks import hold
from serctl.options import TranscribeOptions
from serctl.progress import Progress, silent


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
        retried: Utterances whose kept text was sampled at a higher temperature.
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
    rows = sorted(manifest.limit(options.limit), key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        transcription = Transcription(workspace, options, part, hasher)
        recognition = transcription.recognition
        with transcription.journal.hold():
            done = transcription.run(rows, progress)
        seen = [row for row in rows if row.utterance_id in done.seen]
        failures = list_failures(
            workspace.root / FAILURES,
            f"{recognition.name} (transcripts)",
            recognition.source,
            seen,
            done.failures,
            transcription.inputs.hash_of,
            manifest.ids,
        )
        # If two parts end at the same time, the second one sees the results of both.
        with hold(workspace.transcripts, wait=True):
            written = transcription.write(manifest, rows)
    result = TranscribeResult(
        workspace.transcripts,
        recognition.source,
        len(done.seen),
        store=transcription.store if options.keep_frames else None,
        failures=failures,
        whole=len(manifest),
        notes=(
            *_note_renamed(written.renamed),
            *_note_unlisted(written.unlisted),
            *_note_damaged(written.damaged),
            *transcription.inputs.notes,
        ),
        shard="{}/{}".format(*part) if len(seen) < len(rows) else "",
        left=written.left,
    )
    return _add_counts(result, done)


def _add_counts(result: TranscribeResult, done: Transcribed) -> TranscribeResult:
    """Return the result with the numbers of utterances that one pass of Whisper counted."""
    words = done.words.values()
    reasons = Counter(name for row in words for name in row.suspect.split("+") if name)
    return replace(
        result,
        present=len(done.seen - done.missing),
        transcribed=done.transcribed,
        suspects=dict(reasons.most_common()),
        suspect=sum(bool(row.suspect) for row in words),
        retried=sum(bool(row.temperature) for row in words),
        failed=len(done.failures),
        windowed=done.windowed,
        audio_seconds=done.size / SAMPLE_RATE,
        seconds=done.seconds,
    )


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
    texts = {row.utterance_id: row.transcript or "" for row in manifest}
    rows = [Transcript(name, text, audio=hash_bytes(text.encode())) for name, text in texts.items()]
    known = read_finished(workspace.transcripts, FROM_MANIFEST)
    present, kept = len(set(rows).intersection(known)), find_unlisted(known, manifest)
    written = [*rows, *kept]
    damaged = copy_damaged(workspace.transcripts, FROM_MANIFEST)
    replaced = _copy_replaced(workspace.transcripts, rows, known)
    aside = write_transcripts(workspace.transcripts, written, {"source": FROM_MANIFEST})
    notes = (*replaced, *_note_damaged(damaged), *_note_renamed(aside))
    notes += (*_note_unlisted(kept), *_note_empty(rows))
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


def _copy_replaced(
    path: Path, rows: Sequence[Transcript], known: Sequence[Transcript]
) -> tuple[str, ...]:
    """Copy transcripts of the manifest that it replaces, such as corrected ones; return a note."""
    texts = {row.utterance_id: row.text for row in known}
    other = [row.utterance_id for row in rows if texts.get(row.utterance_id, row.text) != row.text]
    if not other or read_source(path) != FROM_MANIFEST:
        return ()
    return (
        f"{count(len(other), 'transcript')} that differed from the manifest ({first_few(other)}) "
        f"replaced by its own; the earlier ones are in {copy_beside(path, 'replaced').name}. To "
        "keep a correction, write it into the column transcript of the manifest.",
    )


def _note_empty(rows: Sequence[Transcript]) -> tuple[str, ...]:
    """Return a note on empty transcripts, such as those of a merged corpus that has none."""
    empty = [row.utterance_id for row in rows if not row.text.strip()]
    if not empty:
        return ()
    return (
        f"{len(empty)} of {len(rows)} transcripts of the manifest are empty ({first_few(empty)}) "
        "and count as utterances without words. Transcripts of Whisper for all: serctl transcribe",
    )


def _note_unlisted(kept: Sequence[Transcript]) -> tuple[str, ...]:
    if not kept:
        return ()
    ids = first_few(row.utterance_id for row in kept)
    return (
        f"{count(len(kept), 'transcript')} of utterances that the manifest does not list ({ids}): "
        "kept at the end of the CSV, not used. Delete the rows if you do not need them.",
    )


def _note_damaged(copy: Path | None) -> tuple[str, ...]:
    """Return a note on rows that could not be read and were replaced."""
    if copy is None:
        return ()
    return (
        "Rows of the transcripts could not be read (more fields than columns, a number, or two "
        f"texts of an id) and were made again; the earlier file is {copy.name}.",
    )


def _note_renamed(aside: tuple[str, Path] | None) -> tuple[str, ...]:
    """Return a note on the transcripts of another source, which were renamed."""
    if aside is None:
        return ()
    source, path = aside
    again = transcribe_command(source) if source == FROM_MANIFEST else "the same command"
    return (f"The transcripts of '{source}' are in {path.name} now; {again} restores them.",)

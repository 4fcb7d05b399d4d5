"""`serctl manifest`: check, describe, split and merge manifests."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

from serctl.data.audio import SAMPLE_RATE, measure_samples, read_audio
from serctl.data.corpora.table import read_table
from serctl.data.downmix import KEEP_CHANNEL, DownmixReport, ReportProblem
from serctl.data.folds import warn_of_shared
from serctl.data.joined import check_joined, describe_joined
from serctl.data.manifest import DURATIONS, FOLD, Manifest, Utterance
from serctl.data.manifest_file import (
    check_manifest,
    read_manifest,
    read_manifest_table,
    write_manifest,
)
from serctl.data.overlaps import describe_overlaps, find_overlaps
from serctl.data.recordings import is_table
from serctl.data.splits import assign_splits, note_moved, split_by_fold
from serctl.errors import AudioError, ManifestError, UsageError, first_few
from serctl.progress import Advance, Progress, silent

ROUNDING = 0.5
"""Maximum difference of the column ``duration`` to the seconds of the audio."""


@dataclass(frozen=True)
class AudioProblem:
    """An utterance with unusable audio, and the reason."""

    utterance_id: str
    split: str
    problem: str


@dataclass(frozen=True)
class AudioCheckResult:
    """Result of `check_audio`: unusable audio, and ids of utterances that share samples.

    ``notes`` report how the manifest was read and recordings that lose by the mean of channels.
    """

    num_utterances: int
    problems: tuple[AudioProblem, ...]
    leaks: tuple[tuple[str, ...], ...]
    overlaps: tuple[tuple[str, ...], ...]
    duplicates: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether all audio is usable and no audio is in two splits."""
        return not (self.problems or self.leaks or self.overlaps)


@dataclass(frozen=True)
class SplitStats:
    """Statistics of one split: durations in seconds, speakers without unknown ones."""

    emotions: dict[str, int]
    speakers: int
    without_speaker: int
    with_votes: int
    hours: float
    median_seconds: float
    longest_seconds: float
    unmeasured: int


@dataclass(frozen=True)
class ManifestStats:
    """Statistics of each split, and speakers and transcripts that are in several splits."""

    splits: dict[str, SplitStats]
    leaking_speakers: dict[str, tuple[str, ...]]
    leaking_transcripts: int


def check_audio(
    manifest: Manifest | Path | str, *, progress: Progress = silent
) -> AudioCheckResult:
    """Decode every file and compare the samples.

    Returns:
        Audio that is missing, unreadable, empty, silent or not finite, and groups of utterances
        with the same samples: ``leaks`` across splits and ``duplicates`` within a split.
        ``overlaps`` are pairs of different splits that share a part of a recording.
    """
    manifest = _open(manifest)
    rows = manifest.utterances
    found: dict[str, list[Utterance]] = {}
    problems, other = [], []
    report = DownmixReport()
    with (
        progress.task("check audio", len(rows), "utterances") as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        digests = pool.map(partial(_digest, report), rows)
        for row, (digest, seconds, problem) in zip(rows, digests, strict=True):
            if not problem and abs((row.duration() or seconds) - seconds) > ROUNDING:
                other.append(f"{row.utterance_id}: {row.duration():g} for {seconds:.3g} s")
            if problem:
                problems.append(AudioProblem(row.utterance_id, row.split, problem))
            else:
                found.setdefault(digest, []).append(row)
            advance()
    folds = {row.utterance_id: row.extra[FOLD] for row in rows if row.extra.get(FOLD)}
    shared = warn_of_shared(rows, folds)
    groups = [group for group in found.values() if len(group) > 1]
    leaks = [group for group in groups if len({row.split for row in group}) > 1]
    return AudioCheckResult(
        num_utterances=len(rows),
        problems=tuple(problems),
        leaks=_ids(leaks),
        overlaps=_ids(find_overlaps(rows, equal=False)),
        duplicates=_ids(group for group in groups if group not in leaks),
        notes=(
            *manifest.notes,
            *_note_durations(other),
            *filter(None, [shared]),
            *report.list_notes(KEEP_CHANNEL),
        ),
    )


def _note_durations(other: Sequence[str]) -> list[str]:
    """Return a note on values of the column ``duration`` that are not those of the audio."""
    if not other:
        return []
    return [
        f"column '{DURATIONS[0]}': {len(other)} utterances have another length "
        f"({first_few(other)}), expected their seconds. evaluate groups by it: write "
        f"seconds, or delete the column"
    ]


def _digest(report: ReportProblem, row: Utterance) -> tuple[str, float, str]:
    """Return a hash of the samples, their seconds and '', or '', 0 and the problem."""
    try:
        samples = read_audio(row.path, row.start, row.end, row.channel, report=report)
        digest = hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()
        return digest, len(samples) / SAMPLE_RATE, ""
    except AudioError as error:
        return "", 0.0, str(error)


def _ids(groups: Iterable[Sequence[Utterance]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row.utterance_id for row in group) for group in groups)


def describe_manifest(
    manifest: Manifest | Path | str, *, progress: Progress = silent
) -> ManifestStats:
    """Count emotions, speakers, votes and hours. Durations are read from file headers."""
    manifest = _open(manifest)
    with progress.task("measure audio", len(manifest), "utterances") as advance:
        splits = {
            split: _describe_split(manifest.select(split), advance) for split in manifest.splits
        }
    said: dict[str, set[str]] = {}
    for row in manifest:
        if row.transcript:
            said.setdefault(row.transcript.strip().lower(), set()).add(row.split)
    return ManifestStats(
        splits=splits,
        leaking_speakers=manifest.leaking_speakers(),
        leaking_transcripts=sum(len(found) > 1 for found in said.values()),
    )


def _describe_split(rows: Manifest, advance: Advance) -> SplitStats:
    seconds = []
    for row in rows:
        with suppress(AudioError):
            seconds.append(measure_samples(row.path, row.start, row.end) / SAMPLE_RATE)
        advance()
    (emotions,) = rows.counts().values()
    return SplitStats(
        emotions=emotions,
        speakers=len({row.speaker for row in rows if row.speaker}),
        without_speaker=sum(not row.speaker for row in rows),
        with_votes=sum(any(row.votes().values()) for row in rows),
        hours=sum(seconds) / 3600,
        median_seconds=median(seconds or [0.0]),
        longest_seconds=max(seconds, default=0.0),
        unmeasured=len(rows) - len(seconds),
    )


def split_manifest(
    source: Path | str,
    target: Path | str,
    *,
    seed: int = 0,
    test_folds: Sequence[str] = (),
    dev_folds: Sequence[str] = (),
    all_train: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Write a manifest with new splits: generated, or from its column ``fold``.

    Args:
        source: Manifest or table.
        target: Manifest to write.
        seed: Seed of generated splits, which are speaker-disjoint and class-stratified.
        test_folds: Folds that become test. Folds that are neither test nor dev become train.
        dev_folds: Folds that become dev.
        all_train: Use all utterances as train, for evaluation out of fold.
        overwrite: Replace ``target``.

    Returns:
        The new manifest, with notes on the table, on test utterances in train and shared speakers.

    Raises:
        UsageError: ``target`` exists, or ``all_train`` or ``seed`` contradicts the folds.
        ManifestError: There are fewer than three speakers, or no such fold.
    """
    if all_train and (test_folds or dev_folds):
        raise UsageError("--all-train excludes --test-fold and --dev-fold. Leave one of them out.")
    if seed and (all_train or test_folds or dev_folds):
        raise UsageError("--seed has no effect on given folds and on --all-train. Leave it out.")
    corpus = read_table(Path(source), {})
    rows: Sequence[Utterance] = corpus.utterances
    if all_train or test_folds or dev_folds:
        old, rows = rows, split_by_fold(rows, test_folds, dev_folds)
        note = "" if all_train or test_folds else note_moved(old, rows)
    else:
        rows, note = assign_splits(rows, seed)
    notes = (*corpus.notes, *filter(None, [note]), *describe_overlaps(rows))
    return replace(_write(rows, Path(target), overwrite), notes=notes)


def merge_manifests(
    sources: Sequence[Path | str],
    target: Path | str,
    *,
    prefixes: Sequence[str] = (),
    overwrite: bool = False,
) -> Manifest:
    """Merge several manifests into one. ``prefixes`` precede ids and speakers.

    Raises:
        UsageError: ``target`` exists, the number of prefixes differs, or ids clash without them.
    """
    if prefixes and len(prefixes) != len(sources):
        raise UsageError(
            f"{len(prefixes)} --prefix, expected one for each of {len(sources)} manifests."
        )
    given = [read_manifest(Path(source)) for source in sources]
    added = zip(given, prefixes or [""] * len(sources), strict=True)
    parts = [[_add_prefix(row, prefix) for row in one] for one, prefix in added]
    rows = list(chain.from_iterable(parts))
    check_joined(rows, "manifests", "Add one --prefix for each manifest.")
    merged = _write(rows, Path(target), overwrite)
    read = [f"{one.path}: {note}" for one in given for note in one.notes]
    pairs = list(zip(map(str, sources), parts, strict=True))
    notes = describe_joined(pairs, "add one --prefix for each table.")
    return replace(merged, notes=(*read, *notes))


def _add_prefix(row: Utterance, prefix: str) -> Utterance:
    speaker = row.speaker and prefix + row.speaker
    return replace(row, utterance_id=prefix + row.utterance_id, speaker=speaker)


def _open(manifest: Manifest | Path | str) -> Manifest:
    return manifest if isinstance(manifest, Manifest) else read_manifest(Path(manifest))


def _read_header(path: Path) -> tuple[str, ...]:
    """Return the columns of a table; () for another file."""
    try:
        return read_manifest_table(path).header
    except ManifestError:
        return ()


def _write(rows: Sequence[Utterance], target: Path, overwrite: bool) -> Manifest:
    if is_table(target.name) and target.suffix.lower() != ".csv":
        raise UsageError(
            f"'{target}' ends in {target.suffix}, but a manifest is written as CSV. "
            f"Name a file that ends in .csv."
        )
    if target.exists() and not overwrite:
        raise UsageError(f"'{target}' exists already. Replace with: --overwrite")
    if target.exists() and not {"utterance_id", "path"} <= {*_read_header(target)}:
        raise UsageError(f"'{target}' exists and is not a manifest. Name another file.")
    manifest = Manifest(tuple(rows), target)
    check_manifest(manifest)
    write_manifest(target, rows)
    return manifest

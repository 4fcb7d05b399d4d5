"""`serctl extract`: every utterance through a frozen encoder once, its frames into the cache."""

import csv
import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.sources import SourceHasher
from serctl.cache.storage import get_storage
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE
from serctl.data.manifest import Utterance, read_manifest
from serctl.encoders.base import Encoder
from serctl.encoders.batches import plan_batches
from serctl.encoders.load import identify_encoder, load_encoder
from serctl.errors import CacheError, SerctlError, UsageError
from serctl.files import write_atomic
from serctl.options import ExtractOptions
from serctl.progress import Advance, Progress, silent
from serctl.stages.inputs import AudioInputs, Failures, Inputs, TextInputs, capture, read_batches

FAILURES = "failures.csv"
"""Beside serctl.toml: the utterances that the last extraction of each encoder had to leave out."""


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes:
        encoder: Its catalogue name, hub id or path.
        modality: speech, text or paralinguistic.
        store: Folder of the frames.
        utterances: Rows of the manifest.
        present: Utterances whose frames were there and whose source has not changed.
        encoded: Utterances whose frames were made now.
        failed: Utterances that could not be read; they are listed in ``failures``.
        windowed: Utterances encoded now that were too long for one window of the encoder.
        frames: Frames made now.
        audio_seconds: Length of the audio encoded now; 0 for text.
        seconds: How long encoding took, loading the weights aside.
        notes: How the encoder ran, where that is worth knowing.
        failures: List of the failed utterances, None if all went well.
    """

    encoder: str
    modality: str
    store: Path
    utterances: int
    present: int
    encoded: int = 0
    failed: int = 0
    windowed: int = 0
    frames: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failures: Path | None = None


def extract(
    workspace: Workspace, options: ExtractOptions, *, progress: Progress = silent
) -> ExtractResult:
    """Encode the utterances of the manifest that the store of this key does not hold yet.

    Which utterances are encoded together depends on manifest and options alone, and a batch of
    which anything is missing is encoded whole: an interrupted run, continued, gives the very
    frames of an uninterrupted one.

    Raises:
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are not at
            hand, or the disk is too small. What was encoded before stays.
    """
    manifest = read_manifest(workspace.manifest).limit(options.limit)
    rows = sorted(manifest, key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        key, inputs = _open_inputs(workspace, options, hasher)
        store = workspace.cache / key.store_name
        missing = _find_missing(rows, inputs, store)
        present = len(rows) - len(missing)
        result = ExtractResult(key.encoder, key.modality, store, len(rows), present)
        if not missing:
            return result
        # Late: torch takes seconds to import, and what is refused or finished need not wait.
        from serctl.runtime import environment, resolve_device

        encoder = load_encoder(
            options.encoder,
            device=resolve_device(options.device),
            weights=options.weights,
            mapping=workspace.weights,
            layer=options.layer,
            dtype=options.dtype,
        )
        sizes, failures = measure_sizes(rows, inputs, encoder, options.skip_bad)
        check_disk(store, key, encoder, [sizes[name] for name in missing & sizes.keys()])
        batches = plan_rows(rows, sizes, encoder, options.batch_seconds)
        pending = [b for b in batches if not missing.isdisjoint(row.utterance_id for row in b)]
        started = time.monotonic()
        with (
            StoreWriter(
                store, key, encoder.dim, encoder.frame_rate, versions=environment()
            ) as writer,
            progress.task(f"extract {key.encoder}", len(missing)) as advance,
        ):
            counts, unread = _encode(
                pending, inputs, encoder, writer, skip_bad=options.skip_bad, advance=advance
            )
    failures |= unread
    return dataclasses.replace(
        result,
        encoded=counts["encoded"],
        failed=len(failures),
        windowed=encoder.windowed,
        frames=counts["frames"],
        audio_seconds=0.0 if key.modality == "text" else counts["size"] / SAMPLE_RATE,
        seconds=time.monotonic() - started,
        notes=encoder.notes,
        failures=list_failures(workspace.root / FAILURES, key.encoder, rows, failures),
    )


def make_key(workspace: Workspace, options: ExtractOptions) -> FeatureKey:
    """Return the key of the frames that `extract` makes with these options.

    Raises:
        SerctlError: The weights or, for text, the transcripts are not at hand.
    """
    return _open_inputs(workspace, options, SourceHasher(workspace.cache))[0]


def _open_inputs(
    workspace: Workspace, options: ExtractOptions, hasher: SourceHasher
) -> tuple[FeatureKey, Inputs]:
    if not options.encoder:
        raise UsageError("No encoder is named. Name one with --encoder; see: serctl encoders")
    identity = identify_encoder(
        options.encoder,
        weights=options.weights,
        mapping=workspace.weights,
        layer=options.layer,
        dtype=options.dtype,
    )
    is_text = identity.modality == "text"
    inputs: Inputs = TextInputs(workspace.transcripts) if is_text else AudioInputs(hasher)
    return FeatureKey(**asdict(identity), source=inputs.source, storage=options.storage), inputs


def _find_missing(rows: Sequence[Utterance], inputs: Inputs, store: Path) -> set[str]:
    """Return the ids whose frames are not stored, or were made from another source."""
    stored = FeatureStore.open(store) if store.exists() else None
    hash_of = capture(inputs.hash_of)
    return {
        row.utterance_id
        for row in rows
        if stored is None
        or row.utterance_id not in stored
        or hash_of(row) != stored.source_of(row.utterance_id)
    }


def measure_sizes(
    rows: Sequence[Utterance], inputs: Inputs, encoder: Encoder, skip_bad: bool
) -> tuple[dict[str, int], Failures]:
    """Return samples or tokens by utterance, and the utterances that have none."""
    sizes: dict[str, int] = {}
    failures: Failures = {}
    for row, size in zip(rows, inputs.sizes(rows, encoder), strict=True):
        cost = size if isinstance(size, SerctlError) else capture(encoder.cost)(size)
        if isinstance(cost, SerctlError):
            failures[row.utterance_id] = cost
        elif isinstance(size, int):
            sizes[row.utterance_id] = size
    check_failures(failures, skip_bad)
    return sizes, failures


def plan_rows(
    rows: Sequence[Utterance], sizes: Mapping[str, int], encoder: Encoder, seconds: float
) -> list[list[Utterance]]:
    """Return all batches of the manifest, whatever of them is done."""
    measured = [row for row in rows if row.utterance_id in sizes]
    plan = plan_batches([sizes[row.utterance_id] for row in measured], encoder.cost, seconds)
    return [[measured[i] for i in batch] for batch in plan]


def _encode(
    batches: Sequence[Sequence[Utterance]],
    inputs: Inputs,
    encoder: Encoder,
    writer: StoreWriter,
    *,
    skip_bad: bool,
    advance: Advance,
) -> tuple[Counter[str], Failures]:
    """Encode batches and write what of them is missing; return counts and failures."""
    counts: Counter[str] = Counter()
    failures: Failures = {}
    for readings, bad in read_batches(inputs, batches):
        failures |= bad
        check_failures(bad, skip_bad)
        frames = run_encoder(encoder, [reading.content for reading in readings])
        new = [
            (reading, frame)
            for reading, frame in zip(readings, frames, strict=True)
            if not writer.has(reading.utterance_id, reading.source)
        ]
        writer.append(
            [reading.utterance_id for reading, _ in new],
            [frame for _, frame in new],
            [reading.source for reading, _ in new],
        )
        counts["encoded"] += len(new)
        counts["frames"] += sum(len(frame) for _, frame in new)
        counts["size"] += sum(len(reading.content) for reading, _ in new)
        advance(len(new))
    return counts, failures


def run_encoder(encoder: Encoder, contents: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Encode a batch; too large a one is an error that says so."""
    import torch

    try:
        return encoder.encode(contents) if contents else []
    except torch.OutOfMemoryError as error:
        raise SerctlError(
            f"The device is out of memory with {len(contents)} utterances in a batch. "
            f"Make batches smaller: serctl extract --batch-seconds N"
        ) from error


def check_failures(failures: Failures, skip_bad: bool) -> None:
    """Raise the first of the failures and count the others, unless they may be skipped."""
    if not failures or skip_bad:
        return
    first = next(iter(failures.values()))
    more = f" ({len(failures) - 1} more are like it.)" if len(failures) > 1 else ""
    raise type(first)(f"{first}{more} Leave out what cannot be read with --skip-bad.")


def check_disk(store: Path, key: FeatureKey, encoder: Encoder, sizes: Sequence[int]) -> None:
    """Refuse to begin what will not fit.

    Raises:
        CacheError: With what is needed and what is free.
    """
    rate = 1.0 if encoder.frame_rate is None else encoder.frame_rate / SAMPLE_RATE
    frames = sum(int(size * rate) + 1 for size in sizes)
    needed = frames * encoder.dim * np.dtype(get_storage(key.storage).dtype).itemsize
    folder = next(path for path in store.parents if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CacheError(
            f"About {frames:,} frames of {key.encoder} need {needed / 1e9:,.2f} GB, but "
            f"'{folder}' has {free / 1e9:,.2f} GB free. Free some, or name another folder in "
            f"serctl.toml: [paths] cache."
        )


def list_failures(
    path: Path, encoder: str, rows: Sequence[Utterance], failures: Failures
) -> Path | None:
    """Write the utterances that this encoder could not read beside those of other encoders."""
    listed: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            listed = [row for row in csv.DictReader(file) if row.get("encoder") != encoder]
    listed += [
        {
            "encoder": encoder,
            "utterance_id": row.utterance_id,
            "path": str(row.path),
            "error": str(failures[row.utterance_id]),
        }
        for row in rows
        if row.utterance_id in failures
    ]
    if listed:
        with write_atomic(path) as file:
            writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(listed)
    else:
        path.unlink(missing_ok=True)
    return path if failures else None

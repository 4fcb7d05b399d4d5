"""`serctl extract`: every utterance through a frozen encoder once, its frames into the cache."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace
from serctl.data.audio import SAMPLE_RATE
from serctl.data.manifest import Utterance, read_manifest
from serctl.encoders.base import Encoder
from serctl.encoders.load import load_encoder
from serctl.encoding.batching import check_disk, measure_sizes, plan_rows, run_encoder
from serctl.encoding.failures import FAILURES, Failures, capture, check_failures, list_failures
from serctl.encoding.inputs import (
    Inputs,
    Reading,
    read_batches,
    run_ahead,
)
from serctl.encoding.keys import encoder_settings, open_inputs
from serctl.errors import UsageError
from serctl.options import ExtractOptions
from serctl.progress import Advance, Progress, silent

BATCH_SECONDS = {True: 2.0, False: 60.0}
"""Padded seconds of a batch on a CPU, where larger ones only add padding, and elsewhere."""


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes:
        encoder: Its catalogue name, hub id or path.
        modality: speech, text or paralinguistic.
        store: Folder of the frames.
        utterances: Rows of the manifest, of its dry run or of the part.
        present: Utterances whose frames were there and whose source has not changed.
        encoded: Utterances whose frames were made now.
        failed: Utterances that could not be read; they are listed in ``failures``.
        windowed: Utterances encoded now that were too long for one window of the encoder.
        frames: Frames made now.
        audio_seconds: Length of the audio encoded now; 0 for text.
        seconds: How long encoding took, loading the weights aside.
        notes: How the encoder ran, where that is worth knowing.
        failures: List of the failed utterances, None if all went well.
        shard: The part of the work that this was, '' for all of it.
        whole: Rows of the manifest.
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
    shard: str = ""
    whole: int = 0


def extract(
    workspace: Workspace, options: ExtractOptions, *, progress: Progress = silent
) -> ExtractResult:
    """Encode the utterances of the manifest that the store of this key does not hold yet.

    Which utterances are encoded together depends on manifest and options alone, and a batch of
    which anything is missing is encoded whole: an interrupted run, continued, gives the very
    frames of an uninterrupted one. So do the parts of ``shard``, which may run at once.

    Raises:
        UsageError: ``shard`` is no part.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are not at
            hand, or the disk is too small. What was encoded before stays.
    """
    part, parts = parse_shard(options.shard)
    manifest = read_manifest(workspace.manifest)
    rows = sorted(manifest.limit(options.limit), key=lambda row: row.utterance_id)
    with SourceHasher(workspace.cache) as hasher:
        key, inputs = open_inputs(workspace, options, hasher)
        store = workspace.cache / key.store_name
        missing = _find_missing(rows, inputs, store)
        present = len(rows) - len(missing)
        result = ExtractResult(
            key.encoder, key.modality, store, len(rows), present, whole=len(manifest)
        )
        failed = partial(
            list_failures,
            workspace.root / FAILURES,
            key.encoder,
            key.digest,
            hash_of=inputs.hash_of,
            whole=manifest.ids,
        )
        if not missing:
            failed(rows, {})
            return result
        # Late: torch takes seconds to import, and what is refused or finished need not wait.
        from serctl.runtime import environment, resolve_device, split_threads

        device = resolve_device(options.device)
        with split_threads(device) as workers:
            encoder = load_encoder(
                options.encoder, device=device, **encoder_settings(workspace, options)
            )
            sizes, failures = measure_sizes(rows, inputs, encoder, options.skip_bad)
            seconds = options.batch_seconds or BATCH_SECONDS[device.type == "cpu"]
            batches = plan_rows(rows, sizes, encoder, seconds)[part - 1 :: parts]
            seen = {row.utterance_id for batch in batches for row in batch} | failures.keys()
            missing &= seen
            check_disk(store, key, encoder, [sizes[name] for name in missing & sizes.keys()])
            pending = [b for b in batches if not missing.isdisjoint(row.utterance_id for row in b)]
            started = time.monotonic()
            rate, versions = encoder.frame_rate, environment()
            with (
                StoreWriter(
                    store, key, encoder.dim, rate, versions=versions, shared=parts > 1
                ) as writer,
                progress.task(f"extract {key.encoder}", len(missing)) as advance,
            ):
                counts, unread = _encode(
                    pending, inputs, encoder, writer, workers, options.skip_bad, advance
                )
        failures |= unread
        return dataclasses.replace(
            result,
            utterances=len(seen),
            present=len(seen - missing),
            encoded=counts["encoded"],
            failed=len(failures),
            windowed=encoder.windowed,
            frames=counts["frames"],
            audio_seconds=0.0 if key.modality == "text" else counts["size"] / SAMPLE_RATE,
            seconds=time.monotonic() - started,
            notes=encoder.notes,
            failures=failed([row for row in rows if row.utterance_id in seen], failures),
            shard=options.shard,
        )


def parse_shard(shard: str) -> tuple[int, int]:
    """Return i and n of ``i/n``; 1 and 1 of ''.

    Raises:
        UsageError: It is not of that form.
    """
    part, _, parts = (shard or "1/1").partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {shard}: expected i/n with i from 1 to n, such as 2/8.")
    return int(part), int(parts)


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


def _encode(
    batches: Sequence[Sequence[Utterance]],
    inputs: Inputs,
    encoder: Encoder,
    writer: StoreWriter,
    workers: int,
    skip_bad: bool,
    advance: Advance,
) -> tuple[Counter[str], Failures]:
    """Encode batches and write what of them is missing; return counts and failures."""

    def encode(read: tuple[list[Reading], Failures]) -> tuple[list, list[Reading], Failures]:
        return run_encoder(encoder, [reading.content for reading in read[0]]), *read

    counts: Counter[str] = Counter()
    failures: Failures = {}
    read = read_batches(inputs, batches, ahead=workers + 1)
    for frames, readings, bad in run_ahead(encode, read, ahead=workers, workers=workers):
        failures |= bad
        check_failures(bad, skip_bad)
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

"""The engine of `serctl extract`: which frames are missing, and one pass of the encoder for them.

`serctl cache verify --repair` runs it too, for the frames that a store has lost.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.encoders.base import Encoder, Frames
from serctl.encoders.load import load_encoder
from serctl.encoding.disk_space import check_disk
from serctl.encoding.failures import Failures, capture, check_failures
from serctl.encoding.keys import encoder_settings, open_inputs
from serctl.encoding.pipeline import Encoded, measure_sizes, plan_rows, run_batches
from serctl.errors import SerctlError
from serctl.options import ExtractOptions
from serctl.progress import Advance, Progress, silent

BATCH_SECONDS = {True: 2.0, False: 60.0}
"""Padded seconds of a batch on a CPU, where larger ones only add padding, and elsewhere."""

_KEPT: dict[Any, Encoder] = {}
"""The encoder of the last part."""


@dataclass(frozen=True)
class Extracted:
    """What one pass of an encoder did.

    Attributes:
        seen: The utterances of this part of the work.
        encoded: How many of them were encoded.
        frames: Frames made, over all layers.
        size: Samples or characters read.
        failures: Utterances that could not be read.
        windowed: How many were too long for one window of the encoder.
        seconds: How long it took, loading the weights aside.
        notes: How the encoder ran, where that is worth knowing.
    """

    seen: frozenset[str]
    encoded: int
    frames: int
    size: int
    failures: Failures
    windowed: int
    seconds: float
    notes: tuple[str, ...]


class Extraction:
    """The frames of one encoder that options ask for: one store a layer, filled in one pass.

    Attributes:
        keys: Of the frames, one a layer.
        stores: Their folders.
        inputs: What the encoder reads.
        verb: For the progress bar.
    """

    verb = "extract"

    def __init__(self, workspace: Workspace, options: ExtractOptions, hasher: SourceHasher) -> None:
        self._workspace, self._options = workspace, options
        self.keys, self.inputs = open_inputs(workspace, options, hasher)
        self.stores = tuple(workspace.cache / key.store_name for key in self.keys)

    @property
    def name(self) -> str:
        """The encoder, and its layers where there are several."""
        layers = ", ".join(str(key.layer) for key in self.keys)
        several = f" (layers {layers})" if len(self.keys) > 1 else ""
        return f"{self.keys[0].encoder}{several}"

    def find_missing(self, rows: Sequence[Utterance]) -> set[str]:
        """Return the ids that a store lacks, or whose source has changed since."""
        stores = [FeatureStore.open(path) if path.exists() else None for path in self.stores]
        hash_of = capture(self.inputs.hash_of)
        return {
            row.utterance_id
            for row in rows
            if any(store is None or row.utterance_id not in store for store in stores)
            or {hash_of(row)} != {store.source_of(row.utterance_id) for store in stores if store}
        }

    def run(
        self,
        rows: Sequence[Utterance],
        missing: set[str],
        *,
        part: tuple[int, int] = (1, 1),
        progress: Progress = silent,
    ) -> Extracted:
        """Encode every batch of which anything is missing.

        Which utterances are encoded together depends on ``rows`` and options alone, so that an
        interrupted run, continued, gives the very frames of an uninterrupted one.

        Args:
            rows: All utterances of the manifest, in the order of their ids.
            missing: Those to encode, from `find_missing`.
            part: i and n: every n-th batch, from the i-th on.
            progress: Hears of every utterance.

        Raises:
            SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are not at
                hand, or the disk is too small. What was encoded before stays.
        """
        # Late: torch takes seconds to import, and what is refused or finished need not wait.
        from serctl.runtime import resolve_device, split_threads

        options = self._options
        device = resolve_device(options.device)
        with split_threads(device) as workers:
            encoder = self._load(device, keep=part[1] > 1)
            windowed = encoder.windowed
            sizes = measure_sizes(rows, self.inputs, encoder)
            by_id = dict(zip((row.utterance_id for row in rows), sizes, strict=True))
            failures = {name: it for name, it in by_id.items() if isinstance(it, SerctlError)}
            check_failures(failures, options.skip_bad)
            seconds = options.batch_seconds or BATCH_SECONDS[device.type == "cpu"]
            batches = plan_rows(rows, sizes, encoder, seconds)[part[0] - 1 :: part[1]]
            seen = {row.utterance_id for batch in batches for row in batch} | failures.keys()
            missing = missing & seen
            left = [size for name in missing if isinstance(size := by_id[name], int)]
            self._check_disk(encoder, left)
            pending = [b for b in batches if not missing.isdisjoint(row.utterance_id for row in b)]
            started = time.monotonic()
            with ExitStack() as stack:
                writers = self._open_writers(stack, encoder, shared=part[1] > 1)
                advance = stack.enter_context(
                    progress.task(f"{self.verb} {self.name}", len(missing), "utterances")
                )
                counts, unread = self._write(pending, encoder, writers, workers, advance)
        return Extracted(
            seen=frozenset(seen),
            encoded=counts["encoded"],
            frames=counts["frames"],
            size=counts["size"],
            failures=failures | unread,
            windowed=encoder.windowed - windowed,
            seconds=time.monotonic() - started,
            notes=encoder.notes,
        )

    def _load(self, device: Any, *, keep: bool) -> Encoder:
        """Load the encoder; a process that does part after part keeps the last one."""
        place = (load_encoder, self.keys, device)
        if place not in _KEPT:
            _KEPT.clear()  # first: two large encoders may not fit into the memory of a GPU
            settings = encoder_settings(self._workspace, self._options)
            encoder = load_encoder(self._options.encoder, device=device, **settings)
            if not keep:
                return encoder
            _KEPT[place] = encoder
        return _KEPT[place]

    def _make_network(self, encoder: Encoder) -> Callable[[list[Any]], list[Frames]]:
        """Return what makes the rows of each store, for every content of a batch."""
        return partial(encoder.encode_layers, layers=[key.layer for key in self.keys])

    def _frame_rate(self, encoder: Encoder) -> float | None:
        return encoder.frame_rate

    def _check_disk(self, encoder: Encoder, sizes: Sequence[int]) -> None:
        check_disk(self.stores[0].parent, self.keys, encoder, sizes)

    def _open_writers(
        self, stack: ExitStack, encoder: Encoder, *, shared: bool
    ) -> list[StoreWriter]:
        from serctl.runtime import environment

        dim, rate, versions = encoder.dim, self._frame_rate(encoder), environment()
        return [
            stack.enter_context(
                StoreWriter(store, key, dim, rate, versions=versions, shared=shared)
            )
            for key, store in zip(self.keys, self.stores, strict=True)
        ]

    def _write(
        self,
        batches: Sequence[Sequence[Utterance]],
        encoder: Encoder,
        writers: Sequence[StoreWriter],
        workers: int,
        advance: Advance,
    ) -> tuple[Counter[str], Failures]:
        """Encode batches and append what each store lacks; return counts and failures."""
        counts: Counter[str] = Counter()
        failures: Failures = {}
        network = self._make_network(encoder)
        for batch in run_batches(network, self.inputs, batches, workers):
            failures |= batch.failed
            check_failures(batch.failed, self._options.skip_bad)
            new: dict[str, int] = {}
            for i, writer in enumerate(writers):
                for one in append_new(writer, batch.done, [done.made[i] for done in batch.done]):
                    new[one.row.utterance_id] = one.size
                    counts["frames"] += len(one.made[i])
            counts["encoded"] += len(new)
            counts["size"] += sum(new.values())
            advance(len(new))
        return counts, failures


def append_new(writer: StoreWriter, done: Sequence[Encoded], frames: Sequence) -> list[Encoded]:
    """Append the frames that a store lacks; return the utterances they are of."""
    new = [
        (one, own)
        for one, own in zip(done, frames, strict=True)
        if not writer.has(one.row.utterance_id, one.source)
    ]
    writer.append(
        [one.row.utterance_id for one, _ in new],
        [own for _, own in new],
        [one.source for one, _ in new],
    )
    return [one for one, _ in new]

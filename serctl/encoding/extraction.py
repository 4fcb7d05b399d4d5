"""Extraction: find missing frames and encode them in one pass.

`serctl extract` uses it, and `serctl cache verify --repair` for lost frames.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from serctl.cache.sources import SourceHasher
from serctl.cache.storage import get_storage
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.encoders.base import Encoder, Frames
from serctl.encoders.load import load_encoder
from serctl.encoding.disk_space import check_disk
from serctl.encoding.failures import Failures, check_failures
from serctl.encoding.kept import load_or_keep
from serctl.encoding.keys import encoder_settings, open_inputs
from serctl.encoding.part import Part, plan_part
from serctl.encoding.pipeline import Encoded, capture, ids_of, run_batches
from serctl.options import ExtractOptions
from serctl.progress import Advance, Progress, silent

BATCH_SECONDS = {True: 2.0, False: 60.0}
"""Padded seconds of a batch on a CPU (larger batches only add padding) and on other devices."""


@dataclass(frozen=True)
class Extracted:
    """Result of one pass of an encoder.

    Attributes:
        seen: Utterances of this part of the work.
        missing: Utterances of this part that were not cached.
        encoded: Number of encoded utterances.
        frames: Computed frames, over all layers.
        bytes: Size of these frames in the cache.
        size: Samples or characters read.
        failures: Utterances that could not be read.
        windowed: Number of utterances longer than one window of the encoder.
        seconds: Duration without loading the weights.
        notes: Notes of the encoder for the user.
    """

    seen: frozenset[str]
    missing: set[str]
    encoded: int
    frames: int
    bytes: int
    size: int
    failures: Failures
    windowed: int
    seconds: float
    notes: tuple[str, ...]


class Extraction:
    """The extraction of one encoder: one store per layer, filled in one pass.

    Attributes:
        keys: Feature keys, one per layer.
        stores: Folders of the stores.
        inputs: Audio or transcripts for the encoder.
        verb: Verb for the progress bar.
    """

    verb = "extract"

    def __init__(self, workspace: Workspace, options: ExtractOptions, hasher: SourceHasher) -> None:
        self._workspace, self._options = workspace, options
        self.keys, self.inputs = open_inputs(workspace, options, hasher)
        self.stores = tuple(workspace.cache / key.store_name for key in self.keys)

    @property
    def name(self) -> str:
        """Name of the encoder, with its layers if there are several."""
        layers = ", ".join(str(key.layer) for key in self.keys)
        several = f" (layers {layers})" if len(self.keys) > 1 else ""
        return f"{self.keys[0].encoder}{several}"

    def is_complete(self, rows: Sequence[Utterance]) -> bool:
        """Return whether nothing is missing. Sources are hashed only if all frames are cached."""
        stores = self._open_stores()
        ids = ids_of(rows)
        there = all(store is not None and ids.issubset(store.ids) for store in stores)
        return there and not self.find_missing(rows)

    def find_missing(self, rows: Sequence[Utterance]) -> set[str]:
        """Return the ids that are missing in a store, or whose source has changed."""
        stores = self._open_stores()
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
        missing: set[str] | None = None,
        *,
        part: tuple[int, int] = (1, 1),
        progress: Progress = silent,
    ) -> Extracted:
        """Encode every batch with missing utterances.

        Batches depend only on ``rows`` and options, so that a resumed run gives the same frames as
        an uninterrupted one.

        Args:
            rows: All utterances of the manifest, sorted by id.
            missing: Ids to encode; None for those that `find_missing` returns for the part.
            part: i and n: every n-th batch from the i-th.
            progress: Reports every utterance.

        Raises:
            SerctlError: An utterance cannot be read (unless ``skip_bad``), the weights are missing,
                or the disk is too small. Frames that were encoded before are kept.
        """
        loading = f"load {self.name}"
        with progress.task(loading, 1):
            # Imported late: it takes seconds, and a finished extraction does not need torch.
            from serctl.runtime import resolve_device, split_threads

            device = resolve_device(self._options.device)
        with split_threads(device) as workers:
            with progress.task(loading, 1):
                encoder = self._load(device, keep=part[1] > 1)
            windowed = encoder.windowed  # a kept encoder counted those of earlier passes too
            own = self._plan(rows, missing, encoder, device, part)
            self._check_disk(encoder, own.sizes)
            started = time.monotonic()
            with ExitStack() as stack:
                writers = self._open_writers(stack, encoder, shared=part[1] > 1)
                advance = stack.enter_context(
                    progress.task(f"{self.verb} {self.name}", len(own.missing), "utterances")
                )
                counts, unread = self._write(own.batches, encoder, writers, workers, advance)
        per_value = get_storage(self.keys[0].storage).bytes_per_value
        return Extracted(
            seen=own.seen,
            missing=own.missing,
            encoded=counts["encoded"],
            frames=counts["frames"],
            bytes=int(counts["frames"] * encoder.dim * per_value),
            size=counts["size"],
            failures=own.failures | unread,
            windowed=encoder.windowed - windowed,
            seconds=time.monotonic() - started,
            notes=(*encoder.notes, *self.inputs.notes),
        )

    def _open_stores(self) -> list[FeatureStore | None]:
        return [FeatureStore.open(path) if path.exists() else None for path in self.stores]

    def _load(self, device: Any, *, keep: bool) -> Encoder:
        settings = encoder_settings(self._workspace, self._options)
        load = partial(load_encoder, self._options.encoder, device=device, **settings)
        return load_or_keep((load_encoder, self.keys, device), load, keep=keep)

    def _plan(
        self,
        rows: Sequence[Utterance],
        missing: set[str] | None,
        encoder: Encoder,
        device: Any,
        part: tuple[int, int],
    ) -> Part:
        """Return the batches of this part with missing utterances; see `run`."""
        return plan_part(
            rows,
            self.inputs,
            encoder,
            self.find_missing if missing is None else lambda own: ids_of(own) & missing,
            seconds=self._options.batch_seconds or BATCH_SECONDS[device.type == "cpu"],
            part=part,
            skip_bad=self._options.skip_bad,
        )

    def _make_network(self, encoder: Encoder) -> Callable[[list[Any]], list[Frames]]:
        """Return the function from the contents of a batch to the frames of each layer."""
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
        """Encode batches and append missing frames to each store; return counts and failures."""
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
    """Append the missing frames to a store; return their utterances."""
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

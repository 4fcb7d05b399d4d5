"""Batches from the stores. A thread reads ahead into reusable buffers."""

import math
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from queue import Empty, Queue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serctl.training.dataset import UtteranceSet, shape_batch

DEPTH = 2
"""Number of batches in memory: one is computed while the next is read."""
NO_ROWS = np.empty(0, np.int64)


@dataclass
class LoadTimes:
    """Seconds that the thread spent reading and that the training step spent waiting for it."""

    reading: float = 0.0
    waiting: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Frames of B utterances on the device.

    ``frames``: per branch ``(B, T, D)`` as stored (float16), or ``(B, L, T, D)`` for L layers.
    Values after the real frames are undefined; `FusionModel` does not read them. ``lengths``: per
    branch ``(B,)`` int64. ``rows``: rows of the `UtteranceSet`.
    """

    rows: NDArray[np.int64]
    frames: tuple[Tensor, ...]
    lengths: tuple[Tensor, ...]


@dataclass
class _Slot:
    """Buffers of one batch, one per branch. They grow when a batch needs more."""

    pinned: bool
    buffers: dict[int, Tensor] = field(default_factory=dict)
    copied: torch.cuda.Event | None = None

    def view(self, branch: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = math.prod(shape)
        if branch not in self.buffers or self.buffers[branch].numel() < size:
            room = size + size // 8  # reserve, so that slightly longer batches fit too
            self.buffers[branch] = torch.empty(room, dtype=dtype, pin_memory=self.pinned)
        return self.buffers[branch][:size].view(shape)


def load_batches(
    data: UtteranceSet,
    plan: Sequence[NDArray[np.int64]],
    device: torch.device,
    times: LoadTimes | None = None,
) -> Generator[Batch]:
    """Yield the batches of a plan in order. Closing the iterator stops the reading thread.

    On the CPU the frames of a batch are the buffers, so they are valid until the next batch.
    """
    times = times or LoadTimes()
    free: Queue[_Slot | None] = Queue()
    ready: Queue[tuple[_Slot, Batch] | BaseException] = Queue()
    for _ in range(DEPTH):
        free.put(_Slot(pinned=device.type == "cuda"))

    def read_ahead() -> None:
        try:
            for rows, following in zip_longest(plan, plan[1:], fillvalue=NO_ROWS):
                slot = free.get()
                if slot is None:
                    return
                if slot.copied is not None:
                    slot.copied.synchronize()
                started = time.perf_counter()
                _prefetch(data, following)  # read from disk while this batch is copied
                batch = _fill(slot, data, rows)
                times.reading += time.perf_counter() - started
                ready.put((slot, batch))
        except BaseException as error:  # raised in the training thread
            ready.put(error)

    thread = threading.Thread(target=read_ahead, name="serctl-loader", daemon=True)
    thread.start()
    try:
        for _ in plan:
            started = time.perf_counter()
            found = ready.get()
            times.waiting += time.perf_counter() - started
            if isinstance(found, BaseException):
                raise found
            slot, batch = found
            if device.type == "cpu":
                yield batch  # the slot is refilled only after the step has used it
            else:
                batch = _to_device(batch, device)
                slot.copied = _mark(device)
            free.put(slot)
            if device.type != "cpu":
                yield batch
    finally:
        with suppress(Empty):
            while True:
                free.get_nowait()
        free.put(None)
        thread.join()


def _prefetch(data: UtteranceSet, rows: NDArray[np.int64]) -> None:
    """Prefetch the next batch from the disk."""
    for reader in data.readers:
        reader.prefetch([data.ids[i] for i in rows])


def _fill(slot: _Slot, data: UtteranceSet, rows: NDArray[np.int64]) -> Batch:
    """Read the frames of some rows into a slot's buffers."""
    ids = [data.ids[i] for i in rows]
    views = []
    for branch, reader in enumerate(data.readers):
        lengths = data.lengths[rows, branch]
        dtype = torch.from_numpy(np.empty(0, reader.dtype)).dtype
        view = slot.view(branch, shape_batch(reader, len(rows), int(lengths.max())), dtype)
        reader.read_batch(ids, view.numpy())
        views.append(view)
    counts = torch.from_numpy(data.lengths[rows].T.copy())
    return Batch(rows, tuple(views), tuple(counts))


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        batch.rows,
        tuple(frames.to(device, non_blocking=True) for frames in batch.frames),
        tuple(lengths.to(device) for lengths in batch.lengths),
    )


def _mark(device: torch.device) -> torch.cuda.Event | None:
    """Return an event after the pending copies; None on devices with synchronous copies."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record()
    return event

"""Write one segment: rows are written to a hidden folder, and a rename makes it visible."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from serctl.cache.header import StoreHeader
from serctl.cache.segment import (
    CHUNK_ROWS,
    SHARD,
    SegmentIndex,
    index_files,
    segment_folders,
    shard_index,
    shard_tail,
)
from serctl.cache.storage import Storage, get_storage
from serctl.files import sync


class SegmentStream:
    """A segment that is being written: rows at once, the index at the end."""

    def __init__(self, store: Path, header: StoreHeader) -> None:
        self._store = store
        self._header = header
        self._storage: Storage = get_storage(header.key.storage)
        self._folder = store.with_name(f".{store.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
        (self._folder / SHARD).parent.mkdir(parents=True)
        binary = getattr(os, "O_BINARY", 0)  # otherwise Windows converts each 0x0A to two bytes
        self._file = os.open(self._folder / SHARD, os.O_RDWR | os.O_CREAT | os.O_EXCL | binary)
        self._chunks: list[int] = []
        self._pending: list[NDArray[np.generic]] = []
        self._columns: tuple[list[Any], ...] = ([], [], [], [])
        self.size = 0
        self.started = time.monotonic()

    def add(self, utterance_id: str, rows: NDArray[np.generic], source: str) -> None:
        """Append the stored rows of one utterance."""
        if not self._storage.codecs:
            self._write(rows)
        else:
            self._pending.append(rows)
            self._write_chunks()
        checksum = google_crc32c.value(rows)
        values = (utterance_id, len(rows), checksum, source)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def mark(self) -> tuple[Any, ...]:
        """Return the state for `rewind`."""
        return self.size, len(self._chunks), list(self._pending), len(self._columns[0])

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """Remove the rows that were added since ``mark``."""
        self.size, chunks, self._pending, rows = mark
        os.ftruncate(self._file, self.size)
        os.lseek(self._file, self.size, os.SEEK_SET)
        del self._chunks[chunks:]
        for column in self._columns:
            del column[rows:]

    def commit(self) -> Path:
        """Complete the segment, rename it to the next free number, and return its folder."""
        index = SegmentIndex(*self._columns)
        self._finish(index.rows)
        files = index_files(index, self._header.to_dict(), self._header.dim, self._storage)
        for name, data in files.items():
            (self._folder / name).write_bytes(data)
            sync(self._folder / name)
        for folder in (self._folder / "c" / "0", self._folder / "c", self._folder):
            sync(folder)
        return _rename_to_next(self._folder, self._store)

    def discard(self) -> None:
        """Remove the files of an unfinished segment."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def empty(self) -> bool:
        """Whether no utterance was added yet."""
        return not self._columns[0]

    def _finish(self, rows: int) -> None:
        if not self._storage.codecs:
            self._write(shard_tail(rows, self._header.row_bytes))
        else:
            padding = np.zeros((-rows % CHUNK_ROWS, self._header.dim), self._storage.stored)
            self._pending.append(padding)
            self._write_chunks()
            self._write(shard_index(self._chunks))
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1

    def _write_chunks(self) -> None:
        """Write the inner chunks that are complete and keep the rest."""
        rows = np.concatenate(self._pending)
        whole = len(rows) // CHUNK_ROWS * CHUNK_ROWS
        for start in range(0, whole, CHUNK_ROWS):
            chunk = self._storage.compress(rows[start : start + CHUNK_ROWS])
            self._write(chunk)
            self._chunks.append(len(chunk))
        self._pending = [rows[whole:].copy()]

    def _write(self, data: Any) -> None:
        # An array without rows has no view as bytes.
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        while view:  # a call may write only a part, for example on a nearly full disk
            written = os.write(self._file, view)
            self.size += written
            view = view[written:]


def _rename_to_next(folder: Path, store: Path) -> Path:
    """Move a complete folder into the store. Another writer may take the same number first."""
    while True:
        last = max((int(path.name) for path in segment_folders(store)), default=-1)
        target = store / f"{last + 1:06d}"
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():
                raise
            continue
        sync(store)
        return target

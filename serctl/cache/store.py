"""Read a feature store: frames of utterances into a padded batch of the caller."""

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from serctl.cache.header import StoreHeader, read_header
from serctl.cache.key import FeatureKey
from serctl.cache.rows import MappedRows, RowReader, ZarrRows
from serctl.cache.segment import SegmentIndex, read_index, read_segment_files, segment_folders
from serctl.cache.storage import get_storage
from serctl.cache.writer import StoreWriter
from serctl.errors import CacheError, MissingFeaturesError, first_few

__all__ = ["FeatureStore", "StoreWriter", "Verify"]

Verify = Literal["always", "first", "never"]
"""When the checksum of an utterance is checked: at each read, at the first one, or not at all."""

SHARE_OF_MEMORY = 0.25
"""Share of the memory up to which a store is assumed to stay in memory with other stores."""


class FeatureStore:
    """The committed utterances of a store at the time of opening. Use `open`.

    Reading is safe in threads and after a fork. Unpickling opens the same path again. A writer may
    add utterances meanwhile; they are visible when the store is opened again.
    """

    num_layers = 1
    """Layers of the encoder. Training combines several stores for a layer sum."""

    def __init__(
        self,
        path: Path,
        header: StoreHeader,
        segments: Sequence[tuple[str, SegmentIndex]],
        read_rows: RowReader,
        verify: Verify,
    ) -> None:
        self.path = path
        self._header = header
        self._verify = verify
        self._read_rows = read_rows
        self._storage = get_storage(header.key.storage)
        self._dtype = np.dtype(self._storage.dtype)
        self._plain = self._storage.is_plain
        self._names = [name for name, _ in segments]
        indices = [index for _, index in segments]
        lengths = [np.asarray(index.num_rows, np.int64) for index in indices]
        self._length = np.concatenate([np.empty(0, np.int64), *lengths]) - self._storage.head_rows
        self._start = np.concatenate([np.empty(0, np.int64), *(np.cumsum(n) - n for n in lengths)])
        self._segment = np.repeat(np.arange(len(lengths)), [len(n) for n in lengths])
        self._crc = np.concatenate(
            [np.empty(0, np.uint32), *(np.asarray(index.crc32c, np.uint32) for index in indices)]
        )
        self._source = [source for index in indices for source in index.source]
        ids = [name for index in indices for name in index.utterance_id]
        self._row = {name: row for row, name in enumerate(ids)}
        self._checked = np.zeros(len(ids), np.bool_)
        self._hinted = np.zeros(len(ids), np.bool_)
        size = sum(index.rows for index in indices) * header.row_bytes
        self._fits_memory = size < _memory_bytes() * SHARE_OF_MEMORY

    @classmethod
    def open(cls, path: Path | str, verify: Verify = "first") -> "FeatureStore":
        """Open the store in a folder.

        Raises:
            CacheError: There is no store, or a file is damaged.
        """
        path = Path(path)
        header = read_header(path)
        segments = [
            (folder.name, read_index(read_segment_files(folder), folder))
            for folder in segment_folders(path)
        ]
        storage = get_storage(header.key.storage)
        read_rows: RowReader = ZarrRows(path)
        if not storage.codecs:
            rows = {name: index.rows for name, index in segments}
            read_rows = MappedRows(path, rows, header.dim, np.dtype(storage.stored))
        return cls(path, header, segments, read_rows, verify)

    @property
    def key(self) -> FeatureKey:
        """Key of the store."""
        return self._header.key

    @property
    def dim(self) -> int:
        """D, the size of a frame."""
        return self._header.dim

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; None for text."""
        return self._header.frame_rate

    @property
    def dtype(self) -> np.dtype:
        """Data type of the frames. A batch buffer of this type is filled without a copy."""
        return self._dtype

    @property
    def ids(self) -> tuple[str, ...]:
        """Utterance ids in the order of their last writing."""
        return tuple(self._row)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._row

    def __len__(self) -> int:
        return len(self._row)

    def __reduce__(self) -> tuple[object, ...]:
        # Another process maps the files itself.
        return FeatureStore.open, (self.path, self._verify)

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance, ``(B,)``."""
        return self._length[self._rows(ids)]

    def source_of(self, utterance_id: str) -> str:
        """Return the hash of the audio or text that an utterance was encoded from."""
        return self.sources_of([utterance_id])[0]

    def sources_of(self, ids: Sequence[str]) -> list[str]:
        """Return `source_of` of several utterances, for one look-up each."""
        return [self._source[row] for row in self._rows(ids).tolist()]

    def ids_in(self, segments: Collection[str]) -> tuple[str, ...]:
        """Return the utterances of segments in the order of their rows."""
        wanted = np.isin(self._names, list(segments))
        return tuple(name for name, row in self._row.items() if wanted[self._segment[row]])

    def rows_in(self, segment: str, leave_out: Collection[str]) -> int:
        """Return the number of used rows of a segment, without the rows of ``leave_out``."""
        ids = [name for name in self.ids_in([segment]) if name not in leave_out]
        return int(self.num_frames(ids).sum()) + len(ids) * self._storage.head_rows

    def read(self, utterance_id: str) -> NDArray[Any]:
        """Return the frames of one utterance, ``(T, D)``.

        For float16 and float32 this is a read-only view of the mapped file: frames are not copied,
        and only accessed pages are loaded.

        Raises:
            MissingFeaturesError: The utterance is not in the store.
            CacheError: The frames are damaged.
        """
        row = self._rows([utterance_id])[0]
        stored = self._read_stored(row)
        self._check(row, stored)
        if self._plain:
            return stored
        frames = np.empty((self._length[row], self.dim), self._dtype)
        self._storage.decode(stored, frames)
        return frames

    def read_stored(self, utterance_id: str) -> NDArray[Any]:
        """Return the stored rows of an utterance, to be copied to another segment."""
        row = self._rows([utterance_id])[0]
        stored = self._read_stored(row)
        self._check(row, stored)
        return stored

    def prefetch(self, ids: Sequence[str]) -> None:
        """Ask the kernel to load utterances that will be read soon, in the order of the disk.

        A store that fits into memory is prefetched once, because a hint for loaded frames costs a
        sixth of reading them.
        """
        rows = self._rows(ids)
        rows = rows[~self._hinted[rows]]
        for row in rows[np.lexsort((self._start[rows], self._segment[rows]))]:
            self._read_rows.prefetch(*self._place(row))
        self._hinted[rows] = True

    def read_batch(self, ids: Sequence[str], out: NDArray[Any]) -> None:
        """Fill ``out[b, :T_b]`` with the frames of utterance ``b``. Padding is not changed.

        Args:
            ids: B utterances.
            out: ``(B, T, D)``, T at least the longest. If it has `dtype`, there is no extra copy.

        Raises:
            MissingFeaturesError: An utterance is not in the store.
            CacheError: ``out`` is too small, or frames are damaged.
        """
        rows = self._rows(ids)
        lengths = self._length[rows]
        if (
            len(out) < len(rows)
            or out.shape[2] != self.dim
            or lengths.max(initial=0) > out.shape[1]
        ):
            raise CacheError(
                f"A buffer of shape {out.shape} does not hold {len(rows)} utterances of up to "
                f"{lengths.max(initial=0)} frames with {self.dim} values."
            )
        self.prefetch(ids)
        for b in np.lexsort((self._start[rows], self._segment[rows])).tolist():
            self._read_into(int(rows[b]), out[b, : lengths[b]])
        if not self._fits_memory:  # the kernel drops them before the next epoch
            self._hinted[rows] = False

    def close(self) -> None:
        """Close all files, which Windows requires before a file is renamed or deleted."""
        self._read_rows.close()

    def _read_into(self, row: int, out: NDArray[Any]) -> None:
        """Fill ``out`` ``(T, D)`` with the frames of a row of the index."""
        stored = self._read_stored(row)
        if self._plain and out.dtype == self._dtype:
            # Copy before the checksum: NumPy releases the GIL during the copy, and the checksum
            # then reads from the processor's cache.
            out[...] = stored
            self._check(row, out)
        else:
            self._check(row, stored)
            self._storage.decode(stored, out)

    def _read_stored(self, row: int) -> NDArray[Any]:
        return self._read_rows.read(*self._place(row))

    def _place(self, row: int) -> tuple[str, int, int]:
        """Return segment, first row and number of rows of a row of the index."""
        count = int(self._length[row]) + self._storage.head_rows
        return self._names[self._segment[row]], int(self._start[row]), count

    def _check(self, row: int, stored: NDArray[Any]) -> None:
        """Compare an utterance's rows with their checksum, according to ``verify``."""
        if self._verify == "never" or (self._verify == "first" and self._checked[row]):
            return
        if google_crc32c.value(np.ascontiguousarray(stored)) != self._crc[row]:
            raise CacheError(
                f"The frames of utterance '{self._name_of(row)}' in '{self.path}' are damaged. "
                f"Repair them with: serctl cache verify --repair"
            )
        self._checked[row] = True

    def _rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        try:
            return np.fromiter((self._row[name] for name in ids), np.int64, len(ids))
        except KeyError:
            missing = [name for name in ids if name not in self._row]
            raise MissingFeaturesError(
                f"{len(missing)} of {len(ids)} utterances have no frames of {self.key.encoder}: "
                f"{first_few(missing)}. Run: serctl extract --encoder {self.key.encoder}"
            ) from None

    def _name_of(self, row: int) -> str:
        return next(name for name, at in self._row.items() if at == row)


def _memory_bytes() -> int:
    """Return the bytes of memory of this machine; a huge number if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return sys.maxsize

"""Reading a feature store: frames of utterances into a caller's padded batch."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from serctl.cache.header import StoreHeader, parse_header
from serctl.cache.key import FeatureKey
from serctl.cache.places import Place, open_place
from serctl.cache.rows import DirectRows, RowReader, ZarrRows
from serctl.cache.segment import SegmentIndex, read_index
from serctl.cache.storage import get_storage
from serctl.cache.writer import StoreWriter
from serctl.errors import CacheError, MissingFeaturesError, first_few

__all__ = ["FeatureStore", "StoreWriter", "Verify"]

Verify = Literal["always", "first", "never"]
"""When a read checks an utterance's checksum: each time, its first time in a process, never."""


class FeatureStore:
    """The committed utterances of a store at the moment of opening; use `open`.

    Safe to read from threads and after a fork; pickled, it opens the same path again. A writer
    may add to the store meanwhile: what it commits is seen by whoever opens next.
    """

    def __init__(
        self,
        path: str,
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
        self._stored = np.dtype(self._storage.stored)
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

    @classmethod
    def open(cls, path: Path | str, verify: Verify = "first") -> "FeatureStore":
        """Open a store: a local folder, or a URL that fsspec knows (read through Zarr).

        Raises:
            CacheError: There is none, or a file of it is damaged.
        """
        place = open_place(path)
        header = parse_header(place.read("zarr.json"), place.url)
        segments = [(name, _read_segment(place, name)) for name in place.segments()]
        storage = get_storage(header.key.storage)
        read_rows: RowReader = ZarrRows(place.url)
        if place.local is not None and not storage.codecs:
            rows = {name: index.rows for name, index in segments}
            read_rows = DirectRows(place.local, rows, header.row_bytes)
        return cls(place.url, header, segments, read_rows, verify)

    @property
    def key(self) -> FeatureKey:
        """What the frames are."""
        return self._header.key

    @property
    def dim(self) -> int:
        """D, the size of a frame."""
        return self._header.dim

    @property
    def frame_rate(self) -> float | None:
        """Frames a second, None for text."""
        return self._header.frame_rate

    @property
    def dtype(self) -> np.dtype:
        """Type of the frames: what a batch buffer needs to be filled without a copy."""
        return self._dtype

    @property
    def ids(self) -> tuple[str, ...]:
        """Utterances in the order of their (last) writing."""
        return tuple(self._row)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._row

    def __len__(self) -> int:
        return len(self._row)

    def __reduce__(self) -> tuple[object, ...]:
        return FeatureStore.open, (self.path, self._verify)

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance, ``(B,)``."""
        return self._length[self._rows(ids)]

    def source_of(self, utterance_id: str) -> str:
        """Return the hash of the audio or text that an utterance was encoded from."""
        return self._source[self._rows([utterance_id])[0]]

    def ids_in(self, segments: Collection[str]) -> tuple[str, ...]:
        """Return the utterances whose frames lie in some segments, in the order of their rows."""
        wanted = np.isin(self._names, list(segments))
        return tuple(name for name, row in self._row.items() if wanted[self._segment[row]])

    def rows_in(self, segment: str, leave_out: Collection[str] = ()) -> int:
        """Return how many rows of a segment are in use, some utterances left out."""
        ids = [name for name in self.ids_in([segment]) if name not in leave_out]
        return int(self.num_frames(ids).sum()) + len(ids) * self._storage.head_rows

    def read(self, utterance_id: str) -> NDArray[Any]:
        """Return the frames of one utterance, ``(T, D)``.

        Raises:
            CacheError: They are damaged.
        """
        row = self._rows([utterance_id])[0]
        frames = np.empty((self._length[row], self.dim), self._dtype)
        self._read(row, frames)
        return frames

    def read_stored(self, utterance_id: str) -> NDArray[Any]:
        """Return the rows of an utterance as they lie on disk, to be written elsewhere."""
        row = self._rows([utterance_id])[0]
        rows = np.empty((self._length[row] + self._storage.head_rows, self.dim), self._stored)
        self._read_stored(row, rows)
        return rows

    def read_batch(self, ids: Sequence[str], out: NDArray[Any]) -> None:
        """Fill ``out[b, :T_b]`` with the frames of utterance ``b`` and leave the padding as it is.

        Args:
            ids: B utterances.
            out: ``(B, T, D)``, T at least the longest; of `dtype` it is filled without a copy.

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
        # In the order of the disk, which matters where the page cache does not hold the store.
        for b in np.lexsort((self._start[rows], self._segment[rows])).tolist():
            self._read(rows[b], out[b, : lengths[b]])

    def _read(self, row: int, out: NDArray[Any]) -> None:
        if out.dtype == self._stored and out.flags.c_contiguous:
            self._read_stored(row, out)
        else:
            count = int(self._length[row]) + self._storage.head_rows
            rows = np.empty((count, self.dim), self._stored)
            self._read_stored(row, rows)
            self._storage.decode(rows, out)

    def _read_stored(self, row: int, out: NDArray[Any]) -> None:
        segment = self._names[self._segment[row]]
        self._read_rows(segment, int(self._start[row]), out)
        if self._verify == "never" or (self._verify == "first" and self._checked[row]):
            return
        if google_crc32c.value(out) != self._crc[row]:
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


def _read_segment(place: Place, name: str) -> SegmentIndex:
    files = {file: place.read(f"{name}/{file}") for file in ("zarr.json", "index.json")}
    return read_index(files, f"{place.url}/{name}")

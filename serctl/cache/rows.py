"""Reading rows of a segment: memory-mapped, or through Zarr if the segment is compressed.

A mapped row is a page in the kernel's cache, so reading does not copy. However, a disk error or a
file that is truncated while it is mapped does not raise an exception: the kernel kills the process
with SIGBUS. A file that is too short when it is opened raises an error.
"""

import mmap
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serctl.cache.segment import SHARD, shard_tail
from serctl.errors import CacheError


class RowReader(Protocol):
    """Reads the stored rows of the segments of one store."""

    def read(self, segment: str, start: int, count: int) -> NDArray[Any]:
        """Return rows ``start`` to ``start + count``, ``(count, D)``, read-only."""

    def prefetch(self, segment: str, start: int, count: int) -> None:
        """Ask the kernel to load rows that will be read soon, without waiting."""

    def close(self) -> None:
        """Close the files. A later read opens them again."""


def count_open_segments() -> int:
    """Return the number of segments that a reader keeps open: at most a quarter of the file limit.

    Four readers, one per encoder of an ensemble, then stay within the limit. The maximum is 256.
    """
    try:
        import resource
    except ImportError:  # Windows, which has a large limit
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, soft // 4) if soft != resource.RLIM_INFINITY else 256


class MappedRows:
    """Rows of uncompressed segments, mapped into memory; safe in threads and after a fork.

    Args:
        root: Folder of the store.
        rows: Number of rows of each segment.
        dim: D.
        dtype: Type of the values on disk.
    """

    def __init__(self, root: Path, rows: Mapping[str, int], dim: int, dtype: np.dtype) -> None:
        self._row_bytes = dim * dtype.itemsize
        self._shape = (-1, dim)
        self._dtype = dtype
        # A bound method would be a reference cycle and keep files open until garbage collection.
        self._open = lru_cache(count_open_segments())(partial(_map, root, rows, self._row_bytes))

    def read(self, segment: str, start: int, count: int) -> NDArray[Any]:
        """Return a view of the file, which stays mapped as long as the view exists."""
        values = count * self._shape[1]
        flat = np.frombuffer(self._open(segment), self._dtype, values, start * self._row_bytes)
        return flat.reshape(self._shape)

    def prefetch(self, segment: str, start: int, count: int) -> None:
        """Give the kernel a hint to read ahead, if the system supports it (not on Windows)."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        begin, stop = start * self._row_bytes, (start + count) * self._row_bytes
        begin -= begin % mmap.PAGESIZE  # the kernel refuses a start within a page
        self._open(segment).madvise(mmap.MADV_WILLNEED, begin, stop - begin)

    def close(self) -> None:
        """Unmap every segment without a view."""
        self._open.cache_clear()


def _map(root: Path, rows: Mapping[str, int], row_bytes: int, segment: str) -> mmap.mmap:
    """Map a shard after a check that its rows are contiguous."""
    path = root / segment / SHARD
    tail = shard_tail(rows[segment], row_bytes)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise CacheError(f"'{path}' is missing. Run: serctl cache verify") from None
    except ValueError:  # an empty file cannot be mapped
        raise CacheError(f"'{path}' is empty. Run: serctl cache verify") from None
    except OSError as error:
        raise CacheError(f"'{path}' cannot be opened: {error.strerror}.") from error
    if mapped[rows[segment] * row_bytes :] != tail:
        raise CacheError(
            f"'{path}' is truncated or damaged after its last frame. Run: serctl cache verify"
        )
    return mapped


class ZarrRows:
    """Rows of compressed segments, decoded by zarr-python."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open = lru_cache(count_open_segments())(partial(_open_array, root))

    def read(self, segment: str, start: int, count: int) -> NDArray[Any]:
        """Return decoded rows. Zarr fills a missing chunk with zeros.

        Raises:
            CacheError: Zarr cannot decode a chunk.
        """
        try:
            return np.asarray(self._open(segment)[start : start + count])
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CacheError(
                f"'{self._root / segment}' cannot be decoded ({error}). Run: serctl cache verify"
            ) from error

    def prefetch(self, segment: str, start: int, count: int) -> None:
        """Do nothing, because decoding takes longer than reading."""

    def close(self) -> None:
        """Close the arrays."""
        self._open.cache_clear()


def _open_array(root: Path, segment: str) -> Any:
    import zarr

    return zarr.open_array(root / segment, mode="r")

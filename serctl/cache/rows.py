"""Reading rows of a segment: straight from the file, or through Zarr if they are encoded."""

import os
import resource
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from serctl.cache.segment import SHARD, shard_tail
from serctl.errors import CacheError


class RowReader(Protocol):
    """Fills ``out`` with the stored rows of a segment from ``start`` on."""

    def __call__(self, segment: str, start: int, out: NDArray[Any]) -> None: ...  # noqa: D102


class Descriptor:
    """An open file that closes when nobody holds it any more, so eviction never races a read."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def open_file_limit() -> int:
    """Return how many segments a reader keeps open: at most 256 and a quarter of what it may."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, soft // 4) if soft != resource.RLIM_INFINITY else 256


class DirectRows:
    """Rows of uncompressed segments of a local store, read with one ``preadv`` per utterance.

    Positional reads on a few kept-open files: safe in threads and after a fork. A mapping would
    turn a truncated file or a failing disk into SIGBUS, which kills the process; this is an error.
    """

    def __init__(self, root: Path, rows: Mapping[str, int], row_bytes: int) -> None:
        self._root = root
        self._rows = rows
        self._row_bytes = row_bytes
        self._open = lru_cache(maxsize=open_file_limit())(self._open_checked)

    def __call__(self, segment: str, start: int, out: NDArray[Any]) -> None:
        """Fill ``out`` (contiguous, of the stored type) with rows from ``start`` on."""
        file = self._open(segment)
        offset = start * self._row_bytes
        buffer: Any = out  # NumPy's arrays are buffers, but not yet to type checkers
        if os.preadv(file.number, [buffer], offset) != out.nbytes:
            self._read_on(file, offset, memoryview(buffer).cast("B"))

    def _read_on(self, file: Descriptor, offset: int, view: memoryview) -> None:
        """Read in pieces what one call did not give at once (a signal, or more than 2 GB)."""
        while view:
            count = os.preadv(file.number, [view], offset)
            if not count:
                raise CacheError(f"'{self._root}' is cut short. Run: serctl cache verify")
            view, offset = view[count:], offset + count

    def _open_checked(self, segment: str) -> Descriptor:
        """Open a shard and check that its rows lie one after another, as its index says."""
        path = self._root / segment / SHARD
        try:
            file = Descriptor(path)
        except FileNotFoundError:
            raise CacheError(f"'{path}' is missing. Run: serctl cache verify") from None
        rows = self._rows[segment]
        tail = shard_tail(rows, self._row_bytes)
        if os.pread(file.number, len(tail) + 1, rows * self._row_bytes) != tail:
            raise CacheError(f"'{path}' is damaged behind its last frame. Run: serctl cache verify")
        return file


class ZarrRows:
    """Rows of compressed or remote segments, read with zarr-python."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = lru_cache(maxsize=open_file_limit())(self._open_array)

    def __call__(self, segment: str, start: int, out: NDArray[Any]) -> None:
        """Fill ``out`` with rows from ``start`` on; Zarr fills a missing chunk with zeros.

        Raises:
            CacheError: Zarr cannot decode a chunk.
        """
        try:
            out[...] = self._open(segment)[start : start + len(out)]
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise CacheError(
                f"'{self._url}/{segment}' cannot be decoded ({error}). Run: serctl cache verify"
            ) from error

    def _open_array(self, segment: str) -> Any:
        import zarr

        return zarr.open_array(f"{self._url}/{segment}", mode="r")

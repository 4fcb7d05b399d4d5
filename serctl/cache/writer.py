"""Add frames to a store. A process that is killed loses only its last seconds."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from serctl.cache.header import create_store, new_header, read_header
from serctl.cache.key import FeatureKey
from serctl.cache.lock import StoreLock
from serctl.cache.segment import read_index, read_segment_files, segment_folders
from serctl.cache.storage import get_storage
from serctl.cache.stream import SegmentStream
from serctl.errors import CacheError

COMMIT_BYTES = 256 * 2**20
COMMIT_SECONDS = 10.0


class StoreWriter:
    """Append frames to the store at ``path``, which is created if necessary.

    Appended frames are committed atomically after 256 MB or ten seconds, at `flush`, and at the end
    of the ``with`` block, also after an exception or Ctrl-C.

    Args:
        path: Folder of the store: ``cache_dir / key.store_name``.
        key: Identity of the frames.
        dim: D.
        frame_rate: Frame rate of the encoder in Hz; None for text.
        versions: Versions of packages, for `serctl cache info`.
        shared: Allow other ``shared`` writers of the same store.
        commit_bytes: Size of a segment at which it is committed.
        commit_seconds: Age of a segment at which it is committed.

    Raises:
        CacheError: Another process writes the store, it holds other frames, or it is damaged.
    """

    def __init__(
        self,
        path: Path,
        key: FeatureKey,
        dim: int,
        frame_rate: float | None,
        *,
        versions: Mapping[str, str] | None = None,
        shared: bool = False,
        commit_bytes: int = COMMIT_BYTES,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        self._path = path
        self._storage = get_storage(key.storage)
        if self._storage.stride > 1 and frame_rate is None:
            raise CacheError(
                f"Storage '{key.storage}' thins frames in time; text has none. "
                f"Use: --storage float16"
            )
        rate = None if frame_rate is None else frame_rate / self._storage.stride
        self._header = new_header(key, dim, rate, versions or {})
        self._lock = StoreLock(path, shared=shared)
        self._shared = shared
        self._limits = (commit_bytes, commit_seconds)
        self._sources: dict[str, str] = {}
        self._stream: SegmentStream | None = None

    def __enter__(self) -> "StoreWriter":
        self._lock.acquire()
        try:
            self._open()
        except OSError as error:
            self._lock.release()
            raise self._refusal(error, 0) from error
        except CacheError:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with suppress(*[CacheError] if error else []):
                self.flush()
        finally:
            self._lock.release()

    def has(self, utterance_id: str, source: str) -> bool:
        """Whether frames of this utterance from this source are stored or appended."""
        return self._sources.get(utterance_id) == source

    def append(
        self, ids: Sequence[str], frames: Sequence[NDArray[np.floating]], sources: Sequence[str]
    ) -> None:
        """Append the frames ``(T, D)`` of a batch of utterances, or of none after an error.

        Raises:
            CacheError: A value is not finite or does not fit the storage, a shape is wrong, or
                the disk is full.
        """
        rows = [self._encode(*pair) for pair in zip(ids, frames, strict=True)]
        if not rows:
            return
        try:
            self._stream = self._stream or SegmentStream(self._path, self._header)
            before = self._stream.mark()
            try:
                for utterance in zip(ids, rows, sources, strict=True):
                    self._stream.add(*utterance)
            except BaseException:
                self._stream.rewind(before)
                raise
        except OSError as error:
            raise self._refusal(error, sum(row.nbytes for row in rows)) from error
        self._sources.update(zip(ids, sources, strict=True))
        size, seconds = self._limits
        if self._stream.size >= size or time.monotonic() - self._stream.started >= seconds:
            self.flush()

    def flush(self) -> None:
        """Commit appended frames and flush them to the disk.

        Raises:
            CacheError: The disk is full. Incomplete files are removed.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            if not stream.empty:
                stream.commit()
        except OSError as error:
            raise self._refusal(error, stream.size) from error
        finally:
            stream.discard()

    def _open(self) -> None:
        if not self._shared:
            remove_stale(self._path)
        if not self._path.exists():
            create_store(self._path, self._header)
        found = read_header(self._path)
        if (found.key, found.dim) != (self._header.key, self._header.dim):
            raise CacheError(
                f"'{self._path.name}' holds other frames (dim {found.dim}, {found.key}). "
                f"Remove it with: serctl cache rm {self._path.stem}"
            )
        self._header = found
        for folder in segment_folders(self._path):
            index = read_index(read_segment_files(folder), folder)
            self._sources.update(zip(index.utterance_id, index.source, strict=True))

    def _encode(self, utterance_id: str, frames: NDArray[np.floating]) -> NDArray[np.generic]:
        if frames.ndim != 2 or frames.shape[1] != self._header.dim or not len(frames):
            raise CacheError(
                f"Utterance '{utterance_id}': frames of shape {frames.shape}, "
                f"expected (T, {self._header.dim}) with T of at least 1."
            )
        return self._storage.encode(frames, utterance_id)

    def _refusal(self, error: OSError, size: int) -> CacheError:
        free = shutil.disk_usage(self._path.parent).free
        return CacheError(
            f"Cannot write '{self._path}': {error.strerror} ({size:,} bytes needed, {free:,} "
            f"free). Committed frames are kept. Free space and run the same command again."
        )


def remove_stale(path: Path) -> None:
    """Remove the temporary folders of killed writers. The caller holds the exclusive lock."""
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)

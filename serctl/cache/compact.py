"""Rewriting segments: removal of damaged or replaced frames, merging of small ones, repair."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from serctl.cache.check import StoreCheckResult, find_header, find_index, load_index
from serctl.cache.header import GROUP_FILE, StoreHeader, group_document
from serctl.cache.lock import StoreLock
from serctl.cache.segment import SHARD, index_files, segment_folders, shard_tail
from serctl.cache.storage import get_storage
from serctl.cache.store import FeatureStore
from serctl.cache.stream import SegmentStream
from serctl.cache.writer import COMMIT_BYTES, remove_stale
from serctl.errors import CacheError
from serctl.files import sync, write_binary


@dataclass(frozen=True)
class PruneResult:
    """Result of pruning: rewritten segments, dropped utterances, and freed bytes."""

    store: str
    segments: tuple[str, ...]
    dropped: tuple[str, ...]
    dead_bytes: int


def prune_store(
    path: Path, *, drop: Collection[str] = (), small: int = COMMIT_BYTES // 2, dry_run: bool = False
) -> PruneResult:
    """Rewrite segments with replaced or dropped frames, and merge small ones.

    Args:
        path: A local store.
        drop: Utterances to remove, such as those that are no longer in the manifest.
        small: Segments below this size in bytes are merged.
        dry_run: Return the result without changing the store.

    Raises:
        CacheError: The store is being written, or is damaged.
    """
    leave_out = frozenset(drop)
    with StoreLock(path):
        store = FeatureStore.open(path, verify="always")
        header, _ = find_header(path)
        dead, merge = {}, set()
        for folder in segment_folders(path):
            rows = load_index(folder).rows
            dead[folder.name] = (rows - store.rows_in(folder.name, leave_out)) * header.row_bytes
            if rows * header.row_bytes < small:
                merge.add(folder.name)
        chosen = {name for name, size in dead.items() if size} | (
            merge if len(merge) > 1 else set()
        )
        store.close()
        if not dry_run:
            rewrite_segments(path, chosen, leave_out)
            remove_stale(path)
    dropped = tuple(name for name in store.ids if name in leave_out)
    return PruneResult(path.name, tuple(sorted(chosen)), dropped, sum(dead.values()))


def repair_store(path: Path, result: StoreCheckResult) -> None:
    """Restore documents from their copies, and remove lost frames.

    The store is then readable, and the next `serctl extract` encodes exactly ``result.lost``.

    Raises:
        CacheError: The store is being written, or the disk is full.
    """
    with StoreLock(path):
        header, _ = find_header(path)
        damaged = {damage.file for damage in result.damages}
        if GROUP_FILE in damaged:
            _replace(path / GROUP_FILE, group_document(header))
        for folder in segment_folders(path):
            if any(file.startswith(f"{folder.name}/") for file in damaged):
                _repair_segment(folder, header)
        segments = {damage.file.split("/")[0] for damage in result.damages if damage.lost}
        rewrite_segments(path, segments, result.lost)


def _repair_segment(folder: Path, header: StoreHeader) -> None:
    """Write documents and the end of the shard again; remove a segment without any index."""
    index, _ = find_index(folder)
    if index is None:
        return _remove_segment(folder)
    storage = get_storage(header.key.storage)
    for name, data in index_files(index, header.to_dict(), header.dim, storage).items():
        _replace(folder / name, data)
    if not storage.codecs and (folder / SHARD).exists():
        try:
            with (folder / SHARD).open("r+b") as file:
                file.seek(index.rows * header.row_bytes)
                file.write(shard_tail(index.rows, header.row_bytes))
                file.truncate()
            sync(folder / SHARD)
        except OSError as error:
            raise CacheError(
                f"Cannot restore the end of '{folder / SHARD}': {error.strerror or error}."
            ) from error
    return None


def rewrite_segments(path: Path, segments: Collection[str], drop: Collection[str]) -> None:
    """Rewrite the current utterances of segments, without ``drop``. The caller holds the lock.

    The new segments are committed before the old ones are removed, so that all utterances are
    always available.

    Raises:
        CacheError: The disk is full or cannot be written. The store is unchanged.
    """
    store = FeatureStore.open(path, verify="always")
    kept = [name for name in store.ids_in(segments) if name not in frozenset(drop)]
    try:
        _copy_utterances(path, store, kept)
        store.close()  # Windows cannot rename a folder of open files
        for segment in segments:
            _remove_segment(path / segment)
        sync(path)
    except OSError as error:
        size = int(store.num_frames(kept).sum()) * find_header(path)[0].row_bytes
        free = shutil.disk_usage(path.parent).free
        raise CacheError(
            f"Cannot rewrite segments of '{path}': {error.strerror or error} (about {size:,} bytes "
            f"needed, {free:,} free). The store is unchanged. Free space and run it again."
        ) from error


def _copy_utterances(path: Path, store: FeatureStore, names: Sequence[str]) -> None:
    """Write utterances of a store to new segments. After an error there are no new segments."""
    header, _ = find_header(path)
    stream: SegmentStream | None = None
    made: list[Path] = []
    try:
        for name in names:
            stream = stream or SegmentStream(path, header)
            stream.add(name, store.read_stored(name), store.source_of(name))
            if stream.size >= COMMIT_BYTES:
                made.append(stream.commit())
                stream = None
        if stream is not None:
            made.append(stream.commit())
            stream = None
    except BaseException:
        for folder in made:  # the old segments still hold them
            _remove_segment(folder)
        raise
    finally:
        if stream is not None:
            stream.discard()


def _remove_segment(folder: Path) -> None:
    """Remove a segment from its store by a rename, then delete it."""
    store = folder.parent
    aside = store.with_name(f".{store.name}.{os.getpid()}.{folder.name}.tmp")
    folder.rename(aside)
    shutil.rmtree(aside)


def _replace(path: Path, data: bytes) -> None:
    with write_binary(path) as file:
        file.write(data)

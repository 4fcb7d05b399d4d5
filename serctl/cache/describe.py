"""Sizes, ages and coverage of stores, and their removal."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serctl.cache.key import FeatureKey
from serctl.cache.locate import StoreInfo
from serctl.cache.lock import StoreLock
from serctl.cache.pooled import find_pooled
from serctl.cache.store import FeatureStore
from serctl.cache.writer import remove_stale
from serctl.errors import CacheError
from serctl.files import remove_file, remove_folder


@dataclass(frozen=True)
class StoreSummary:
    """Size, age and coverage of one store.

    Attributes:
        name: ``encoder@digest``, which chooses it.
        path: Its folder.
        key: The key.
        dim: D.
        frame_rate: In Hz, None for text.
        created: UTC.
        written: Seconds since the epoch of the last commit.
        versions: Packages that encoded.
        utterances: Utterances that can be read.
        frames: Their frames.
        segments: Segments.
        bytes: All files.
        coverage: Per split of the manifest, how many utterances are stored and how many there are.
    """

    name: str
    path: Path
    key: FeatureKey
    dim: int
    frame_rate: float | None
    created: str
    written: float
    versions: Mapping[str, str]
    utterances: int
    frames: int
    segments: int
    bytes: int
    coverage: Mapping[str, tuple[int, int]]


def summarise_store(info: StoreInfo, splits: Mapping[str, str]) -> StoreSummary:
    """Return size, age and coverage of a store. ``splits`` maps utterance ids to splits.

    Raises:
        CacheError: The store is damaged.
    """
    store = FeatureStore.open(info.path)
    total = Counter(splits.values())
    stored = Counter(split for name, split in splits.items() if name in store)
    files = [file.stat() for file in info.path.rglob("*") if file.is_file()]
    return StoreSummary(
        name=info.name,
        path=info.path,
        key=info.key,
        dim=info.header.dim,
        frame_rate=info.header.frame_rate,
        created=info.header.created,
        written=max(file.st_mtime for file in files),
        versions=info.header.versions,
        utterances=len(store),
        frames=int(store.num_frames(store.ids).sum()),
        segments=sum(path.name.isdigit() for path in info.path.iterdir()),
        bytes=sum(file.st_size for file in files),
        coverage={split: (stored[split], count) for split, count in total.items()},
    )


def measure_size(path: Path) -> int:
    """Return the bytes of all files of a store."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def remove_abandoned(cache_dir: Path) -> None:
    """Delete temporary files of killed processes, except in stores that are being written."""
    names = {path.name[1:].partition(".zarr.")[0] for path in cache_dir.glob(".*.zarr.*.tmp")}
    for store in (cache_dir / f"{name}.zarr" for name in names):
        with suppress(CacheError), StoreLock(store) as lock:
            remove_stale(store)
            if not store.exists():
                lock.remove()


def remove_store(path: Path) -> None:
    """Delete a store and its pooled frames: rename it, then delete its files.

    Raises:
        CacheError: The store is being written, or cannot be deleted.
    """
    with StoreLock(path) as lock:
        try:
            remove_folder(path)
            remove_file(find_pooled(path))
        except OSError as error:  # on Windows also while a training reads it
            raise CacheError(f"Cannot delete '{path}': {error.strerror or error}.") from error
        lock.remove()

"""Finding stores in the cache folder by the name of their encoder."""

from dataclasses import dataclass
from pathlib import Path

from serctl.cache.check import find_header
from serctl.cache.header import StoreHeader
from serctl.cache.key import FeatureKey
from serctl.errors import CacheError, MissingFeaturesError


@dataclass(frozen=True)
class StoreInfo:
    """One store of a cache folder."""

    path: Path
    header: StoreHeader

    @property
    def key(self) -> FeatureKey:
        """What its frames are."""
        return self.header.key

    @property
    def name(self) -> str:
        """How to choose it among others of its encoder: ``encoder@digest``."""
        return f"{self.key.encoder}@{self.key.digest}"


def list_stores(cache_dir: Path) -> list[StoreInfo]:
    """Return the stores of a cache folder by name, also those that a check has to mend.

    Raises:
        CacheError: A store is of another format, or nothing in it says what it holds.
    """
    return [StoreInfo(path, find_header(path)[0]) for path in sorted(cache_dir.glob("[!.]*.zarr"))]


def find_store(cache_dir: Path, name: str, prefer: FeatureKey | None = None) -> Path:
    """Return the one store that a name means.

    Args:
        cache_dir: The cache folder.
        name: An encoder's catalogue name, hub id or path, or ``encoder@digest-prefix``.
        prefer: The key to take where several stores of the encoder fit.

    Raises:
        MissingFeaturesError: No store fits.
        CacheError: Several fit and none of them is preferred.
    """
    encoder, _, digest = name.partition("@")
    fits = [
        info
        for info in list_stores(cache_dir)
        if info.key.encoder == encoder and info.key.digest.startswith(digest)
    ]
    if not fits:
        raise MissingFeaturesError(
            f"No frames of '{name}' in '{cache_dir}'. Run: serctl extract --encoder {encoder}"
        )
    preferred = [info for info in fits if prefer and info.key.digest == prefer.digest]
    if len(fits) > 1 and not preferred:
        raise CacheError(
            f"{len(fits)} stores hold frames of '{name}': {describe_differences(fits)}. "
            f"Choose one by writing its name: {fits[0].name}"
        )
    return (preferred or fits)[0].path


def describe_differences(infos: list[StoreInfo]) -> str:
    """Return the stores by name, each with the fields of its key in which they differ."""
    keys = [info.key.to_dict() for info in infos]
    differing = [field for field in keys[0] if len({str(key[field]) for key in keys}) > 1]
    return "; ".join(
        f"{info.name} ({', '.join(f'{field} {key[field]}' for field in differing)})"
        for info, key in zip(infos, keys, strict=True)
    )

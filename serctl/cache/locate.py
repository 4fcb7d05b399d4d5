"""Find stores in the cache folder by the name of their encoder."""

import re
from dataclasses import dataclass
from pathlib import Path

from serctl.cache.check import find_header
from serctl.cache.header import StoreHeader
from serctl.cache.key import FeatureKey
from serctl.errors import CacheError, MissingFeaturesError

LAYERS = re.compile(r"-?\d{1,2}(\+-?\d{1,2})*")


@dataclass(frozen=True)
class StoreInfo:
    """One store of a cache folder."""

    path: Path
    header: StoreHeader

    @property
    def key(self) -> FeatureKey:
        """Key of the store."""
        return self.header.key

    @property
    def name(self) -> str:
        """Name that selects the store among those of its encoder: ``encoder@digest``."""
        return f"{self.key.encoder}@{self.key.digest}"


def list_stores(cache_dir: Path) -> list[StoreInfo]:
    """Return the stores of a cache folder sorted by name, including damaged ones.

    Raises:
        CacheError: A store has another format, or no intact header.
    """
    return [StoreInfo(path, find_header(path)[0]) for path in sorted(cache_dir.glob("[!.]*.zarr"))]


def split_name(name: str) -> tuple[str, tuple[int, ...], str]:
    """Return encoder, layers and digest of ``name``, ``name@9+12+15`` or ``name@digest``.

    Up to two digits are a layer, so a digest needs three or more characters.

    Example:
        >>> split_name("wavlm@9+12"), split_name("wavlm@0a1b")
        (('wavlm', (9, 12), ''), ('wavlm', (), '0a1b'))
    """
    plain, _, chosen = name.partition("@")
    if LAYERS.fullmatch(chosen):
        return plain, tuple(dict.fromkeys(map(int, chosen.split("+")))), ""
    return plain, (), chosen


def find_store(cache_dir: Path, name: str, prefer: FeatureKey | None = None) -> Path:
    """Return the store of a name.

    Args:
        cache_dir: Cache folder.
        name: Catalogue name, hub id or path of an encoder, ``encoder@layer``, or
            ``encoder@digest-prefix``.
        prefer: Key of the store to use if several match.

    Raises:
        MissingFeaturesError: No store matches.
        CacheError: Several match and none of them is preferred.
    """
    encoder, layers, digest = split_name(name)
    fits = [
        info
        for info in list_stores(cache_dir)
        if info.key.encoder == encoder and info.key.digest.startswith(digest)
        if not layers or info.key.layer in layers
    ]
    if not fits:
        flags = "".join(f" --layer {layer}" for layer in layers)
        raise MissingFeaturesError(
            f"No frames of '{name}' in '{cache_dir}'. "
            f"Run: serctl extract --encoder {encoder}{flags}"
        )
    preferred = [info for info in fits if prefer and info.key.digest == prefer.digest]
    if len(fits) > 1 and not preferred:
        raise CacheError(
            f"{len(fits)} stores hold frames of '{name}': {describe_differences(fits)}. "
            f"Choose one by its name, {fits[0].name}, or its layer: "
            f"{encoder}@{fits[0].key.layer}"
        )
    return (preferred or fits)[0].path


def describe_differences(infos: list[StoreInfo]) -> str:
    """Return the names of stores, each with the fields of its key that differ."""
    keys = [info.key.to_dict() for info in infos]
    differing = [field for field in keys[0] if len({str(key[field]) for key in keys}) > 1]
    return "; ".join(
        f"{info.name} ({', '.join(f'{field} {key[field]}' for field in differing)})"
        for info, key in zip(infos, keys, strict=True)
    )

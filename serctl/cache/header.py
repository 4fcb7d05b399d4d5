"""The header of a store, its key and shape: in the group's ``zarr.json`` and in each segment."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from serctl import __version__
from serctl.cache.checksummed import dump_checksummed, load_checksummed
from serctl.cache.key import FORMAT_VERSION, FeatureKey
from serctl.cache.storage import get_storage
from serctl.errors import CacheError
from serctl.files import sync

GROUP_FILE = "zarr.json"


@dataclass(frozen=True)
class StoreHeader:
    """What all frames of a store have in common.

    ``frame_rate`` is in Hz, None for text; ``created`` is UTC; ``versions`` are those that encoded.
    """

    key: FeatureKey
    dim: int
    frame_rate: float | None
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return self.dim * np.dtype(get_storage(self.key.storage).stored).itemsize

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, format version first."""
        return {
            "serctl_format": FORMAT_VERSION,
            "key": self.key.to_dict(),
            "dim": self.dim,
            "frame_rate": self.frame_rate,
            "created": self.created,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], name: object) -> "StoreHeader":
        """Return the header that `to_dict` wrote.

        Raises:
            CacheError: It is not a serctl store, or one of another format version.
        """
        found = values.get("serctl_format")
        if found != FORMAT_VERSION:
            raise CacheError(
                f"'{name}' has store format {found!r}; this serctl reads {FORMAT_VERSION}. "
                f"Extract again, or use the serctl that wrote it."
            )
        try:
            rate = values["frame_rate"]
            return cls(
                key=FeatureKey.from_dict(values["key"]),
                dim=int(values["dim"]),
                frame_rate=None if rate is None else float(rate),
                created=str(values["created"]),
                versions=dict(values["versions"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CacheError(f"'{name}' is no whole header of a store: {error}.") from error


def new_header(
    key: FeatureKey, dim: int, frame_rate: float | None, versions: Mapping[str, str]
) -> StoreHeader:
    """Return the header of a store that begins now."""
    own = {"serctl": __version__, "zarr": version("zarr")}
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return StoreHeader(key, dim, frame_rate, created, {**own, **versions})


def group_document(header: StoreHeader) -> bytes:
    """Return the bytes of the group's ``zarr.json``."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": header.to_dict()}
    return dump_checksummed(document, indent=2)


def parse_header(data: bytes, name: object) -> StoreHeader:
    """Return the header in a group's ``zarr.json``.

    Raises:
        CacheError: It is damaged, or not a store of this format.
    """
    try:
        attributes = json.loads(data)["attributes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        attributes = {}
    known = {"serctl_format", "document_crc32c"}
    if isinstance(attributes, dict) and attributes and not known & attributes.keys():
        raise CacheError(f"'{name}' is a Zarr group, but no feature store of serctl.")
    document = load_checksummed(data, f"{name}/{GROUP_FILE}").get("attributes")
    return StoreHeader.from_dict(document if isinstance(document, dict) else {}, name)


def read_header(path: Path) -> StoreHeader:
    """Return the header of a local store.

    Raises:
        CacheError: There is no store, it is damaged or of another format.
    """
    try:
        return parse_header((path / GROUP_FILE).read_bytes(), path)
    except OSError as error:
        raise CacheError(
            f"There is no feature store at '{path}' ({error.strerror}). "
            f"Make one with: serctl extract"
        ) from error


def create_store(path: Path, header: StoreHeader) -> None:
    """Make an empty store in one step; one that is there already is left as it is."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    (temporary / GROUP_FILE).write_bytes(group_document(header))
    sync(temporary / GROUP_FILE)
    try:
        temporary.rename(path)
    except OSError:
        (temporary / GROUP_FILE).unlink()
        temporary.rmdir()
        if not path.is_dir():
            raise
    sync(path.parent)

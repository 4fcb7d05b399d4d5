"""The header of a store with key and shape. It is in the group's ``zarr.json`` and each segment."""

import json
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from serctl import __version__
from serctl.cache.checksummed import CHECKSUM, dump_checksummed, load_checksummed
from serctl.cache.key import FORMAT_VERSION, FeatureKey
from serctl.cache.storage import get_storage
from serctl.document import Document
from serctl.errors import CacheError
from serctl.files import sync

GROUP_FILE = "zarr.json"


class StoreHeader(Document):
    """What all frames of a store have in common: the ``attributes`` of its ``zarr.json``."""

    noun: ClassVar = "store"
    place: ClassVar = "cache/<encoder>-<digest>.zarr/zarr.json"
    error: ClassVar = CacheError
    hint: ClassVar = "Extract again, or use the serctl that wrote it."

    serctl_format: Literal[1] = Field(description="format version")
    key: FeatureKey = Field(description="the feature key: everything that changes the frames")
    dim: int = Field(ge=1, description="values of one frame, D")
    frame_rate: float | None = Field(description="frames a second; null for text")
    created: str = Field(description="date and time in UTC")
    versions: dict[str, str] = Field(description="versions of the packages that encoded")

    @property
    def row_bytes(self) -> int:
        """Bytes of one frame, uncompressed."""
        return self.dim * np.dtype(get_storage(self.key.storage).stored).itemsize

    @classmethod
    def of(cls, values: Any, source: object) -> "StoreHeader":
        """Return the header in the JSON values of a larger document.

        Raises:
            CacheError: It is not a serctl store, or one of another format version.
        """
        return cls.parse(json.dumps(values).encode(), source)


def new_header(
    key: FeatureKey, dim: int, frame_rate: float | None, versions: Mapping[str, str]
) -> StoreHeader:
    """Return the header of a new store."""
    own = {"serctl": __version__, "zarr": version("zarr")}
    return StoreHeader(
        serctl_format=FORMAT_VERSION,
        key=key,
        dim=dim,
        frame_rate=frame_rate,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={**own, **versions},
    )


def group_document(header: StoreHeader) -> bytes:
    """Return the bytes of the group's ``zarr.json``."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": header.to_dict()}
    return dump_checksummed(document, indent=2)


def parse_header(data: bytes, name: object) -> StoreHeader:
    """Return the header in a group's ``zarr.json``.

    Raises:
        CacheError: The file is damaged, or not from a store of this format.
    """
    try:
        attributes = json.loads(data)["attributes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        attributes = {}
    known = {"serctl_format", CHECKSUM}
    if isinstance(attributes, dict) and attributes and not known & attributes.keys():
        raise CacheError(f"'{name}' is a Zarr group, expected a feature store of serctl.")
    found = load_checksummed(data, f"{name}/{GROUP_FILE}").get("attributes")
    values = found if isinstance(found, dict) else {}
    return StoreHeader.of({x: y for x, y in values.items() if x != CHECKSUM}, name)


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
    """Create an empty store atomically. An existing one is kept."""
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

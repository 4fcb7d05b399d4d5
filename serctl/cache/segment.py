"""One immutable segment of a store: a Zarr array of frames and the index of its utterances.

Layout of the folder ``000000/`` (a Zarr v3 array of shape ``(rows, D)``)::

    zarr.json    array metadata, checksummed; its attributes repeat the index document
    index.json   the index document, checksummed: read when a store is opened
    c/0/0        the only shard: inner chunks of 256 rows in order, then the shard index

Without a compressor the rows are contiguous in the file, so an utterance is one range of bytes and
can be read without Zarr.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from serctl.cache.checksummed import dump_checksummed, load_checksummed, verify_checksum
from serctl.cache.storage import Storage
from serctl.errors import CacheError

CHUNK_ROWS = 256
SHARD = "c/0/0"
COLUMNS = ("utterance_id", "num_rows", "crc32c", "source")


@dataclass(frozen=True)
class SegmentIndex:
    """The utterances of a segment in the order of their rows, one list per column.

    ``crc32c`` is the checksum of an utterance's stored rows, before compression.
    """

    utterance_id: Sequence[str]
    num_rows: Sequence[int]
    crc32c: Sequence[int]
    source: Sequence[str]

    @property
    def rows(self) -> int:
        """Number of rows of all utterances: frames and head rows of the storage format."""
        return sum(self.num_rows)


def array_metadata(rows: int, dim: int, storage: Storage) -> dict[str, Any]:
    """Return the ``zarr.json`` of a segment, equal to that of zarr-python."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    array = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=(rows, dim),
        dtype=storage.stored,
        chunks=(CHUNK_ROWS, dim),
        shards=(-(-rows // CHUNK_ROWS) * CHUNK_ROWS, dim),
        compressors=[dict(codec) for codec in storage.codecs] or None,
        fill_value=0,
    )
    files = array.metadata.to_buffer_dict(default_buffer_prototype())
    document: dict[str, Any] = json.loads(files["zarr.json"].to_bytes())
    return document


def shard_index(lengths: Sequence[int]) -> bytes:
    """Return the end of a shard file: offset and size of each inner chunk, then their CRC-32C."""
    sizes = np.asarray(lengths, dtype="<u8")
    table = np.stack([np.cumsum(sizes) - sizes, sizes], axis=1).astype("<u8").tobytes()
    return table + google_crc32c.value(table).to_bytes(4, "little")


def shard_tail(rows: int, row_bytes: int) -> bytes:
    """Return the end of an uncompressed shard: padding, then the shard index."""
    chunks = -(-rows // CHUNK_ROWS)
    padding = bytes((chunks * CHUNK_ROWS - rows) * row_bytes)
    return padding + shard_index([CHUNK_ROWS * row_bytes] * chunks)


def split_shard(data: bytes, rows: int) -> list[bytes]:
    """Return the inner chunks of a shard file; empty ones if its shard index is damaged."""
    chunks = -(-rows // CHUNK_ROWS)
    size = len(data) - 16 * chunks - 4  # without offset and size of each chunk, and the CRC-32C
    if size < 0:
        return [b""] * chunks
    sizes = np.frombuffer(data[size:-4], "<u8")[1::2].astype(int)
    if size != sizes.sum() or data[size:] != shard_index(sizes.tolist()):
        return [b""] * chunks
    stops = np.cumsum(sizes)
    return [data[stop - length : stop] for stop, length in zip(stops, sizes, strict=True)]


def index_files(
    index: SegmentIndex, header: dict[str, Any], dim: int, storage: Storage
) -> dict[str, bytes]:
    """Return the two checksummed documents of a segment by file name."""
    metadata = array_metadata(index.rows, dim, storage)
    document = {"store": header, **{name: list(getattr(index, name)) for name in COLUMNS}}
    return {
        "zarr.json": dump_checksummed({**metadata, "attributes": document}),
        "index.json": dump_checksummed(document),
    }


def read_index(files: dict[str, bytes], name: object) -> SegmentIndex:
    """Return the index of a segment from its two documents, both checked.

    Raises:
        CacheError: A document is missing or damaged.
    """
    for file in ("zarr.json", "index.json"):
        if file not in files:
            raise CacheError(f"'{name}' has no {file}. Run: serctl cache verify")
    verify_checksum(files["zarr.json"], f"{name}/zarr.json")
    return parse_index(load_checksummed(files["index.json"], f"{name}/index.json"))


def parse_index(document: dict[str, Any]) -> SegmentIndex:
    """Return the columns of an index document, or of its copy in the attributes.

    Raises:
        CacheError: The document is from another version of serctl.
    """
    if missing := [name for name in COLUMNS if name not in document]:
        raise CacheError(
            f"A segment has no column {missing[0]}: another version of serctl wrote the store. "
            f"Remove it with: serctl cache rm"
        )
    return SegmentIndex(**{name: document[name] for name in COLUMNS})


def segment_folders(store: Path) -> list[Path]:
    """Return the segments of a local store, oldest first."""
    return sorted(path for path in store.iterdir() if path.name.isdigit() and path.is_dir())


def read_segment_files(folder: Path) -> dict[str, bytes]:
    """Return the existing documents of a segment of a local store."""
    paths = [folder / "zarr.json", folder / "index.json"]
    return {path.name: path.read_bytes() for path in paths if path.exists()}

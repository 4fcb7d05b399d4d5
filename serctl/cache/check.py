"""Check of a store: every byte is read, and damages are assigned to utterances."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c

from serctl.cache.checksummed import load_checksummed
from serctl.cache.header import GROUP_FILE, StoreHeader, parse_header
from serctl.cache.segment import (
    CHUNK_ROWS,
    SHARD,
    SegmentIndex,
    parse_index,
    read_segment_files,
    segment_folders,
    shard_tail,
    split_shard,
)
from serctl.cache.storage import get_storage
from serctl.errors import CacheError
from serctl.progress import Progress, silent


@dataclass(frozen=True)
class Damage:
    """A damaged file of a store.

    Attributes:
        file: Path relative to the store.
        reason: Description of the damage.
        lost: Utterances whose frames must be extracted again.
        touched: Utterances of the file whose frames are intact. The file can be restored.
    """

    file: str
    reason: str
    lost: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreCheckResult:
    """Result of the check of a store."""

    store: str
    utterances: int
    bytes_read: int
    damages: tuple[Damage, ...] = field(default_factory=tuple)

    @property
    def lost(self) -> tuple[str, ...]:
        """Utterances to extract again, without repetitions."""
        return tuple(dict.fromkeys(name for damage in self.damages for name in damage.lost))


def check_store(path: Path, *, progress: Progress = silent) -> StoreCheckResult:
    """Read a local store completely and compare it with its checksums.

    Raises:
        CacheError: There is no store, or it has no intact header.
    """
    header, damages = find_header(path)
    utterances = size = 0
    folders = segment_folders(path)
    with progress.task(f"verify {path.stem}", len(folders), "segments") as advance:
        for folder in folders:
            index, found = find_index(folder)
            damages += found
            if index is not None:
                damages += list(_check_frames(folder, index, header))
                utterances += len(index.utterance_id)
            size += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            advance()
    return StoreCheckResult(path.name, utterances, size, tuple(damages))


def find_header(path: Path) -> tuple[StoreHeader, list[Damage]]:
    """Return the header of a store, from a segment if the store's own is damaged.

    Raises:
        CacheError: No header is intact.
    """
    try:
        return parse_header((path / GROUP_FILE).read_bytes(), path), []
    except (OSError, CacheError) as error:
        problem = error
    for folder in segment_folders(path) if path.is_dir() else []:
        for data in read_segment_files(folder).values():
            document = _load_or_none(data)
            if document is not None:
                header = StoreHeader.of(document.get("store"), path)
                return header, [Damage(GROUP_FILE, "damaged; every segment has a copy")]
    raise CacheError(
        f"'{path}' cannot be read as a feature store: {problem} "
        f"Remove it with: serctl cache rm {path.stem}"
    ) from problem


def find_index(folder: Path) -> tuple[SegmentIndex | None, list[Damage]]:
    """Return the index of a segment from an intact one of its two documents."""
    documents = {name: _load_or_none(data) for name, data in read_segment_files(folder).items()}
    whole = [document for document in documents.values() if document is not None]
    index = parse_index(whole[0]) if whole else None
    names = tuple(index.utterance_id) if index else ()
    reason = (
        "damaged; its copy is intact" if index else "damaged, and its copy too: utterances unknown"
    )
    return index, [
        Damage(f"{folder.name}/{file}", reason if file in documents else "missing", touched=names)
        for file in ("zarr.json", "index.json")
        if documents.get(file) is None
    ]


def load_index(folder: Path) -> SegmentIndex:
    """Return the index of a segment.

    Raises:
        CacheError: Both of its documents are damaged.
    """
    index, damages = find_index(folder)
    if index is None:
        raise CacheError(f"'{damages[0].file}' is damaged. Run: serctl cache verify --repair")
    return index


def _load_or_none(data: bytes) -> dict[str, Any] | None:
    """Return the index document in one of a segment's files; None if it is damaged."""
    try:
        document = load_checksummed(data, "segment")
    except CacheError:
        return None
    attributes: dict[str, Any] = document.get("attributes", document)
    return attributes


def _check_frames(folder: Path, index: SegmentIndex, header: StoreHeader) -> Iterator[Damage]:
    file = f"{folder.name}/{SHARD}"
    if not (folder / SHARD).is_file():
        yield Damage(file, "missing", lost=tuple(index.utterance_id))
        return
    direct = not get_storage(header.key.storage).codecs
    lost = _check_direct(folder, index, header) if direct else _check_encoded(folder, index, header)
    if lost:
        yield Damage(file, f"frames of {len(lost)} utterances differ", lost=tuple(lost))
    if direct and _read_tail(folder / SHARD, index, header) != shard_tail(
        index.rows, header.row_bytes
    ):
        names = tuple(index.utterance_id)
        yield Damage(file, "damaged after the last frame", touched=names)


def _check_direct(folder: Path, index: SegmentIndex, header: StoreHeader) -> list[str]:
    lost = []
    row_bytes = header.row_bytes
    with (folder / SHARD).open("rb") as shard:
        for name, length, checksum in zip(
            index.utterance_id, index.num_rows, index.crc32c, strict=True
        ):
            data = shard.read(length * row_bytes)
            if len(data) != length * row_bytes or google_crc32c.value(data) != checksum:
                lost.append(name)
    return lost


def _check_encoded(folder: Path, index: SegmentIndex, header: StoreHeader) -> list[str]:
    """Decode every chunk without Zarr, because its metadata may be damaged."""
    storage = get_storage(header.key.storage)
    data = (folder / SHARD).read_bytes()
    chunks = [storage.decompress(chunk) for chunk in split_shard(data, index.rows)]
    empty = bytes(CHUNK_ROWS * header.row_bytes)
    rows = memoryview(b"".join(chunk or empty for chunk in chunks))
    lost, start = [], 0
    for name, length, checksum in zip(
        index.utterance_id, index.num_rows, index.crc32c, strict=True
    ):
        stop = start + length
        own = chunks[start // CHUNK_ROWS : -(-stop // CHUNK_ROWS)]
        stored = bytes(rows[start * header.row_bytes : stop * header.row_bytes])
        if None in own or google_crc32c.value(stored) != checksum:
            lost.append(name)
        start = stop
    return lost


def _read_tail(shard: Path, index: SegmentIndex, header: StoreHeader) -> bytes:
    with shard.open("rb") as file:
        file.seek(index.rows * header.row_bytes, os.SEEK_SET)
        return file.read()

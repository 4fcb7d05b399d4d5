"""Hashes of documents and of files.

Those of files are cached by size and times, so that each file is read once.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from serctl.errors import SerctlError
from serctl.files import read_json, write_json

SETTLED_SECONDS = 2.0
"""Minimum age of a cached file. A younger one may change again without a change of its time."""


def hash_file(path: Path, algorithm: Callable[[], Any] = hashlib.sha256) -> str:
    """Return the hexadecimal hash of a file, which is read in blocks.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def hash_document(document: Any) -> str:
    """Return 12 hex digits of the SHA-256 over canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class FileHashes:
    """Hashes of files. A file is read again only if its size or one of its times has changed.

    Copying with its times kept, moving, or new permissions change the time of the last change of
    the file's entry (``st_ctime_ns``), but not that of its content.

    Args:
        document: JSON file that keeps the hashes. A damaged one is ignored.
        hash_file: Computes the hash of a file.
    """

    def __init__(self, document: Path, hash_file: Callable[[Path], str]) -> None:
        self._document = document
        self._hash_file = hash_file
        self._changed = False
        self._known: dict[str, list[Any]] = {}
        with suppress(SerctlError, TypeError, KeyError):
            found = read_json(document, SerctlError)
            # A flipped bit in a hash would mark valid features as stale.
            if found["crc32"] == _checksum(found["entries"]):
                self._known = found["entries"]

    def hash(self, path: Path) -> str:
        """Return the hash of a file.

        Raises:
            OSError: The file cannot be read.
        """
        found = path.stat()
        mark = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        *known, digest = self._known.get(str(path), [""])
        if known == mark:
            return str(digest)
        digest = self._hash_file(path)
        if time.time() - found.st_mtime > SETTLED_SECONDS:
            self._known[str(path)] = [*mark, digest]
            self._changed = True
        return digest

    def recall(self, path: Path) -> str:
        """Return the saved hash of a file; 'changed' if its size or time is another now.

        Raises:
            KeyError: The file has no saved hash, or only reading it shows whether it has changed.
            OSError: The file is missing.
        """
        size, modified, changed, digest = self._known[str(path)]
        found = path.stat()
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            return "changed"
        if found.st_ctime_ns != changed:
            raise KeyError(str(path))
        return str(digest)

    def save(self) -> None:
        """Write the hashes that were added.

        Raises:
            SerctlError: The document cannot be written.
        """
        if self._changed:
            document = {"crc32": _checksum(self._known), "entries": self._known}
            write_json(self._document, document)
            self._changed = False


def _checksum(files: dict[str, list[Any]]) -> int:
    return zlib.crc32(json.dumps(files, sort_keys=True).encode())

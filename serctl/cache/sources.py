"""Hashes of what was encoded, so that changed audio is encoded again and unchanged is not."""

import hashlib
import time
from pathlib import Path
from types import TracebackType

from serctl.cache.checksummed import seal, unseal
from serctl.errors import CacheError
from serctl.files import write_atomic

STAT_CACHE = ".sources.json"
SETTLED_SECONDS = 2.0


def hash_bytes(data: bytes) -> str:
    """Return 16 hex digits of BLAKE2b.

    Example:
        >>> hash_bytes(b"")
        'e4a6a0577479b2b4'
    """
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class SourceHasher:
    """Hash files, reading again only those whose size or time has changed.

    What was learnt is kept in the cache folder when the ``with`` block ends. A file younger than
    two seconds is not remembered: it could change again without a change of its time.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / STAT_CACHE
        self._changed = False
        try:
            self._known = unseal(self._path.read_bytes(), self._path)["files"]
        except (FileNotFoundError, CacheError, KeyError):
            self._known = {}

    def hash_file(self, path: Path) -> str:
        """Return the hash of a file's bytes.

        Raises:
            CacheError: The file cannot be read.
        """
        try:
            found = path.stat()
            mark = [found.st_size, found.st_mtime_ns]
            known = self._known.get(str(path))
            if known and known[:2] == mark:
                return str(known[2])
            digest = hash_bytes(path.read_bytes())
        except OSError as error:
            raise CacheError(f"'{path}' cannot be read: {error.strerror}.") from error
        if time.time() - found.st_mtime > SETTLED_SECONDS:
            self._known[str(path)] = [*mark, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Write down what was learnt."""
        if self._changed:
            with write_atomic(self._path) as file:
                file.write(seal({"files": self._known}).decode())
            self._changed = False

    def __enter__(self) -> "SourceHasher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.save()

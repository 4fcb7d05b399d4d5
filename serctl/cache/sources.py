"""Hashes of audio and text, to detect sources that have changed since encoding."""

import hashlib
from functools import partial
from pathlib import Path

from serctl.errors import CacheError
from serctl.hashes import FileHashes, hash_file

STAT_CACHE = ".sources.json"


_new_hash = partial(hashlib.blake2b, digest_size=8)


def hash_bytes(data: bytes) -> str:
    """Return 16 hex digits of BLAKE2b.

    Example:
        >>> hash_bytes(b"")
        'e4a6a0577479b2b4'
    """
    return _new_hash(data).hexdigest()


class SourceHasher:
    """Hash files. A file is read again only if its size or one of its times has changed.

    The hashes are saved in the cache folder at the end of the ``with`` block.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._hashes = FileHashes(cache_dir / STAT_CACHE, lambda path: hash_file(path, _new_hash))

    def hash_file(self, path: Path) -> str:
        """Return the hash of a file's bytes.

        Raises:
            CacheError: The file cannot be read.
        """
        try:
            return self._hashes.hash(path)
        except OSError as error:
            raise CacheError(f"'{path}' cannot be read: {error.strerror}.") from error

    def recall(self, path: Path) -> str:
        """Return the saved hash of a file; 'changed' if its size or time is another now.

        Raises:
            CacheError: The file is missing, was never hashed, or has to be read.
        """
        try:
            return self._hashes.recall(path)
        except (KeyError, OSError) as error:
            raise CacheError(f"'{path}' has no saved hash.") from error

    def save(self) -> None:
        """Save the hashes for the next run."""
        self._hashes.save()

    def __enter__(self) -> "SourceHasher":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

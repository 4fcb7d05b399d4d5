"""Locks of stores: an advisory lock file that names its holder."""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from serctl.errors import CacheError
from serctl.locks import open_locked


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: process, host, and the time in seconds since the epoch."""

    pid: int
    host: str
    since: float


class StoreLock:
    """A lock on the file ``.<store>.lock``. It is released when the process ends.

    ``shared`` allows several writers to add segments to one store, because each segment is added
    by a rename. It excludes only processes that remove segments.
    """

    def __init__(self, store: Path, *, shared: bool = False) -> None:
        self._store = store
        self._path = store.with_name(f".{store.name}.lock")
        self._shared = shared
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Acquire the lock.

        Raises:
            CacheError: Another process holds it (the message names process, host and time), or
                the cache folder cannot be written or has no locks.
        """
        try:
            file = open_locked(self._path, shared=self._shared, wait=False)
        except OSError as error:
            raise CacheError(
                f"Cannot write in '{self._path.parent}': {error.strerror or error}. Name another "
                f"folder in serctl.toml: [paths] cache."
            ) from error
        if file is None:
            raise CacheError(
                f"'{self._store.name}' is being written by {_name_holder(self._path)}. "
                f"Wait for it, or stop it. Its written frames are kept."
            )
        self._file = file
        owner = Owner(os.getpid(), socket.gethostname(), time.time())
        with suppress(OSError):  # the lock works without the note, for example on a full disk
            file.truncate(0)
            file.write(json.dumps(asdict(owner)).encode())

    def release(self) -> None:
        """Release the lock. The file is kept, because another process may wait for it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Release the lock and delete its file, because the store was deleted."""
        with suppress(OSError):  # Windows cannot delete an open file
            self._path.unlink()
        self.release()

    def __enter__(self) -> "StoreLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _name_holder(path: Path) -> str:
    try:
        owner = Owner(**json.loads(path.read_bytes()))
        since = time.strftime("%H:%M:%S", time.localtime(owner.since))
        return f"process {owner.pid} on {owner.host} since {since}"
    except (OSError, ValueError, TypeError):  # Windows lets nobody read a locked file
        return "another process"

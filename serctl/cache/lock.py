"""One writer per store: an advisory lock beside it that says who holds it."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from serctl.errors import CacheError


class StoreLock:
    """A lock on the file ``.<store>.lock`` beside a store; it ends with the process that holds it.

    ``shared`` lets several writers add segments to one store (each segment is its own rename) and
    keeps out only those that remove some.
    """

    def __init__(self, store: Path, *, shared: bool = False) -> None:
        self._store = store
        self._path = store.with_name(f".{store.name}.lock")
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            CacheError: Another process holds it; the message says which, where and since when.
        """
        while True:
            self._open()
            try:
                fcntl.flock(self._descriptor, self._mode | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._descriptor, 4096, 0).decode(errors="replace")
                self._close()
                raise CacheError(
                    f"'{self._store.name}' is being written by {_describe(holder)}. "
                    f"Wait for it, or stop it; what it has written stays."
                ) from None
            if self._is_current():
                break
            self._close()
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, so that nobody waits on one that is gone."""
        self._close()

    def remove(self) -> None:
        """Give the lock back and delete its file: the store itself is gone."""
        self._path.unlink(missing_ok=True)
        self._close()

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CacheError(
                f"Cannot write in '{self._path.parent}': {error.strerror}. Name another folder in "
                f"serctl.toml: [paths] cache."
            ) from error

    def _is_current(self) -> bool:
        """Whether the locked file still has its name (the store may have been removed)."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> "StoreLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            self.release()


def _describe(holder: str) -> str:
    try:
        owner = json.loads(holder)
        since = time.strftime("%H:%M:%S", time.localtime(owner["since"]))
        return f"process {owner['pid']} on {owner['host']} since {since}"
    except (ValueError, KeyError, TypeError):
        return "another process"

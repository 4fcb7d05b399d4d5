"""Locks between processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from serctl.errors import SerctlError


def lock(file: BinaryIO | TextIO | int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file against other processes until it is closed or its process ends.

    Args:
        file: An open file or its descriptor.
        shared: Take a shared lock: other shared locks are allowed, exclusive ones are not.
        wait: Wait until other processes release their locks.

    Returns:
        False if another process holds a lock and ``wait`` is False.

    Raises:
        OSError: The file system has no locks.
    """
    from portalocker import LockFlags, exceptions
    from portalocker import lock as lock_open_file

    flags = LockFlags.SHARED if shared else LockFlags.EXCLUSIVE
    try:
        lock_open_file(file, flags if wait else flags | LockFlags.NON_BLOCKING)
    except exceptions.AlreadyLocked:
        return False
    except exceptions.LockException as error:
        raise OSError(f"the file system cannot lock ({error})") from error
    return True


def open_locked(path: Path, *, shared: bool = False, wait: bool = True) -> BinaryIO | None:
    """Open and lock a file, and create it if necessary; None if another process holds it.

    The holder of the lock may delete or rename the file. Other processes then lock the new file
    of that name.

    Raises:
        OSError: The file cannot be written, or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("ab", buffering=0)
        try:
            if not lock(file, shared=shared, wait=wait):
                file.close()
                return None
            if is_at(file.fileno(), path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


@contextmanager
def hold(path: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Lock ``path`` for the block with the file ``.<name>.lock``.

    A ``shared`` lock excludes only exclusive ones.

    Raises:
        SerctlError: Another process holds it (unless ``wait``), or the lock cannot be written.
    """
    name = path.with_name(f".{path.name}.lock")
    try:
        file = open_locked(name, shared=shared, wait=wait)
    except OSError as error:
        raise SerctlError(f"Cannot lock '{path}': {error.strerror or error}.") from error
    if file is None:
        raise SerctlError(f"Another process is writing '{path}'. Wait for it to end, or stop it.")
    with file:
        try:
            yield
        finally:
            if not shared:  # a later process would lock a new file while others share this one
                with suppress(OSError):  # Windows deletes no open file
                    name.unlink()


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

"""Atomic writing of files and folders.

serctl writes all files through this module. A new file or folder is written under a temporary
name, flushed to the disk, and then renamed. After a crash there is either the old version or the
new one. The old version is deleted last. A symbolic link stays; what it leads to is replaced.
"""

import errno
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from serctl.errors import SerctlError, explain_os_error
from serctl.locks import is_at, lock, open_locked

WINDOWS = os.name == "nt"

TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""Encoding of text. Bytes of file names that are not UTF-8 are written unchanged."""


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path. Its file replaces ``path`` when the block succeeds.

    For libraries that write to a path. Processes that write the same file wait for each other.

    Raises:
        SerctlError: The file cannot be written (disk full, read-only folder).
    """
    try:
        target = follow_link(path)
        temporary = _beside(target, "tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _reserve_file(temporary):
            try:
                yield temporary
                sync(temporary)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync(target.parent)
    except OSError as error:
        raise SerctlError(f"Cannot write '{path}': {explain_os_error(error)}") from error


def follow_link(path: Path) -> Path:
    """Return where a symbolic link leads to, or the path; an OSError if it must not be replaced."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OSError(errno.EINVAL, f"'{target}' is a device or pipe. Name a file")
    # Tools for versions of data make links to read-only files, which must not change.
    if target != path and target.is_file() and not target.stat().st_mode & 0o222:
        raise OSError(errno.EACCES, f"It is a link to the read-only file '{target}'. Name a file")
    return target


@contextmanager
def write_atomic(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that replaces ``path`` when the block succeeds; see `write_beside`."""
    with write_beside(path) as temporary, temporary.open("w", **TEXT) as file:
        yield file


@contextmanager
def write_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the block succeeds; see `write_beside`."""
    with write_beside(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def write_lines(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes one line at once, for results that must survive an error.

    Unlike the other files of this module, the file grows under its final name. The first line
    replaces an old file. A block that ends without a line leaves an empty file. On a full disk,
    the lines before the failed one stay.

    Raises:
        SerctlError: The file cannot be written.
    """
    file: TextIO | None = None
    whole = 0  # bytes of complete lines

    def open_file() -> TextIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", **TEXT)

    def write(line: str) -> None:
        nonlocal file, whole
        try:
            file = file or open_file()
            file.write(f"{line}\n")
            file.flush()
            whole = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise SerctlError(f"Cannot write '{path}': {explain_os_error(error)}") from error

    try:
        yield write
        file = file or open_file()
        sync(path)
    except OSError as error:
        raise SerctlError(f"Cannot write '{path}': {explain_os_error(error)}") from error
    finally:
        if file is not None and not _close(file):
            with suppress(OSError):  # a pipe or device
                os.truncate(path, whole)


def _close(file: TextIO) -> bool:
    """Close a file. Return False if the rest of its buffer could not be written (full disk)."""
    try:
        file.close()
    except OSError:
        return False
    return True


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces ``folder`` when the block succeeds.

    Raises:
        SerctlError: The folder cannot be written, or another process is writing it.
    """
    try:
        folder = follow_link(folder)
        new = _beside(folder, "new")
        with _reserve_folder(new):
            try:
                yield new
                for path in new.rglob("*"):
                    sync(path)
                sync(new)
                replace_folder(new, folder)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
    except OSError as error:
        raise SerctlError(f"Cannot write '{folder}': {explain_os_error(error)}") from error


def replace_folder(new: Path, folder: Path) -> None:
    """Rename a finished folder to ``folder`` and then delete the old one.

    A process killed between the two renames leaves the old folder as ``.<name>.old``;
    `recover_folder` brings it back.

    Raises:
        SerctlError: The folder cannot be written.
    """
    old = folder.with_name(f".{folder.name}.old")
    try:
        recover_folder(folder)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise SerctlError(f"Cannot write '{folder}': {explain_os_error(error)}") from error
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undo a `replace_folder` that was killed: restore the old folder, or finish deleting it.

    Raises:
        SerctlError: The folder cannot be written.
    """
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        try:
            old.rename(folder)
        except OSError as error:
            raise SerctlError(f"Cannot write '{folder}': {explain_os_error(error)}") from error


def remove_file(path: Path) -> None:
    """Delete a file if it exists.

    Raises:
        SerctlError: The file cannot be deleted (read-only disk).
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SerctlError(f"Cannot delete '{path}': {explain_os_error(error)}") from error


def remove_folder(folder: Path) -> None:
    """Delete a folder: rename it, then delete its files. Of a symbolic link, delete the link."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    folder.rename(aside)
    (os.unlink if aside.is_symlink() else shutil.rmtree)(aside)


def sync(path: Path) -> None:
    """Flush a file's bytes or a folder's entries to the disk.

    Windows has no such call for folders. Its file systems log renames.
    """
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)  # Windows: open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    """Return the temporary name of a path. All processes share it, so kills leave one file only.

    On Windows the name contains process and thread, because an open file cannot be renamed there.
    """
    writer = f".{os.getpid()}-{threading.get_native_id()}" if WINDOWS else ""
    return path.with_name(f".{path.name}{writer}.{suffix}")


@contextmanager
def _reserve_file(temporary: Path) -> Iterator[None]:
    """Create an empty temporary file and lock it for the block."""
    if WINDOWS:
        yield
        return
    try:
        file = open_locked(temporary)
    except OSError:
        if not temporary.exists():
            raise
        file = temporary.open("ab")  # without locks, only concurrent writers are at risk
    assert file is not None
    with file:
        file.truncate(0)
        yield


@contextmanager
def _reserve_folder(new: Path) -> Iterator[None]:
    """Create an empty temporary folder and lock it for the block."""
    new.mkdir(parents=True, exist_ok=True)
    descriptor = -1 if WINDOWS else os.open(new, os.O_RDONLY)
    try:
        if descriptor >= 0:
            free = True
            with suppress(OSError):
                free = lock(descriptor, wait=False)
            if not free or not is_at(descriptor, new):
                raise SerctlError(f"Another process is writing '{new}'. Wait for it to end.")
        for path in new.iterdir():  # files of a process that was killed
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically, indented, keys in the order given."""
    with write_atomic(path) as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. A device such as /dev/zero, which may have no end, is refused.

    Raises:
        OSError: The file is missing, unreadable or a device.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "It is a device", str(path))
        return file.read()


def read_json(path: Path, error: type[SerctlError], hint: str = "") -> Any:
    """Read a JSON document.

    Raises:
        SerctlError: The file is missing or damaged. The type is ``error``, with the hint.
    """
    try:
        return json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise error(f"'{path}' does not exist. {hint}".rstrip()) from None
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"'{path}' is not readable JSON: {cause}. {hint}".rstrip()) from cause

"""Files that are either whole or not there: written beside their name, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from serctl.errors import SerctlError, guess


@contextmanager
def write_atomic(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when the block ends without an error.

    Raises:
        SerctlError: The file cannot be written (disk full, read-only folder).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SerctlError(f"Cannot write '{path}': {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Put a finished folder in the place of another.

    Killed in between, the old one stays as ``.<name>.old`` until the next call has succeeded.

    Raises:
        SerctlError: The folder cannot be written.
    """
    old = folder.with_name(f".{folder.name}.old")
    try:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        raise SerctlError(f"Cannot write '{folder}': {error.strerror or error}.") from error
    shutil.rmtree(old, ignore_errors=True)


def guess_path(name: str) -> str:
    """Return what lies beside a path that does not exist and was probably meant; '' if nothing."""
    path = Path(name).expanduser()
    return guess(path.name, [neighbour.name for neighbour in path.parent.glob("*")])


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically, indented, keys in the order given."""
    with write_atomic(path) as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path, error: type[SerctlError], hint: str = "") -> Any:
    """Read a JSON document; a missing or damaged file is an ``error`` with the hint."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"'{path}' does not exist. {hint}".rstrip()) from None
    except (OSError, ValueError) as cause:
        raise error(f"'{path}' is not readable JSON: {cause}. {hint}".rstrip()) from cause

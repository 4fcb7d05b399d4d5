"""The files of a corpus: those below a folder, also behind links to folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from serctl.errors import CorpusError

RESOURCE_FORK = "._"
"""Beginning of the names of files that macOS writes beside others. They hold no audio."""
HIDDEN = "."
"""Beginning of the names of hidden folders."""


def list_files(root: Path) -> list[Path]:
    """Return the files below a folder, sorted, without resource forks of macOS; [] for a file.

    Hidden folders are left out: .ipynb_checkpoints and .snapshot hold copies of other files.

    Links to folders are followed, each folder once: real folders first, then links by name. A link
    to the folder itself or to a folder above it is not followed.

    Raises:
        CorpusError: A folder cannot be read, so its files would be missing.
    """
    if not root.is_dir():
        return []
    return sorted(_walk(root, {*Path(os.path.realpath(root)).parents}))


def _walk(start: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files below ``start``. ``seen`` are the real paths of folders to leave out."""
    links = []
    for here, folders, files in os.walk(start, onerror=_refuse):
        if (real := Path(os.path.realpath(here))) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        links += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
        yield from (Path(here, name) for name in files if not name.startswith(RESOURCE_FORK))
    for link in sorted(links):
        yield from _walk(link, seen)


def _refuse(error: OSError) -> None:
    raise CorpusError(f"Folder '{error.filename}' cannot be read: {error.strerror}.") from error

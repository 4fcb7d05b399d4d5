"""A bundle: one directory that holds a trained system, sealed by the hash of each of its files.

``bundle.json`` lists every other file with its size and SHA-256. A directory that holds more, less
or something else than its list is refused before any file of it is opened, and so is a link, a path
that leads out of it, or a file of a kind that serctl has no safe reader for (a pickle, whatever its
name). The hashes guard against damage and mistakes. They do not guard against someone who rewrites
``bundle.json``: compare its digest with the digest that its maker published.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serctl.documents.bundle import BUNDLE_FILE, BundleDocument, FileRecord
from serctl.errors import CheckpointError, first_few
from serctl.hashes import hash_file

SUFFIXES = frozenset({".json", ".md", ".safetensors", ".skops", ".ubj"})
"""Kinds of files a bundle may hold; none of their readers runs code."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked.

    Attributes:
        folder: Where it is.
        document: ``bundle.json``.
        digest: SHA-256 of ``bundle.json``: the same digest, the same bundle.
    """

    folder: Path
    document: BundleDocument
    digest: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions in the order of the networks' outputs."""
        return self.document.labels

    @property
    def networks(self) -> dict[str, Path]:
        """Folder of each network by name, in the order the stacker sees them."""
        return {name: self.folder / "networks" / name for name in self.document.networks}

    @property
    def stacker(self) -> Path | None:
        """Folder of the stacker; None for a single network."""
        return self.folder / "stacker" if self.document.stacker else None


def seal_bundle(folder: Path, document: BundleDocument) -> None:
    """Write ``bundle.json`` with the hash of every file in ``folder``.

    Raises:
        CheckpointError: The folder holds a file that a bundle must not hold.
    """
    files = {
        name: FileRecord(bytes=path.stat().st_size, sha256=hash_file(path))
        for name, path in sorted(_list_files(folder).items())
    }
    document.model_copy(update={"files": files}).write(folder / BUNDLE_FILE)


def open_bundle(folder: Path) -> Bundle:
    """Check a bundle against its list and return it.

    Raises:
        CheckpointError: It is no bundle, of another format, or its files are not those listed.
    """
    document = read_listing(folder)
    listed = document.files
    present = _list_files(folder)
    check_unlisted(folder, present, listed)
    damaged = [
        name
        for name, facts in listed.items()
        if name not in present
        or present[name].stat().st_size != facts.bytes
        or hash_file(present[name]) != facts.sha256
    ]
    if damaged:
        raise CheckpointError(
            f"'{folder}': missing or changed since it was made: {first_few(damaged)}. "
            f"Copy the bundle again."
        )
    return Bundle(folder, document, hash_file(folder / BUNDLE_FILE))


def read_listing(folder: Path) -> BundleDocument:
    """Read ``bundle.json`` and check that it names no path outside its folder.

    Raises:
        CheckpointError: It is absent, malformed, of another format, or a path leads out.
    """
    document = BundleDocument.read(folder / BUNDLE_FILE)
    networks = (f"networks/{name}/config.json" for name in document.networks)
    for name in (*document.files, *networks):
        _check_name(folder, name)
    return document


def check_unlisted(place: Path | str, present: Iterable[str], listed: Iterable[str]) -> None:
    """Refuse files that ``bundle.json`` does not list.

    Raises:
        CheckpointError: There are some.
    """
    if strange := sorted(set(present) - set(listed)):
        raise CheckpointError(
            f"'{place}' holds files that its {BUNDLE_FILE} does not list: {first_few(strange)}. "
            f"Remove them if you put them there; otherwise do not use the bundle."
        )


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a ``bundle.json``."""
    return (folder / BUNDLE_FILE).is_file()


def _check_name(folder: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise CheckpointError(f"'{folder}' names '{name}', which leads out of it: refused.")


def _list_files(folder: Path) -> dict[str, Path]:
    """Return every file below a folder but ``bundle.json``, by its path with slashes.

    Raises:
        CheckpointError: There is a link, or a file that no safe reader is for.
    """
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise CheckpointError(f"'{folder}' holds a link, '{name}': refused. Copy the file.")
        if path.is_dir() or name == BUNDLE_FILE:
            continue
        if path.suffix not in SUFFIXES or _is_pickle(path):
            raise CheckpointError(
                f"'{folder}' holds '{name}', which is none of {', '.join(sorted(SUFFIXES))}: "
                f"refused. Pickles can run code and are never loaded."
            )
        found[name] = path
    return found


def _is_pickle(path: Path) -> bool:
    """Return whether a file begins as pickles of protocol 2 to 5 do, whatever its name."""
    with path.open("rb") as file:
        start = file.read(2)
    return start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")

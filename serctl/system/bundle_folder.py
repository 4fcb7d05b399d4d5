"""A bundle: one folder with a trained system and the hash of each file.

``bundle.json`` lists every other file with its size and SHA-256. If the files differ from the list,
the bundle is refused before any file is opened. Links, paths outside the folder and file types
without a safe reader are refused too, and so are pickles with any suffix. The hashes detect damage
and mistakes. They do not detect a rewritten ``bundle.json``: compare its digest with the published
one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serctl.documents.bundle import BUNDLE_FILE, BundleDocument, FileRecord
from serctl.errors import CheckpointError, first_few
from serctl.hashes import hash_file

SUFFIXES = frozenset({".json", ".md", ".safetensors", ".skops", ".ubj"})
"""Allowed file types. None of their readers runs code."""


@dataclass(frozen=True)
class Bundle:
    """A bundle with checked files.

    Attributes:
        folder: Folder of the bundle.
        document: Content of ``bundle.json``.
        digest: SHA-256 of ``bundle.json``, which identifies the bundle.
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
        """Folder of each network by name, in the order of the stacker's input."""
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
        CheckpointError: The folder is not a bundle, has another format, or differs from its list.
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
    """Read ``bundle.json`` and check that all its paths are inside the folder.

    Raises:
        CheckpointError: The file is missing or malformed, or a path is outside the folder.
    """
    document = BundleDocument.read(folder / BUNDLE_FILE)
    networks = (f"networks/{name}/config.json" for name in document.networks)
    for name in (*document.files, *networks):
        _check_name(folder, name)
    return document


def check_unlisted(place: Path | str, present: Iterable[str], listed: Iterable[str]) -> None:
    """Refuse files that ``bundle.json`` does not list.

    Raises:
        CheckpointError: There are unlisted files.
    """
    if strange := sorted(set(present) - set(listed)):
        raise CheckpointError(
            f"'{place}' holds files that its {BUNDLE_FILE} does not list: {first_few(strange)}. "
            f"Remove them if you added them. Otherwise do not use the bundle."
        )


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a ``bundle.json``."""
    return (folder / BUNDLE_FILE).is_file()


def _check_name(folder: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise CheckpointError(
            f"'{folder}' names '{name}', expected a path inside the folder. Do not use the bundle."
        )


def _list_files(folder: Path) -> dict[str, Path]:
    """Return every file below a folder except ``bundle.json``, by its path with slashes.

    Raises:
        CheckpointError: There is a link, or a file type without a safe reader.
    """
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise CheckpointError(f"'{folder}' holds the link '{name}', expected a file. Copy it.")
        if path.is_dir() or name == BUNDLE_FILE:
            continue
        if path.suffix not in SUFFIXES or _is_pickle(path):
            raise CheckpointError(
                f"'{folder}' holds '{name}', expected only {', '.join(sorted(SUFFIXES))}. "
                f"Pickles can run code and are never loaded."
            )
        found[name] = path
    return found


def _is_pickle(path: Path) -> bool:
    """Return whether a file begins like a pickle of protocol 2 to 5. The name is ignored."""
    with path.open("rb") as file:
        start = file.read(2)
    return start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")

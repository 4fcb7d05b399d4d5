"""A bundle: one directory that holds a trained system, sealed by the hash of each of its files.

``bundle.json`` lists every other file with its size and SHA-256. A directory that holds more, less
or something else than its list is refused before any file of it is opened, and so is a link, a path
that leads out of it, or a file of a kind that serctl has no safe reader for (a pickle, whatever its
name). The hashes guard against damage and slips, not against someone who rewrites ``bundle.json``:
for that, compare its digest with the one its maker tells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serctl.errors import CheckpointError, first_few
from serctl.files import read_json, write_json
from serctl.hashes import hash_file

BUNDLE_VERSION = 1
BUNDLE_FILE = "bundle.json"
SUFFIXES = frozenset({".json", ".md", ".safetensors", ".skops", ".ubj"})
"""Kinds of files a bundle may hold; none of their readers runs code."""
REQUIRED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "serctl": str,
    "made": str,
    "labels": list,
    "networks": list,
    "stacker": (dict, type(None)),
    "encoders": list,
    "recogniser": (dict, type(None)),
    "calibration": dict,
    "metrics": dict,
    "corpora": list,
    "files": dict,
}
"""Keys of ``bundle.json`` beside its version, and their types."""
HINT = "Make a bundle with: serctl bundle make"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked.

    Attributes:
        folder: Where it is.
        document: ``bundle.json``.
        digest: SHA-256 of ``bundle.json``: the same digest, the same bundle.
    """

    folder: Path
    document: Mapping[str, Any]
    digest: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions in the order of the networks' outputs."""
        return tuple(self.document["labels"])

    @property
    def networks(self) -> dict[str, Path]:
        """Folder of each network by name, in the order the stacker sees them."""
        return {name: self.folder / "networks" / name for name in self.document["networks"]}

    @property
    def stacker(self) -> Path | None:
        """Folder of the stacker; None for a single network."""
        return self.folder / "stacker" if self.document["stacker"] else None


def seal_bundle(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``bundle.json`` over what lies in ``folder``.

    Raises:
        CheckpointError: It holds what a bundle must not hold.
    """
    files = {
        name: {"bytes": path.stat().st_size, "sha256": hash_file(path)}
        for name, path in sorted(_list_files(folder).items())
    }
    write_json(folder / BUNDLE_FILE, {"serctl_bundle": BUNDLE_VERSION, **document, "files": files})


def open_bundle(folder: Path) -> Bundle:
    """Check a bundle against its list and return it.

    Raises:
        CheckpointError: It is no bundle, of another format, or its files are not those listed.
    """
    document = read_listing(folder)
    listed = document["files"]
    present = _list_files(folder)
    check_unlisted(folder, present, listed)
    damaged = [
        name
        for name, facts in listed.items()
        if name not in present
        or present[name].stat().st_size != facts["bytes"]
        or hash_file(present[name]) != facts["sha256"]
    ]
    if damaged:
        raise CheckpointError(
            f"'{folder}': missing or changed since it was made: {first_few(damaged)}. "
            f"Copy the bundle again."
        )
    return Bundle(folder, document, hash_file(folder / BUNDLE_FILE))


def read_listing(folder: Path) -> dict[str, Any]:
    """Read ``bundle.json`` and check that it is well formed and names no path outside its folder.

    Raises:
        CheckpointError: It is absent, malformed, of another format, or a path leads out.
    """
    document = read_json(folder / BUNDLE_FILE, CheckpointError, HINT)
    version = document.get("serctl_bundle") if isinstance(document, dict) else None
    if version != BUNDLE_VERSION:
        raise CheckpointError(
            f"'{folder}' has bundle format {version!r}; this serctl reads {BUNDLE_VERSION}."
        )
    absent = [k for k, kind in REQUIRED.items() if not isinstance(document.get(k, ...), kind)]
    if absent:
        raise CheckpointError(
            f"'{folder / BUNDLE_FILE}' lacks {first_few(absent)}, or they are malformed. {HINT}"
        )
    listed = document["files"]
    texts = [*document["networks"], *document["labels"]]
    if not all(isinstance(text, str) for text in texts) or not all(map(_is_fact, listed.values())):
        raise CheckpointError(f"'{folder / BUNDLE_FILE}' has malformed entries. {HINT}")
    for name in (*listed, *(f"networks/{name}/config.json" for name in document["networks"])):
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
    """Return whether a folder says that it is a bundle."""
    return (folder / BUNDLE_FILE).is_file()


def _is_fact(facts: Any) -> bool:
    kinds = {name: type(value) for name, value in facts.items()} if type(facts) is dict else {}
    return kinds == {"bytes": int, "sha256": str}


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

"""The recordings that names on a command line mean."""

from collections.abc import Sequence
from pathlib import Path

from serctl.data.corpora.scan import AUDIO
from serctl.errors import AudioError, UsageError

FORMATS = frozenset({*AUDIO, ".aiff", ".aif", ".au", ".caf", ".opus", ".w64", ".oga", ".mp2"})
"""Endings by which audio is found in folders; a file that is named may have any."""


def find_recordings(names: Sequence[str]) -> list[Path]:
    """Return the files that names mean: themselves, or all audio below a folder, sorted.

    Raises:
        UsageError: Nothing is named.
        AudioError: A name is neither a file nor a folder with audio.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS)
            if not inside:
                raise AudioError(f"Folder '{name}' holds no audio ({', '.join(sorted(FORMATS))}).")
            found += inside
        else:
            found.append(path)
    if not found:
        raise UsageError("No audio is named. Give files, folders, or - and a list on stdin.")
    return found

"""Lists of utterances on disk, and hashes of what the manifest says about utterances."""

from collections.abc import Collection, Iterable
from pathlib import Path

from serctl.data.manifest import Utterance
from serctl.files import write_atomic
from serctl.hashes import hash_document


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Write utterance ids, one a line."""
    with write_atomic(path) as file:
        file.writelines(f"{name}\n" for name in ids)


def read_ids(path: Path) -> frozenset[str]:
    """Return the ids of `write_ids`.

    Raises:
        OSError: The file cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    return frozenset(text.split("\n")) - {""}  # splitlines() also splits at U+2028 in an id


def hash_emotions(rows: Iterable[Utterance], ids: Collection[str]) -> str:
    """Return a hash of the emotions of the utterances in ``ids``."""
    known = {row.utterance_id: row.emotion for row in rows if row.utterance_id in ids}
    return hash_document(known)


def hash_speakers(rows: Iterable[Utterance], ids: Collection[str]) -> str:
    """Return a hash of the division of the utterances in ``ids`` by speaker.

    Other names of the same speakers do not change it.
    """
    known = {row.utterance_id: row.speaker for row in rows if row.utterance_id in ids}
    numbers: dict[str, int] = {}
    ordered = [(name, known[name]) for name in sorted(known)]
    return hash_document(
        [[name, who and numbers.setdefault(who, len(numbers) + 1)] for name, who in ordered]
    )

"""Notes of `serctl init` on unknown speakers, classes that a limit leaves out, and serctl.toml."""

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serctl.data.manifest import Manifest, Utterance
from serctl.errors import first_few
from serctl.files import write_atomic, write_binary

PEOPLE = re.compile(
    r"(actor|actress|talker|participant|subject|person|performer|singer|voice|informant|patient)s?"
    r"[ _.-]?(id|name|no|nr|num|number|code)?",
    re.IGNORECASE,
)
"""Names of columns that may hold speakers."""


def note_unknown_speakers(rows: Sequence[Utterance], *, is_table: bool) -> list[str]:
    """Return a note on utterances without a speaker, with the column that may hold speakers.

    Args:
        rows: Utterances of one corpus, with splits of its own.
        is_table: Whether ``--column`` names its columns.
    """
    unknown = sum(not row.speaker for row in rows)
    if not unknown:
        return []
    note = (
        f"{unknown} of {len(rows)} utterances have no speaker, so a speaker in several splits is "
        f"not found"
    )
    return [f"{note}. {suggest_column(rows)}" if is_table else note]


def suggest_column(rows: Sequence[Utterance]) -> str:
    """Return the option that names the column of speakers of a table."""
    names = dict.fromkeys(name for row in rows for name in row.extra)
    likely = next((name for name in names if PEOPLE.fullmatch(name)), "")
    if not likely:
        return "If a column holds speakers: --column speaker=YOURS"
    return f"If '{likely}' holds speakers: --column {shlex.quote(f'speaker={likely}')}"


def write_project(path: Path, text: str) -> list[str]:
    """Write serctl.toml. A replaced one with other settings is kept beside it, with a note."""
    notes = []
    if path.is_file() and _read_settings(path.read_bytes()) != _read_settings(text.encode()):
        kept = path.with_name(f"{path.stem}.replaced{path.suffix}")
        with write_binary(kept) as copy:
            copy.write(path.read_bytes())
        notes = [f"{path.name} had other settings: the earlier file is {kept.name}"]
    with write_atomic(path) as file:
        file.write(text)
    return notes


def _read_settings(content: bytes) -> dict[str, Any]:
    """Return the values of a TOML file; its text if it is none."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except ValueError:
        return {"": content}


def note_limit(whole: Manifest, kept: Manifest) -> list[str]:
    """Return a note on splits and emotions of which a limit keeps no utterance."""
    classes = {(row.split, row.emotion) for row in whole}
    lost = classes - {(row.split, row.emotion) for row in kept}
    if not lost:
        return []
    splits = sorted({split for split, _ in lost} - {row.split for row in kept})
    emotions = sorted({emotion for _, emotion in lost} - {row.emotion for row in kept} - {""})
    gone = [
        *([f"of the emotions {first_few(emotions)}"] if emotions else []),
        *([f"of the splits {first_few(splits)}"] if splits else []),
    ]
    pairs = sorted(f"{emotion or 'unlabelled'} in {split}" for split, emotion in lost)
    gone = gone or [f"of {first_few(pairs)}"]
    return [
        f"--limit {len(kept)} keeps no utterance {' and '.join(gone)}. At least one of every "
        f"emotion in every split: --limit {len(classes)}"
    ]

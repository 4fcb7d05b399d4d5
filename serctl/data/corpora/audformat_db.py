"""An audformat database (a folder with ``db.yaml``), read by the audformat package.

The schemes ``emotion`` and, if present, ``speaker`` and ``transcription`` are used. Splits named
train, dev or test are kept. Segmented tables define stretches of files.

Source: https://audeering.github.io/audformat/data-introduction.html and the docstrings of
``audformat.Database.load`` and ``audformat.Database.get`` (audformat 1.4.3).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serctl.data.corpora.scan import Corpus, name_utterances, present_only
from serctl.data.labels import parse_emotion
from serctl.data.manifest import Utterance
from serctl.data.manifest_rows import parse_split
from serctl.errors import ConfigError, CorpusError, count

EXTRAS = {"speaker": "speaker", "transcription": "transcript"}


def read(root: Path) -> Corpus:
    """Read the database at ``root``."""
    try:
        import audformat
    except ImportError:
        raise ConfigError(
            "audformat is not installed. Install it with: pip install audformat"
        ) from None
    if not (root / "db.yaml").is_file():
        raise CorpusError(f"'{root}' is not an audformat database: it has no db.yaml.")
    try:
        database = audformat.Database.load(str(root), load_data=True)
    except Exception as error:  # whatever pandas and PyYAML raise for a file that does not fit
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"audformat cannot load the database '{root}': {reason}.") from error
    if "emotion" not in database.schemes:
        known = ", ".join(database.schemes) or "none"
        raise CorpusError(f"The database '{root}' has the schemes {known}, expected emotion.")
    extras = [name for name in EXTRAS if name in database.schemes]
    rows: list[Utterance] = []
    for split in list(database.splits) or [None]:
        table = database.get("emotion", extras, splits=split).reset_index()
        for edge in {"start", "end"} & set(table):  # durations; NaT is the end of the file
            table[edge] = table[edge].dt.total_seconds()
        records = table.astype("object").where(table.notna(), "").to_dict("records")
        rows += [_make_utterance(root, split or "", record) for record in records]
    kept, notes = present_only(name_utterances(rows, root, deep=True), root)
    return Corpus(tuple(kept), (*notes, *_note_folders(kept, root)))


def _note_folders(rows: Sequence[Utterance], root: Path) -> list[str]:
    """Return a note on files of one name, emotion and speaker, as laryngograms of EmoDB."""
    named: dict[str, list[Utterance]] = {}
    for row in rows:
        named.setdefault(row.path.stem, []).append(row)
    alike = [
        sorted({os.path.relpath(row.path, root) for row in group})
        for group in named.values()
        if len({row.emotion for row in group}) == 1
        and len({row.speaker for row in group} - {""}) < 2
    ]
    if not (several := [paths for paths in alike if len(paths) > 1]):
        return []
    return [
        f"{count(len(several), 'name')} of files in several folders, such as "
        f"{' and '.join(several[0][:2])}: read as different recordings. To leave a folder out, "
        f"remove its rows from manifest.csv"
    ]


def _make_utterance(root: Path, split: str, record: dict[str, Any]) -> Utterance:
    return Utterance(
        utterance_id="",
        path=root / str(record["file"]),
        split=parse_split(split),
        emotion=parse_emotion(str(record["emotion"])),
        speaker=str(record.get("speaker", "")),
        transcript=str(record["transcription"]) if "transcription" in record else None,
        start=float(record.get("start") or 0.0),
        end=float(record["end"]) if record.get("end", "") != "" else None,
    )

"""A Hugging Face audio folder: with ``metadata.csv``/``.jsonl`` or with a folder per class.

A metadata file has a column ``file_name``, relative to its folder. Split folders (``train/``,
``test/``, …) define splits. Without metadata the name of a file's folder is its emotion.

Source: https://huggingface.co/docs/hub/en/datasets-audio ("Additional columns", "Audio
classification").
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from serctl.data.corpora.scan import Corpus, describe_cases, find_audio, present_only
from serctl.data.folders import list_files
from serctl.data.labels import parse_emotion
from serctl.data.manifest import READ_COLUMNS, Utterance
from serctl.data.manifest_file import check_column_names, read_manifest_table
from serctl.data.manifest_rows import parse_row, parse_split
from serctl.data.tables import Table, match_columns
from serctl.data.time_columns import check_times
from serctl.errors import CorpusError

FILE = "file_name"
"""Column of the file, relative to the folder of the metadata."""
NAMES = {
    "label": "emotion",
    "speaker_id": "speaker",
    "transcription": "transcript",
    "text": "transcript",
    "sentence": "transcript",
}

ONE_VALUE = {*NAMES.values(), "path", "utterance_id", "split"}
"""Columns that hold one value. Others may be lists."""


def read(root: Path) -> Corpus:
    """Read an audio folder like the datasets library."""
    files = find_audio(root)
    named = ("metadata.csv", "metadata.jsonl")
    tables = [path for path in list_files(root) if path.name in named]
    if tables:
        rows = [row for table in tables for row in _read_metadata(root, table)]
    else:
        rows = [_utterance(root, path, {"emotion": path.parent.name}) for path in files]
    if not rows:
        raise CorpusError(f"'{root}' holds no audio files.")
    if not any(row.emotion for row in rows):
        raise CorpusError(f"'{root}': no column 'emotion' or 'label' in {tables[0].name}.")
    kept, notes = present_only(rows, root)
    if tables:
        notes += _compare_with_folders(root, kept, files)
    return Corpus(tuple(kept), tuple(notes))


def _compare_with_folders(
    root: Path, rows: Sequence[Utterance], files: Sequence[Path]
) -> list[str]:
    """Return notes on audio files that the metadata do not name, or label unlike their folder."""
    emotions, named = {row.emotion for row in rows}, {row.path for row in rows}
    spare = [str(path.relative_to(root)) for path in files if path not in named]
    other = [
        f"{row.path.relative_to(root)} ({row.emotion})"
        for row in rows
        if (folder := parse_emotion(row.path.parent.name)) in emotions and folder != row.emotion
    ]
    return describe_cases(
        [
            (spare, "audio files without a label left out"),
            (other, "labels of the metadata, which are used, differ from the folder of the file"),
        ]
    )


def _read_metadata(root: Path, table: Path) -> list[Utterance]:
    if table.suffix == ".jsonl":
        rows = _read_json_lines(table)
    else:
        rows = list(read_manifest_table(table).rows)
    header = tuple(dict.fromkeys(name for row in rows for name in row))
    filled = tuple({name: row.get(name, "") for name in header} for row in rows)
    named = _name_columns(Table(table, header, filled, tuple(range(1, len(rows) + 1))))
    for line, row in zip(named.lines, named.rows, strict=True):
        if not row.get(FILE):
            given = ", ".join(rows[line - 1])
            raise CorpusError(f"'{table}' row {line} has the columns {given}, expected a {FILE}.")
    check_times(named)
    found = []
    for line, row in zip(named.lines, named.rows, strict=True):
        try:
            found.append(_utterance(root, table.parent / row[FILE], row))
        except ValueError as error:
            raise CorpusError(f"'{table}' row {line}: {error}.") from None
    return found


def _name_columns(table: Table) -> Table:
    """Return metadata with serctl's names. A column of such a name is not replaced by another.

    Raises:
        CorpusError: Two columns have the same meaning.
        ManifestError: A column may be a misspelt one, and would be ignored.
    """
    table = table.rename(match_columns(table.header, (FILE, *NAMES, *READ_COLUMNS)))
    names: dict[str, str] = {}
    for name, ours in NAMES.items():
        if name in table.header and ours not in table.header:
            if several := [other for other in names if names[other] == ours]:
                raise CorpusError(
                    f"'{table.source}' has several columns of the {ours} ({several[0]}, {name}), "
                    f"expected one. Rename one of them to {ours}."
                )
            names[name] = ours
    table = table.rename(names)
    check_column_names(replace(table, header=(*table.header, "path")), "Rename the column.")
    return table


def _read_json_lines(table: Path) -> list[dict[str, str]]:
    """Return the object of each line, its values as text; null is an empty value."""
    rows = []
    try:
        lines = table.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise CorpusError(f"'{table}' cannot be read as UTF-8: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"'{table}' line {number} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise CorpusError(f"'{table}' line {number} is {line:.40}, expected a JSON object.")
        for name, value in row.items():
            if NAMES.get(name, name) in ONE_VALUE and isinstance(value, (list, dict)):
                raise CorpusError(f"'{table}' line {number}: '{name}' is {value}, expected text.")
        rows.append({name: "" if value is None else str(value) for name, value in row.items()})
    return rows


def _utterance(root: Path, path: Path, row: dict[str, str]) -> Utterance:
    values = {name: value for name, value in row.items() if name != FILE}
    if ".." in path.parts or not path.is_relative_to(root):
        raise CorpusError(f"'{root}': the file_name '{path}' is outside of the folder.")
    relative = path.relative_to(root)
    split = parse_split(relative.parts[0]) if len(relative.parts) > 1 else ""
    known = split in ("train", "dev") or split.startswith("test")
    defaults = {
        "utterance_id": relative.with_suffix("").as_posix().replace("/", "_"),
        "split": split if known else "",
    }
    given = {name: value for name, value in values.items() if value or name not in defaults}
    return parse_row(defaults | given | {"path": str(path)}, Path())

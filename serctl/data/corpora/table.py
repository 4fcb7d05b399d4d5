"""A table with a header, and a mapping of its columns to serctl's."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.request import url2pathname

from serctl.data.audio_file import URL, explain_absence, ignore_case, is_audio_file
from serctl.data.corpora.scan import AUDIO, Corpus, describe_cases, name_utterances
from serctl.data.corpora.times import settle_times
from serctl.data.manifest import FOLD, KNOWN_COLUMNS, READ_COLUMNS, Utterance
from serctl.data.manifest_file import check_column_names, find_near_columns, read_manifest_table
from serctl.data.manifest_rows import note_readings, parse_rows, parse_split
from serctl.data.tables import Table, match_columns
from serctl.data.values import MISSING
from serctl.errors import CorpusError, ManifestError, UnknownNameError, count, first_few, guess
from serctl.names import explain_url

CODED = "emoclass"
"""MSP-Podcast's column of emotions in lower case. Its letters are those of `CODES`."""
VALUE = re.compile(r"[\d:]+[.,:]\d+")
"""A number or a time, which is no name of a column."""


def read_table(
    path: Path,
    columns: Mapping[str, str],
    root: Path | None = None,
    splits: Mapping[str, str] | None = None,
) -> Corpus:
    """Read a table of utterances.

    Missing ids are made from the names of audio files. Missing paths are the ids. Missing splits
    are ''.

    Args:
        path: Path of the table.
        columns: serctl's column to the table's, e.g. ``{"emotion": "EmoClass"}``. '' means that the
            table has no such column.
        root: Folder of relative paths; default: the folder of the table.
        splits: Names of splits in the table to serctl's, e.g. ``{"eval": "test"}``.

    Raises:
        ManifestError: A column in ``columns`` is missing, a name is similar to a known one, or the
            table or one of its rows has neither an id nor a path.
        CorpusError: No audio file exists, probably because ``root`` is wrong.
        UnknownNameError: ``columns`` maps an unknown name.
    """
    table, codes = _map_columns(read_manifest_table(path), columns)
    _check_named(table)
    _check_splits(table, splits or {})
    rows = [
        row
        | {"path": _expand_home(row.get("path", row.get("utterance_id", "")))}
        | _rename_split(row, splits or {})
        for row in table.rows
    ]
    folder, table = root or path.parent, replace(table, rows=tuple(rows))
    table, timed = settle_times(
        table, columns, lambda row: find_audio_file(folder / row["path"].strip())
    )
    written = parse_rows(table, folder, codes=codes)
    utterances = [replace(row, path=find_audio_file(row.path)) for row in written]
    notes = [
        *table.notes,
        *timed,
        *note_readings(table, written),
        *_note_paths(written, utterances),
    ]
    if "utterance_id" not in table.header:
        utterances = name_utterances(utterances, folder)
    return Corpus(tuple(utterances), (*notes, *_note_missing(path, utterances, table)))


def _check_named(table: Table) -> None:
    """Check that a table has rows and that each has an id or a path.

    Raises:
        ManifestError: The check failed.
    """
    named = {"path", "utterance_id"}.intersection(table.header)
    values = [name for name in table.header if VALUE.fullmatch(name) or _is_audio(name)]
    if not named and values:
        raise ManifestError(
            f"'{table.source}' has no header: its first row holds values ({first_few(values)}). "
            f"Expected a first row of column names, among them path or utterance_id. Add it."
        )
    if not table.rows:
        raise ManifestError(f"'{table.source}' has a header and no rows, expected some rows.")
    if not named:
        raise ManifestError(
            f"'{table.source}' has the columns {', '.join(table.header)}, expected path or "
            f"utterance_id. Name the column: --column path=YOURS"
        )
    rows = zip(table.rows, table.lines, strict=True)
    if bare := [line for row, line in rows if not any(row[name].strip() for name in named)]:
        raise ManifestError(
            f"'{table.source}': {count(len(bare), 'row')} without {' and '.join(sorted(named))}: "
            f"line {first_few(bare)}. Fill them in, or delete the rows."
        )


def _is_audio(name: str) -> bool:
    return Path(name).suffix.lower() in AUDIO


def _note_missing(path: Path, utterances: Sequence[Utterance], table: Table) -> list[str]:
    """Return notes on missing audio and on marks of missing emotions.

    Raises:
        CorpusError: No audio file exists.
    """
    absent = [row.path for row in utterances if not is_audio_file(row.path)]
    if utterances and len(absent) == len(utterances):
        remedy = "" if explain_url(absent[0]) else " Name the folder of the paths: --root DIR"
        raise CorpusError(
            f"'{path}' names {len(absent)} utterances, but none of their audio files exists, such "
            f"as '{absent[0]}'.{explain_absence(absent[0])}{remedy}"
        )
    words = Counter(row.get("emotion", "").strip() for row in table.rows)
    missing = [f"'{word}'" for word in words if word.lower() in MISSING for _ in range(words[word])]
    return describe_cases(
        [
            ([file.name for file in absent], "audio files that do not exist"),
            (missing, "emotions denote a missing value and are read as unlabelled"),
        ]
    )


def _note_paths(written: Sequence[Utterance], found: Sequence[Utterance]) -> list[str]:
    """Return notes on files that were found under a name different from the written one."""
    pairs = dict.fromkeys((one.path, other.path) for one, other in zip(written, found, strict=True))
    other = [f"{a.name} ({_compare_names(a, b)})" for a, b in pairs if a != b]
    several = [
        f"{a.name} as {b.name}"
        for a, b in pairs
        if a != b and sum(is_audio_file(a.with_name(a.name + ending)) for ending in AUDIO) > 1
    ]
    return describe_cases(
        [
            (other, "audio files found under another spelling or suffix"),
            (several, "audio files with several suffixes, the first one is used"),
        ]
    )


def _compare_names(written: Path, found: Path) -> str:
    if URL in str(written):
        return "a file URL"
    if "\\" in str(written):
        return "backslashes"
    if str(written).casefold() == str(found).casefold():
        return "capitals"
    return "accents" if written.suffix == found.suffix else found.suffix


def find_audio_file(path: Path) -> Path:
    """Return the audio file for a path.

    The path is tried as written, as a file URL, with slashes, with other Unicode forms, with audio
    suffixes and in other capitals.
    """
    text = str(path)
    if URL in text:
        path = Path(url2pathname("/" + text.partition(URL)[2].lstrip("/")))
        text = str(path)
    for slashed in dict.fromkeys((text, text.replace("\\", "/"))):
        for form in (slashed, *(unicodedata.normalize(name, slashed) for name in ("NFC", "NFD"))):
            if is_audio_file(Path(form)):
                return Path(form)
    endings = AUDIO if path.suffix.lower() not in AUDIO else ()
    named = (path.with_name(path.name + ending) for ending in endings if path.name)
    found = next((file for file in named if is_audio_file(file)), None) or ignore_case(path)
    return found if is_audio_file(found) else path


def _map_columns(table: Table, columns: Mapping[str, str]) -> tuple[Table, bool]:
    """Return the table with serctl's names, and whether its emotions are code letters."""
    for name, own in columns.items():
        if own and own not in table.header:
            raise ManifestError(
                f"'{table.source}' has no column '{own}'.{guess(own, table.header)} "
                f"It has {', '.join(table.header)}."
            )
        if name not in KNOWN_COLUMNS and not name.startswith("votes_"):
            raise UnknownNameError("column", name, [*KNOWN_COLUMNS, "votes_<emotion>"])
    codes = columns.get("emotion", "").lower() == CODED
    if (own := columns.get(FOLD, "")).lower() == "speaker":  # a fold for each speaker
        columns = {"speaker": own} | dict(columns)
    names: dict[str, str] = {}
    again = {
        name: own for name, own in columns.items() if own and names.setdefault(own, name) != name
    }
    # A mapped column, or one declared missing, is not matched to another name.
    names |= {own: f"{own}_unused" for own in columns if own in table.header and own not in names}
    table = _copy_columns(table.rename(names), {name: names[own] for name, own in again.items()})
    table = table.rename(match_columns(table.header, set(READ_COLUMNS) - set(columns)))
    absent = replace(table, header=(*table.header, *(name for name in columns)))
    check_column_names(
        absent, "If it is this column: --column {known}={name} If not: --column {known}="
    )
    # Those that were declared to be others would be refused in the manifest.
    return table.rename({name: f"{name}_unused" for name in find_near_columns(table.header)}), codes


def _copy_columns(table: Table, names: Mapping[str, str]) -> Table:
    """Return a table with columns repeated under other names, new name to present name."""
    rows = tuple(row | {name: row[own] for name, own in names.items()} for row in table.rows)
    return replace(table, header=(*table.header, *names), rows=rows)


def _expand_home(path: str) -> str:
    """Return a path with the home folder for ~, which a shell replaces but a table does not."""
    return str(Path(path.strip()).expanduser()) if path.strip().startswith("~/") else path


def _check_splits(table: Table, splits: Mapping[str, str]) -> None:
    """Check that the table has the splits that are renamed.

    Raises:
        ManifestError: It does not have one of them.
    """
    words = {row.get("split", "").strip().lower() for row in table.rows} - {""}
    for name in splits:
        if name not in words | set(map(parse_split, words)):
            known = f"Known: {', '.join(sorted(words))}." if words else "It has no splits."
            raise ManifestError(
                f"--split of '{name}': '{table.source}' has no such split.{guess(name, words)} "
                f"{known}"
            )


def _rename_split(row: Mapping[str, str], splits: Mapping[str, str]) -> dict[str, str]:
    if "split" not in row:
        return {}
    word = row["split"].strip().lower()
    return {"split": splits.get(word, splits.get(parse_split(word), word))}

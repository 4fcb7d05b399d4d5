"""Rows of a table with serctl's column names, parsed as utterances."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from serctl.data.labels import parse_emotion
from serctl.data.manifest import ATTRIBUTES, CHANNEL, COLUMNS, FOLD, SEGMENT, Utterance
from serctl.data.tables import Table
from serctl.data.values import JOINERS, fill_missing, parse_number, parse_seconds, remove_invisible
from serctl.errors import ManifestError, first_few

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "devel", "development", "val", "valid", "validation"),
    "test": ("test", "testing", "tst"),
}

NO_SPEAKER = {"", "unknown"}


def parse_rows(table: Table, folder: Path, *, codes: bool = False) -> list[Utterance]:
    """Return the rows of a table with serctl's column names.

    Args:
        table: See `read_table_file`.
        folder: Folder of relative paths.
        codes: Whether emotions are letters of MSP-Podcast.

    Raises:
        ManifestError: A value is not a number. The message names the line.
    """
    rows = []
    for row, line in zip(table.rows, table.lines, strict=True):
        try:
            rows.append(parse_row(row, folder, codes=codes))
        except ValueError as error:
            raise ManifestError(f"'{table.source}' line {line}: {error}.") from None
    return rows


def note_readings(table: Table, rows: Sequence[Utterance]) -> list[str]:
    """Return a note for each column whose words were read as other words.

    Args:
        table: As written.
        rows: As they were read.
    """
    notes = []
    for column, simplify in (("emotion", str.lower), ("split", str.lower), ("speaker", str)):
        pairs = Counter(
            (word, read)
            for written, row in zip(table.rows, rows, strict=True)
            if (read := getattr(row, column))
            and (word := simplify(normalize("NFC", written.get(column, "").strip()))) != read
        )
        if pairs:
            listed = [f"{word!r} as {read!r} ({times})" for (word, read), times in pairs.items()]
            notes.append(f"column '{column}': {first_few(listed)}")
    return [*notes, *_note_alike(rows, "emotion"), *_note_alike(rows, "speaker")]


def _note_alike(rows: Sequence[Utterance], column: str) -> list[str]:
    """Return a note on names that differ only in capitals, separators or the form of a number."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(getattr(row, column), set()).add(row.split)
    groups: dict[str, list[str]] = {}
    for name in splits:
        groups.setdefault(_simplify(name), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike:
        return []
    shown = first_few(" and ".join(map(repr, names)) for names in alike)
    note = f"column '{column}': {shown} count as different {column}s"
    if column == "speaker" and any(len({one for n in g for one in splits[n]}) > 1 for g in alike):
        note += ", some in several splits"
    return [f"{note}. If they are the same, write them alike in the table"]


def _simplify(name: str) -> str:
    """Return a name without capitals, separators, joiners and zeros that change no number.

    Example:
        >>> _simplify("01"), _simplify("1.0"), _simplify("Spk_07"), _simplify("spk-7")
        ('1', '1', 'spk 7', 'spk 7')
    """
    visible = re.sub(f"[{JOINERS}]", "", name.casefold())
    plain = re.sub(r"[\s_-]+", " ", re.sub(r"^(\d+)\.0+$", r"\1", visible))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", plain)


def parse_row(row: Mapping[str, str], folder: Path, *, codes: bool = False) -> Utterance:
    """Return one row; see `parse_rows`.

    Raises:
        ValueError: A value is not a number.
    """
    value = {name: row.get(name, "").strip() for name in COLUMNS}
    # Composed (NFC): tables of macOS may write the same speaker with decomposed accents.
    speaker = normalize("NFC", fill_missing(remove_invisible(value["speaker"])))
    start, end = (fill_missing(row.get(name, "").replace("NaT", "")) for name in SEGMENT)
    utterance = Utterance(
        utterance_id=value["utterance_id"],
        path=folder / value["path"],
        split=parse_split(value["split"]),
        emotion=parse_emotion(normalize("NFC", fill_missing(value["emotion"])), codes=codes),
        speaker="" if speaker.lower() in NO_SPEAKER else speaker,
        transcript=row.get("transcript"),
        extra={
            name: _read_extra(name, text)
            for name, text in row.items()
            if name not in (*COLUMNS, *SEGMENT, CHANNEL)
        },
        start=_read_number("start", start, parse_seconds) if start else 0.0,
        end=_read_number("end", end, parse_seconds) if end else None,
        channel=parse_channel(fill_missing(row.get(CHANNEL, ""))),
    )
    if utterance.start < 0 or (utterance.end is not None and utterance.end <= utterance.start):
        raise ValueError(f"'{start}' to '{end}', expected start and end in seconds")
    return utterance


def parse_channel(text: str) -> int:
    """Return the number of a channel, from 1; 0 for '', the mean of all channels.

    Raises:
        ValueError: The text is not a channel.

    Example:
        >>> parse_channel("left"), parse_channel("2"), parse_channel("")
        (1, 2, 0)
    """
    numbers = {"": 0, "left": 1, "right": 2}
    if (name := text.lower()) in numbers:
        return numbers[name]
    if not re.fullmatch(r"0*[1-9]\d{0,3}(\.0)?", text):
        raise ValueError(
            f"channel is '{text}', expected left, right, a number from 1, or nothing for the mean "
            f"of all. Rename a column that means something else"
        )
    return int(float(text))


def _read_extra(name: str, text: str) -> str:
    """Return a value unchanged; in a column of numbers or folds '' for marks of missing values."""
    if name == FOLD:
        return fill_missing(remove_invisible(text))
    if name not in ATTRIBUTES and not name.startswith("votes_"):
        return text
    number = fill_missing(text)
    if number and _read_number(name, number, parse_number) < 0 and name.startswith("votes_"):
        raise ValueError(f"{name} '{text}' is below zero")
    return number


def _read_number(name: str, text: str, parse: Callable[[str], float]) -> float:
    try:
        return parse(text)
    except ValueError:
        expected = "seconds" if name in SEGMENT else "a number, or nothing"
        raise ValueError(f"{name} is '{text}', expected {expected}") from None


def parse_split(text: str) -> str:
    """Return ``train``, ``dev`` or a name that begins with ``test``; else the text in lower case.

    Example:
        >>> parse_split("Training"), parse_split("devel"), parse_split("Test1"), parse_split("Eval")
        ('train', 'dev', 'test1', 'eval')
    """
    name = remove_invisible(text).lower()
    return next((ours for ours, names in SPLIT_NAMES.items() if name in names), name)

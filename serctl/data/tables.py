"""Read tables as text, with any separator and common encodings, or as spreadsheets.

`csv.Sniffer` detects the dialect from the header only, because free text in the rows may hold any
character. `Table.notes` lists the assumptions.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serctl.data.rttm import split_rttm
from serctl.data.spreadsheets import read_sheet
from serctl.errors import ManifestError, SerctlError, first_few
from serctl.files import read_file
from serctl.names import explain_url

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BINARY = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer, not the table (run: git lfs pull)",
}


@dataclass(frozen=True)
class Table:
    """A header and rows of text, all of the same length.

    Attributes:
        source: Name of the file, for messages.
        header: Unique column names without surrounding blanks.
        rows: Values by column.
        lines: Line of the file on which each row ends.
        notes: Assumptions about the file; empty for UTF-8 with commas.
    """

    source: Path
    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def rename(self, names: Mapping[str, str]) -> "Table":
        """Return the table with columns renamed, old name to new."""
        header = tuple(names.get(name, name) for name in self.header)
        rows = tuple({names.get(name, name): row[name] for name in row} for row in self.rows)
        return Table(self.source, header, rows, self.lines, self.notes)


def read_table_file(path: Path, hint: str = "") -> Table:
    """Read a text table or, if openpyxl is installed, the first sheet of an Excel file.

    Args:
        path: Path of the file.
        hint: Command that makes the file, for the error if it does not exist.

    Raises:
        ManifestError: The file is missing or binary, repeats a column or has rows of other lengths.
    """
    return parse_table(read_table_bytes(path, hint), path)


def read_table_bytes(path: Path, hint: str = "") -> bytes:
    """Return the bytes of a table; see `read_table_file`."""
    try:
        return read_file(path)
    except FileNotFoundError:
        why = explain_url(path) or f" {hint}"
        raise ManifestError(f"'{path}' does not exist.{why}".rstrip()) from None
    except OSError as cause:
        raise ManifestError(f"'{path}' cannot be read: {cause.strerror}.") from cause


def parse_table(content: bytes, path: Path, error: type[SerctlError] = ManifestError) -> Table:
    """Parse the bytes of a table; see `read_table_file`. ``error`` is the class of the errors."""
    if path.suffix.lower() in (".xlsx", ".xlsm") and content.startswith(b"PK"):
        return _tidy(*read_sheet(content, path, error), error)
    if kind := next((kind for magic, kind in BINARY.items() if content.startswith(magic)), ""):
        raise error(f"'{path}' is {kind}. Expected a table as text: save it as CSV (UTF-8).")
    text, notes = decode_text(content, path, error)
    if path.suffix.lower() == ".rttm":
        records, read = split_rttm(path, text, error)
        return _tidy(path, records, [*notes, *read], error)
    separator = re.match(r"sep=(.)\r?\n", text)  # Excel's own first line
    text = text[separator.end() :] if separator else text
    dialect = _find_dialect(text.lstrip("\r\n"))
    delimiter = separator[1] if separator else dialect.delimiter
    if delimiter != ",":
        notes.append(f"columns separated by {SEPARATORS.get(delimiter, repr(delimiter))}")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=dialect.skipinitialspace,
        strict=True,
    )
    try:
        records = [(reader.line_num + bool(separator), fields) for fields in reader]
    except csv.Error as cause:
        raise error(
            f"'{path}' line {reader.line_num}: {cause}. Quotation marks inside a field are doubled."
        ) from cause
    return _tidy(path, records, notes, error)


def match_columns(header: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return columns that differ from a known name only in case, blanks or hyphens.

    They are mapped to the known name. Columns with exactly the known name are not changed. All
    names that begin with ``votes_`` are known.

    Example:
        >>> match_columns(["Path", "Utterance ID", "Votes_Sad"], ["path", "utterance_id"])
        {'Path': 'path', 'Utterance ID': 'utterance_id', 'Votes_Sad': 'votes_sad'}
    """
    header, known = list(header), set(known)
    plain = {name: re.sub(r"[\s-]+", "_", name.lower()) for name in header}
    taken = Counter(plain.values())
    return {
        name: plain[name]
        for name in header
        if (plain[name] in known or name.lower().startswith("votes_"))
        and plain[name] not in header
        and taken[plain[name]] == 1
    }


def decode_text(content: bytes, path: Path, error: type[SerctlError]) -> tuple[str, list[str]]:
    """Return the text, and a note if its encoding was assumed."""
    notes = []
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
        notes.append("read as UTF-16")
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        # Five bytes are undefined in Windows-1252, which detects some other encodings.
        text = content.decode("cp1252", errors="replace")
        if "\ufffd" in text or "\0" in text:
            raise error(f"'{path}' is not UTF-8 or Windows-1252. Save it as UTF-8.") from None
        notes.append("not UTF-8, read as Windows-1252: check its accents")
    if "\0" in text:
        raise error(
            f"'{path}' holds zero bytes: binary data, or UTF-16 without its mark. Expected a table "
            f"as text: save it as CSV (UTF-8)."
        )
    if text.lstrip().startswith(('{"', '[{"')):
        raise error(f"'{path}' is JSON. Expected a table as text: save it as CSV (UTF-8).")
    return text, notes


def _find_dialect(text: str) -> type[csv.Dialect]:
    first = text.partition("\n")[0].rstrip("\r")
    # The sniffer prefers commas, which names such as "age, years" have.
    separators = "\t" if first.count("\t") > first.count(",") else "".join(SEPARATORS)
    try:
        return csv.Sniffer().sniff(first, separators)
    except csv.Error:  # one column
        return csv.excel


def _tidy(
    path: Path,
    records: Sequence[tuple[int, Sequence[str]]],
    notes: list[str],
    error: type[SerctlError],
) -> Table:
    """Remove blank rows and unnamed empty columns, and check the others."""
    records = [(line, fields) for line, fields in records if any(text.strip() for text in fields)]
    if not records:
        raise error(f"'{path}' is empty, expected a header and rows.")
    header = [name.strip() for name in records[0][1]]
    kept = [i for i, name in enumerate(header) if name or _has_values(records[1:], i)]
    for i in kept:
        if not header[i]:
            header[i] = f"unnamed_{i + 1}"
            notes.append(f"column {i + 1} has no name and is kept as '{header[i]}'")
    twice = [name for name, times in Counter(header).items() if name and times > 1]
    if twice:
        raise error(f"'{path}' has the column {first_few(map(repr, twice))} twice. Rename one.")
    notes += [
        f"the columns '{name.lower()}' and '{name}' differ in capitals only"
        for name in header
        if name != name.lower() and name.lower() in header
    ]
    width = max(kept) + 1
    ragged = [line for line, fields in records[1:] if not _fits(fields, width)]
    if ragged:
        comment = " Delete the comment before the header." * header[0].startswith("#")
        raise error(
            f"'{path}': {len(ragged)} rows do not have {width} fields: line {first_few(ragged)}."
            f"{comment}"
        )
    names = list(records[0][1])
    again = [line for line, fields in records[1:] if list(fields) == names and width > 1]
    if again:
        raise error(
            f"'{path}' line {first_few(again)} is the header again, as in tables that were joined. "
            f"Delete it."
        )
    return Table(
        path,
        tuple(header[i] for i in kept),
        tuple({header[i]: fields[i] for i in kept} for _, fields in records[1:]),
        tuple(line for line, _ in records[1:]),
        tuple(notes),
    )


def _has_values(records: Sequence[tuple[int, Sequence[str]]], column: int) -> bool:
    return any(len(fields) > column and fields[column].strip() for _, fields in records)


def _fits(fields: Sequence[str], width: int) -> bool:
    return len(fields) >= width and not any(text.strip() for text in fields[width:])

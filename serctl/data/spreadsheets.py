"""Read the first sheet of an Excel file as rows of text."""

import datetime
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serctl.data.values import MISSING
from serctl.errors import SerctlError, first_few

LARGEST_SHEET = 500_000_000
"""Maximum unpacked bytes of a spreadsheet, as a protection from decompression bombs."""
SHORT_TIME = re.compile(r"(?:\[\$-[^]]+\])?h{1,2}:mm(?:;@)?", re.IGNORECASE)
"""Formats of times of which hours and minutes are shown."""
HIDDEN = re.compile(rb"<(?:\w+:)?row\s[^>]*?hidden=\"(?:1|true)\"")
MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=\"([A-Z0-9:$]+)\"")


def read_sheet(
    content: bytes, path: Path, error: type[SerctlError]
) -> tuple[Path, list[tuple[int, list[str]]], list[str]]:
    """Return the rows of the first sheet as text with their numbers, and notes on what was read.

    The first value is the path for messages. It names the sheet if there are others.

    Args:
        content: Bytes of the file.
        path: Path of the file, for messages.
        error: Class of the errors.

    Raises:
        SerctlError: openpyxl is not installed, the file is no spreadsheet or too large, or cells
            have no value.
    """
    try:
        import openpyxl
    except ImportError:
        raise error(
            f"'{path}' is a spreadsheet. Save it as CSV (UTF-8), or install its reader: "
            f"pip install 'serctl[excel]'"
        ) from None
    try:
        unpacked = sum(item.file_size for item in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if unpacked > LARGEST_SHEET:
            raise error(f"'{path}' unpacks to {unpacked / 1e6:,.0f} MB. Save it as CSV.")
        book, formulas = (
            openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=values)
            for values in (True, False)
        )
        # A read-only sheet of openpyxl has no merged_cells and no row_dimensions.
        text = zipfile.ZipFile(io.BytesIO(content)).read(book.worksheets[0]._worksheet_path)
        _check_merged(text, path, error)
        rows = list(book.worksheets[0].iter_rows())
        _check_cells(path, rows, list(formulas.worksheets[0].iter_rows()), error)
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError, SyntaxError, OSError) as cause:
        raise error(f"'{path}' is not a readable spreadsheet: {cause}. Save it as CSV.") from cause
    hidden = ", hidden rows included" if HIDDEN.search(text) else ""
    sheet, *others = book.sheetnames
    notes = [f"sheet '{sheet}' of {len(book.sheetnames)} read{hidden}", *_note_times(rows)]
    source = Path(f"{path}, sheet {sheet} (the first of {1 + len(others)})") if others else path
    shown = [(line, [_show_cell(cell) for cell in row]) for line, row in enumerate(rows, 1)]
    return source, shown, notes


def _note_times(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return notes on cells that the spreadsheet holds as dates or as times without seconds."""
    notes = []
    dates = [
        f"{cell.coordinate} as '{cell.value}'" for row in rows for cell in row if _is_date(cell)
    ]
    if dates:
        # Spreadsheets turn names such as 03-01-06 into dates.
        notes.append(f"{len(dates)} cells are dates, read as text: {first_few(dates)}")
    times = [
        f"{cell.coordinate} as '{_show_cell(cell)}'"
        for row in rows
        for cell in row
        if _is_short_time(cell)
    ]
    if times:
        notes.append(
            f"{len(times)} cells are times without seconds, read as they are shown, which is "
            f"minutes and seconds in start and end: {first_few(times)}"
        )
    return notes


def _is_date(cell: Any) -> bool:
    return isinstance(cell.value, datetime.date)


def _is_short_time(cell: Any) -> bool:
    """Whether a cell is a time that is shown without seconds, such as a typed 0:05."""
    time = cell.value
    whole = isinstance(time, datetime.time) and not (time.second or time.microsecond)
    return whole and SHORT_TIME.fullmatch(cell.number_format or "") is not None


def _check_merged(text: bytes, path: Path, error: type[SerctlError]) -> None:
    """Refuse cells that are merged over several rows: all rows but the first read as empty."""
    ranges = [found.decode() for found in MERGED.findall(text)]
    over_rows = [cells for cells in ranges if len({*re.findall(r"\d+", cells)}) > 1]
    if over_rows:
        raise error(
            f"'{path}' has {len(over_rows)} cells that are merged over several rows: "
            f"{first_few(over_rows)}. Their value belongs to the first row only. Unmerge them and "
            f"fill in all rows."
        )


def _check_cells(
    path: Path, rows: Sequence[Any], formulas: Sequence[Any], error: type[SerctlError]
) -> None:
    """Refuse formulas without a computed value, which read as empty, and spreadsheet errors."""
    wrong = []
    for row, with_formulas in zip(rows, formulas, strict=True):
        for cell, formula in zip(row, with_formulas, strict=True):
            if formula.data_type == "f" and cell.value is None:
                wrong.append(f"{cell.coordinate} (a formula without a value)")
            elif cell.data_type == "e" and cell.value.lower() not in MISSING:
                wrong.append(f"{cell.coordinate} ({cell.value})")
    if wrong:
        raise error(
            f"'{path}' has {len(wrong)} cells without a value: {first_few(wrong)}. Open it in a "
            f"spreadsheet program, fix them and save it again, or save it as CSV (UTF-8)."
        )


def _show_cell(cell: Any) -> str:
    """Return the text of a cell. Integers keep the leading zeros of a format such as 0000."""
    value = cell.value
    if value is None:
        return ""
    if _is_short_time(cell):  # as typed and shown, and as in a CSV file of the same sheet
        return f"{value.hour}:{value.minute:02d}"
    if not isinstance(value, int | float) or isinstance(value, bool) or value % 1:
        return str(value)
    zeros = cell.number_format if re.fullmatch("0+", cell.number_format or "") else ""
    return f"{int(value):0{len(zeros)}d}" if zeros else str(int(value))

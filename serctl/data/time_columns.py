"""Columns of a table that may be the times of segments under another name than start and end."""

import re
from collections.abc import Sequence

from serctl.data.tables import Table
from serctl.errors import ManifestError

BEFORE = "(?:t|time|timestamp|segment|seg|utterance|utt|clip|turn|audio)?"
UNITS = "(?:hhmmss|s|ss|sec|second)?"
OTHER_UNITS = "ms|msec|milli|millisecond|sample|frame"
AFTER = f"(?:time|timestamp|at|in)*(?:{UNITS}|{UNITS}(?:{OTHER_UNITS}))s?"
TIMES = {
    "start": re.compile(f"{BEFORE}(?:start|begin|onset|offset|tmin|xmin){AFTER}"),
    "end": re.compile(f"{BEFORE}(?:end|stop|tmax|xmax){AFTER}"),
}
"""Usual names of times, in small letters only, such as ELAN's ``Begin Time - hh:mm:ss.ms``."""
FINE = re.compile(f".*[^s](?:{OTHER_UNITS})s?")
"""Names of times in another unit than seconds. The ``ms`` of ``ss.ms`` are decimals."""


def check_times(table: Table) -> None:
    """Check that no column of a manifest may be the time of a segment, which would be ignored.

    Raises:
        ManifestError: There is such a column.
    """
    for ours, name in find_times(table.header).items():
        raise ManifestError(
            f"{describe_time(table, ours, name)}Rename the column to {ours}, or to {name}_unused."
        )
    if problem := describe_duration(table):
        raise ManifestError(f"{problem} To read all files to their ends, leave it empty.")


def find_times(header: Sequence[str]) -> dict[str, str]:
    """Return the columns that may be the missing ``start`` and ``end``.

    Example:
        >>> find_times(["path", "Begin Time - ss.msec", "End Time - ss.msec"])
        {'start': 'Begin Time - ss.msec', 'end': 'End Time - ss.msec'}
    """
    letters = {name: _letters(name) for name in header}
    if any("onset" in text for text in letters.values()):  # an offset alone is a start
        letters = {name: text.replace("offset", "end") for name, text in letters.items()}
    return {
        ours: name
        for name, text in letters.items()
        for ours, usual in TIMES.items()
        if usual.fullmatch(text) and ours not in header
    }


def in_other_unit(name: str) -> bool:
    """Whether the name of a time has another unit than seconds.

    Example:
        >>> in_other_unit("Begin Time - msec"), in_other_unit("Begin Time - ss.msec")
        (True, False)
    """
    return FINE.fullmatch(_letters(name)) is not None


def describe_time(table: Table, ours: str, name: str) -> str:
    """Return the first sentences of the error of such a column."""
    told = f"'{table.source}': column '{name}' may be the {ours} of segments"
    if in_other_unit(name):
        return f"{told}, expected seconds. Add a column {ours} in seconds. "
    return f"{told} in seconds. "


def describe_duration(table: Table) -> str:
    """Return the problem of a table with ``start`` and a duration, but no ``end``; else ''."""
    lengths = [name for name in table.header if name.lower() in ("duration", "duration_s", "dur")]
    if "start" not in table.header or "end" in table.header or not lengths:
        return ""
    return (
        f"'{table.source}' has the columns start and {lengths[0]}. Add a column end with their "
        f"sum, in seconds."
    )


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())

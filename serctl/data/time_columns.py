"""Columns of a table that may be the times of segments under another name than start and end."""

import re
from collections.abc import Iterable

from serctl.data.tables import Table
from serctl.data.values import fill_missing, parse_seconds
from serctl.errors import ManifestError

BEFORE = "(?:t|time|timestamp|segment|seg|utterance|utt|clip|turn|audio)?"
UNITS = "(?:hhmmss|mmss|s|ss|sec|second)?"
OTHER_UNITS = "ms|msec|milli|millisecond|sample|frame"
AFTER = f"(?:time|timestamp|at|in)*(?:{UNITS}|{UNITS}(?:{OTHER_UNITS}))s?"
TIMES = {
    "start": re.compile(f"{BEFORE}(?:start|begin|onset|offset|tmin|xmin){AFTER}"),
    "end": re.compile(f"{BEFORE}(?:end|stop|tmax|xmax){AFTER}"),
}
"""Usual names of times, in small letters only, such as ELAN's ``Begin Time - hh:mm:ss.ms``."""
PAIRS = (
    *(("from", "to"), ("in", "out"), ("t0", "t1")),
    *(("anfang", "ende"), ("beginn", "ende"), ("von", "bis"), ("start", "ende")),
)
"""Names that are times only if a table has both and all their values are seconds."""
IN_OTHER_UNIT = re.compile(f"(?!froms$|.*mmss$).*[^s](?:{OTHER_UNITS})s?")
"""Names of times in another unit than seconds. The ``ms`` of ``ss.ms`` are decimals."""


def check_times(table: Table) -> None:
    """Check that no column of a manifest may be the time of a segment, which would be ignored.

    Raises:
        ManifestError: There is such a column.
    """
    if found := find_times(table):
        ours, name = next(iter(found.items()))
        names, unused = (
            " and ".join(f"{n}{end}" for n in found.values()) for end in ("", "_unused")
        )
        raise ManifestError(
            f"{describe_time(table, ours, name)}Rename {names} to {' and '.join(found)}, or to "
            f"{unused}."
        )
    if problem := describe_duration(table):
        raise ManifestError(f"{problem} To read all files to their ends, leave it empty.")


def find_times(table: Table, mapped: Iterable[str] = ()) -> dict[str, str]:
    """Return the columns that may be the missing ``start`` and ``end``, such as ELAN's.

    Args:
        table: With serctl's names where they are known.
        mapped: Earlier names of columns with serctl's names, which one of a pair may be.
    """
    letters = {name: _letters(name) for name in table.header}
    if any("onset" in text for text in letters.values()):  # an offset alone is a start
        letters = {name: text.replace("offset", "end") for name, text in letters.items()}
    found = {
        ours: name
        for name, text in letters.items()
        for ours, usual in TIMES.items()
        if usual.fullmatch(text)
    }
    found = _find_pair(table, mapped) | found
    return {ours: name for ours, name in found.items() if ours not in table.header}


def _find_pair(table: Table, mapped: Iterable[str]) -> dict[str, str]:
    """Return the columns of the first pair of `PAIRS`; a mapped one has another name now."""
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in (*table.header, *mapped)}
    for pair in PAIRS:
        both = [[n for n in plain if re.fullmatch(word + AFTER, plain[n])] for word in pair]
        here = [[name for name in names if name in table.header] for names in both]
        if all(both) and all(_are_seconds(table, name) for names in here for name in names):
            return {ours: names[0] for ours, names in zip(TIMES, here, strict=True) if names}
    return {}


def _are_seconds(table: Table, column: str) -> bool:
    """Whether a column holds seconds. An empty end is the end of the file."""
    texts = [text for row in table.rows if (text := fill_missing(row[column]))]
    try:
        return bool([parse_seconds(text) for text in texts])
    except ValueError:
        return False


def in_other_unit(name: str) -> bool:
    """Whether the name of a time has another unit than seconds.

    Example:
        >>> in_other_unit("Begin Time - msec"), in_other_unit("Begin Time - ss.msec")
        (True, False)
    """
    return IN_OTHER_UNIT.fullmatch(_letters(name)) is not None


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

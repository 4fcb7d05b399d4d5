"""Times of segments in a table: columns of other names are read, set aside or refused."""

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from serctl.data.audio import SAMPLE_RATE, SLACK, measure_samples
from serctl.data.audio_file import is_audio_file
from serctl.data.tables import Table
from serctl.data.time_columns import (
    describe_duration,
    describe_time,
    find_times,
    in_other_unit,
)
from serctl.data.values import parse_seconds
from serctl.errors import AudioError, ManifestError

CLOCK = re.compile(r"\s*\d+:\d\d:\d\d([.,]\d+)?\s*")
"""A time whose unit is plain, such as MELD's ``00:16:16,059``."""
ALIKE = 0.5
"""Maximum seconds between the length of a clip and that of its times, where it was cut."""


def settle_times(
    table: Table, columns: Mapping[str, str], find: Callable[[Mapping[str, str]], Path]
) -> tuple[Table, list[str]]:
    """Return a table whose times of segments are in ``start`` and ``end``, and notes.

    Two columns such as StartTime and EndTime of the form HH:MM:SS are segments if they lie within
    their files. If the files are as long as the segments and do not hold them, they were cut
    already, and the times are those of another recording.

    Args:
        table: With serctl's names where they are known.
        columns: See `read_table`.
        find: Returns the audio file of a row.

    Raises:
        ManifestError: The meaning of a column is not plain. It would be ignored.
    """
    found = find_times(table, columns.values()).items()
    named = {ours: name for ours, name in found if ours not in columns}
    if len(named) == 2 and all(
        CLOCK.fullmatch(row[own]) for row in table.rows for own in named.values()
    ):
        return _place(table, named["start"], named["end"], find)
    for ours, name in named.items():
        remedy = f"Read whole files: --column {ours}="
        if not in_other_unit(name):
            remedy = f"Read it: --column {ours}={shlex.quote(name)} {remedy}"
        raise ManifestError(describe_time(table, ours, name) + remedy)
    if "end" not in columns and (problem := describe_duration(table)):
        raise ManifestError(f"{problem} To read all files to their ends: --column end=")
    return _set_aside(table, columns.values()), []


def _set_aside(table: Table, mapped: Collection[str] = ()) -> Table:
    """Rename columns whose times are not those of segments, so that a manifest may have them."""
    while found := find_times(table, mapped):
        table = table.rename({name: f"{name}_unused" for name in found.values()})
    return table


def _place(
    table: Table, start: str, end: str, find: Callable[[Mapping[str, str]], Path]
) -> tuple[Table, list[str]]:
    """Compare clock times with the lengths of the files."""
    seconds: dict[Path, float] = {}
    inside, cut, odd = 0, 0, 0
    for row in table.rows:
        path, first, last = find(row), parse_seconds(row[start]), parse_seconds(row[end])
        with suppress(AudioError):
            if path not in seconds:
                seconds[path] = measure_samples(path) / SAMPLE_RATE
            alike = abs(seconds[path] - (last - first)) <= ALIKE
            within = last <= seconds[path] + SLACK
            inside, cut = inside + within, cut + alike
            odd += within and not alike
    if not any(is_audio_file(find(row)) for row in table.rows):
        return table, []  # refused later, with the folder to name
    known = sum(find(row) in seconds for row in table.rows)
    both = f"{start} and {end}"
    if inside == known > 0:
        return table.rename({start: "start", end: "end"}), [f"segments read from {both}"]
    if not odd and 2 * cut > known:
        note = f"{both} are times of another recording, the files are clips as long: read whole"
        return _set_aside(table), [note]
    quoted = f"--column start={shlex.quote(start)} --column end={shlex.quote(end)}"
    raise ManifestError(
        f"'{table.source}': {both} lie within {inside} of {known} audio files, and {cut} files are "
        f"as long as the segment, so their meaning is ambiguous. Segments of the files: {quoted} "
        f"Whole files: --column start= --column end="
    )

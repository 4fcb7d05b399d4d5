"""Speaker turns of RTTM files (NIST's Rich Transcription Time Marked).

Source: NIST, Rich Transcription 2009 evaluation plan, appendix A.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from serctl.errors import SerctlError, first_few

Records = list[tuple[int, list[str]]]
"""Line numbers and fields; the first one is the header."""

LEAST_FIELDS, MOST_FIELDS = 8, 10
GENERIC = re.compile(r"(?:speaker|spkr?|s)?[_-]?\d+|[a-z]", re.IGNORECASE)
"""Names such as SPEAKER_00, which diarization programs give again in every recording."""


def split_rttm(path: Path, text: str, error: type[SerctlError]) -> tuple[Records, list[str]]:
    """Return the turns as a table with path, start, end and speaker, and notes on what was read.

    Programs write the same channel for all turns, 1 or 0, if they read the mean of all channels.

    Raises:
        SerctlError: A turn has more fields than RTTM, as with a blank in a name, or is cut off; or
            channels are counted from 0.
    """
    records: Records = [(0, ["path", "start", "end", "speaker"])]
    channels: list[str] = []
    for line, fields in enumerate(map(str.split, text.splitlines()), 1):
        if not fields or fields[0].upper() != "SPEAKER":
            continue
        if not LEAST_FIELDS <= len(fields) <= MOST_FIELDS:
            raise error(
                f"'{path}', line {line} has {len(fields)} fields, expected {LEAST_FIELDS} to "
                f"{MOST_FIELDS}. RTTM separates fields by blanks: names cannot have any, and empty "
                f"fields are <NA>."
            )
        try:
            end = f"{float(fields[3]) + float(fields[4]):.6f}"
        except ValueError:
            end = fields[4]  # refused as a number, with its line
        records.append((line, [fields[1], fields[3], end, fields[7]]))
        channels.append(fields[2].replace("<NA>", ""))
    notes = _separate_speakers([fields for _, fields in records[1:]])
    what = "speakers' turns in the mean of the channels"
    used = set(channels) - {""}
    if used - {"0"} and "0" in used:
        raise error(
            f"'{path}' has the channels {', '.join(sorted(used))}, expected numbers from 1. Add 1 "
            f"to each channel"
        )
    if used - {"0", "1"}:
        what = "speakers' turns on their channels"
        for (_, fields), channel in zip(records, ["channel", *channels], strict=True):
            fields.append(channel)
    return records, [f"read as RTTM: {what}", *notes]


def _separate_speakers(turns: Sequence[list[str]]) -> list[str]:
    """Put the recording before speakers' names that a program gave; return a note on it."""
    places: dict[str, set[str]] = {}
    for place, _, _, speaker in turns:
        places.setdefault(speaker, set()).add(place)
    given = {name: min(found) for name, found in places.items() if GENERIC.fullmatch(name)}
    several = sorted(name for name in given if len(places[name]) > 1)
    if not several:
        return []
    for fields in turns:
        if fields[3] in given:
            fields[3] = f"{fields[0]}-{fields[3]}"
    return [
        f"{first_few(several)} in several recordings taken as different speakers, such as "
        f"'{given[several[0]]}-{several[0]}'"
    ]

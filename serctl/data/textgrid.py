"""Praat TextGrid files: tiers of labelled intervals that cover a recording without gaps."""

from collections.abc import Mapping, Sequence

Interval = tuple[float, float, str]
"""Start and end in seconds, and the label."""


def format_textgrid(tiers: Mapping[str, Sequence[Interval]], duration: float) -> str:
    """Return a TextGrid in Praat's long text format.

    Args:
        tiers: Intervals by name of the tier, in order, without overlap and within the recording.
        duration: Of the recording in seconds; what no interval covers gets an empty one.

    Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["xmin = 0", f"xmax = {duration:.6f}", "tiers? <exists>", f"size = {len(tiers)}"]
    lines.append("item []:")
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        covered = _fill_gaps(intervals, duration)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f"        name = {_quote(name)}", "        xmin = 0"]
        lines += [f"        xmax = {duration:.6f}", f"        intervals: size = {len(covered)}"]
        for index, (start, end, label) in enumerate(covered, 1):
            lines += [f"        intervals [{index}]:", f"            xmin = {start:.6f}"]
            lines += [f"            xmax = {end:.6f}", f"            text = {_quote(label)}"]
    return "\n".join(lines) + "\n"


def _fill_gaps(intervals: Sequence[Interval], duration: float) -> list[Interval]:
    covered: list[Interval] = []
    position = 0.0
    for start, end, label in intervals:
        if round(start - position, 6) > 0:
            covered.append((position, start, ""))
        covered.append((start, end, label))
        position = end
    if not covered or round(duration - position, 6) > 0:
        covered.append((position, duration, ""))
    return covered


def _quote(text: str) -> str:
    """Quote a string as Praat does: quotation marks are doubled."""
    return '"' + " ".join(text.split()).replace('"', '""') + '"'

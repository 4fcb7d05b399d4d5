"""Praat TextGrid files: tiers of labelled intervals that cover a recording without gaps."""

import re
from collections.abc import Iterator, Mapping, Sequence

from serctl.hashes import hash_document

Interval = tuple[float, float, str]
"""Start and end in seconds, and the label."""


MARK = "! serctl "
"""Begins the last line, a comment in Praat's format, with the hash of the lines before it."""

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(?:!.*|([-+]?\d\S*))')
"""A quoted string, a comment to the end of the line, or a word that begins like a number."""
NUMBER = re.compile(r"(?>([-+]?(?!0[xX])\d+\.?\d*(?:[eE][-+]?\d+)?))(?:[^\W\d]\S*|!\S*)?")
"""A number. Praat reads letters directly behind it as a comment (``0s``)."""


def parse_textgrid(text: str) -> dict[str, list[Interval]]:
    """Return the tiers of intervals of a TextGrid, in Praat's long or short text format.

    Tiers of points are left out.

    Raises:
        ValueError: The text is not a TextGrid, is incomplete, or has two tiers of one name.

    Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    if not text.lstrip().startswith('File type = "ooTextFile"') or '"TextGrid"' not in text[:200]:
        raise ValueError("it does not begin like a TextGrid")
    tokens = _read_tokens(text)
    try:
        _ = [next(tokens) for _ in range(4)]  # "ooTextFile", "TextGrid", xmin, xmax
        tiers: dict[str, list[Interval]] = {}
        for _ in range(_count(next(tokens))):
            kind, name, _, _, size = (next(tokens) for _ in range(5))
            if kind == "IntervalTier":
                if name in tiers:
                    raise ValueError(f"two tiers have the name '{name}', rename one in Praat")
                tiers[str(name)] = [_read_interval(tokens) for _ in range(_count(size))]
            else:
                _ = [(next(tokens), next(tokens)) for _ in range(_count(size))]
    except (StopIteration, RuntimeError):
        raise ValueError("it is incomplete") from None
    return tiers


def _read_tokens(text: str) -> Iterator[str | float]:
    """Yield strings and numbers, the only tokens that Praat reads."""
    for match in TOKEN.finditer(text):
        if match[1] is not None:
            yield match[1]
        elif match[2] is not None:
            number = NUMBER.fullmatch(match[2])
            if number is None:  # 0,5 and 50% and 1/2: their first digits alone are another number
                raise ValueError(f"'{match[2]}' is no decimal number, write it like 0.5")
            yield float(number[1])


def _read_interval(tokens: Iterator[str | float]) -> Interval:
    start, end, label = next(tokens), next(tokens), next(tokens)
    if not isinstance(start, float) or not isinstance(end, float) or not isinstance(label, str):
        raise ValueError("an interval is not two numbers and a label")
    return start, end, label.replace('""', '"')


def _count(token: str | float) -> int:
    if not isinstance(token, float) or not token < 1e9:
        raise ValueError(f"'{token}' is not a number of tiers or intervals")
    return int(token)


def format_textgrid(tiers: Mapping[str, Sequence[Interval]], duration: float) -> str:
    """Return a TextGrid in Praat's long text format.

    Args:
        tiers: Intervals by name of the tier, in order, without overlap and within the recording.
        duration: Seconds of the recording. Gaps are filled with empty intervals.

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
    text = "\n".join(lines) + "\n"
    return f"{text}{MARK}{hash_document(text)}\n"


def is_unchanged(text: str) -> bool:
    """Whether `format_textgrid` wrote a TextGrid, which was not changed since.

    Praat leaves the mark out when it saves a TextGrid.
    """
    body, _, digest = text.rpartition(MARK)
    return bool(body) and digest.strip() == hash_document(body)


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
    """Quote a string like Praat, with doubled quotation marks."""
    return '"' + " ".join(text.split()).replace('"', '""') + '"'

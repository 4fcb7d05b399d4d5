"""Values of table cells as text: missing values, numbers and durations."""

import math
import re
import unicodedata

MISSING = frozenset(
    [
        "na",
        "n/a",
        "nan",
        "null",
        "none",
        "<na>",
        "#na",
        "#n/a",
        "-nan",
        "1.#ind",
        "-1.#ind",
        "1.#qnan",
    ]
)
"""Marks of a missing value in lower case (source: na_values of pandas.read_csv)."""
GENDERS = {"female": ("f", "w", "woman"), "male": ("m", "man")}
"""Other spellings of the genders of corpora. German ones write w."""
JOINERS = "\u200c\u200d"
"""Invisible characters that have a meaning in some scripts and are kept."""
DURATION = re.compile(r"(?:(\d+) days?)? ?(?:(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?))?")


def fill_missing(text: str) -> str:
    """Return '' for a mark of a missing value, else the text without surrounding blanks.

    Example:
        >>> fill_missing(" NaN "), fill_missing("n/a"), fill_missing(" 3.5 ")
        ('', '', '3.5')
    """
    text = text.strip()
    return "" if text.lower() in MISSING else text


def parse_gender(text: str) -> str:
    """Return a gender in lower case, with known spellings joined; '' for a missing value.

    Example:
        >>> parse_gender("F"), parse_gender("Male"), parse_gender("nonbinary"), parse_gender("NA")
        ('female', 'male', 'nonbinary', '')
    """
    text = fill_missing(text).lower()
    return next((name for name, spellings in GENDERS.items() if text in spellings), text)


def remove_invisible(text: str) -> str:
    r"""Return a name without format characters, as web pages have, and surrounding blanks.

    Example:
        >>> remove_invisible("an\u00adgry\u200b ")
        'angry'
    """
    if not text.isprintable():
        kept = (c for c in text if unicodedata.category(c) != "Cf" or c in JOINERS)
        text = "".join(kept)
    return text.strip()


def parse_number(text: str) -> float:
    """Return a finite number. A decimal comma is read if it cannot be a thousands separator.

    Raises:
        ValueError: The text is not a finite number.

    Example:
        >>> parse_number("3.5"), parse_number("3,25"), parse_number("-1e-3")
        (3.5, 3.25, -0.001)
    """
    if "_" in text:  # Python reads 1_000 as a number
        raise ValueError(f"'{text}' is no number")
    comma = re.fullmatch(r"\s*[+-]?\d+,(?!\d{3}\s*$)\d+\s*", text)
    number = float(text.replace(",", ".") if comma else text)
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is not finite")
    return number


def parse_seconds(text: str) -> float:
    """Return seconds from a number or from a duration in the format of pandas and audformat.

    Raises:
        ValueError: The text has another format.

    Example:
        >>> parse_seconds("1.5"), parse_seconds("0 days 00:01:02.5"), parse_seconds("0 days")
        (1.5, 62.5, 0.0)
        >>> parse_seconds("00:16:16,059")  # of subtitles, as in MELD
        976.059
    """
    found = DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        return parse_number(text)
    days, hours, minutes, seconds = (
        float((part or "0").replace(",", ".")) for part in found.groups()
    )
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds

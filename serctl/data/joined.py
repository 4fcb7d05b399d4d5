"""What several tables that become one manifest have in common, and what not."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from serctl.data.manifest import ATTRIBUTES, Utterance
from serctl.errors import UsageError, count, first_few

OTHER_SCALE = 1.25
"""Least ratio of the largest values of an attribute on two scales, such as 1 to 5 and 1 to 7."""
MERGE = (
    "make a project of each corpus with serctl init -C FOLDER, and merge them: serctl manifest "
    "merge A/manifest.csv B/manifest.csv --prefix a- --prefix b- -o manifest.csv"
)
"""What keeps two corpora of one name apart."""


def check_joined(rows: Iterable[Utterance], what: str, remedy: str) -> None:
    """Check that no id is in several tables.

    Raises:
        UsageError: One is. ``what`` and ``remedy`` are for the message.
    """
    counts = Counter(row.utterance_id for row in rows)
    if clashes := sorted(name for name in counts if counts[name] > 1):
        raise UsageError(
            f"{len(clashes)} ids are in several {what} ({first_few(clashes)}), expected unique "
            f"ids. {remedy}"
        )


def describe_joined(parts: Sequence[tuple[str, Sequence[Utterance]]], remedy: str) -> list[str]:
    """Return notes on speakers of several tables, and on attributes of different scales.

    Args:
        parts: Name and utterances of each table.
        remedy: How speakers of the same name are kept apart.
    """
    return [*_note_speakers(parts, remedy), *_note_scales(parts)]


def _note_speakers(parts: Sequence[tuple[str, Sequence[Utterance]]], remedy: str) -> list[str]:
    seen: set[str] = set()
    shared: set[str] = set()
    for _, rows in parts:
        speakers = {row.speaker for row in rows if row.speaker}
        shared |= speakers & seen
        seen |= speakers
    if not shared:
        return []
    return [
        f"Several tables have {count(len(shared), 'speaker')} of the same name "
        f"({first_few(sorted(shared))}), and the result has one person for each name. If they are "
        f"different people, {remedy}"
    ]


def _note_scales(parts: Sequence[tuple[str, Sequence[Utterance]]]) -> list[str]:
    """Return a note on the first attribute whose ranges are those of different scales."""
    for number, attribute in enumerate(ATTRIBUTES):
        rated = [
            (name, [value for row in rows if not math.isnan(value := row.attributes()[number])])
            for name, rows in parts
        ]
        ranges = [(name, min(values), max(values)) for name, values in rated if values]
        lows, highs = [low for _, low, _ in ranges], [high for _, _, high in ranges]
        if ranges and (
            min(lows) < 0 <= max(lows) or max(highs) > OTHER_SCALE * max(min(highs), 0.0)
        ):
            told = ", ".join(f"{low:g} to {high:g} in {name}" for name, low, high in ranges)
            return [
                f"The attributes may have different scales ({attribute}: {told}). Training with "
                f"attribute_weight and CCC need one scale: convert the values in one of the tables."
            ]
    return []

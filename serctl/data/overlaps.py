"""Utterances of different splits that are the same stretch of a recording, in whole or in part."""

import math
import os
from collections.abc import Iterable

from serctl.data.manifest import Utterance
from serctl.errors import count, first_few

TOLERANCE = 0.1
"""Seconds that two utterances may share, because the boundaries of turns are rounded."""


def find_overlaps(
    rows: Iterable[Utterance], equal: bool = True
) -> list[tuple[Utterance, Utterance]]:
    """Return pairs of utterances of different splits that share more than `TOLERANCE` seconds.

    Two channels of a file are different audio, but the mean of all channels shares audio with each.
    No file is read, so copies of a file are not found. ``equal`` includes pairs of the same start,
    end and channel.
    """
    files: dict[str, list[Utterance]] = {}
    folders: dict[str, str] = {}  # a folder is resolved once, which takes most of the time
    for row in rows:
        file = os.fspath(row.path)
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        is_link = os.path.islink(file)  # noqa: PTH114  (five times as fast as Path)
        file = os.path.realpath(file) if is_link else f"{folders[folder]}/{name}"
        files.setdefault(file, []).append(row)
    return [
        pair
        for same in files.values()
        if len({row.split for row in same}) > 1
        for pair in _find_in_file(same)
        if equal or len({(row.start, row.end, row.channel) for row in pair}) > 1
    ]


def _find_in_file(rows: Iterable[Utterance]) -> Iterable[tuple[Utterance, Utterance]]:
    """Yield the pairs of one file, in the order of the start of the later utterance."""
    begun: list[Utterance] = []
    for row in sorted(rows, key=lambda row: (row.start, row.utterance_id)):
        begun = [old for old in begun if _end(old) - row.start > TOLERANCE]
        for old in begun:
            shared = min(_end(old), _end(row)) - row.start
            apart = old.channel and row.channel and old.channel != row.channel
            if shared > TOLERANCE and old.split != row.split and not apart:
                yield old, row
        begun.append(row)


def _end(row: Utterance) -> float:
    return math.inf if row.end is None else row.end


def describe_overlaps(rows: Iterable[Utterance], split: str = "") -> list[str]:
    """Return a sentence on utterances that share audio with another split; [] without any.

    Args:
        rows: Utterances of all splits.
        split: Count only pairs with an utterance of this split; '' counts all.
    """
    pairs = [pair for pair in find_overlaps(rows) if not split or split in {r.split for r in pair}]
    if not pairs:
        return []
    names = [" and ".join(f"{row.utterance_id} ({row.split})" for row in pair) for pair in pairs]
    return [
        f"{count(len(pairs), 'pair')} of utterances of different splits share audio of a recording "
        f"({first_few(names)}), so metrics are optimistic. Keep a recording in one split."
    ]

"""Utterances that cannot be read: refused by name, or skipped and listed."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from serctl.data.manifest import Utterance
from serctl.errors import SerctlError
from serctl.files import write_atomic

FAILURES = "failures.csv"
"""Beside serctl.toml: what the last run of each encoder had to leave out."""

Failures = dict[str, SerctlError]
"""Utterance ids, and why they cannot be read."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def capture(work: Callable[[Item], Made]) -> Callable[[Item], Made | SerctlError]:
    """Return ``work`` that hands back a user's error instead of raising it."""

    def captured(item: Item) -> Made | SerctlError:
        try:
            return work(item)
        except SerctlError as error:
            return error

    return captured


def check_failures(failures: Failures, skip_bad: bool) -> None:
    """Raise the first of the failures and count the others, unless they may be skipped."""
    if not failures or skip_bad:
        return
    first = next(iter(failures.values()))
    more = f" ({len(failures) - 1} more are like it.)" if len(failures) > 1 else ""
    raise type(first)(f"{first}{more} Leave out what cannot be read with --skip-bad.")


def list_failures(
    path: Path, encoder: str, rows: Sequence[Utterance], failures: Failures
) -> Path | None:
    """Write the utterances that this encoder could not read beside those of other encoders."""
    listed: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            listed = [row for row in csv.DictReader(file) if row.get("encoder") != encoder]
    listed += [
        {
            "encoder": encoder,
            "utterance_id": row.utterance_id,
            "path": str(row.path),
            "error": str(failures[row.utterance_id]),
        }
        for row in rows
        if row.utterance_id in failures
    ]
    if listed:
        with write_atomic(path) as file:
            writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(listed)
    else:
        path.unlink(missing_ok=True)
    return path if failures else None

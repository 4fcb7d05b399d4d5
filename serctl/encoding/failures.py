"""Utterances that cannot be read: raised as an error, or skipped and listed."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from serctl.data.manifest import Utterance
from serctl.encoding.pipeline import capture
from serctl.errors import SerctlError
from serctl.files import remove_file, write_atomic
from serctl.locks import hold
from serctl.names import join_cells

FAILURES = "failures.csv"
"""File in the project folder with the utterances that the last run of each key skipped."""


@dataclass(frozen=True)
class FailedUtterance:
    """A row of failures.csv.

    Attributes:
        encoder: For people.
        key: Digest of the frames' key, or source of the transcripts.
        utterance_id: Of the manifest.
        path: Its audio file.
        source: Hash of what it is read from.
        error: Why it cannot be read.
    """

    encoder: str
    key: str
    utterance_id: str
    path: str
    source: str
    error: str


COLUMNS = tuple(field.name for field in fields(FailedUtterance))

Failures = dict[str, SerctlError]
"""Utterance ids, and the errors of reading them."""


def check_failures(failures: Failures, skip_bad: bool, whole: Sequence[Utterance] = ()) -> None:
    """Raise the first of the failures and count the others, unless they may be skipped.

    If all of the ``whole`` utterances failed, the error does not offer to skip them.
    """
    if not failures or skip_bad:
        return
    first = next(iter(failures.values()))
    if len(failures) == len(whole) > 1:
        moved = (
            " If the corpus was moved, make the manifest again: serctl init --overwrite --corpus "
            "NAME --root DIR (of a table: serctl init --overwrite --manifest CSV --root DIR)"
        )
        absent = not any(row.path.exists() for row in whole)
        raise type(first)(
            f"None of {len(whole):,} utterances can be read. {first}{moved if absent else ''}"
        )
    more = f" ({len(failures) - 1} more.)" if len(failures) > 1 else ""
    raise type(first)(f"{first}{more} To skip unreadable utterances: --skip-bad")


def list_failures(
    path: Path,
    encoder: str,
    key: str,
    rows: Sequence[Utterance],
    failures: Failures,
    hash_of: Callable[[Utterance], str],
    whole: Iterable[str],
) -> Path | None:
    """Replace the entries of ``rows`` in failures.csv by the current failures.

    Concurrent processes wait for each other.

    Args:
        path: Path of failures.csv.
        encoder: Name of the encoder, for the reader.
        key: Digest of the feature key, or source of the transcripts.
        rows: Utterances that were processed.
        failures: Utterances of ``rows`` that could not be read.
        hash_of: Returns the hash of an utterance's source, to detect repaired files.
        whole: Utterances of the manifest. Entries of those not in ``rows`` are kept.

    Returns:
        ``path`` if there are failures.
    """
    if not failures and not path.exists():
        return None
    others = set(whole) - {row.utterance_id for row in rows}
    with hold(path, wait=True):
        before = _read(path)
        listed = [r for r in before if r.key != key or r.utterance_id in others]
        listed += [
            FailedUtterance(
                encoder=encoder,
                key=key,
                utterance_id=row.utterance_id,
                path=str(row.path),
                source=find_source(hash_of, row),
                error=str(failures[row.utterance_id]),
            )
            for row in rows
            if row.utterance_id in failures
        ]
        if not listed:
            remove_file(path)
        elif listed != before:
            with write_atomic(path) as file:
                lines = (join_cells(one) for one in (COLUMNS, *map(astuple, listed)))
                file.writelines(f"{line}\n" for line in lines)
    return path if failures else None


def read_failures(path: Path, key: str) -> dict[str, str]:
    """Return the utterances listed under a key, and the hashes of their sources."""
    return {row.utterance_id: row.source for row in _read(path) if row.key == key}


def find_source(hash_of: Callable[[Utterance], str], row: Utterance) -> str:
    """Return the hash of an utterance's source; '' if there is none."""
    found = capture(hash_of)(row)
    return "" if isinstance(found, SerctlError) else found


def _read(path: Path) -> list[FailedUtterance]:
    """Return the rows; [] for a file that another program saved in another form.

    Its utterances then have no frames, and `serctl extract` lists them again.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if not {*COLUMNS} <= {*(rows.fieldnames or ())}:
                return []
            return [FailedUtterance(*(row.get(name) or "" for name in COLUMNS)) for row in rows]
    except (FileNotFoundError, csv.Error):
        return []

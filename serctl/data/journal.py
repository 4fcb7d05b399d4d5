"""Transcripts of an unfinished transcription as JSON lines, in the folder of the CSV file.

Every part of a transcription (``transcribe --shard i/n``) has its own journal, so that parts can
run in parallel. The last part to finish writes the CSV file.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from serctl.data.transcripts import COLUMNS, NUMBERS, Transcript, name_beside
from serctl.errors import SerctlError
from serctl.files import remove_file, write_atomic
from serctl.locks import hold

WHOLE = (1, 1)
"""The part that is the whole work."""


class Journal:
    """Finished rows, appended batch by batch. A kill loses only the current batch.

    One process at a time writes a journal, by the lock of `hold`.

    Args:
        path: Path of the CSV file that is written at the end.
        source: Source of the transcripts. Every source has its own journals.
        part: i and n: part of the work.
    """

    def __init__(self, path: Path, source: str, part: tuple[int, int] = WHOLE) -> None:
        stem = name_beside(path, source).stem
        number = "" if part == WHOLE else f".{part[0]}-of-{part[1]}"
        self.path = path.with_name(f"{stem}{number}.journal")
        self._csv, self._source, self._part = path, source, part
        self._file: TextIO | None = None

    def read(self) -> list[Transcript]:
        """Return the rows of an interrupted run, without damaged or incomplete lines."""
        return _read_journal(self.path, self._source)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock this part of the work for the block.

        Parts may run in parallel with each other, but not with a transcription of the whole.

        Raises:
            SerctlError: Another process holds the lock.
        """
        whole = Journal(self._csv, self._source).path
        with hold(whole, shared=self._part != WHOLE), ExitStack() as stack:
            if self.path != whole:
                stack.enter_context(hold(self.path))
            yield

    def __enter__(self) -> "Journal":
        rows = self.read()
        with write_atomic(self.path) as file:
            file.write(json.dumps({"source": self._source}) + "\n")
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def append(self, rows: Sequence[Transcript]) -> None:
        """Append the rows of a batch and flush them to the disk."""
        assert self._file is not None
        self._file.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()


def list_journals(path: Path, source: str) -> list[Path]:
    """Return the journals of a source: that of the whole and those of all parts."""
    stem = name_beside(path, source).stem
    parts = path.parent.glob(f"{stem}.*-of-*.journal")
    return [it for it in (path.with_name(f"{stem}.journal"), *sorted(parts)) if it.exists()]


def read_journals(path: Path, source: str) -> list[Transcript]:
    """Return the rows of all journals of a source."""
    rows = [row for it in list_journals(path, source) for row in _read_journal(it, source)]
    return list({row.utterance_id: row for row in rows}.values())


def remove_journals(path: Path, source: str) -> None:
    """Delete the journals of a source after their rows are in the CSV, except locked ones."""
    for journal in list_journals(path, source):
        try:
            with hold(journal):
                remove_file(journal)
        except SerctlError:  # the next transcription removes it
            continue


def _read_journal(path: Path, source: str) -> list[Transcript]:
    if not path.exists():
        return []
    first, *lines = path.read_bytes().split(b"\n")
    if (_parse_line(first) or {}).get("source", source) != source:
        return []  # another source, whose name makes the same file name
    parsed = [_parse_line(line) for line in lines]
    rows = [Transcript(**row) for row in parsed if row and _is_transcript(row)]
    return list({row.utterance_id: row for row in rows}.values())


def _is_transcript(row: dict[str, Any]) -> bool:
    """Return whether a line of the journal holds a complete row."""
    kinds: dict[str, Any] = {name: (float, int, type(None)) for name in NUMBERS}
    return row.keys() == set(COLUMNS) and all(
        isinstance(value, kinds.get(name, str)) for name, value in row.items()
    )


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

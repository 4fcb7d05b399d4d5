"""Transcripts of an unfinished transcription: JSON lines beside the CSV that will hold them.

Every part of a transcription (``transcribe --shard i/n``) has a journal of its own, so that parts
run at the same time. The one that finds all utterances done writes the CSV.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from serctl.data.transcripts import COLUMNS, NUMBERS, Transcript, name_beside
from serctl.errors import SerctlError
from serctl.files import remove_file, write_atomic
from serctl.locks import hold

WHOLE = (1, 1)
"""The part that is everything."""


class Journal:
    """Rows finished so far, appended batch by batch; a kill loses only the batch at work.

    One process at a time writes a journal: `hold` keeps it.

    Args:
        path: Of the CSV that will be written when all rows are there.
        source: Of the transcripts; every source has journals of its own.
        part: i and n: the part of the work whose rows these are.
    """

    def __init__(self, path: Path, source: str, part: tuple[int, int] = WHOLE) -> None:
        stem = name_beside(path, source).stem
        number = "" if part == WHOLE else f".{part[0]}-of-{part[1]}"
        self.path = path.with_name(f"{stem}{number}.journal")
        self._csv, self._source, self._part = path, source, part
        self._file: TextIO | None = None

    def read(self) -> list[Transcript]:
        """Return the rows of an interrupted run; a damaged or cut line drops only itself."""
        return _read_journal(self.path, self._source)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from the same work during a block.

        Parts may run at the same time. Nothing runs beside a transcription of the whole.

        Raises:
            SerctlError: Another process is at it.
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
        """Add the rows of a batch and wait until the disk has them."""
        assert self._file is not None
        self._file.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()


def list_journals(path: Path, source: str) -> list[Path]:
    """Return the journals of a source: of the whole and of every part."""
    stem = name_beside(path, source).stem
    parts = path.parent.glob(f"{stem}.*-of-*.journal")
    return [it for it in (path.with_name(f"{stem}.journal"), *sorted(parts)) if it.exists()]


def read_journals(path: Path, source: str) -> list[Transcript]:
    """Return the rows of all journals of a source."""
    rows = [row for it in list_journals(path, source) for row in _read_journal(it, source)]
    return list({row.utterance_id: row for row in rows}.values())


def remove_journals(path: Path, source: str) -> None:
    """Forget rows that stand in the CSV now; what another process still writes stays."""
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
    """Return whether a line of the journal holds a whole row."""
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

"""The words of each utterance: one CSV row each, and a JSON file beside it that says whose words.

While `serctl transcribe` runs, finished rows stand in a journal (JSON lines) beside the CSV, which
appears when all are there.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from serctl.errors import TranscriptsError
from serctl.files import read_json, write_atomic, write_json

TRANSCRIPTS_VERSION = 1
FROM_MANIFEST = "manifest"
"""Source of words that came with the corpus."""
HINT = "Make transcripts with: serctl transcribe (or, from the corpus' own: --from-manifest)"


@dataclass(frozen=True)
class Transcript:
    """The words of one utterance and how far they can be trusted; a row of the CSV.

    Attributes:
        utterance_id: Of the manifest.
        text: The words, '' for none.
        language: Code such as ``en``; '' where it is not known.
        mean_logprob: Mean log-probability of the tokens, end token counted; None for human words.
        no_speech: Probability that the audio holds no speech.
        compression_ratio: Bytes of the text over its zlib-compressed bytes; repetition is high.
        temperature: At which the text was sampled; 0 is the most likely text.
        suspect: Why the text may be a hallucination, reasons joined by ``+``; '' if it is not.
        audio: Hash of the audio file, by which a changed file is noticed.
    """

    utterance_id: str
    text: str
    language: str = ""
    mean_logprob: float | None = None
    no_speech: float | None = None
    compression_ratio: float | None = None
    temperature: float | None = None
    suspect: str = ""
    audio: str = ""


COLUMNS = tuple(field.name for field in fields(Transcript))
NUMBERS = ("mean_logprob", "no_speech", "compression_ratio", "temperature")


@dataclass(frozen=True)
class Transcripts:
    """All transcripts of a project; ``source`` goes into the keys of text features."""

    texts: dict[str, str]
    source: str


def read_transcripts(path: Path) -> Transcripts:
    """Read what `serctl transcribe` wrote.

    Raises:
        TranscriptsError: The file or the JSON beside it is missing or malformed.
    """
    rows = read_rows(path)
    document = _read_document(path)
    return Transcripts({row.utterance_id: row.text for row in rows}, document["source"])


def read_source(path: Path) -> str:
    """Return whose words the transcripts are, '' if there are none."""
    with suppress(TranscriptsError):
        return str(_read_document(path)["source"]) if path.is_file() else ""
    return ""


def read_rows(path: Path) -> list[Transcript]:
    """Read the rows of a transcripts CSV; further columns are ignored.

    Raises:
        TranscriptsError: The file is missing, lacks a column or holds a value that is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise TranscriptsError(f"Transcripts '{path}' cannot be read: {reason}. {HINT}") from None
    return [_parse(row, path, line) for line, row in enumerate(rows, 2)]


def write_transcripts(
    path: Path, rows: Iterable[Transcript], document: dict[str, Any]
) -> tuple[str, Path] | None:
    """Write the CSV and, beside it, the JSON that names its source; another source's are renamed.

    Args:
        path: Of the CSV.
        rows: In the order of the manifest; line breaks are written as line feeds.
        document: At least ``source``; also settings and versions.

    Returns:
        The other source, if there was one, and the CSV that its words are in now.
    """
    sidecar = path.with_suffix(".json")
    aside = _put_aside(path, document["source"])
    sidecar.unlink(missing_ok=True)  # never words of one source under the name of another
    with write_atomic(path) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            for name in NUMBERS:
                values[name] = "" if values[name] is None else f"{values[name]:.5g}"
            # A bare carriage return is not quoted by the writer but ends a row for the reader.
            writer.writerow(values | {"text": "\n".join(re.split("\r\n?", row.text))})
    write_json(sidecar, {"serctl_transcripts": TRANSCRIPTS_VERSION, **document})
    return aside


def read_finished(path: Path, source: str) -> list[Transcript]:
    """Return the finished rows of this source, also if others have taken their place since."""
    for place in (path, _beside(path, source)):
        with suppress(TranscriptsError):
            if _read_document(place)["source"] == source:
                return read_rows(place)
    return []


def _put_aside(path: Path, source: str) -> tuple[str, Path] | None:
    """Keep finished rows of another source: hours of a large model may have made them."""
    with suppress(TranscriptsError):
        found = _read_document(path)["source"]
        if found != source and path.exists():
            for suffix in (".csv", ".json"):
                path.with_suffix(suffix).replace(_beside(path, found).with_suffix(suffix))
            return found, _beside(path, found)
    return None


def _beside(path: Path, source: str) -> Path:
    slug = re.sub(r"[^a-zA-Z0-9._=]+", "-", source)
    return path.with_name(f"{path.stem}.{slug}.csv")


class Journal:
    """Rows finished so far, appended batch by batch; a kill loses only the batch at work.

    Args:
        path: Of the CSV that will be written when all rows are there.
        source: Of the words; every source has a journal of its own.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = _beside(path, source).with_suffix(".journal")
        self._source = source
        self._file: TextIO | None = None

    def read(self) -> list[Transcript]:
        """Return the rows of an interrupted run, less a last line that was cut off."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
        except (OSError, ValueError):
            return []
        if not whole or whole[0] != {"source": self._source}:
            return []
        return [Transcript(**row) for row in whole[1:]]

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

    def remove(self) -> None:
        """Forget the rows: they stand in the CSV now."""
        self.path.unlink(missing_ok=True)


def _read_document(path: Path) -> dict[str, Any]:
    document = read_json(path.with_suffix(".json"), TranscriptsError, HINT)
    if document.get("serctl_transcripts") != TRANSCRIPTS_VERSION or not document.get("source"):
        raise TranscriptsError(f"'{path.with_suffix('.json')}' names no source of words. {HINT}")
    return document


def _parse(row: dict[str, Any], path: Path, line: int) -> Transcript:
    try:
        values: dict[str, Any] = {name: row.get(name) or "" for name in COLUMNS}
        values |= {name: float(values[name]) if values[name] else None for name in NUMBERS}
        if not row.get("utterance_id") or row.get("text") is None:
            raise ValueError("no utterance_id or text")
    except ValueError as error:
        raise TranscriptsError(f"Transcripts '{path}' line {line}: {error}. {HINT}") from None
    return Transcript(**values)

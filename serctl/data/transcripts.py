"""Transcripts: a CSV file with a row per utterance, and a JSON file with their source.

While `serctl transcribe` runs, finished rows are in a journal, see `serctl.data.journal`. The CSV
file is written when all rows are finished.
"""

import csv
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from serctl.document import Document
from serctl.errors import TranscriptsError, first_few
from serctl.files import read_file, remove_file, write_atomic, write_binary

TRANSCRIPTS_VERSION: Literal[1] = 1
FROM_MANIFEST = "manifest"
"""Source of transcripts that the corpus contains."""
HINT = "Make transcripts with: serctl transcribe (or from the corpus: --from-manifest)"
SAVE = "Save it as CSV (UTF-8, commas), or move it away and transcribe again: serctl transcribe"


def transcribe_command(source: str) -> str:
    """Return the command that adds transcripts of a source."""
    return f"serctl transcribe{' --from-manifest' if source == FROM_MANIFEST else ''}"


@dataclass(frozen=True)
class Transcript:
    """The transcript of one utterance with its confidence; a row of the CSV file.

    Attributes:
        utterance_id: Id in the manifest.
        text: Transcript; '' without words.
        language: Code such as ``en``; '' if unknown.
        mean_logprob: Mean log-probability of the tokens with the end token; None if transcribed by
            humans.
        no_speech: Probability that the audio holds no speech.
        compression_ratio: Bytes of the text divided by its zlib-compressed bytes. Repetitions give
            a high value.
        temperature: Temperature of the sampling; 0 is the most probable text.
        suspect: Reasons for a possible hallucination, joined by ``+``; '' without a reason.
        audio: Hash of the audio file, or of the manifest's transcript, to detect changes.
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


class TranscriptsSidecar(Document):
    """The source of the transcripts: model, program and settings."""

    noun: ClassVar = "transcripts"
    place: ClassVar = "transcripts.json"
    error: ClassVar = TranscriptsError
    hint: ClassVar = HINT

    serctl_transcripts: Literal[1] = Field(description="format version")
    source: str = Field(
        min_length=1,
        description="id of model, revision, program and settings; `manifest` for the corpus",
    )
    backend: str = Field(default="auto", description="program that ran the recogniser")
    model: dict[str, Any] = Field(
        default_factory=dict, description="the encoder's part of a feature key"
    )
    settings: dict[str, Any] | None = Field(
        default=None, description="[options](options.md#transcribe) of the recogniser"
    )
    versions: dict[str, str] = Field(
        default_factory=dict, description="versions of the packages that transcribed"
    )


@dataclass(frozen=True)
class Transcripts:
    """All transcripts of a project. ``source`` is a part of the keys of text features."""

    texts: dict[str, str]
    source: str


def read_transcripts(path: Path) -> Transcripts:
    """Read the transcripts of `serctl transcribe`.

    Raises:
        TranscriptsError: The CSV or JSON file is missing or malformed.
    """
    rows = read_rows(path)
    return Transcripts(
        {row.utterance_id: row.text for row in rows}, read_transcripts_sidecar(path).source
    )


def read_transcripts_sidecar(path: Path) -> TranscriptsSidecar:
    """Read the JSON file of a CSV file.

    Raises:
        TranscriptsError: The file is missing or malformed.
    """
    return TranscriptsSidecar.read(path.with_suffix(".json"))


def read_source(path: Path) -> str:
    """Return the source of the transcripts; '' if there are none."""
    with suppress(TranscriptsError):
        return read_transcripts_sidecar(path).source if path.is_file() else ""
    return ""


def read_rows(path: Path) -> list[Transcript]:
    """Read the rows of a CSV file of transcripts. Further columns are ignored.

    Raises:
        TranscriptsError: The file or a column is missing, a value is not a number, or an id has two
            texts.
    """
    rows = [_parse(row, path, line) for line, row in enumerate(_read_table(path), 2)]
    if ambiguous := find_ambiguous(rows):
        raise TranscriptsError(
            f"Transcripts '{path}': {len(ambiguous)} ids have two texts: {first_few(ambiguous)}. "
            f"Keep one row of each."
        )
    return rows


def find_ambiguous(rows: Iterable[Transcript]) -> list[str]:
    """Return the ids that occur with different texts."""
    texts: dict[str, str] = {}
    return [
        row.utterance_id for row in rows if texts.setdefault(row.utterance_id, row.text) != row.text
    ]


def _read_table(path: Path) -> list[dict[str, Any]]:
    try:
        text = read_file(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names = list(reader.fieldnames or ())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TranscriptsError(f"Transcripts '{path}': column '{twice[0]}' is there twice.")
        if names and not {"utterance_id", "text"} <= {*names}:
            raise TranscriptsError(
                f"Transcripts '{path}' has the columns {', '.join(names)}, expected utterance_id "
                f"and text, separated by commas. {SAVE}"
            )
        return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        hint = HINT if isinstance(error, OSError) else SAVE
        raise TranscriptsError(f"Transcripts '{path}' cannot be read: {reason}. {hint}") from None


def write_transcripts(
    path: Path, rows: Iterable[Transcript], document: Mapping[str, Any]
) -> tuple[str, Path] | None:
    """Write the CSV file, and the JSON file with its source.

    Finished rows of another source are copied first. After a kill at any time, every finished row
    is in a CSV file with the JSON file of its source, or in the journal.

    Args:
        path: Path of the CSV file.
        rows: Rows in the order of the manifest. Line breaks are written as line feeds.
        document: Fields of `TranscriptsSidecar`, at least ``source``.

    Returns:
        The previous other source and the CSV file to which it was copied; None without one.
    """
    sidecar = TranscriptsSidecar(serctl_transcripts=TRANSCRIPTS_VERSION, **document)
    content = _format_rows(rows)
    aside = _copy_other_source(path, sidecar.source, content)
    # After a kill at any time, transcripts and the name of their source must match.
    if aside:
        remove_file(path)
    if not path.exists():
        remove_file(path.with_suffix(".json"))
    with write_atomic(path) as file:
        file.write(content)
    sidecar.write(path.with_suffix(".json"))
    return aside


def _format_rows(rows: Iterable[Transcript]) -> str:
    """Return rows as CSV text."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        for name in NUMBERS:
            values[name] = "" if values[name] is None else f"{values[name]:.5g}"
        # csv.writer does not quote a carriage return, but csv.reader ends a row at it.
        writer.writerow(values | {"text": "\n".join(re.split("\r\n?", row.text))})
    return file.getvalue()


def read_finished(path: Path, source: str) -> list[Transcript]:
    """Return the finished rows of this source, also if they were replaced by another source.

    A damaged row and rows of one id with different texts are left out, so that only they are
    transcribed again.

    Raises:
        TranscriptsError: The file is no CSV with the columns, as after another program saved it.
            Its rows would be lost.
    """
    for place in (path, name_beside(path, source)):
        if read_source(place) == source:
            rows = list(_parse_whole(place))
            ambiguous = set(find_ambiguous(rows))
            return [row for row in rows if row.utterance_id not in ambiguous]
    return []


def _parse_whole(path: Path) -> Iterator[Transcript]:
    for line, row in enumerate(_read_table(path), 2):
        with suppress(TranscriptsError):
            yield _parse(row, path, line)


def _copy_other_source(path: Path, source: str, content: str) -> tuple[str, Path] | None:
    """Copy finished rows of another source, which may have taken hours.

    If the JSON file is missing or damaged, the source is unknown, unless the CSV file equals the
    new content. In that case a process was killed between writing the two files.
    """
    if not path.exists():
        return None
    present = path.read_bytes()
    try:
        found = read_transcripts_sidecar(path).source
    except TranscriptsError:
        found = source if present == content.encode() else f"unknown-{zlib.crc32(present):08x}"
    if found == source:
        return None
    return found, copy_beside(path, found)


def copy_damaged(path: Path, source: str) -> Path | None:
    """Copy the CSV file of a source if `read_finished` leaves out rows, such as corrected ones."""
    if read_source(path) != source or len(_read_table(path)) == len(read_finished(path, source)):
        return None
    return copy_beside(path, "replaced")


def copy_beside(path: Path, name: str) -> Path:
    """Copy the CSV file and its JSON file under another name; return that of the CSV file."""
    other = name_beside(path, name)
    for old, new in ((path, other), (path.with_suffix(".json"), other.with_suffix(".json"))):
        if old.exists():
            with write_binary(new) as file:
                file.write(old.read_bytes())
    return other


def name_beside(path: Path, source: str) -> Path:
    """Return the path of the CSV file of another source in the folder of ``path``."""
    slug = re.sub(r"[^a-zA-Z0-9._=]+", "-", source)
    return path.with_name(f"{path.stem}.{slug}.csv")


def _parse(row: dict[str, Any], path: Path, line: int) -> Transcript:
    try:
        if None in row:
            raise ValueError("more fields than columns. Put a text with commas in quotation marks")
        values: dict[str, Any] = {name: row.get(name) or "" for name in COLUMNS}
        values |= {name: float(values[name]) if values[name] else None for name in NUMBERS}
        if not row.get("utterance_id") or row.get("text") is None:
            raise ValueError("no utterance_id or text")
    except ValueError as error:
        raise TranscriptsError(f"Transcripts '{path}' line {line}: {error}. {HINT}") from None
    return Transcript(**values)

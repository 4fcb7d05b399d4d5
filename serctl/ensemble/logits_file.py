"""Logits on disk: a CSV ``utterance_id,in_sample,<labels>`` and a JSON sidecar of the same stem.

Rows are joined on the utterance id. A CSV of another program needs no sidecar; see
`serctl.ensemble.outside`.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.data.labels import parse_emotion
from serctl.data.manifest import ATTRIBUTES
from serctl.documents.logits import LOGITS_VERSION, LogitsSidecar
from serctl.ensemble.logits import Logits
from serctl.ensemble.outside import parse_scores
from serctl.errors import LogitsError, first_few
from serctl.files import read_file, write_atomic


def write_logits(path: Path, logits: Logits) -> None:
    """Write the CSV, then its sidecar with the hash of the CSV, both atomically."""
    columns, numbers = [*logits.labels], logits.values
    if logits.attributes is not None:
        columns, numbers = [*columns, *ATTRIBUTES], np.hstack([numbers, logits.attributes])
    with write_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["utterance_id", "in_sample", *columns])
        for name, flag, row in zip(logits.ids, logits.in_sample, numbers, strict=True):
            writer.writerow([name, int(flag), *(f"{x:.9g}" for x in row)])
    facts = {"serctl_logits": LOGITS_VERSION, "kind": logits.kind, "labels": logits.labels}
    facts["csv_hash"] = hash_csv(path.read_bytes())
    logits.provenance.model_copy(update=facts).write(path.with_suffix(".json"))


def read_logits_sidecar(path: Path, content: bytes) -> LogitsSidecar | None:
    """Return the sidecar of a CSV with this content; None if there is none.

    A JSON file of another program that states no kind of scores is not a sidecar.

    Raises:
        LogitsError: The sidecar is damaged or belongs to another CSV: a process was killed between
            writing the two files, or one of them was changed.
    """
    sidecar = path.with_suffix(".json")
    if not (sidecar.is_file() and _states_kind(sidecar)):
        return None
    found = LogitsSidecar.read(sidecar)
    if found.csv_hash not in ("", hash_csv(content)):
        raise LogitsError(
            f"'{path}' differs from the file that '{sidecar.name}' describes. {LogitsSidecar.hint}"
        )
    return found


def _states_kind(path: Path) -> bool:
    """Whether a JSON file may be a sidecar. A damaged one is: `LogitsSidecar` names the damage."""
    try:
        document = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(document, dict) and not document.keys().isdisjoint(("serctl_logits", "kind"))


def read_logits(path: Path, name: str = "") -> Logits:
    """Read one model's logits or probabilities; ``name`` defaults to the file's stem.

    Raises:
        LogitsError: The file is missing, malformed, holds an id twice, an unknown label or a value
            that is not finite, or its sidecar does not fit it.
    """
    content = _read_content(path)
    sidecar = read_logits_sidecar(path, content)
    if sidecar is None:
        found = parse_scores(content, path, name or path.stem)
        origin = found.provenance.model_copy(update={"csv_hash": hash_csv(content)})
        return replace(found, provenance=origin)
    header, rows = _parse_rows(content, path)
    columns = _label_columns(path, header, sidecar)
    ids = tuple(row[header.index("utterance_id")] for row in rows)
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise LogitsError(f"'{path}' holds {len(twice)} utterances twice ({first_few(twice)}).")

    def numbers(names: Iterable[str]) -> NDArray[np.float64]:
        return _numbers(path, rows, [header.index(name) for name in names], ids)

    values = _numbers(path, rows, [*columns.values()], ids)
    known = "in_sample" in header
    return Logits(
        ids=ids,
        values=values,
        labels=tuple(columns),
        in_sample=numbers(["in_sample"])[:, 0] > 0 if known else np.zeros(len(ids), dtype=bool),
        name=name or path.stem,
        provenance=sidecar,
        attributes=numbers(ATTRIBUTES) if set(ATTRIBUTES) <= set(header) else None,
    )


def _read_content(path: Path) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        raise LogitsError(
            f"'{path}' does not exist. Make it with: serctl export-logits RUN"
        ) from None
    except OSError as error:
        raise LogitsError(f"'{path}' cannot be read: {error.strerror}.") from error


def _parse_rows(content: bytes, path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of a CSV that serctl wrote, all of the same length."""
    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    except (csv.Error, ValueError) as error:
        raise LogitsError(f"'{path}' is not a CSV file of logits: {error}.") from error
    ragged = [i for i, row in enumerate(rows, 2) if len(row) != len(header)]
    if ragged:
        raise LogitsError(
            f"'{path}': row {first_few(ragged)} has a wrong number of fields, expected "
            f"{len(header)}. {LogitsSidecar.hint}"
        )
    if not rows:
        raise LogitsError(f"'{path}' holds no rows. Export it again.")
    return header, rows


def hash_csv(content: bytes) -> str:
    """Return the BLAKE2b hash of the content of a CSV."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _label_columns(path: Path, header: Sequence[str], sidecar: LogitsSidecar) -> dict[str, int]:
    """Return label → column, and refuse labels that are missing or given twice."""
    if "utterance_id" not in header:
        raise LogitsError(f"'{path}' has the columns {', '.join(header)}, expected utterance_id.")
    beside = {"utterance_id", "in_sample", *ATTRIBUTES}
    found = [(parse_emotion(name), i) for i, name in enumerate(header) if name not in beside]
    columns = dict(found)
    if len(columns) < 2 or len(columns) < len(found):
        wrong = "fewer than two labels" if len(columns) < 2 else "a label given twice"
        raise LogitsError(f"'{path}' has {wrong}: {', '.join(header)}. {LogitsSidecar.hint}")
    expected = sidecar.labels or tuple(columns)
    if expected != tuple(columns):
        raise LogitsError(
            f"'{path}' has the columns {', '.join(columns)}, but its sidecar has the labels "
            f"{', '.join(expected)}. {LogitsSidecar.hint}"
        )
    return columns


def _numbers(
    path: Path, rows: list[list[str]], columns: list[int], ids: Sequence[str]
) -> NDArray[np.float64]:
    """Return ``(N, len(columns))`` finite numbers."""
    try:
        values = np.array([[float(row[i]) for i in columns] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise LogitsError(f"'{path}' holds a value that is not a number: {error}.") from error
    bad = [ids[int(i)] for i in np.flatnonzero(~np.isfinite(values).all(axis=1))]
    if bad:
        raise LogitsError(
            f"'{path}' holds NaN or infinite values for {len(bad)} utterances ({first_few(bad)}). "
            "The model diverged: train it again with a lower --learning-rate."
        )
    return values

"""Scores of other programs: a CSV without a sidecar, interpreted by its numbers and columns.

Scores are logits if one of them is below zero. They are probabilities or percent if every row sums
to one or to a hundred within the rounding of the written digits. Other scores need a column
``kind``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from serctl.data.corpora.scan import AUDIO
from serctl.data.labels import CODES, parse_emotion
from serctl.data.manifest import ATTRIBUTES
from serctl.data.tables import Table, match_columns, parse_table
from serctl.data.values import parse_number
from serctl.documents.logits import LogitsSidecar, ScoreKind
from serctl.ensemble.logits import Logits
from serctl.errors import LogitsError, first_few

IDS = ("utterance_id", "filename", "file_name", "file", "path", "id")
"""Possible columns of ids, in lower case. The first that exists is used."""
HARD_LABELS = ("emoclass", "emotion", "label", "prediction", "predicted")
"""Possible columns of one predicted label, in lower case."""
TRUTH = {"true": "1", "false": "0"}
"""Truth values as pandas and R write them."""
PERCENT = "percent"
LOOSEST = 0.1
"""Maximum deviation of a sum of rounded probabilities from one."""
FINEST = 4
"""Number of decimals from which a probability written as zero is read as zero."""


def parse_scores(content: bytes, path: Path, name: str) -> Logits:
    """Read the scores or the predicted labels of another program.

    Args:
        content: Bytes of a table: ids, a column for each label, and optionally ``in_sample``,
            ``kind`` and attributes; or ids and one column of labels.
        path: Path of the file, for messages.
        name: Name of the system.

    Raises:
        LogitsError: An id is missing or repeated, a value is not a number, or the numbers can be
            logits or probabilities.
    """
    table = parse_table(content, path, LogitsError)
    table = table.rename(match_columns(table.header, (*IDS, *HARD_LABELS, *ATTRIBUTES)))
    if not table.rows:
        raise LogitsError(f"'{path}' holds no rows. Export it again.")
    key = next((known for known in IDS if known in table.header), None)
    if key is None:
        raise LogitsError(
            f"'{path}' has the columns {', '.join(table.header)}, expected utterance_id. Give the "
            f"column of the ids or file names this name."
        )
    ids = tuple(row[key].strip() for row in table.rows)
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise LogitsError(f"'{path}' holds {len(twice)} utterances twice ({first_few(twice)}).")
    known = "in_sample" in table.header
    flags = _numbers(table, ["in_sample"], ids)[:, 0] > 0 if known else np.zeros(len(ids), bool)
    logits = Logits(
        ids=ids,
        values=np.zeros((len(ids), 0)),
        labels=(),
        in_sample=flags,
        name=name,
        attributes=_numbers(table, ATTRIBUTES, ids) if set(ATTRIBUTES) <= {*table.header} else None,
        in_sample_known=known,
    )
    beside = {key, "in_sample", "kind", *ATTRIBUTES}
    columns = [column for column in table.header if column not in beside]
    if len(columns) == 1 and columns[0].lower() in HARD_LABELS:
        return _add_hard_labels(logits, table, columns[0])
    return _add_scores(logits, table, columns)


def match_ids(given: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the wanted ids that the file has, each with its id in the file.

    If no id is equal, ids are compared without folders and audio suffixes, if they stay unique.

    Example:
        >>> match_ids(["audio/u1.wav", "audio/u2.wav"], ["u2", "u3"])
        {'u2': 'audio/u2.wav'}
    """
    wanted, known = list(wanted), set(given)
    if found := {name: name for name in wanted if name in known}:
        return found
    plain = {name: _strip_ending(name) for name in (*given, *wanted)}
    times = Counter(plain[name] for name in given), Counter(plain[name] for name in wanted)
    ours = {plain[name]: name for name in given if times[0][plain[name]] == 1}
    return {
        name: ours[plain[name]]
        for name in wanted
        if times[1][plain[name]] == 1 and plain[name] in ours
    }


def recognise_kind(values: NDArray[np.float64], decimals: int) -> str:
    """Return ``logits``, ``probabilities`` or ``percent``; '' if it is ambiguous.

    Args:
        values: ``(N, C)`` as written.
        decimals: Maximum number of decimals.
    """
    if values.min() < 0:
        return "logits"
    for kind, scale in (("probabilities", 1.0), (PERCENT, 100.0)):
        rounding = values.shape[1] * 0.5 * 10.0**-decimals
        allowed = max(1e-3 * scale, min(rounding, LOOSEST * scale))
        if np.abs(values.sum(axis=1) - scale).max() <= allowed:
            return kind
    return ""


def _add_scores(logits: Logits, table: Table, columns: Sequence[str]) -> Logits:
    codes = all(column.lower() in CODES for column in columns if len(column) == 1)
    labels = tuple(parse_emotion(column, codes=codes) for column in columns)
    if len(set(labels)) < 2:
        raise LogitsError(
            f"'{table.source}' has fewer than two labels, expected utterance_id and a column for "
            f"each label."
        )
    if len(set(labels)) < len(labels):
        raise LogitsError(f"'{table.source}' has a label given twice: {', '.join(columns)}.")
    values = _numbers(table, columns, logits.ids)
    decimals = max(_count_decimals(row[column]) for row in table.rows for column in columns)
    stated = _stated_kind(table)
    kind = stated or recognise_kind(values, decimals)
    if not kind:
        sums = values.sum(axis=1)
        raise LogitsError(
            f"'{table.source}' may hold logits or probabilities: no number is below zero, and "
            f"rows sum to {sums.min():g} to {sums.max():g}. Add a column 'kind' with the value "
            f"logits, probabilities or {PERCENT}."
        )
    letters = [column for column in columns if len(column) == 1 and codes]
    coded = "emotions by the letters of MSP-Podcast" if letters else ""
    if kind == "logits":
        scale = "" if stated else "logits (a score is below zero)"
        assumed = " with ".join(filter(None, (scale, coded)))
        return replace(logits, values=values, labels=labels, assumed=assumed)
    decimals += 2 * (kind == PERCENT)
    values = _normalise(table.source, values / (100 if kind == PERCENT else 1), decimals)
    rounded = f"probabilities of {decimals} decimals" if decimals <= FINEST else ""
    return replace(
        logits,
        values=values,
        labels=labels,
        provenance=LogitsSidecar(kind="probabilities"),
        assumed=" with ".join(filter(None, (PERCENT if kind == PERCENT else rounded, coded))),
    )


def _normalise(path: Path, values: NDArray[np.float64], decimals: int) -> NDArray[np.float64]:
    """Return rows that sum to one. A rounded zero becomes the middle of its rounding interval."""
    if values.min() < 0 or not values.sum(axis=1).all():
        raise LogitsError(
            f"'{path}' holds a value below zero or a row of zeros, expected probabilities."
        )
    if 0 < decimals <= FINEST:
        values = np.maximum(values, 0.25 * 10.0**-decimals)
    return values / values.sum(axis=1, keepdims=True)


def _add_hard_labels(logits: Logits, table: Table, column: str) -> Logits:
    codes = column.lower() == HARD_LABELS[0]
    found = [parse_emotion(row[column], codes=codes) for row in table.rows]
    if "" in found:
        raise LogitsError(f"'{table.source}' line {table.lines[found.index('')]} has no label.")
    labels = tuple(dict.fromkeys(found))
    return replace(
        logits,
        values=np.eye(len(labels))[[labels.index(label) for label in found]],
        labels=labels,
        provenance=LogitsSidecar(kind="probabilities"),
        hard_labels=True,
        assumed="labels without probabilities",
    )


def _stated_kind(table: Table) -> str:
    """Return the value of the column ``kind``; '' without the column."""
    if "kind" not in table.header:
        return ""
    stated = {row["kind"].strip().lower() for row in table.rows}
    if len(stated) > 1 or not stated <= {*get_args(ScoreKind), PERCENT}:
        raise LogitsError(
            f"'{table.source}': column 'kind' holds {first_few(sorted(map(repr, stated)))}; "
            f"expected one of logits, probabilities, {PERCENT}."
        )
    return stated.pop()


def _numbers(table: Table, columns: Sequence[str], ids: Sequence[str]) -> NDArray[np.float64]:
    """Return ``(N, len(columns))`` finite numbers."""
    values = np.empty((len(ids), len(columns)))
    for i, row in enumerate(table.rows):
        for j, column in enumerate(columns):
            values[i, j] = _parse(table, row, column, ids[i])
    return values


def _parse(table: Table, row: Mapping[str, str], column: str, name: str) -> float:
    text = row[column]
    if column == "in_sample":
        text = TRUTH.get(text.strip().lower(), text)
    try:
        return parse_number(text)
    except ValueError:
        raise LogitsError(
            f"'{table.source}': '{row[column]}' of '{name}' in column '{column}' is not a finite "
            f"number. Expected a column of scores for each label. Delete other columns."
        ) from None


def _count_decimals(text: str) -> int:
    return (
        FINEST + 1 if "e" in text.lower() else len(text.strip().replace(",", ".").partition(".")[2])
    )


def _strip_ending(name: str) -> str:
    path = PurePath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in AUDIO else path.name

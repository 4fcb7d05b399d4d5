"""The file of a manifest: read, checked and written."""

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from serctl.data.manifest import (
    ATTRIBUTES,
    CHANNEL,
    COLUMNS,
    KNOWN_COLUMNS,
    READ_COLUMNS,
    SEGMENT,
    Manifest,
    Utterance,
)
from serctl.data.manifest_rows import note_readings, parse_rows
from serctl.data.tables import Table, match_columns, parse_table, read_table_bytes, read_table_file
from serctl.data.time_columns import check_times
from serctl.errors import ManifestError, UsageError, first_few
from serctl.files import write_atomic
from serctl.names import is_portable_name, join_cells

HINT = "Make a manifest with: serctl init --corpus NAME --root DIR"

NEARLY = 0.8
"""Minimum similarity (difflib) of a column to a known one to be reported as a typo."""
SPEAKER = re.compile(r"(?:speaker|spkr?)s?[ _.-]?(?:id|name|no|nr|num|number|code)?", re.IGNORECASE)
"""Names of columns that hold speakers and are less similar to ``speaker``: Speaker ID, SpkrID."""

RESERVED = frozenset(
    [
        *("utterance_id", "in_sample", *ATTRIBUTES),
        *("audio", *SEGMENT, CHANNEL, "emotion", "confidence", "text", "transcript", "suspect"),
    ]
)
"""Columns of logits and predictions and tiers of timelines, which cannot be names of emotions."""

LONGEST_SPLIT = 60
"""Maximum characters of a split. Files of logits and reports are named by it."""

OTHERS = {"channels", "folder", "folders"}
"""Columns that are similar to a known one and mean something else."""


def read_manifest(path: Path | str) -> Manifest:
    """Read and check a manifest. One with the bytes of the last one is not parsed again.

    Args:
        path: A table with a header; see `serctl.data.tables`.

    Raises:
        ManifestError: A column is missing or misspelt, an id is repeated, or a split or number is
            invalid. The message names the first lines.
    """
    path = Path(path)
    return _parse_manifest(path, read_table_bytes(path, hint=HINT))


@lru_cache(maxsize=1)  # for the parts of a step that a worker does one after the other
def _parse_manifest(path: Path, content: bytes) -> Manifest:
    table = parse_table(content, path)
    table = table.rename(match_columns(table.header, READ_COLUMNS))
    missing = [name for name in ("utterance_id", "path", "split") if name not in table.header]
    if missing:
        raise ManifestError(
            f"Manifest '{path}' has no column {first_few(map(repr, missing))}. Its columns are "
            f"{', '.join(table.header) or 'none'}. Map columns with: serctl init --manifest {path} "
            f"--column {COLUMNS[0]}=YOURS"
        )
    check_column_names(table, "Rename the column.")
    check_times(table)
    rows = parse_rows(table, path.parent)
    manifest = Manifest(tuple(rows), path, (*table.notes, *note_readings(table, rows)))
    check_manifest(manifest, lines=table.lines)
    return manifest


def read_manifest_table(path: Path) -> Table:
    """Read the table of a manifest without checking its columns."""
    return read_table_file(path, hint=HINT)


def check_column_names(table: Table, remedy: str) -> None:
    """Check that no column is a misspelt name of a missing one, whose values would be ignored.

    Raises:
        ManifestError: There is such a column.
    """
    for name, known in find_near_columns(table.header).items():
        raise ManifestError(
            f"'{table.source}': column '{name}' is similar to '{known}', which is missing. "
            + remedy.format(known=known, name=shlex.quote(name))
        )


def find_near_columns(header: Sequence[str]) -> dict[str, str]:
    """Return the columns that may be misspelt names of missing ones, with these."""
    absent = [known for known in KNOWN_COLUMNS if known not in header]
    found = {}
    for name in header:
        near = get_close_matches(name.lower(), absent, 1, NEARLY)
        if not near and "speaker" in absent and SPEAKER.fullmatch(name):
            near = ["speaker"]
        if near and name not in KNOWN_COLUMNS and name.lower() not in OTHERS:
            found[name] = near[0]
    return found


def check_manifest(manifest: Manifest, *, lines: Sequence[int] | None = None) -> None:
    """Check ids, splits and emotions. The error names the first invalid rows.

    Raises:
        ManifestError: See `read_manifest`.
    """
    source = f"Manifest '{manifest.path}'" if manifest.path else "The manifest"
    if not len(manifest):
        raise ManifestError(f"{source} holds no utterances.")
    counts = Counter(manifest.ids)
    checks: tuple[tuple[str, str, Callable[[str], bool], str], ...] = (
        ("empty utterance_id", "utterance_id", lambda name: not name, "Give every row an id."),
        (
            "utterance_id given twice",
            "utterance_id",
            lambda name: counts[name] > 1,
            "Ids are unique. Name a column of unique ids: "
            "serctl init --manifest CSV --column utterance_id=YOURS",
        ),
        (
            "unknown split",
            "split",
            lambda name: name not in ("train", "dev") and not name.startswith("test"),
            "Splits are train, dev and names that begin with test. To rename them: serctl init "
            "--split eval=test To make new ones: --column split= For folds: --column fold=split",
        ),
        (
            "split that is no valid file name",
            "split",
            lambda name: not is_portable_name(f"{name}.csv") or len(name) > LONGEST_SPLIT,
            "Rename it: serctl init --split OLD=NEW",
        ),
        (
            "list of several values as emotion",
            "emotion",
            lambda name: name.startswith(("[", "{")),
            "Write one emotion in each row.",
        ),
        (
            "reserved word as emotion",
            "emotion",
            lambda name: name in RESERVED,
            "Rename it: serctl init --map OLD=NEW",
        ),
        *(
            (f"character that cannot be printed in {name}", name, _is_unprintable, "Remove it.")
            for name in ("utterance_id", "path", "split", "emotion", "speaker")
        ),
    )
    for problem, column, offends, remedy in checks:
        bad = [
            (f"line {lines[i]} " if lines else "") + repr(str(getattr(row, column)))
            for i, row in enumerate(manifest)
            if offends(getattr(row, column))
        ]
        if bad:
            shown = first_few(dict.fromkeys(bad))
            raise ManifestError(f"{source}: {problem} in {len(bad)} rows ({shown}). {remedy}")


def check_labels(labels: Iterable[str]) -> None:
    """Check that a model's emotions can be columns of predictions, for models of old manifests.

    Raises:
        UsageError: One of them is reserved.
    """
    if taken := sorted(RESERVED.intersection(labels)):
        raise UsageError(
            f"The model has the label '{taken[0]}', which is another column of predictions. Write "
            f"JSON lines: --format jsonl"
        )


def _is_unprintable(value: str | Path) -> bool:
    """Whether a value has control characters, or is not valid UTF-8."""
    text = str(value)
    return not text.isprintable() and any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def _make_absolute(path: Path) -> Path:
    """Return an absolute path with its links, which tools for versions of data set anew."""
    plain = os.path.abspath(path)  # noqa: PTH100  (Path.resolve replaces links)
    # a/../b is not b if a is a link.
    return Path(plain) if os.path.realpath(plain) == os.path.realpath(path) else path.resolve()


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> None:
    """Write a manifest atomically. Paths below its folder are written relative to it.

    If no utterance has a transcript, the column is left out, because '' means without words.

    Raises:
        ManifestError: A transcript is no text.
    """
    path, rows = Path(path), list(utterances)
    for row in rows:
        if not isinstance(row.transcript, str | None):  # the NaN of pandas would be a word
            raise ManifestError(
                f"The transcript of '{row.utterance_id}' is {row.transcript!r:.40} "
                f"({type(row.transcript).__name__}), expected a str, or None if it is unknown."
            )
    columns = COLUMNS if any(row.transcript is not None for row in rows) else COLUMNS[:-1]
    segment = SEGMENT if any(row.is_segment for row in rows) else ()
    channel = (CHANNEL,) if any(row.channel for row in rows) else ()
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    folder = _make_absolute(path.parent)
    with write_atomic(path) as file:
        header = [*columns, *segment, *channel, *extra]
        file.write(f"{join_cells(header)}\n")
        for row in rows:
            audio = _make_absolute(row.path)
            shown = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
            cells = (
                [row.utterance_id, shown.as_posix(), row.split, row.emotion, row.speaker]
                + [row.transcript or ""] * (len(columns) - 5)
                + [f"{row.start:.9g}", "" if row.end is None else f"{row.end:.9g}"][: len(segment)]
                + [row.channel or ""] * len(channel)
                + [row.extra.get(name, "") for name in extra]
            )
            file.write(f"{join_cells(cells)}\n")

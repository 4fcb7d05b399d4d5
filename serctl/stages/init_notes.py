"""Notes of `serctl init` on speakers that are unknown and classes that a limit leaves out."""

import re
import shlex
from collections.abc import Sequence

from serctl.data.manifest import Manifest, Utterance
from serctl.errors import first_few

PEOPLE = re.compile(
    r"(actor|actress|talker|participant|subject|person|performer|singer|voice|informant|patient)s?"
    r"[ _.-]?(id|name|no|nr|num|number|code)?",
    re.IGNORECASE,
)
"""Names of columns that may hold speakers."""


def note_unknown_speakers(rows: Sequence[Utterance], *, is_table: bool) -> list[str]:
    """Return a note on utterances without a speaker, with the column that may hold speakers.

    Args:
        rows: Utterances of one corpus, with splits of its own.
        is_table: Whether ``--column`` names its columns.
    """
    unknown = sum(not row.speaker for row in rows)
    if not unknown:
        return []
    note = (
        f"{unknown} of {len(rows)} utterances have no speaker, so a speaker in several splits is "
        f"not found"
    )
    return [f"{note}. {suggest_column(rows)}" if is_table else note]


def suggest_column(rows: Sequence[Utterance]) -> str:
    """Return the option that names the column of speakers of a table."""
    names = dict.fromkeys(name for row in rows for name in row.extra)
    likely = next((name for name in names if PEOPLE.fullmatch(name)), "")
    if not likely:
        return "If a column holds speakers: --column speaker=YOURS"
    return f"If '{likely}' holds speakers: --column {shlex.quote(f'speaker={likely}')}"


def note_limit(whole: Manifest, kept: Manifest) -> list[str]:
    """Return a note on splits and emotions of which a limit keeps no utterance."""
    classes = {(row.split, row.emotion) for row in whole}
    lost = classes - {(row.split, row.emotion) for row in kept}
    if not lost:
        return []
    splits = sorted({split for split, _ in lost} - {row.split for row in kept})
    emotions = sorted({emotion for _, emotion in lost} - {row.emotion for row in kept} - {""})
    gone = [
        *([f"of the emotions {first_few(emotions)}"] if emotions else []),
        *([f"of the splits {first_few(splits)}"] if splits else []),
    ]
    pairs = sorted(f"{emotion or 'unlabelled'} in {split}" for split, emotion in lost)
    gone = gone or [f"of {first_few(pairs)}"]
    return [
        f"--limit {len(kept)} keeps no utterance {' and '.join(gone)}. At least one of every "
        f"emotion in every split: --limit {len(classes)}"
    ]

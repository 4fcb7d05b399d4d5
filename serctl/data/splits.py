"""Splits for a corpus without splits (speaker-disjoint, stratified), and splits from folds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from serctl.data.folds import assign_folds, describe_groups, group_by_speaker, warn_of_unknown
from serctl.data.manifest import FOLD, Manifest, Utterance
from serctl.errors import ManifestError, count, first_few

PARTS = 5
"""A fifth of the speakers is test, a fifth dev, the rest train."""


def assign_splits(utterances: Iterable[Utterance], seed: int = 0) -> tuple[list[Utterance], str]:
    """Assign a split to every utterance. The order of the utterances has no effect.

    Returns:
        The utterances in the given order, and a warning if splits may share speakers, else ''.

    Raises:
        ManifestError: There are fewer than three speakers.
    """
    rows = list(utterances)
    speakers = set(group_by_speaker(rows))
    if len(speakers) < 3:
        raise ManifestError(
            f"{describe_groups(speakers)}, expected at least 3 for train, dev and test. Define "
            f"splits in a table: serctl init --manifest CSV --column split=YOURS"
        )
    folds = assign_folds(rows, min(PARTS, len(speakers)), seed)
    names = {0: "test", 1: "dev"}
    made = [replace(row, split=names.get(folds.fold_of[row.utterance_id], "train")) for row in rows]
    if leaks := Manifest(tuple(made)).leaking_speakers():
        raise ManifestError(f"The generated splits share speakers: {first_few(leaks)}.")
    trained = {row.emotion for row in made if row.split == "train"}
    lost = {row.emotion for row in made} - trained - {""}
    absent = f"No utterance of {', '.join(sorted(lost))} is in train: add speakers." if lost else ""
    return made, " ".join(filter(None, (warn_of_unknown(rows), absent)))


def split_by_fold(
    utterances: Iterable[Utterance], test: Sequence[str], dev: Sequence[str]
) -> list[Utterance]:
    """Assign splits by the manifest's folds. Folds that are neither test nor dev become train.

    Raises:
        ManifestError: A named fold has no utterance, or is named twice.
    """
    rows = list(utterances)
    known = sorted({row.extra.get(FOLD, "") for row in rows} - {""})
    absent = [name for name in (*test, *dev) if name not in known]
    if absent and not known:
        raise ManifestError(
            f"The manifest has no column '{FOLD}', so there is no fold '{absent[0]}'. For new "
            f"splits without --test-fold and --dev-fold: serctl manifest split -o FILE"
        )
    if absent or (absent := sorted(set(test) & set(dev))):
        raise ManifestError(
            f"Fold '{absent[0]}' cannot be used for test or dev. The manifest's column "
            f"'{FOLD}' has {first_few(known, 20)}. Each is train, dev or test."
        )
    if without := [row.utterance_id for row in rows if not row.extra.get(FOLD)]:
        raise ManifestError(
            f"{len(without)} of {len(rows)} utterances have no '{FOLD}' ({first_few(without)}), "
            f"expected one for all. Add them, or split the corpora before serctl manifest merge"
        )
    split_of = dict.fromkeys(test, "test") | dict.fromkeys(dev, "dev")
    return [replace(row, split=split_of.get(row.extra.get(FOLD, ""), "train")) for row in rows]


def note_moved(old: Iterable[Utterance], new: Iterable[Utterance]) -> str:
    """Return a note on utterances of test splits that are in train now; '' if there are none."""
    pairs = zip(old, new, strict=True)
    moved = [
        a.split for a, b in pairs if b.split == "train" and a.split not in ("", "train", "dev")
    ]
    if not moved:
        return ""
    return (
        f"train has {count(len(moved), 'utterance')} that had the split "
        f"{' or '.join(sorted({*moved}))}. No split is test now. To make one: --test-fold"
    )

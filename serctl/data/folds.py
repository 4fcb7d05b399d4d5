"""Speaker-disjoint, class-stratified folds: a pure function of utterances and seed.

The order of the utterances does not matter. Utterances of unknown speakers are grouped by
recording, so a speaker of several recordings may be in several folds. `Folds.warning` reports that.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.data.manifest import FOLD, Utterance
from serctl.errors import ManifestError, count, first_few

NUM_TRIES = 10
"""Number of divisions with different seeds. The one that keeps most emotions is used."""
DISORDER = 0.5
"""Standard deviation of the logarithm of the factors that change the order of speakers."""


@dataclass(frozen=True)
class Folds:
    """The fold (0 … K-1) of each utterance.

    Attributes:
        fold_of: Fold of each utterance id.
        num_folds: K.
        warning: '' for speaker-disjoint folds with all emotions outside each fold.
        lost: Emotions whose utterances are all in one fold. Its model is trained without them.
    """

    fold_of: dict[str, int]
    num_folds: int
    warning: str = ""
    lost: tuple[str, ...] = ()

    def ids(self, fold: int) -> frozenset[str]:
        """Return the ids of one fold."""
        return frozenset(name for name, found in self.fold_of.items() if found == fold)


def choose_folds(utterances: Iterable[Utterance], num_folds: int | None, seed: int = 0) -> Folds:
    """Return the folds in the manifest's column ``fold``, else assigned ones.

    Args:
        utterances: Utterances to divide.
        num_folds: K. None takes the number in the column, else five, or the number of speakers.
        seed: Seed of assigned folds.

    Raises:
        ManifestError: The column has another number of folds; or see `assign_folds`.
    """
    rows = list(utterances)
    names = sorted({row.extra.get(FOLD, "") for row in rows})
    if num_folds is None:
        num_folds = min(5, len(set(group_by_speaker(rows)))) if "" in names else len(names)
    if "" in names:
        made = assign_folds(rows, num_folds, seed)
        ignored = f"Column '{FOLD}' not used: some utterances have none." * (len(names) > 1)
        return _add_lost(rows, replace(made, warning=f"{made.warning} {ignored}".strip()))
    if len(names) != num_folds:
        raise ManifestError(
            f"--folds is {num_folds}, but the manifest's column '{FOLD}' has {len(names)} folds "
            f"({first_few(names)}). Use that number (2 or more), or clear the "
            f"column."
        )
    fold_of = {row.utterance_id: names.index(row.extra[FOLD]) for row in rows}
    return _add_lost(rows, Folds(fold_of, num_folds, warn_of_shared(rows, fold_of)))


def assign_folds(utterances: Iterable[Utterance], num_folds: int, seed: int) -> Folds:
    """Divide utterances into K speaker-disjoint folds with similar class proportions.

    Of ten divisions, the first one with the fewest emotions in only one fold is used.

    Raises:
        ManifestError: There is one speaker, or fewer speakers (or utterances) than folds.
    """
    rows = sorted(utterances, key=lambda row: row.utterance_id)
    groups = group_by_speaker(rows)
    if len(set(groups)) == 1:
        raise ManifestError(
            f"All {len(rows)} utterances are of {describe_groups(groups)}, expected at least two "
            f"speakers for speaker-disjoint folds. Add speakers, or leave out the folds."
        )
    if num_folds < 2 or len(set(groups)) < num_folds:
        raise ManifestError(
            f"{len(rows)} utterances of {describe_groups(groups)} cannot make {num_folds} "
            f"speaker-disjoint folds. Use between 2 and {max(2, len(set(groups)))} folds."
        )
    fold_of, fewest = {}, len(rows) + 1
    for k in range(NUM_TRIES):
        tried = _divide(rows, groups, num_folds, seed + NUM_TRIES * k)
        lost = len(_find_lost(rows, tried))
        if lost < fewest:  # the first of equals
            fold_of, fewest = tried, lost
        if not lost:
            break
    return Folds(fold_of, num_folds, warn_of_unknown(rows))


def _divide(
    rows: Sequence[Utterance], groups: Sequence[str], num_folds: int, seed: int
) -> dict[str, int]:
    """Return the fold of each utterance; see `place_groups`."""
    _, strata = np.unique(_strata(rows, num_folds), return_inverse=True)
    names, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), strata.max() + 1))
    np.add.at(counts, (members, strata), 1)
    placed = place_groups(counts, num_folds, seed)[members]
    return {row.utterance_id: fold for row, fold in zip(rows, placed.tolist(), strict=True)}


def place_groups(counts: NDArray[np.float64], num_folds: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of each group, so that folds have similar shares of each class.

    Groups are placed one after the other, in about the order of the standard deviation of their
    counts, each where the shares differ least over the folds. With seed 0, these are the folds of
    `StratifiedGroupKFold` in scikit-learn 1.9, whose seed decides only the order of groups of equal
    deviation. Any other seed moves all groups in the order.

    Args:
        counts: Utterances of G groups by class ``(G, C)``; no class is empty.
        num_folds: K.
        seed: Seed of the order.

    Returns:
        Folds ``(G,)`` from 0 to K - 1.
    """
    random = np.random.RandomState(seed)
    shuffled = np.arange(len(counts))
    random.shuffle(shuffled)
    deviations = counts[shuffled].std(axis=1)
    if seed:
        deviations *= random.lognormal(sigma=DISORDER, size=len(counts))
    totals = counts.sum(axis=0)
    one_more = np.eye(num_folds)[:, :, None]  # (K, K, 1): the group in each of the folds
    folds = np.zeros((num_folds, len(totals)))
    found = np.zeros(len(counts), np.intp)
    for group in shuffled[np.argsort(-deviations, kind="stable")]:
        shares = (folds + one_more * counts[group]) / totals
        uneven, sizes = shares.std(axis=1).mean(axis=1).tolist(), folds.sum(axis=1).tolist()
        best = 0
        for fold in range(1, num_folds):
            more = uneven[fold] - uneven[best]
            is_equal = abs(more) <= 1e-8 + 1e-5 * uneven[best]
            if more < 0 or (is_equal and sizes[fold] < sizes[best]):
                best = fold
        folds[best] += counts[group]
        found[group] = best
    return found


def _find_lost(rows: Sequence[Utterance], fold_of: dict[str, int]) -> dict[str, set[int]]:
    """Return emotions that occur in one fold only, so that its model is trained without them."""
    folds: dict[str, set[int]] = {}
    for row in rows:
        if row.emotion:
            folds.setdefault(row.emotion, set()).add(fold_of[row.utterance_id])
    return {emotion: found for emotion, found in folds.items() if len(found) == 1}


def _add_lost(rows: Sequence[Utterance], folds: Folds) -> Folds:
    """Add the emotions that occur in one fold only, with a warning."""
    lost = tuple(sorted(_find_lost(rows, folds.fold_of)))
    if not lost:
        return folds
    speakers = sorted({row.speaker for row in rows if row.emotion in lost} - {""})
    whose = f" (speakers: {first_few(speakers)})" if speakers else ""
    warning = (
        f"One fold holds all utterances of {', '.join(lost)}{whose}. Its model is trained without "
        f"them, so out-of-fold predictions are wrong. A model of all of train therefore predicts "
        f"new utterances, and a stack is a plain average. Add speakers, or use fewer folds."
    )
    return replace(folds, lost=lost, warning=f"{warning} {folds.warning}".strip())


def hold_out(utterances: Iterable[Utterance], fraction: float, seed: int) -> Folds:
    """Select a speaker-disjoint, class-stratified part: fold 0 is the part, fold 1 the rest.

    With few speakers the size is the nearest that whole speakers allow (one of six is a sixth). Of
    the possible parts, the one that leaves most classes to the rest, then the one with the most
    classes, then the nearest size is used.
    """
    rows = list(utterances)
    num_folds = min(round(1 / fraction), len(set(group_by_speaker(rows))))
    folds = assign_folds(rows, num_folds, seed)
    emotion_of = {row.utterance_id: row.emotion for row in rows}

    def unfitness(fold: int) -> tuple[float, ...]:
        ids = folds.ids(fold)
        kept = {emotion for name, emotion in emotion_of.items() if name not in ids}
        held = {emotion_of[name] for name in ids}
        return -len(kept), -len(held), abs(len(ids) / len(rows) - fraction), fold

    best = folds.ids(min(range(num_folds), key=unfitness))
    return Folds({name: int(name not in best) for name in folds.fold_of}, 2, folds.warning)


def group_by_speaker(rows: Iterable[Utterance]) -> list[str]:
    """Return each utterance's group: its speaker, or its recording if the speaker is unknown.

    A recording is named by the first id of its utterances, because paths differ between machines.
    """
    rows = list(rows)
    first: dict[Path, str] = {}
    for row in rows:
        first[row.path] = min(first.get(row.path, row.utterance_id), row.utterance_id)
    return [f"s:{row.speaker}" if row.speaker else f"u:{first[row.path]}" for row in rows]


def describe_groups(groups: Iterable[str]) -> str:
    """Return the number of speakers and of recordings of unknown speakers, for messages."""
    found = Counter(name[0] for name in set(groups))
    parts = {"s": "speaker", "u": "recording"}
    told = " and ".join(count(found[kind], noun) for kind, noun in parts.items() if found[kind])
    return f"{told} of unknown speakers" if found["u"] else told


def _strata(rows: Sequence[Utterance], num_folds: int) -> list[str]:
    """Return the emotions, or one stratum if all of them have fewer utterances than folds."""
    emotions = [row.emotion for row in rows]
    return emotions if max(Counter(emotions).values()) >= num_folds else [""] * len(rows)


def warn_of_shared(rows: Sequence[Utterance], fold_of: Mapping[str, int | str]) -> str:
    """Return a warning if speakers are in several folds of the manifest; else ''."""
    folds: dict[str, set[int | str]] = {}
    for row in rows:
        if row.speaker and row.utterance_id in fold_of:
            folds.setdefault(row.speaker, set()).add(fold_of[row.utterance_id])
    shared = [speaker for speaker, found in folds.items() if len(found) > 1]
    if not shared:
        return ""
    return (
        f"{len(shared)} speakers ({first_few(shared)}) are in several folds of the manifest's "
        f"column '{FOLD}', so out-of-fold results may be optimistic."
    )


def warn_of_unknown(rows: Sequence[Utterance]) -> str:
    """Return a warning if utterances have no speaker; else ''."""
    unknown = sum(not row.speaker for row in rows)
    if not unknown:
        return ""
    return (
        f"{unknown} of {len(rows)} utterances have no speaker. Their folds are not "
        "speaker-disjoint, so out-of-fold results may be optimistic."
    )

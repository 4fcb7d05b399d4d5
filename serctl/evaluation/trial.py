"""All metrics of one system on one set of utterances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.data.manifest import ATTRIBUTES
from serctl.documents.report import (
    ClassScore,
    GroupScore,
    Intervals,
    SubsetScores,
    SystemFacts,
    SystemKind,
    SystemScore,
)
from serctl.metrics.bootstrap import (
    NUM_RESAMPLES,
    NUM_SUBSETS,
    PER_CLASS,
    Resamples,
    draw_resamples,
    draw_subsets,
    interval,
    score_resamples,
    score_subsets,
)
from serctl.metrics.classification import (
    METRICS,
    Scores,
    concordance,
    count_confusion,
    macro_f1_of_present,
    measure_calibration,
    score_confusion,
    score_predictions,
)
from serctl.metrics.paired import can_test

DURATION_EDGES = (2.0, 4.0, 6.0, 8.0)
"""Edges of duration groups in seconds: "< 2 s", "2-4 s", … and "≥ 8 s"."""


@dataclass(frozen=True, eq=False)
class Trial:
    """The utterances of a report, with the subsets and resamples that all systems share.

    Attributes:
        labels: C declared labels.
        true: ``(N,)`` label ids in manifest order.
        subsets: Row numbers of the balanced subsets of BS-F1.
        resamples: Resamples of whole speakers.
        groups: ``speaker``, ``gender`` and ``duration``: N names, '' if unknown.
        attributes: ``(N, 3)`` arousal, valence, dominance; NaN if the corpus has none.
    """

    labels: tuple[str, ...]
    true: NDArray[np.intp]
    subsets: NDArray[np.intp]
    resamples: Resamples
    groups: Mapping[str, Sequence[str]]
    attributes: NDArray[np.float64]


def make_trial(
    labels: Sequence[str],
    true: ArrayLike,
    clusters: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    attributes: NDArray[np.float64] | None = None,
    per_class: int = PER_CLASS,
    num_subsets: int = NUM_SUBSETS,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Trial:
    """Draw subsets and resamples. ``clusters`` are speakers, or utterance ids if unknown."""
    true = np.asarray(true, dtype=np.intp)
    return Trial(
        labels=tuple(labels),
        true=true,
        subsets=draw_subsets(true, per_class, num_subsets),
        resamples=draw_resamples(clusters, num_resamples, seed),
        groups=groups or {},
        attributes=np.full((len(true), 3), np.nan) if attributes is None else attributes,
    )


def score_system(
    trial: Trial,
    name: str,
    kind: SystemKind,
    probabilities: NDArray[np.float64],
    *,
    attributes: NDArray[np.float64] | None = None,
    facts: SystemFacts | None = None,
) -> SystemScore:
    """Return all metrics of one system.

    Args:
        trial: The utterances.
        name: Name of the system.
        kind: See `SystemScore`.
        probabilities: ``(N, C)``, rows and columns as in ``trial``.
        attributes: ``(N, 3)`` predicted arousal, valence, dominance.
        facts: See `SystemScore`.
    """
    predicted, size = probabilities.argmax(axis=1), len(trial.labels)
    confusion = count_confusion(trial.true, predicted, size)
    scores = score_confusion(confusion)
    resampled = score_resamples(trial.resamples, trial.true, predicted, size)
    intervals = Intervals(**{name: interval(getattr(resampled, name)) for name in METRICS})
    return SystemScore(
        name=name,
        kind=kind,
        macro_f1=float(scores.macro_f1),
        uar=float(scores.uar),
        accuracy=float(scores.accuracy),
        intervals=intervals if can_test(trial.resamples.num_clusters) else None,
        bs_f1=_summarise(score_subsets(trial.true, predicted, trial.subsets, size), trial),
        per_class=_per_class(scores, trial.labels),
        confusion=tuple(map(tuple, confusion.astype(int).tolist())),
        calibration=measure_calibration(trial.true, probabilities),
        groups={name: _score_groups(trial, predicted, name) for name in trial.groups},
        ccc=_concordances(trial.attributes, attributes),
        predictions=tuple(predicted.tolist()),
        probabilities=probabilities.round(5).tolist(),
        facts=facts or SystemFacts(),
    )


def duration_group(seconds: float) -> str:
    """Return the group of a duration.

    Example:
        >>> duration_group(1.2), duration_group(2.0), duration_group(9.5)
        ('< 2 s', '2-4 s', '≥ 8 s')
    """
    return _DURATIONS[sum(edge <= seconds for edge in DURATION_EDGES)]


_DURATIONS = (
    f"< {DURATION_EDGES[0]:g} s",
    *(f"{low:g}-{high:g} s" for low, high in pairwise(DURATION_EDGES)),
    f"≥ {DURATION_EDGES[-1]:g} s",
)


def _summarise(values: NDArray[np.float64], trial: Trial) -> SubsetScores:
    num_classes = len(np.unique(trial.true))
    return SubsetScores(
        mean=float(values.mean()),
        std=float(values.std()),
        min=float(values.min()),
        max=float(values.max()),
        per_class=trial.subsets.shape[1] // num_classes,
        values=tuple(values.tolist()),
    )


def _per_class(scores: Scores, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(
            label=label,
            precision=float(scores.precision[i]),
            recall=float(scores.recall[i]),
            f1=float(scores.f1[i]),
            support=int(scores.support[i]),
        )
        for i, label in enumerate(labels)
    )


def _score_groups(trial: Trial, predicted: NDArray[np.intp], by: str) -> tuple[GroupScore, ...]:
    """Return the metrics of each named group."""
    names = np.asarray(trial.groups[by])
    known = np.unique(names[names != ""]).tolist()
    found = []
    for name in sorted(known, key=_DURATIONS.index) if by == "duration" else known:
        inside = names == name
        scores = score_predictions(trial.true[inside], predicted[inside], len(trial.labels))
        group = GroupScore(
            name=name,
            count=int(inside.sum()),
            macro_f1=macro_f1_of_present(scores),
            uar=float(scores.uar),
            accuracy=float(scores.accuracy),
        )
        found.append(group)
    return tuple(found)


def _concordances(
    true: NDArray[np.float64], predicted: NDArray[np.float64] | None
) -> dict[str, float] | None:
    """Return the concordance of each attribute over the utterances with a rating of it."""
    if predicted is None:
        return None
    rated = np.isfinite(true)
    return {
        name: concordance(true[rated[:, i], i], predicted[rated[:, i], i])
        for i, name in enumerate(ATTRIBUTES)
        if rated[:, i].sum() > 1
    } or None

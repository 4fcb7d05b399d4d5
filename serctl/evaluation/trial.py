"""One system judged on one set of utterances: every figure of a report about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    Calibration,
    Scores,
    concordance,
    count_confusion,
    macro_f1_of_present,
    measure_calibration,
    score_confusion,
    score_predictions,
)

DURATION_EDGES = (2.0, 4.0, 6.0, 8.0)
"""Seconds; the groups are "< 2 s", "2-4 s", … and "≥ 8 s"."""
ATTRIBUTES = ("arousal", "valence", "dominance")


@dataclass(frozen=True, eq=False)
class Trial:
    """The utterances all systems of a report are judged on, with the draws they share.

    Attributes:
        labels: C declared labels.
        true: ``(N,)`` label ids in manifest order.
        subsets: Row numbers of the balanced subsets of BS-F1.
        resamples: Resamples of whole speakers.
        groups: ``speaker``, ``gender`` and ``duration``: N names, '' where unknown.
        attributes: ``(N, 3)`` arousal, valence, dominance; NaN where the corpus has none.
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
    """Make the draws; ``clusters`` are the speakers, or the utterance itself where unknown."""
    true = np.asarray(true, dtype=np.intp)
    return Trial(
        labels=tuple(labels),
        true=true,
        subsets=draw_subsets(true, per_class, num_subsets),
        resamples=draw_resamples(clusters, num_resamples, seed),
        groups=groups or {},
        attributes=np.full((len(true), 3), np.nan) if attributes is None else attributes,
    )


@dataclass(frozen=True)
class SystemScore:
    """Every figure about one system, as plain values for JSON.

    Attributes:
        name: The system.
        kind: ``run``, ``stacker``, ``outside`` or ``baseline``.
        macro_f1: Over the declared labels; see `serctl.metrics.classification.Scores`.
        uar: Unweighted average recall.
        accuracy: Share of right answers.
        intervals: 95 % of each of the three, from resampling speakers.
        bs_f1: ``mean``, ``std``, ``min``, ``max``, ``per_class`` (utterances of a class in a
            subset) and ``values``, one a subset.
        per_class: ``label, precision, recall, f1, support``.
        confusion: ``(C, C)`` counts, true class by row.
        calibration: Expected calibration error and reliability bins.
        groups: By ``speaker``, ``gender``, ``duration``: ``name, count, macro_f1, uar, accuracy``;
            their macro-F1 is over the classes a group has.
        ccc: Concordance of arousal, valence and dominance, if corpus and system have them.
        predictions: N label ids.
        probabilities: ``(N, C)``, rounded to five digits.
        facts: What else a reader must know (``stack_on``, ``num_in_sample`` …).
    """

    name: str
    kind: str
    macro_f1: float
    uar: float
    accuracy: float
    intervals: Mapping[str, tuple[float, float]]
    bs_f1: Mapping[str, Any]
    per_class: Sequence[Mapping[str, Any]]
    confusion: Sequence[Sequence[int]]
    calibration: Calibration
    groups: Mapping[str, Sequence[Mapping[str, Any]]]
    ccc: Mapping[str, float] | None
    predictions: Sequence[int]
    probabilities: Sequence[Sequence[float]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the copy of every probability that ``asdict`` makes."""
        return {**vars(self), "calibration": asdict(self.calibration)}


def score_system(
    trial: Trial,
    name: str,
    kind: str,
    probabilities: NDArray[np.float64],
    *,
    attributes: NDArray[np.float64] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> SystemScore:
    """Judge one system.

    Args:
        trial: The utterances.
        name: Of the system.
        kind: See `SystemScore`.
        probabilities: ``(N, C)``, rows and columns as in ``trial``.
        attributes: ``(N, 3)`` predicted arousal, valence, dominance.
        facts: See `SystemScore`.
    """
    predicted, size = probabilities.argmax(axis=1), len(trial.labels)
    confusion = count_confusion(trial.true, predicted, size)
    scores = score_confusion(confusion)
    resampled = score_resamples(trial.resamples, trial.true, predicted, size)
    return SystemScore(
        name=name,
        kind=kind,
        macro_f1=float(scores.macro_f1),
        uar=float(scores.uar),
        accuracy=float(scores.accuracy),
        intervals={metric: interval(getattr(resampled, metric)) for metric in METRICS},
        bs_f1=_summarise(score_subsets(trial.true, predicted, trial.subsets, size), trial),
        per_class=_per_class(scores, trial.labels),
        confusion=confusion.astype(int).tolist(),
        calibration=measure_calibration(trial.true, probabilities),
        groups={name: _score_groups(trial, predicted, name) for name in trial.groups},
        ccc=_concordances(trial.attributes, attributes),
        predictions=predicted.tolist(),
        probabilities=probabilities.round(5).tolist(),
        facts=facts or {},
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


def _summarise(values: NDArray[np.float64], trial: Trial) -> dict[str, Any]:
    num_classes = len(np.unique(trial.true))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "per_class": trial.subsets.shape[1] // num_classes,
        "values": values.tolist(),
    }


def _per_class(scores: Scores, labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "precision": float(scores.precision[i]),
            "recall": float(scores.recall[i]),
            "f1": float(scores.f1[i]),
            "support": int(scores.support[i]),
        }
        for i, label in enumerate(labels)
    ]


def _score_groups(trial: Trial, predicted: NDArray[np.intp], by: str) -> list[dict[str, Any]]:
    """Return the figures of each named group."""
    names = np.asarray(trial.groups[by])
    known = np.unique(names[names != ""]).tolist()
    found = []
    for name in sorted(known, key=_DURATIONS.index) if by == "duration" else known:
        inside = names == name
        scores = score_predictions(trial.true[inside], predicted[inside], len(trial.labels))
        found.append(
            {
                "name": name,
                "count": int(inside.sum()),
                "macro_f1": macro_f1_of_present(scores),
                "uar": float(scores.uar),
                "accuracy": float(scores.accuracy),
            }
        )
    return found


def _concordances(
    true: NDArray[np.float64], predicted: NDArray[np.float64] | None
) -> dict[str, float] | None:
    known = np.isfinite(true).all(axis=1)
    if predicted is None or known.sum() < 2:
        return None
    return {
        name: concordance(true[known, i], predicted[known, i]) for i, name in enumerate(ATTRIBUTES)
    }

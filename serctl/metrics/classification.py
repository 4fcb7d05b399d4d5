"""Metrics as functions of confusion matrices, so that a thousand resamples are one array.

A confusion matrix has counts ``(..., C, C)``, with true classes as rows and predicted classes as
columns. Leading axes are resamples. All metrics are fractions and equal those of scikit-learn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

METRICS = ("macro_f1", "uar", "accuracy")


@dataclass(frozen=True, eq=False)
class Scores:
    """The metrics of confusion matrices with the leading axes ``...``.

    Attributes:
        macro_f1: ``(...)`` mean F1 over all declared labels. A class without any true or predicted
            utterance counts as 0 (``f1_score(labels=…, average="macro", zero_division=0)``): the
            label set is declared, so the metric cannot rise because a resample misses a class.
        uar: ``(...)`` unweighted average recall over the classes with utterances
            (``balanced_accuracy_score``).
        accuracy: ``(...)`` share of correct predictions.
        precision: ``(..., C)``, 0 for a class without predictions.
        recall: ``(..., C)``, 0 for a class without utterances.
        f1: ``(..., C)``.
        support: ``(..., C)`` number of utterances.
    """

    macro_f1: NDArray[np.float64]
    uar: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.float64]


def count_confusion(true: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Return the confusion matrix ``(C, C)`` of label ids ``(N,)``."""
    cells = np.asarray(true, dtype=np.intp) * num_classes + np.asarray(predicted, dtype=np.intp)
    counts = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts.astype(np.float64)


def score_confusion(confusion: ArrayLike) -> Scores:
    """Return all metrics of confusion matrices ``(..., C, C)``."""
    confusion = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, chosen = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, f1 = _ratio(hits, support), _ratio(2 * hits, support + chosen)
    return Scores(
        macro_f1=f1.mean(axis=-1),
        uar=_ratio(recall.sum(axis=-1), (support > 0).sum(axis=-1)),
        accuracy=_ratio(hits.sum(axis=-1), support.sum(axis=-1)),
        precision=_ratio(hits, chosen),
        recall=recall,
        f1=f1,
        support=support,
    )


def macro_f1(confusion: ArrayLike) -> NDArray[np.float64]:
    """Return only the macro-F1 ``(...)`` of `score_confusion`, for searches that ask often."""
    confusion = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2)).mean(axis=-1)


def score_predictions(true: ArrayLike, predicted: ArrayLike, num_classes: int) -> Scores:
    """Return all metrics of label ids ``(N,)``."""
    return score_confusion(count_confusion(true, predicted, num_classes))


def macro_f1_of_present(scores: Scores) -> float:
    """Return the mean F1 over the classes with utterances, for one speaker or a small group.

    Most speakers do not have all emotions. Missing ones would count as 0 in macro-F1.
    """
    present = scores.support > 0
    return float(scores.f1[present].mean()) if present.any() else 0.0


def concordance(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return Lin's concordance correlation coefficient of two series ``(N,)``; 0 if constant.

    Source: Lin (1989), A concordance correlation coefficient to evaluate reproducibility.
    """
    a, b = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * covariance / spread) if spread else 0.0


@dataclass(frozen=True)
class ReliabilityBin:
    """Utterances with a confidence between two edges.

    Attributes:
        low: Lower edge of the confidence, exclusive.
        high: Upper edge of the confidence, inclusive.
        count: Number of utterances.
        confidence: Mean probability of the predicted class.
        accuracy: Share of correct predictions.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: accuracy by confidence.

    Attributes:
        ece: Expected calibration error.
        bins: Bins of equal width, without empty ones.
    """

    ece: float
    bins: tuple[ReliabilityBin, ...]


def measure_calibration(
    true: ArrayLike, probabilities: NDArray[np.float64], num_bins: int = 15
) -> Reliability:
    """Compare confidence and accuracy in ``num_bins`` bins of the highest probability.

    Args:
        true: ``(N,)`` label ids.
        probabilities: ``(N, C)``.
        num_bins: Number of bins of equal width. A bin includes its upper edge.

    Source: Guo et al. (2017), On calibration of modern neural networks, equation 3.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(true)
    bin_of = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    bins, ece = [], 0.0
    for i in np.unique(bin_of):
        inside = bin_of == i
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        ece += inside.mean() * abs(mean - share)
        low, high = float(i / num_bins), float((i + 1) / num_bins)
        bins.append(ReliabilityBin(low, high, int(inside.sum()), mean, share))
    return Reliability(float(ece), tuple(bins))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Return the quotient; 0 for a denominator of 0."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator)
    return np.divide(top, bottom, out=np.zeros(np.shape(top)), where=bottom > 0)

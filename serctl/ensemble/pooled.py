"""Logistic regression on pooled frames: the simplest model, and one that is hard to beat.

Mean and deviation of an utterance's frames say most of what a frozen encoder knows about its
emotion. Fitting takes seconds where a network takes minutes, and the two err in different ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.metrics.classification import score_predictions

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Values of C that cross-validation chooses from. Standardised features need strong shrinkage."""
NUM_FOLDS = 4
ABSENT = -30.0
"""Logit of a class that was not in the training data: its probability is nearly 0."""


@dataclass(frozen=True, eq=False)
class PooledClassifier:
    """A fitted classifier of vectors ``(N, F)``, standardised first.

    Attributes:
        mean: ``(F,)``.
        deviation: ``(F,)``; 1 where a feature never varied.
        weight: ``(C, F)``; zeros for a class that was absent.
        bias: ``(C,)``; `ABSENT` for a class that was absent.
        strength: C, the inverse strength of the regularisation.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def logits(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ``(N, C)``."""
        return (vectors - self.mean) / self.deviation @ self.weight.T + self.bias


def fit_pooled(
    vectors: NDArray[np.floating],
    targets: NDArray[np.integer],
    groups: Sequence[str],
    num_classes: int,
    strength: float = 0.0,
) -> PooledClassifier:
    """Fit a class-balanced multinomial logistic regression.

    Args:
        vectors: ``(N, F)`` pooled frames.
        targets: ``(N,)`` label ids.
        groups: Speaker of each row, for the cross-validation that chooses ``strength``.
        num_classes: C.
        strength: Inverse strength of the regularisation; 0 chooses one of `STRENGTHS`.
    """
    strength = strength or choose_strength(vectors, targets, groups, num_classes)
    return _fit(vectors, targets, num_classes, strength)


def choose_strength(
    vectors: NDArray[np.floating],
    targets: NDArray[np.integer],
    groups: Sequence[str],
    num_classes: int,
) -> float:
    """Return the strength with the highest cross-validated macro-F1; of equals the smallest."""
    scores = [
        score_cross_validated(vectors, targets, groups, num_classes, strength)
        for strength in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(scores))]


def score_cross_validated(
    vectors: NDArray[np.floating],
    targets: NDArray[np.integer],
    groups: Sequence[str],
    num_classes: int,
    strength: float,
) -> float:
    """Return the macro-F1 of a classifier by cross-validation over groups; 0 with one group."""
    from sklearn.model_selection import GroupKFold

    num_folds = min(NUM_FOLDS, len(set(groups)))
    if num_folds < 2:
        return 0.0
    predicted = np.zeros(len(targets), dtype=np.intp)
    for kept, left in GroupKFold(num_folds).split(vectors, targets, groups):
        if len(np.unique(targets[kept])) > 1:
            fitted = _fit(vectors[kept], targets[kept], num_classes, strength)
            predicted[left] = fitted.logits(vectors[left]).argmax(axis=1)
    return float(score_predictions(targets, predicted, num_classes).macro_f1)


def _fit(
    vectors: NDArray[np.floating], targets: NDArray[np.integer], num_classes: int, strength: float
) -> PooledClassifier:
    from sklearn.linear_model import LogisticRegression

    mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
    model.fit((vectors - mean) / deviation, targets)
    weight, bias = np.zeros((num_classes, vectors.shape[1])), np.full(num_classes, ABSENT)
    # Of two classes scikit-learn keeps the difference alone.
    weight[model.classes_[-len(model.coef_) :]] = model.coef_
    bias[model.classes_] = 0.0
    bias[model.classes_[-len(model.coef_) :]] = model.intercept_
    return PooledClassifier(mean, deviation, weight, bias, strength)

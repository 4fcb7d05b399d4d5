"""Logistic regression on pooled frames, a simple and strong model.

Mean and standard deviation of an utterance's frames hold most of the encoder's information on its
emotion. Fitting takes seconds and a network takes minutes. Their errors differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.metrics.classification import score_predictions

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Candidates of C for cross-validation. Standardised features need strong shrinkage."""
NUM_FOLDS = 4
ABSENT = -30.0
"""Logit of a class without training data, with a probability of nearly 0."""


@dataclass(frozen=True, eq=False)
class PooledClassifier:
    """A fitted classifier of vectors ``(N, F)``, which it standardises.

    Attributes:
        mean: ``(F,)``.
        deviation: ``(F,)``; 1 for a constant feature.
        weight: ``(C, F)``; zeros for a class without training data.
        bias: ``(C,)``; `ABSENT` for a class without training data.
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

    A fold of some speakers may hold one class only. The model then always predicts this class.

    Args:
        vectors: ``(N, F)`` pooled frames.
        targets: ``(N,)`` label ids.
        groups: Speaker of each row, for the cross-validation of ``strength``.
        num_classes: C.
        strength: Inverse strength of the regularisation; 0 selects one of `STRENGTHS`.
    """
    strength = strength or choose_strength(vectors, targets, groups, num_classes)
    return _Space.of(vectors).fit(targets, num_classes, strength)


def choose_strength(
    vectors: NDArray[np.floating],
    targets: NDArray[np.integer],
    groups: Sequence[str],
    num_classes: int,
) -> float:
    """Return the strength with the highest cross-validated macro-F1, the smallest if tied."""
    scores = cross_validate(vectors, targets, groups, num_classes, STRENGTHS)
    return STRENGTHS[int(np.argmax(scores))]


def cross_validate(
    vectors: NDArray[np.floating],
    targets: NDArray[np.integer],
    groups: Sequence[str],
    num_classes: int,
    strengths: Sequence[float],
) -> list[float]:
    """Return the cross-validated macro-F1 over groups of each strength; 0 with one group."""
    from sklearn.model_selection import GroupKFold

    num_folds = min(NUM_FOLDS, len(set(groups)))
    if num_folds < 2:
        return [0.0] * len(strengths)
    predicted = np.zeros((len(strengths), len(targets)), dtype=np.intp)
    for kept, left in GroupKFold(num_folds).split(vectors, targets, groups):
        space = _Space.of(vectors[kept])
        for row, strength in enumerate(strengths):
            fitted = space.fit(targets[kept], num_classes, strength)
            predicted[row, left] = fitted.logits(vectors[left]).argmax(axis=1)
    return [float(score_predictions(targets, row, num_classes).macro_f1) for row in predicted]


@dataclass(frozen=True, eq=False)
class _Space:
    """Standardised vectors ``(N, F)`` as coordinates ``(N, R)``, R ≤ N, in a basis of their span.

    The weights of a regularised linear model are in the span of its training rows. With hundreds of
    rows and thousands of features the same model is fitted in a tenth of the time.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    basis: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> "_Space":
        mean = vectors.mean(axis=0, dtype=np.float64)
        deviation = vectors.std(axis=0, dtype=np.float64)
        deviation[deviation == 0] = 1.0
        left, values, basis = np.linalg.svd((vectors - mean) / deviation, full_matrices=False)
        return cls(mean, deviation, left * values, basis)

    def fit(
        self, targets: NDArray[np.integer], num_classes: int, strength: float
    ) -> PooledClassifier:
        from sklearn.linear_model import LogisticRegression

        weight = np.zeros((num_classes, self.basis.shape[1]))
        bias = np.full(num_classes, ABSENT)
        if len(only := np.unique(targets)) == 1:
            bias[only] = 0.0
            return PooledClassifier(self.mean, self.deviation, weight, bias, strength)
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        model.fit(self.coordinates, targets)
        bias[model.classes_] = 0.0
        # For two classes scikit-learn returns only the difference.
        fitted = model.classes_[-len(model.coef_) :]
        weight[fitted], bias[fitted] = model.coef_ @ self.basis, model.intercept_
        return PooledClassifier(self.mean, self.deviation, weight, bias, strength)

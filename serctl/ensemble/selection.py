"""Stackers with one weight per model: the best model, greedy selection, a logarithmic pool.

One weight per model instead of one per logit needs only a few hundred rows, and cannot invert the
predictions of a model.

Source of the greedy selection: R. Caruana, A. Niculescu-Mizil, G. Crew and A. Ksikes, "Ensemble
selection from libraries of models", ICML 2004 (with replacement, started from the best models,
bagged).
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serctl.ensemble.log_pool import fit_log_pool
from serctl.ensemble.logits import SMALLEST_PROBABILITY, softmax
from serctl.metrics.classification import macro_f1

NUM_STEPS, NUM_BAGS = 25, 100
"""Maximum steps of one selection, and number of selections on bootstrap samples of speakers."""


@dataclass
class Selection:
    """A weighted mean of the models' probabilities, or of their logits for ``log-pool``.

    Attributes:
        kind: ``best-single``, ``log-pool`` or ``greedy``.
        seed: Seed of the bootstrap samples.
        num_classes: C.
        weights: ``(M,)`` fitted: shares with sum 1, or factors of the logits for ``log-pool``.
    """

    kind: str
    num_classes: int
    seed: int = 42
    weights: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def fit(
        self, x: NDArray[np.float64], y: NDArray[np.intp], groups: Sequence[str] | None = None
    ) -> None:
        """Choose the weights on logits ``(N, M, C)`` and label ids ``(N,)``.

        Args:
            x: Logits.
            y: Label ids.
            groups: Speaker of each row. Bootstrap samples draw speakers, because utterances of one
                speaker are not independent. None draws rows.
        """
        if self.kind == "log-pool":
            self.weights = fit_log_pool(x, y)
            return
        probabilities = softmax(x)
        if self.kind == "best-single":
            self.weights = np.eye(x.shape[1])[find_best_model(probabilities, y)]
            return
        picks = [
            select_greedily(probabilities[rows], y[rows])
            for rows in draw_bags(groups or range(len(y)), NUM_BAGS, self.seed)
        ]
        self.weights = np.mean(picks, axis=0)

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities ``(N, C)``."""
        if self.kind == "log-pool":
            return softmax(np.einsum("nmc,m->nc", x, self.weights))
        return np.einsum("nmc,m->nc", softmax(x), self.weights)

    def importances(self) -> NDArray[np.float64]:
        """Return ``(M·C,)``: each model's share, divided evenly among its classes."""
        shares = self.weights / max(self.weights.sum(), SMALLEST_PROBABILITY)
        return np.repeat(shares / self.num_classes, self.num_classes)


def find_best_model(probabilities: NDArray[np.float64], y: NDArray[np.intp]) -> int:
    """Return the index of the best of M models on ``(N, M, C)``; see `measure_all`."""
    return max(range(probabilities.shape[1]), key=measure_all(probabilities, y).__getitem__)


def select_greedily(
    probabilities: NDArray[np.float64], y: NDArray[np.intp], num_steps: int = NUM_STEPS
) -> NDArray[np.float64]:
    """Return the share ``(M,)`` of each model in the best ensemble of the greedy search.

    Every step adds the model, with replacement, that most improves the mean of probabilities. The
    ensemble of the best step is kept.
    """
    num_models = probabilities.shape[1]
    counts = np.zeros(num_models)
    total = np.zeros((len(y), 1, probabilities.shape[2]))
    best_quality, best = (-np.inf, -np.inf), counts
    for _ in range(num_steps):
        candidates = measure_all(total + probabilities, y)
        chosen = max(range(num_models), key=candidates.__getitem__)
        counts = counts + np.eye(num_models)[chosen]
        total = total + probabilities[:, [chosen]]
        if candidates[chosen] > best_quality:
            best_quality, best = candidates[chosen], counts
    return best / best.sum()


def measure(scores: NDArray[np.float64], y: NDArray[np.intp]) -> tuple[float, float]:
    """Return the criterion for class scores ``(N, C)``; see `measure_all`."""
    return measure_all(scores[:, None], y)[0]


def measure_all(scores: NDArray[np.float64], y: NDArray[np.intp]) -> list[tuple[float, float]]:
    """Return the criterion for each of M models with class scores ``(N, M, C)``.

    The criterion is macro-F1, then the log-likelihood with equal class weights. Macro-F1 is a step
    function, and on few rows many ensembles share the highest value. The log-likelihood breaks
    such ties.
    """
    num_models, num_classes = scores.shape[1:]
    model = np.arange(num_models)
    cells = (model * num_classes + y[:, None]) * num_classes + scores.argmax(axis=2)  # (N, M)
    counts = np.bincount(cells.ravel(), minlength=num_models * num_classes**2)
    quality = macro_f1(counts.reshape(-1, num_classes, num_classes))
    of_true = scores[np.arange(len(y))[:, None], model, y[:, None]] / scores.sum(axis=2)
    log_likelihood = np.log(np.maximum(of_true, SMALLEST_PROBABILITY))  # (N, M)
    support = np.bincount(y, minlength=num_classes)
    share = 1 / (support[y] * np.count_nonzero(support))
    balanced = (share[:, None] * log_likelihood).sum(axis=0)
    return list(zip(quality.tolist(), balanced.tolist(), strict=True))


def draw_bags(groups: Sequence[Hashable], num_bags: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of bootstrap samples that draw whole groups with replacement."""
    names, group_of = np.unique([str(group) for group in groups], return_inverse=True)
    rows_of = [np.flatnonzero(group_of == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    for _ in range(num_bags):
        drawn = rng.integers(len(names), size=len(names))
        yield np.concatenate([rows_of[i] for i in drawn])

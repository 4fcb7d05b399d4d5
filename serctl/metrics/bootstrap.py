"""Balanced subsets as in the paper, and a bootstrap over speakers.

BS-F1 draws balanced subsets *without* replacement. Its range shrinks with the size of the smallest
class and is not a confidence interval. The bootstrap resamples whole speakers *with* replacement,
because utterances of one speaker are not independent. Both use confusion counts: a resample of
25,000 utterances is one row of a matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.metrics.classification import Scores, score_confusion

NUM_SUBSETS, PER_CLASS = 100, 200
NUM_RESAMPLES = 1000
BLOCK = 100
"""Number of resamples drawn at a time, which limits the memory."""


def draw_subsets(
    true: ArrayLike, per_class: int = PER_CLASS, num_subsets: int = NUM_SUBSETS
) -> NDArray[np.intp]:
    """Draw class-balanced subsets without replacement, seeds 0 … ``num_subsets - 1``.

    The draws equal those of ``DataFrame.sample(n, random_state=seed)`` on the rows of each class in
    the order of the manifest, as in the authors' code.

    Args:
        true: ``(N,)`` label ids in manifest order.
        per_class: Utterances of each class, at most the size of the smallest class.
        num_subsets: Number of subsets S.

    Returns:
        Row numbers ``(S, C·n)``.
    """
    true = np.asarray(true)
    rows_of = [np.flatnonzero(true == label) for label in np.unique(true)]
    size = min(per_class, *(len(rows) for rows in rows_of))
    random = np.random.RandomState()  # seeding it again takes a twentieth of creating one

    def draw(seed: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        random.seed(seed)
        return rows[random.choice(len(rows), size, replace=False)]

    return np.stack(
        [np.concatenate([draw(seed, rows) for rows in rows_of]) for seed in range(num_subsets)]
    )


def score_subsets(
    true: ArrayLike, predicted: ArrayLike, subsets: NDArray[np.intp], num_classes: int
) -> NDArray[np.float64]:
    """Return the macro-F1 ``(S,)`` of each subset of `draw_subsets`: their mean is BS-F1."""
    cells = np.asarray(true) * num_classes + np.asarray(predicted)
    # Each subset counts into its own C² cells, so that one call counts all subsets.
    offsets = np.arange(len(subsets))[:, None] * num_classes**2
    counts = np.bincount(
        (cells[subsets] + offsets).ravel(), minlength=len(subsets) * num_classes**2
    )
    return score_confusion(counts.reshape(-1, num_classes, num_classes)).macro_f1


@dataclass(frozen=True, eq=False)
class Resamples:
    """R resamples of G speakers, shared by all compared systems.

    Attributes:
        cluster_of: ``(N,)`` number of the speaker of each utterance.
        weights: ``(R, G)`` float32: count of each speaker in each resample.
        seed: Seed of the drawing.
    """

    cluster_of: NDArray[np.intp]
    weights: NDArray[np.float32]
    seed: int

    @property
    def num_clusters(self) -> int:
        """Number of speakers G."""
        return self.weights.shape[1]


def draw_resamples(
    clusters: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Resamples:
    """Draw G of G speakers with replacement, R times.

    Args:
        clusters: N names: the speaker, or a unique name if the speaker is unknown.
        num_resamples: R.
        seed: Seed of the draws, which do not depend on the order of utterances.
    """
    names, cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size, rng = len(names), np.random.default_rng(seed)
    weights = np.empty((num_resamples, size), dtype=np.float32)
    for start in range(0, num_resamples, BLOCK):
        block = weights[start : start + BLOCK]
        drawn = rng.integers(0, size, block.shape) + np.arange(len(block))[:, None] * size
        block[:] = np.bincount(drawn.ravel(), minlength=block.size).reshape(block.shape)
    return Resamples(cluster_of, weights, seed)


def score_resamples(
    resamples: Resamples, true: ArrayLike, predicted: ArrayLike, num_classes: int
) -> Scores:
    """Return the metrics of every resample, with leading axis R."""
    counts = resamples.weights @ count_clusters(resamples, true, predicted, num_classes)
    return score_confusion(counts.reshape(-1, num_classes, num_classes))


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled metrics ``(R,)``."""
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(values), [tail, 1 - tail])
    return float(low), float(high)


def count_clusters(
    resamples: Resamples, true: ArrayLike, predicted: ArrayLike, num_classes: int
) -> NDArray[np.float32]:
    """Return the confusion counts of each speaker ``(G, C·C)``."""
    size = num_classes**2
    cells = resamples.cluster_of * size + np.asarray(true) * num_classes + np.asarray(predicted)
    counts = np.bincount(cells, minlength=resamples.num_clusters * size)
    return counts.reshape(-1, size).astype(np.float32)  # exact below 2**24 utterances

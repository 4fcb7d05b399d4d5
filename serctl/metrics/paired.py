"""Paired significance test of two systems, by swapping their predictions per speaker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.metrics.bootstrap import Resamples, count_clusters, interval
from serctl.metrics.classification import score_confusion

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class PairedTest:
    """The difference in macro-F1 of two systems on the same utterances.

    ``difference`` is first minus second. ``low`` and ``high`` are its 95 % confidence interval
    (bootstrap over speakers). ``p_value`` is two-sided, from swapping the predictions per speaker
    (approximate randomisation, exact for few speakers).
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    num_clusters: int

    @property
    def is_real(self) -> bool:
        """Whether both the test and the interval show a significant difference."""
        return self.p_value < SIGNIFICANT and not self.low <= 0 <= self.high

    @property
    def is_testable(self) -> bool:
        """Whether the number of speakers allows a significant p-value."""
        return can_test(self.num_clusters)

    def turned(self) -> "PairedTest":
        """Return the test with the two systems exchanged."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
        )

    def verdict(self) -> str:
        """Return the better system, and whether the difference is significant."""
        if not self.is_testable:
            return f"{self.num_clusters} speakers: differences cannot be tested."
        if self.difference < 0:
            return self.turned().verdict()
        numbers = (
            f"by {self.difference:.3f} macro-F1 (95 % interval {self.low:.3f} to {self.high:.3f}, "
            f"p = {self.p_value:.3f})"
        )
        if not self.difference:
            return (
                f"No significant difference: {self.first} and {self.second} have the same macro-F1."
            )
        if self.is_real:
            return f"{self.first} is better than {self.second} {numbers}."
        ahead = f"{self.first} is ahead of {self.second} {numbers}"
        return f"No significant difference: {ahead}."


def can_test(num_clusters: int) -> bool:
    """Whether a difference can be significant. The smallest p-value of n speakers is 2^(1-n).

    Example:
        >>> can_test(5), can_test(6)
        (False, True)
    """
    return 2.0 ** (1 - num_clusters) < SIGNIFICANT


def compare_paired(
    resamples: Resamples,
    true: ArrayLike,
    first: tuple[str, ArrayLike],
    second: tuple[str, ArrayLike],
    num_classes: int,
) -> PairedTest:
    """Test the difference in macro-F1 of two systems ``(name, predicted (N,))``.

    Predictions are swapped per speaker, because a speaker's utterances are not independent.

    Source: Noreen (1989), Computer-intensive methods for testing hypotheses.
    """
    a = count_clusters(resamples, true, first[1], num_classes)
    b = count_clusters(resamples, true, second[1], num_classes)

    def difference(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float64]:
        shape = (-1, num_classes, num_classes)
        return (
            score_confusion(one.reshape(shape)).macro_f1
            - score_confusion(two.reshape(shape)).macro_f1
        )

    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    observed = float(difference(total_a, total_b)[0])
    swaps = _draw_swaps(resamples)
    # Change (P, C·C) of the first system's counts by a swap of these speakers.
    moved = swaps @ (b - a)
    # Swaps that give the observed difference count, although rounding may make it smaller.
    extreme = np.abs(difference(total_a + moved, total_b - moved)) >= abs(observed) - 1e-12
    is_exact = len(swaps) == 2**resamples.num_clusters
    low, high = interval(difference(resamples.weights @ a, resamples.weights @ b))
    return PairedTest(
        first=first[0],
        second=second[0],
        difference=observed,
        low=low,
        high=high,
        # With random swaps the observed one is counted too, so that p is above 0.
        p_value=float(extreme.mean() if is_exact else (extreme.sum() + 1) / (len(swaps) + 1)),
        num_clusters=resamples.num_clusters,
    )


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    return np.minimum(corrected, 1.0).tolist()


def _draw_swaps(resamples: Resamples) -> NDArray[np.float32]:
    """Return ``(P, G)`` zeros and ones: all swaps of few speakers, or R random ones."""
    num_swaps, size = resamples.weights.shape
    if 2**size <= num_swaps:
        return np.array(list(product((0, 1), repeat=size)), dtype=np.float32)
    rng = np.random.default_rng([resamples.seed, 1])  # other numbers than those of the resamples
    return rng.integers(0, 2, (num_swaps, size)).astype(np.float32)

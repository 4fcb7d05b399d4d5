"""Choice of a stacker, and its comparison with the best model and the plain average.

All metrics come from cross-validation over speakers on the rows that a stacker is fitted on. No
model was trained on these rows, and no stacker is evaluated on a speaker it was fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from serctl.data.folds import group_by_speaker
from serctl.ensemble.compare import cross_predict, divide_rows
from serctl.ensemble.stackers import Stacker, StackerBalance, make_stacker
from serctl.ensemble.stacking_set import StackingSet
from serctl.errors import LogitsError
from serctl.metrics.bootstrap import draw_resamples
from serctl.metrics.classification import score_predictions
from serctl.metrics.paired import compare_paired
from serctl.progress import Progress

AUTO = "auto"
CANDIDATES = ("mean-probabilities", "best-single", "log-pool", "greedy", "linear")
"""Candidates from the simplest to the most flexible."""
AVERAGE = CANDIDATES[0]
BALANCE: StackerBalance = "weights"
"""Balancing of the candidates, which is also that of the fit: it loses no row of a small class."""
NUM_REPEATS = 3
"""Number of cross-validations with different folds, so that the choice depends less on one."""
WIDTH_95 = 2 * 1.96
"""A 95 % interval of a normal distribution, in standard errors."""


@dataclass(frozen=True)
class Verdict:
    """Cross-validated macro-F1 of a stacker, the best single model and the plain average.

    Attributes:
        kind: The stacker.
        stacker: Macro-F1 of the stacker.
        best_single: Macro-F1 of the single model that is best on the other speakers.
        average: Macro-F1 of the mean of all probabilities.
        num_rows: Number of predicted utterances.
    """

    kind: str
    stacker: float
    best_single: float
    average: float
    num_rows: int

    def __str__(self) -> str:
        """Return the comparison in one line, with a recommendation if another one is better."""
        rivals = {
            "best-single": ("best single model", self.best_single),
            AVERAGE: ("plain average", self.average),
        }
        rivals.pop(self.kind, None)  # its metric is that of the stacker
        others = ", ".join(f"{title} {metric:.3f}" for title, metric in rivals.values())
        shown = (
            f"Cross-validated over speakers ({self.num_rows:,} utterances): {self.kind} "
            f"{self.stacker:.3f} macro-F1, {others}."
        )
        name = max(reversed(rivals), key=lambda kind: rivals[kind][1])  # the average in a tie
        if round(self.stacker, 3) >= round(rivals[name][1], 3):  # as shown
            return f"{shown} None of the others is better."
        return f"{shown} Use --stacker {name}."


def assess_stacker(
    rows: StackingSet,
    make: Callable[[], Stacker],
    *,
    num_folds: int,
    seed: int,
    progress: Progress,
) -> Verdict:
    """Cross-validate a stacker, the best single model and the plain average.

    Raises:
        LogitsError: A class is too small in one of the parts.
        ManifestError: There are fewer than two speakers.
    """
    labels = rows.joined.labels
    fold_of = divide_rows(rows, num_folds, seed)

    def measure(make: Callable[[], Stacker]) -> float:
        return _score(rows, cross_predict(rows, make, fold_of, progress))

    return Verdict(
        kind=make().kind,
        stacker=measure(make),
        best_single=measure(partial(make_stacker, "best-single", labels, seed=seed)),
        average=measure(partial(make_stacker, AVERAGE, labels, seed=seed)),
        num_rows=len(rows.targets),
    )


def choose_kind(
    rows: StackingSet, *, num_folds: int, seed: int, progress: Progress
) -> tuple[str, str]:
    """Return the simplest stacker that is not worse than the best one, and the reason.

    It is the first of `CANDIDATES` whose cross-validated macro-F1 is within one standard error of
    the highest. The standard error of the difference is from a bootstrap over speakers.

    Raises:
        ManifestError: There are fewer than two speakers.
    """
    repeats = [divide_rows(rows, num_folds, seed + i) for i in range(NUM_REPEATS)]
    predicted: dict[str, list[NDArray[np.float64]]] = {}
    for kind in CANDIDATES:
        make = partial(make_stacker, kind, rows.joined.labels, balance=BALANCE, seed=seed)
        try:
            found = [cross_predict(rows, make, fold_of, progress) for fold_of in repeats]
        except LogitsError:  # too few rows of a class for this stacker
            continue
        predicted[kind] = found
    scores = {
        kind: float(np.mean([_score(rows, one) for one in found]))
        for kind, found in predicted.items()
    }
    best = max(scores, key=lambda kind: scores[kind])
    resamples = draw_resamples(group_by_speaker(rows.utterances), seed=seed)
    for kind in predicted:
        tests = [
            compare_paired(
                resamples,
                rows.targets,
                (best, first.argmax(axis=1)),
                (kind, second.argmax(axis=1)),
                len(rows.joined.labels),
            )
            for first, second in zip(predicted[best], predicted[kind], strict=True)
        ]
        error = float(np.mean([(test.high - test.low) / WIDTH_95 for test in tests]))
        if scores[best] - scores[kind] <= error:
            break
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    return kind, f"auto chose {kind}: the simplest within one standard error of the best ({shown})."


def _score(rows: StackingSet, predicted: NDArray[np.float64]) -> float:
    size = len(rows.joined.labels)
    return float(score_predictions(rows.targets, predicted.argmax(axis=1), size).macro_f1)

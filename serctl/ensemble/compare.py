"""Cross-fitting of stackers, and their comparison on the same rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from serctl.data.folds import assign_folds, group_by_speaker
from serctl.ensemble.stackers import AVERAGES, STACKERS, Stacker, StackerBalance, make_stacker
from serctl.ensemble.stacking_set import StackingSet
from serctl.errors import LogitsError
from serctl.metrics.bootstrap import draw_resamples, draw_subsets, score_subsets
from serctl.metrics.classification import score_predictions
from serctl.metrics.paired import PairedTest, compare_paired, correct_holm
from serctl.progress import Progress


@dataclass(frozen=True)
class StackerScore:
    """Metrics of one stacker by speaker-disjoint cross-validation.

    ``test`` compares it with the best stacker (None for the best one). ``corrected_p`` is the
    p-value corrected for the number of stackers. ``problem`` is the reason why it was not fitted.
    """

    kind: str
    macro_f1: float = 0.0
    uar: float = 0.0
    accuracy: float = 0.0
    bs_f1: float = 0.0
    test: PairedTest | None = None
    corrected_p: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """All stackers, sorted by macro-F1, highest first."""

    scores: Sequence[StackerScore]
    recommended: str
    reason: str
    num_folds: int
    num_rows: int
    num_speakers: int


def divide_rows(rows: StackingSet, num_folds: int, seed: int) -> NDArray[np.intp]:
    """Return the speaker-disjoint fold ``(N,)`` of each row; all stackers of a test share it.

    Raises:
        ManifestError: There are fewer than two speakers.
    """
    folds = assign_folds(rows.utterances, count_folds(rows, num_folds), seed)
    return np.array([folds.fold_of[name] for name in rows.joined.ids])


def cross_predict(
    rows: StackingSet,
    make: Callable[[], Stacker],
    fold_of: NDArray[np.intp],
    progress: Progress,
) -> NDArray[np.float64]:
    """Return probabilities ``(N, C)`` by stackers that were not fitted on the row's fold ``(N,)``.

    Raises:
        LogitsError: A class is too small in one of the parts.
    """
    probabilities = np.empty((len(fold_of), len(rows.joined.labels)))
    kind, speakers = make().kind, np.array(group_by_speaker(rows.utterances))
    num_folds = int(fold_of.max()) + 1
    with progress.task(f"cross-fitting {kind}", num_folds, "folds") as advance:
        for fold in range(num_folds):
            stacker, inside = make(), fold_of == fold
            fitted = ~inside
            groups = speakers[fitted].tolist()
            stacker.fit(rows.joined.values[fitted], rows.targets[fitted], groups)
            probabilities[inside] = stacker.predict_proba(rows.joined.values[inside])
            advance()
    return probabilities


def count_folds(rows: StackingSet, wanted: int) -> int:
    """Return the number of folds that the speakers allow."""
    return min(wanted, len(set(group_by_speaker(rows.utterances))))


def compare_stackers(
    rows: StackingSet,
    *,
    balance: StackerBalance,
    num_folds: int,
    seed: int,
    progress: Progress,
) -> Comparison:
    """Cross-validate every stacker on the same speaker-disjoint folds and test the differences.

    The recommended one has the highest macro-F1 on the natural distribution. ``reason`` states
    whether it is significantly better than a plain average.
    """
    predicted, problems = {}, []
    fold_of = divide_rows(rows, num_folds, seed)
    for kind in STACKERS:
        make = partial(make_stacker, kind, rows.joined.labels, balance=balance, seed=seed)
        try:
            found = cross_predict(rows, make, fold_of, progress)
        except LogitsError as error:
            problem = f"{error} (Cross-validation fits on fewer rows than serctl stack.)"
            problems.append(StackerScore(kind, problem=problem))
        else:
            predicted[kind] = found.argmax(axis=1)
    scores = _score(rows, predicted, seed)
    return Comparison(
        scores=(*scores, *problems),
        recommended=scores[0].kind,
        reason=_explain(scores),
        num_folds=count_folds(rows, num_folds),
        num_rows=len(rows.targets),
        num_speakers=len(set(group_by_speaker(rows.utterances))),
    )


def _score(
    rows: StackingSet, predicted: dict[str, NDArray[np.intp]], seed: int
) -> list[StackerScore]:
    """Evaluate every stacker, and test each against the one with the highest macro-F1."""
    size, true = len(rows.joined.labels), rows.targets
    metrics = {kind: score_predictions(true, found, size) for kind, found in predicted.items()}
    # The sort is stable: of two equal stackers the simpler one comes first.
    order = sorted(predicted, key=lambda kind: -float(metrics[kind].macro_f1))
    best, *others = order
    resamples = draw_resamples(group_by_speaker(rows.utterances), seed=seed)
    tests = [
        compare_paired(resamples, true, (best, predicted[best]), (kind, predicted[kind]), size)
        for kind in others
    ]
    corrected = correct_holm([test.p_value for test in tests])
    subsets = draw_subsets(true)
    return [
        StackerScore(
            kind=kind,
            macro_f1=float(metrics[kind].macro_f1),
            uar=float(metrics[kind].uar),
            accuracy=float(metrics[kind].accuracy),
            bs_f1=float(score_subsets(true, predicted[kind], subsets, size).mean()),
            test=test,
            corrected_p=p_value,
        )
        for kind, test, p_value in zip(order, [None, *tests], [None, *corrected], strict=True)
    ]


def _explain(scores: Sequence[StackerScore]) -> str:
    best = scores[0]
    averages = [score for score in scores if score.kind in AVERAGES]
    if best.kind in AVERAGES:
        return f"{best.kind} has the highest macro-F1: no learned stacker beats an average."
    test, p_value = averages[0].test, averages[0].corrected_p
    assert test is not None  # only the best stacker has none
    assert p_value is not None
    verdict = replace(test, p_value=p_value).verdict()
    return f"{best.kind} has the highest macro-F1. {verdict}"

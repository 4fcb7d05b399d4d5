"""Metrics equal scikit-learn's on every case, absent classes included."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from serctl.metrics.classification import (
    concordance,
    count_confusion,
    macro_f1_of_present,
    measure_calibration,
    score_confusion,
    score_predictions,
)

NUM_CLASSES = 5


@st.composite
def label_pairs(draw):
    """True and predicted label ids; some classes may be absent from either or both."""
    size = draw(st.integers(1, 40))
    classes = st.sampled_from(draw(st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1)))
    column = st.lists(classes, min_size=size, max_size=size)
    return np.array(draw(column)), np.array(draw(column))


@given(label_pairs())
def test_every_metric_equals_scikit_learn(pair) -> None:
    true, predicted = pair
    labels = range(NUM_CLASSES)
    scores = score_predictions(true, predicted, NUM_CLASSES)
    expected = sk.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for ours, theirs in zip(
        (scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True
    ):
        assert np.allclose(ours, theirs)
    macro = sk.f1_score(true, predicted, labels=labels, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(macro)
    assert scores.accuracy == pytest.approx(sk.accuracy_score(true, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of predicted classes that are not true
        assert scores.uar == pytest.approx(sk.balanced_accuracy_score(true, predicted))
    present = np.unique(true)
    small = sk.f1_score(true, predicted, labels=present, average="macro", zero_division=0)
    assert macro_f1_of_present(scores) == pytest.approx(small)
    confusion = sk.confusion_matrix(true, predicted, labels=labels)
    assert np.array_equal(count_confusion(true, predicted, NUM_CLASSES), confusion)


@given(st.lists(label_pairs(), min_size=1, max_size=4))
def test_a_stack_of_confusions_is_scored_one_by_one(pairs) -> None:
    stack = np.stack([count_confusion(*pair, NUM_CLASSES) for pair in pairs])
    together = score_confusion(stack)
    for i, pair in enumerate(pairs):
        alone = score_predictions(*pair, NUM_CLASSES)
        assert together.macro_f1[i] == alone.macro_f1
        assert together.uar[i] == alone.uar
        assert np.array_equal(together.f1[i], alone.f1)


@given(label_pairs(), st.randoms())
def test_metrics_do_not_depend_on_the_order_of_utterances(pair, random) -> None:
    order = random.sample(range(len(pair[0])), len(pair[0]))
    shuffled = score_predictions(pair[0][order], pair[1][order], NUM_CLASSES)
    assert shuffled.macro_f1 == score_predictions(*pair, NUM_CLASSES).macro_f1


def test_nothing_at_all_scores_zero_and_does_not_divide_by_it() -> None:
    scores = score_confusion(np.zeros((3, 3)))
    assert (scores.macro_f1, scores.uar, scores.accuracy) == (0, 0, 0)


def test_concordance_is_one_for_equal_series_and_falls_with_shift_and_scale() -> None:
    a = np.array([1.0, 2.0, 4.0, 5.0])
    assert concordance(a, a) == pytest.approx(1)
    assert concordance(a, -a + 6) == pytest.approx(-1)
    # By hand: 2 cov / (var + var + shift²) with var 2.5 and cov 2.5
    assert concordance(a, a + 1) == pytest.approx(5 / 6)
    assert concordance(np.ones(3), np.ones(3)) == 0


def test_calibration_of_a_case_worked_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    found = measure_calibration([0, 1, 1, 1], probabilities, num_bins=2)
    # one bin (0.5, 1]: mean confidence 0.7375, accuracy 3/4
    assert found.ece == pytest.approx(0.0125)
    assert vars(found.bins[0]) | {"confidence": 0.7375} == pytest.approx(
        {"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.7375, "accuracy": 0.75}
    )


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_calibration_bins_hold_every_utterance_once(num_bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), size=50)
    true = rng.integers(0, 4, 50)
    found = measure_calibration(true, probabilities, num_bins)
    assert sum(cell.count for cell in found.bins) == 50
    assert all(c.low < c.confidence <= c.high + 1e-12 for c in found.bins)
    right = sum(cell.count * cell.accuracy for cell in found.bins)
    assert right == pytest.approx((probabilities.argmax(axis=1) == true).sum())
    with_gap = sum(c.count / 50 * abs(c.confidence - c.accuracy) for c in found.bins)
    assert found.ece == pytest.approx(with_gap)

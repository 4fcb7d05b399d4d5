"""The paired test against scipy's, and what its verdict says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from synthetic_predictions import C, draw_predictions, macro_f1

from serctl.metrics.bootstrap import draw_resamples
from serctl.metrics.paired import compare_paired, correct_holm


@settings(max_examples=10)
@given(st.integers(0, 500))
def test_the_exact_paired_test_agrees_with_scipy(seed: int) -> None:
    true, first, clusters = draw_predictions(seed, size=60, speakers=5)
    second = draw_predictions(seed + 1, size=60)[1]
    found = compare_paired(draw_resamples(clusters), true, ("a", first), ("b", second), C)
    groups = [np.flatnonzero(np.array(clusters) == name) for name in sorted(set(clusters))]

    def statistic(one, two, axis=-1):
        # scipy swaps the speakers' systems: 0 stands for a, 1 for b
        def f1(which) -> float:
            chosen = np.concatenate(
                [(first, second)[int(w)][rows] for w, rows in zip(which, groups, strict=True)]
            )
            return macro_f1(true[np.concatenate(groups)], chosen)

        return f1(one) - f1(two)

    theirs = permutation_test(
        (np.zeros(len(groups)), np.ones(len(groups))),
        statistic,
        permutation_type="samples",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert found.difference == pytest.approx(theirs.statistic)
    extreme = np.abs(theirs.null_distribution) >= abs(theirs.statistic) - 1e-12
    assert found.p_value == pytest.approx(extreme.mean())


def test_a_clearly_better_system_is_found_real_and_equal_ones_are_not() -> None:
    true, good, clusters = draw_predictions(5, size=2000, speakers=60, skill=0.8)
    bad = draw_predictions(5, size=2000, speakers=60, skill=0.5)[1]
    resamples = draw_resamples(clusters)
    found = compare_paired(resamples, true, ("good", good), ("bad", bad), C)
    assert found.is_real
    assert found.low > 0
    assert found.verdict().startswith("good is better than bad")
    turned = compare_paired(resamples, true, ("bad", bad), ("good", good), C)
    assert turned.verdict() == found.verdict()
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    same = compare_paired(resamples, true, ("good", good), ("twin", good), C)
    assert (same.difference, same.p_value, same.is_real) == (0, 1, False)
    told = "No significant difference: good and twin have the same macro-F1."
    assert same.verdict() == told


def test_two_systems_of_the_same_skill_are_rarely_called_different() -> None:
    rng = np.random.default_rng(0)
    false_alarms = 0
    for trial in range(40):
        true, first, clusters = draw_predictions(trial, size=400, speakers=40)
        second = np.where(rng.random(400) < 0.6, true, rng.integers(0, C, 400))
        resamples = draw_resamples(clusters, num_resamples=200)
        found = compare_paired(resamples, true, ("a", first), ("b", second), C)
        false_alarms += found.is_real
    assert false_alarms <= 6  # 2 expected at the 5 % level


def test_few_speakers_are_called_too_few() -> None:
    true, good, clusters = draw_predictions(7, speakers=3, skill=0.95)
    bad = draw_predictions(7, speakers=3, skill=0.2)[1]
    found = compare_paired(draw_resamples(clusters), true, ("good", good), ("bad", bad), C)
    assert not found.is_real
    assert found.verdict() == "3 speakers: differences cannot be tested."


def test_holm_corrects_by_the_number_of_questions() -> None:
    assert correct_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_holm([0.5, 0.9]) == [1.0, 1.0]
    assert correct_holm([]) == []

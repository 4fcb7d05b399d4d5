"""Stackers that weigh whole models."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from sklearn.metrics import f1_score

from serctl.ensemble.log_pool import DEVIATION, fit_log_pool
from serctl.ensemble.logits import softmax
from serctl.ensemble.selection import Selection, draw_bags, measure, select_greedily


def make_rows(
    skills: list[float], num_rows: int = 240, num_classes: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits ``(N, M, C)`` of models that see the label with these strengths."""
    rng = np.random.default_rng(seed)
    y = rng.integers(num_classes, size=num_rows)
    noise = rng.normal(size=(num_rows, len(skills), num_classes))
    return noise + np.array(skills)[None, :, None] * np.eye(num_classes)[y][:, None], y


def test_the_best_single_model_has_all_the_weight() -> None:
    x, y = make_rows([0.2, 2.0, 0.5])
    stacker = Selection("best-single", 4)
    stacker.fit(x, y)
    assert stacker.weights.tolist() == [0, 1, 0]
    np.testing.assert_allclose(stacker.predict_proba(x), softmax(x[:, 1]))


def test_greedy_selection_finds_what_a_search_over_all_shares_finds() -> None:
    x, y = make_rows([1.0, 0.8, 0.1], num_rows=120)
    probabilities = softmax(x)
    shares = [np.array(c) for c in itertools.product(range(6), repeat=3) if 0 < sum(c) <= 5]
    best = max(measure(np.einsum("nmc,m->nc", probabilities, c), y)[0] for c in shares)
    found = select_greedily(probabilities, y)
    assert measure(np.einsum("nmc,m->nc", probabilities, found), y)[0] >= best - 0.02


def test_greedy_selection_is_never_below_the_best_single_model_on_its_own_rows() -> None:
    for seed in range(10):
        x, y = make_rows([1.0, 0.9, 0.2], num_rows=60, seed=seed)
        probabilities = softmax(x)
        found = np.einsum("nmc,m->nc", probabilities, select_greedily(probabilities, y))
        assert measure(found, y) >= max(measure(probabilities[:, m], y) for m in range(3))


def test_a_model_of_noise_gets_little_weight() -> None:
    x, y = make_rows([1.5, 1.5, 0.0, 0.0])
    stacker = Selection("greedy", 4)
    stacker.fit(x, y)
    assert stacker.weights[2:].sum() < 0.15
    assert stacker.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["greedy", "log-pool"])
def test_the_order_of_the_models_only_permutes_the_weights(kind: str) -> None:
    x, y = make_rows([1.0, 0.7, 0.4])
    groups = [f"s{i % 7}" for i in range(len(y))]
    weights = []
    for order in ([0, 1, 2], [2, 0, 1]):
        stacker = Selection(kind, 4)
        stacker.fit(x[:, order], y, groups)
        weights.append(stacker.weights[np.argsort(order)])
    np.testing.assert_allclose(*weights, rtol=1e-3)


def test_the_first_criterion_is_the_macro_f1_of_scikit_learn() -> None:
    x, y = make_rows([0.5])
    expected = f1_score(y, x[:, 0].argmax(axis=1), average="macro")
    assert measure(softmax(x[:, 0]), y)[0] == pytest.approx(expected)


def test_a_bag_holds_whole_groups() -> None:
    groups = ["a", "b", "a", "c", "b", "a"]
    for rows in draw_bags(groups, 20, seed=1):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]


def test_the_weights_of_a_logarithmic_pool_have_the_highest_posterior_probability() -> None:
    x, y = make_rows([1.5, 0.8, 0.0], num_rows=150)
    share = len(y) / np.bincount(y)[y] / 4

    def find_loss(logits: np.ndarray) -> float:
        return float(-share @ np.log(softmax(logits)[np.arange(len(y)), y]))

    scales = [
        minimize_scalar(lambda a, m=m: find_loss(a * x[:, m]), bounds=(0, 20), method="bounded").x
        for m in range(3)
    ]
    found = minimize(
        lambda w: (
            find_loss(np.einsum("nmc,m->nc", x * np.array(scales)[:, None], np.abs(w)))
            + ((np.abs(w) - 1 / 3) ** 2).sum() / (2 * DEVIATION**2)
        ),
        np.full(3, 1 / 3),
        method="Nelder-Mead",
    )
    np.testing.assert_allclose(fit_log_pool(x, y), scales * np.abs(found.x), atol=0.01)


def test_a_logarithmic_pool_scales_an_overconfident_model_down_and_inverts_none() -> None:
    x, y = make_rows([1.0, 1.0, -1.0])  # the last is worse than chance
    x[:, 1] *= 20
    weights = fit_log_pool(x, y)
    assert weights[1] == pytest.approx(weights[0] / 20, rel=0.2)
    assert weights[2] < 0.05 * weights[0]
    assert (weights >= 0).all()


def test_a_logarithmic_pool_of_models_without_errors_is_finite() -> None:
    y = np.arange(40) % 4
    x = np.stack([5.0 * np.eye(4)[y]] * 2, axis=1)
    stacker = Selection("log-pool", 4)
    stacker.fit(x, y)
    assert np.isfinite(stacker.weights).all()
    assert (stacker.predict_proba(x).argmax(axis=1) == y).all()

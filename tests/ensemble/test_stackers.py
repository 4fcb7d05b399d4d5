"""Stackers behind one interface: the paper's forest, balancing, averages, and clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from serctl.ensemble.stackers import (
    AVERAGES,
    SELECTIONS,
    STACKERS,
    Learned,
    draw_balanced,
    make_stacker,
)
from serctl.errors import LogitsError, UnknownNameError, UsageError

LABELS = ("angry", "sad", "happy", "neutral")


def logits_of(seed: int, counts=(20, 30, 40, 110), num_models: int = 3, signal: float = 1.5):
    """Logits (N, M, C) of models that are mostly right, and label ids (N,)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    x = rng.normal(size=(len(y), num_models, len(counts)))
    x += signal * (np.arange(len(counts)) == y[:, None])[:, None, :]
    return x, y


LEARNED = [kind for kind in STACKERS if kind not in (*AVERAGES, *SELECTIONS)]
QUICK = [kind for kind in LEARNED if kind != "random-forest"]
BALANCED = [(k, b) for k in QUICK for b in ("subset", "weights", "none")]


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(
    ("kind", "balance"),
    [*BALANCED, *((kind, "subset") for kind in (*AVERAGES, "greedy", "random-forest"))],
)
def test_every_stacker_gives_probabilities_better_than_chance(kind: str, balance) -> None:
    x, y = logits_of(0)
    stacker = make_stacker(kind, LABELS, balance=balance, draws=5)
    stacker.fit(x, y)
    new_x, new_y = logits_of(1)
    probabilities = stacker.predict_proba(new_x)
    assert probabilities.shape == (len(new_y), 4)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert probabilities.min() >= 0
    assert (probabilities.argmax(axis=1) == new_y).mean() > 0.7


def test_the_default_is_the_forest_of_the_paper() -> None:
    x, y = logits_of(0)
    stacker = make_stacker("random-forest", LABELS)
    stacker.fit(x, y)
    assert isinstance(stacker, Learned)
    rows = draw_balanced(y, 42)
    assert np.bincount(y[rows]).tolist() == [20, 20, 20, 20]
    features, new = x[rows].reshape(80, -1), logits_of(1)[0]
    expected = []
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    for part, _ in folds.split(features, y[rows]):
        forest = RandomForestClassifier(
            200, max_depth=8, min_samples_leaf=10, min_samples_split=10, random_state=42
        )
        forest.fit(features[part], y[rows][part])
        expected.append(forest.predict_proba(new.reshape(len(new), -1)))
    assert np.allclose(stacker.predict_proba(new), np.mean(expected, axis=0))
    alone = replace(stacker, fold=4)
    assert np.allclose(alone.predict_proba(new), expected[4])
    shares = forest.feature_importances_  # of the last fold
    assert np.allclose(alone.importances(), shares / shares.sum())


def test_averages_are_what_they_are_called() -> None:
    x, _ = logits_of(2, signal=0.3)
    mean_logits = make_stacker("mean-logits", LABELS).predict_proba(x)
    assert np.allclose(mean_logits, softmax(x.mean(axis=1), axis=1))
    mean = make_stacker("mean-probabilities", LABELS).predict_proba(x)
    assert np.allclose(mean, softmax(x, axis=2).mean(axis=1))
    votes = make_stacker("majority-vote", LABELS).predict_proba(x)
    for row, answer, average in zip(x, votes, mean, strict=True):
        counts = np.bincount(row.argmax(axis=1), minlength=4)
        winners = np.flatnonzero(counts == counts.max())
        assert answer.argmax() == winners[average[winners].argmax()]


@pytest.mark.parametrize("kind", QUICK)
def test_weights_help_a_rare_class(kind: str) -> None:
    x, y = logits_of(3, counts=(12, 300), num_models=2, signal=0.8)
    found = {}
    for balance in ("weights", "none"):
        stacker = make_stacker(kind, ("angry", "neutral"), balance=balance)
        stacker.fit(x, y)
        found[balance] = stacker.predict_proba(x).argmax(axis=1)
    rare = y == 0
    assert (found["weights"][rare] == 0).sum() > (found["none"][rare] == 0).sum()


@pytest.mark.parametrize("kind", QUICK)
def test_a_class_that_is_absent_is_refused_in_a_subset_and_gets_nothing_with_weights(kind) -> None:
    x, y = logits_of(4, counts=(20, 0, 20, 30))
    with pytest.raises(LogitsError, match="too few of: sad 0"):
        make_stacker(kind, LABELS).fit(x, y)
    stacker = make_stacker(kind, LABELS, balance="weights")
    stacker.fit(x, y)
    assert (stacker.predict_proba(x)[:, 1] == 0).all()


def test_a_class_too_small_for_the_folds_is_named_with_its_size() -> None:
    x, y = logits_of(4, counts=(3, 20, 4, 30))
    with pytest.raises(LogitsError, match=r"needs 5 utterances of each class.*angry 3, happy 4"):
        make_stacker("random-forest", LABELS).fit(x, y)


def test_one_class_alone_cannot_be_fitted() -> None:
    x, y = logits_of(4, counts=(0, 0, 0, 30))
    with pytest.raises(LogitsError, match="all but one"):
        make_stacker("linear", LABELS, balance="none").fit(x, y)


@pytest.mark.usefixtures("few_trees")
def test_what_the_stacker_leans_on_points_at_the_model_that_knows() -> None:
    x, y = logits_of(5, num_models=3, signal=0.0)
    x[:, 1] += 3 * (np.arange(4) == y[:, None])
    for kind in ("random-forest", "xgboost", "logistic-regression", "linear"):
        stacker = make_stacker(kind, LABELS)
        stacker.fit(x, y)
        shares = stacker.importances().reshape(3, 4).sum(axis=1)
        assert shares.sum() == pytest.approx(1)
        assert shares.argmax() == 1
    assert make_stacker("mean-logits", LABELS).importances() is None


def test_two_fits_with_one_seed_are_equal_and_with_another_seed_differ() -> None:
    x, y = logits_of(6)

    def answers(seed: int) -> np.ndarray:
        stacker = make_stacker("xgboost", LABELS, seed=seed)
        stacker.fit(x, y)
        return stacker.predict_proba(x)

    assert np.array_equal(answers(1), answers(1))
    assert not np.array_equal(answers(1), answers(2))


def test_unknown_kinds_and_folds_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'random-forest'"):
        make_stacker("random_forest", LABELS)
    for kind, fold in (("xgboost", 4), ("random-forest", 5)):
        with pytest.raises(UsageError, match=f"--fold is {fold}"):
            make_stacker(kind, LABELS, fold=fold)


@pytest.mark.usefixtures("few_trees")
def test_more_draws_make_the_seed_matter_less() -> None:
    x, y = logits_of(0, counts=(12, 30, 40, 110))
    new, _ = logits_of(1)
    spread = []
    for draws in (1, 6):
        found = []
        for seed in (0, 100, 200):
            stacker = make_stacker("linear", LABELS, seed=seed, draws=draws)
            stacker.fit(x, y)
            found.append(stacker.predict_proba(new))
        spread.append(np.std(found, axis=0).mean())
    assert spread[1] < 0.6 * spread[0]


@pytest.mark.usefixtures("few_trees")
def test_several_draws_are_the_mean_of_single_ones() -> None:
    x, y = logits_of(0)
    several = make_stacker("random-forest", LABELS, draws=2, fold=3)
    several.fit(x, y)
    single = [make_stacker("random-forest", LABELS, seed=seed, fold=3) for seed in (42, 43)]
    for stacker in single:
        stacker.fit(x, y)
    expected = np.mean([stacker.predict_proba(x) for stacker in single], axis=0)
    assert np.allclose(several.predict_proba(x), expected)

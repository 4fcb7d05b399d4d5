"""Calibration: recovers what was put in, never hurts the likelihood, priors as Bayes says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serctl.documents.bundle import CalibrationRecord
from serctl.ensemble.calibration import Calibrator, fit_calibration, parse_prior
from serctl.ensemble.logits import softmax
from serctl.errors import CheckpointError, ConfigError

LABELS = ("angry", "happy", "neutral")


def draw(temperature: float, prior: np.ndarray, count: int = 20_000) -> tuple:
    """Classes drawn by a prior; answers too sure by a factor, as if classes were equally likely."""
    rng = np.random.default_rng(3)
    targets = rng.choice(3, count, p=prior)
    evidence = rng.normal(size=(count, 3)) * 1.5
    evidence[np.arange(count), targets] += 1.5**2  # log-likelihood ratios of unit Gaussians
    return softmax(evidence * temperature), targets


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    return -np.log(probabilities[np.arange(len(targets)), targets]).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_and_prior_that_were_put_in_are_found(temperature: float) -> None:
    prior = np.array([0.1, 0.2, 0.7])
    answers, targets = draw(temperature, prior)
    found = fit_calibration(answers, targets)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.natural == pytest.approx(prior, abs=0.01)
    assert found.implied == pytest.approx(np.full(3, 1 / 3), abs=0.03)
    calibrated = found.apply(answers, found.natural)
    assert calibrated.mean(axis=0) == pytest.approx(prior, abs=0.01)
    assert log_loss(calibrated, targets) <= log_loss(answers, targets) + 1e-9


def test_a_balanced_prior_undoes_a_natural_one() -> None:
    answers, targets = draw(1.0, np.array([0.1, 0.2, 0.7]), 500)
    found = fit_calibration(answers, targets)
    natural = found.apply(answers, found.natural)
    balanced = found.apply(answers, np.full(3, 1 / 3))
    expected = natural / found.natural
    assert balanced == pytest.approx(expected / expected.sum(axis=1, keepdims=True), rel=1e-6)


def test_a_class_that_dev_lacks_keeps_a_share() -> None:
    answers, targets = draw(1.0, np.array([0.5, 0.5, 0.0]), 200)
    found = fit_calibration(answers, targets)
    assert 0 < found.natural[2] < 0.01
    assert np.isfinite(found.apply(answers, found.natural)).all()


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0.1, 5))
def test_calibrated_answers_are_probabilities_even_of_zeros(row: list, temperature: float) -> None:
    third = np.full(3, 1 / 3)
    made = Calibrator(temperature, third, third, 1).apply(np.array([row]), np.array([1.0, 0, 0]))
    assert np.isfinite(made).all()
    assert made.sum() == pytest.approx(1)


def test_it_survives_json() -> None:
    found = fit_calibration(*draw(2.0, np.array([0.2, 0.3, 0.5]), 300))
    again = Calibrator.of(found.record(LABELS), LABELS)
    assert again.temperature == pytest.approx(found.temperature, abs=1e-6)
    assert again.implied == pytest.approx(found.implied, abs=1e-6)
    with pytest.raises(CheckpointError, match="has no prior of calm"):
        Calibrator.of(found.record(LABELS), [*LABELS, "calm"])
    with pytest.raises(ValidationError, match="greater than 0"):
        CalibrationRecord(**dict(found.record(LABELS)) | {"temperature": -1})


def test_a_users_prior_is_shares_of_every_emotion() -> None:
    given_shares = {"angry": 1, "happy": 1, "neutral": 2}
    assert parse_prior(given_shares, LABELS, "prior.json").tolist() == [0.25, 0.25, 0.5]
    for wrong in (
        {"angry": 1},
        given_shares | {"calm": 1},
        given_shares | {"angry": -1},
        given_shares | {"angry": "many"},
        dict.fromkeys(LABELS, 0),
        dict.fromkeys(LABELS, 1e308),
    ):
        with pytest.raises(ConfigError, match=r"prior\.json"):
            parse_prior(wrong, LABELS, "prior.json")

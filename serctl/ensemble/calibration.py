"""Calibrated probabilities, and probabilities under another class prior.

A network trained with class weights and a stacker fitted on a balanced subset assume a uniform
class prior. A temperature and the implied prior are fitted on dev. Another prior can replace the
implied one (Saerens et al. 2002): the frequencies of dev (``natural``), a uniform prior
(``balanced``), or a user-defined one. Shapes: N rows, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serctl.documents.bundle import CalibrationRecord
from serctl.ensemble.logits import SMALLEST_PROBABILITY, softmax
from serctl.errors import CheckpointError, ConfigError, first_few
from serctl.files import read_json
from serctl.options.files import read_toml

PRIORS = ("natural", "balanced")
"""Names of priors for ``--prior``, in addition to files."""
NOT_CALIBRATED = (
    "Not calibrated: the networks were trained on every utterance of dev, so the temperature is 1 "
    "and the implied prior is uniform. To calibrate: serctl train without --fit-on train+dev, or "
    "with --folds 5."
)
PENALTY = 1.0
"""Weight of the squared distance (in nats) between implied and uniform prior. It regularises the
prior of a class with few utterances in dev."""


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Temperature and priors, fitted on dev.

    Attributes:
        temperature: Divisor of the logits. A value above 1 means an overconfident system.
        implied: ``(C,)`` class prior that the predictions imply.
        natural: ``(C,)`` class frequencies of dev, with one utterance added to each class.
        num_rows: Number of dev utterances that it was fitted on; 0 if none was outside of training.
    """

    temperature: float
    implied: NDArray[np.float64]
    natural: NDArray[np.float64]
    num_rows: int

    def apply(
        self, probabilities: NDArray[np.float64], prior: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return calibrated probabilities ``(N, C)`` under a prior ``(C,)``."""
        scaled = _log(probabilities) / self.temperature
        return softmax(scaled - np.log(self.implied) + _log(prior))

    def record(self, labels: Sequence[str]) -> CalibrationRecord:
        """Return the record of the calibration for a bundle."""

        def by_label(prior: NDArray[np.float64]) -> dict[str, float]:
            return {name: round(float(x), 6) for name, x in zip(labels, prior, strict=True)}

        return CalibrationRecord(
            temperature=round(self.temperature, 6),
            implied_prior=by_label(self.implied),
            natural_prior=by_label(self.natural),
            num_rows=self.num_rows,
        )

    @classmethod
    def of(cls, record: CalibrationRecord, labels: Sequence[str]) -> Self:
        """Return the calibrator from the record of a bundle.

        Raises:
            CheckpointError: A prior has no value for one of the labels.
        """
        implied, natural = record.implied_prior, record.natural_prior
        if lacking := [name for name in labels if name not in implied or name not in natural]:
            raise CheckpointError(
                f"The bundle's calibration has no prior of {first_few(lacking)}. Make the bundle "
                f"again: serctl bundle make --overwrite"
            )
        return cls(
            record.temperature,
            np.array([implied[name] for name in labels]),
            np.array([natural[name] for name in labels]),
            record.num_rows,
        )


def fit_calibration(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.intp],
    in_sample: NDArray[np.bool_] | None = None,
) -> Calibrator:
    """Fit temperature and implied prior by maximum likelihood.

    Args:
        probabilities: ``(N, C)`` of labelled utterances of dev.
        targets: ``(N,)`` label ids.
        in_sample: ``(N,)`` bool: a network was trained on the utterance. Such utterances count only
            for the class frequencies. Without others the temperature is 1 and the implied prior
            uniform, because a network is too certain about its own training data.

    Source: temperature scaling of Guo et al. (2017), On calibration of modern neural networks;
    priors of Saerens et al. (2002), Adjusting the outputs of a classifier to new a priori
    probabilities, and Alexandari et al. (2020), bias-corrected temperature scaling.
    """
    from scipy.optimize import minimize

    size = probabilities.shape[1]
    counts = np.bincount(targets, minlength=size) + 1.0
    natural = counts / counts.sum()
    if in_sample is not None:
        probabilities, targets = probabilities[~in_sample], targets[~in_sample]
    if not len(targets):
        return Calibrator(1.0, np.full(size, 1 / size), natural, 0)
    logits, shift = _log(probabilities), np.log(natural)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the penalised negative log-likelihood and its gradient.

        ``values`` are the logarithm of the temperature, and those of the C implied priors.
        """
        scale, implied = np.exp(-values[0]), values[1:]
        made = softmax(logits * scale - implied + shift)
        likelihood = np.log(np.maximum(made[np.arange(len(targets)), targets], 1e-300)).sum()
        made[np.arange(len(targets)), targets] -= 1.0  # now the gradient by the scores
        gradient = np.concatenate(
            [[-(made * logits).sum() * scale], PENALTY * implied - made.sum(axis=0)]
        )
        return PENALTY / 2 * (implied**2).sum() - likelihood, gradient

    bounds = [(np.log(0.05), np.log(20.0))] + [(-10.0, 10.0)] * size
    found = minimize(loss, np.zeros(1 + size), jac=True, method="L-BFGS-B", bounds=bounds)
    return Calibrator(float(np.exp(found.x[0])), softmax(found.x[1:]), natural, len(targets))


def check_prior(name: str) -> None:
    """Refuse a prior that is no name and no file, before anything is loaded.

    Raises:
        ConfigError: It is neither.
    """
    if name not in PRIORS and not Path(name).is_file():
        raise ConfigError(
            f"--prior is '{name}', expected as-trained, {', '.join(PRIORS)}, or a JSON or TOML "
            f'file of shares by emotion such as {{"happy": 0.2, "sad": 0.8}}.'
        )


def read_prior(
    name: str, labels: Sequence[str], natural: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the prior ``(C,)`` of ``--prior``: by name, or from a JSON or TOML file of shares.

    Raises:
        ConfigError: The file is no such file; see `parse_prior`.
    """
    if name == "natural":
        return natural
    if name == "balanced":
        return np.full(len(labels), 1 / len(labels))
    path = Path(name)
    hint = 'Expected {"happy": 0.2, "sad": 0.8}.'
    values = read_toml(path) if path.suffix == ".toml" else read_json(path, ConfigError, hint)
    return parse_prior(values, labels, str(path))


def parse_prior(
    values: Mapping[str, Any], labels: Sequence[str], source: str
) -> NDArray[np.float64]:
    """Return a prior ``(C,)`` of shares by emotion, such as ``{"happy": 3, "neutral": 5}``.

    Raises:
        ConfigError: An emotion is unknown or missing, or a share is negative or not a number.
    """
    wrong = sorted(set(values) ^ set(labels))
    if wrong:
        raise ConfigError(
            f"{source}: unknown or missing emotions: {first_few(wrong)}. Expected a share of "
            f"each of {', '.join(labels)}."
        )
    try:
        shares = np.array([float(values[name]) for name in labels])
    except (TypeError, ValueError):
        shares = np.full(len(labels), np.nan)
    with np.errstate(over="ignore"):
        total = shares.sum()
    if not (np.isfinite(total) and (shares >= 0).all() and total > 0):
        raise ConfigError(f"{source}: expected shares of at least 0, and one above 0.")
    return shares / total


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))

"""Weights of a logarithmic opinion pool, the weighted geometric mean of the models' probabilities.

An overconfident model gets a small weight. Greedy selection by macro-F1 ignores confidence. The
weights are not negative, so no model is inverted, and they depend neither on a seed nor on the
order of the models.

Source: T. Heskes, "Selecting weighting factors in logarithmic opinion pools", NIPS 1997.
"""

import numpy as np
from numpy.typing import NDArray

from serctl.ensemble.logits import softmax

DEVIATION = 0.3
"""Standard deviation of the normal prior of the weights. Its mean is equal shares."""
LARGEST = 20.0
"""Maximum weight. Without a bound, the weights of models without errors would be infinite."""


def fit_log_pool(x: NDArray[np.float64], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the weights ``(M,)`` of the logits with the highest posterior probability.

    The prior is on the shares of the models after temperature scaling of each.

    Args:
        x: Logits ``(N, M, C)`` of rows that the models were not trained on.
        y: Label ids ``(N,)``. All classes have the same weight.
    """
    num_models = x.shape[1]
    # The pool of one model is temperature scaling.
    scales = np.array([_fit(x[:, [m]], y, np.inf)[0] for m in range(num_models)])
    return scales * _fit(x * scales[:, None], y, DEVIATION)


def _fit(x: NDArray[np.float64], y: NDArray[np.intp], deviation: float) -> NDArray[np.float64]:
    """Return the most probable weights under a normal prior with mean 1/M."""
    from scipy.optimize import minimize

    num_rows, num_models, num_classes = x.shape
    equal = np.full(num_models, 1 / num_models)
    support = np.bincount(y, minlength=num_classes)
    importance = num_rows / (support[y] * np.count_nonzero(support))  # (N,), mean 1
    of_true = x[np.arange(num_rows), :, y]  # (N, M)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the negative log-posterior and its gradient."""
        scores = np.einsum("nmc,m->nc", x, weights)
        probabilities = softmax(scores)
        chosen = probabilities[np.arange(num_rows), y]
        expected = np.einsum("nmc,nc->nm", x, probabilities)
        distance = (weights - equal) / deviation
        value = distance @ distance / 2 - importance @ np.log(np.maximum(chosen, 1e-300))
        return value, distance / deviation + importance @ (expected - of_true)

    bounds = [(0.0, LARGEST)] * num_models
    return np.asarray(minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=bounds).x)

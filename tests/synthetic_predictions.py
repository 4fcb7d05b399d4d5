"""Labels and predictions of utterances that do not exist, and scikit-learn's macro-F1."""

import numpy as np
from sklearn.metrics import f1_score

C = 4
"""Number of classes."""


def draw_predictions(seed: int, size: int = 300, speakers: int = 20, skill: float = 0.6):
    """Return true labels, imbalanced; predictions, right with probability ``skill``; speakers."""
    rng = np.random.default_rng(seed)
    true = rng.choice(C, size, p=[0.1, 0.15, 0.25, 0.5])
    predicted = np.where(rng.random(size) < skill, true, rng.integers(0, C, size))
    return true, predicted, [f"s{i}" for i in rng.integers(0, speakers, size)]


def macro_f1(true, predicted) -> float:
    return f1_score(true, predicted, labels=range(C), average="macro", zero_division=0)

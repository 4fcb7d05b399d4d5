"""Manifold MixUp: pooled vectors of utterances are mixed before the heads.

Source: Verma et al., Manifold Mixup, ICML 2019 (arXiv 1806.05236); in speech emotion recognition
MEDUSA (arXiv 2506.09556), with Beta(0.2, 0.2) in 30 % of the batches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MixUp:
    """One draw: row i becomes λ·row i + (1-λ)·row permutation[i]."""

    share: float
    permutation: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Mix (B, ...) rows: the vectors in the model, and the soft targets in the loss."""
        return self.share * rows + (1.0 - self.share) * rows[self.permutation.to(rows.device)]


def draw_mixup(
    batch_size: int, alpha: float, probability: float, generator: np.random.Generator
) -> MixUp | None:
    """Draw λ ~ Beta(α, α) and a permutation; None with probability 1 - ``probability``."""
    if generator.random() >= probability:
        return None
    share = generator.beta(alpha, alpha)
    return MixUp(float(share), torch.from_numpy(generator.permutation(batch_size)))

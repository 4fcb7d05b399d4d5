"""Logit adjustment: training on imbalanced classes for a balanced test set."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LogitAdjustment:
    """Class-wise scale and shift of logits in the training loss. Predictions do not use it."""

    scale: Tensor
    shift: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """Return scaleⱼ·xⱼ + shiftⱼ for logits (B, C)."""
        return logits * self.scale.to(logits.device) + self.shift.to(logits.device)


def logit_adjustment(counts: Tensor, tau: float = 1.0, gamma: float = 0.0) -> LogitAdjustment:
    """Return x̂ⱼ = (Nⱼ/N_max)^γ·xⱼ + τ·log(Nⱼ/N).

    γ = 0 is the logit-adjusted loss of Menon et al. (ICLR 2021, arXiv 2007.07314, equation 10).
    γ > 0 is vector scaling of Kini et al. (NeurIPS 2021, arXiv 2103.01550). ABHINAYA used γ = 0.3,
    τ = 1 (arXiv 2505.18217). A missing class counts as one utterance, for a finite logarithm.

    Args:
        counts: (C,) utterances of each class in the training set.
        tau: τ, strength of the shift.
        gamma: γ, strength of the scale.
    """
    counts = counts.float().clamp(min=1)
    shift = tau * (counts / counts.sum()).log()
    return LogitAdjustment((counts / counts.max()) ** gamma, shift)

"""Losses as sums over utterances with an explicit denominator, and class weights.

The loss of a part of a batch (accumulation, several processes) is divided by the denominator of the
whole batch, so that the gradients of the parts sum to that of the batch. Losses use float32.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ClassWeighting = Literal["N/N_j", "N/(E*N_j)", "none"]


def class_weights(counts: Tensor, scheme: ClassWeighting = "N/N_j") -> Tensor:
    """Return weights (C,) from the class counts of the training set; 0 for a missing class.

    The two schemes differ by the number of classes, C here and E in the released code, a factor
    that `weighted_cross_entropy` cancels. ``none`` is 1 for all existing classes.

    Source: equation 3 of the paper (N/N_j); the released code (N/(E·N_j)).
    """
    counts = counts.float()
    # counts / counts is 1 for every existing class.
    numerator = {"N/N_j": counts.sum(), "N/(E*N_j)": counts.mean(), "none": counts}[scheme]
    return torch.where(counts > 0, numerator / counts.clamp(min=1), 0.0)


def soft_targets(targets: Tensor, num_classes: int) -> Tensor:
    """Return targets (B, C) float32 from label ids (B,). Soft targets are not changed."""
    soft = targets if targets.ndim == 2 else functional.one_hot(targets, num_classes)
    return soft.float()


def total_class_weight(targets: Tensor, weights: Tensor) -> Tensor:
    """Return the scalar Σᵢ w(yᵢ), or Σᵢ Σⱼ wⱼ tᵢⱼ for soft targets (B, C).

    The sum over all parts of a batch is their common denominator.
    """
    # Not ``soft @ weights``: autocast computes matrix products in its lower precision.
    return (soft_targets(targets, len(weights)) * weights).sum()


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, total_weight: Tensor | float | None = None
) -> Tensor:
    """Return -Σᵢ Σⱼ wⱼ tᵢⱼ log softmax(xᵢ)ⱼ ÷ ``total_weight``.

    For label ids this is ``CrossEntropyLoss(weight)``. For soft targets PyTorch divides by B, so
    the scale of the weights would act like a learning rate. Here it cancels, as for label ids.

    Args:
        logits: (B, C).
        targets: Label ids (B,) or soft targets (B, C), e.g. the shares of the raters' votes.
        weights: (C,).
        total_weight: `total_class_weight` of the whole batch. None means that this is the whole.
    """
    if total_weight is None:
        total_weight = total_class_weight(targets, weights)
    shares = soft_targets(targets, logits.shape[-1]) * weights
    summed = -(shares * logits.float().log_softmax(dim=-1)).sum()
    return summed / torch.as_tensor(total_weight, device=summed.device).clamp(min=1e-12)


def soft_margin_loss(
    neutral: Tensor, is_neutral: Tensor, denominator: Tensor | float | None = None
) -> Tensor:
    """Return Σᵢ log(1 + exp(-yᵢ xᵢ)) ÷ N, y = +1 for neutral and -1 for expressive speech.

    A neutral share p between 0 and 1 (soft targets, MixUp) has p times the loss of y = +1 plus
    1 - p times that of y = -1, which is a binary cross-entropy.

    Source: equation 4 of the paper.

    Args:
        neutral: (B,) output of the neutral head.
        is_neutral: (B,) bool, or the share of neutral in the target.
        denominator: N, the number of utterances of the whole batch; None is B.
    """
    summed = functional.binary_cross_entropy_with_logits(
        neutral.float(), is_neutral.float(), reduction="sum"
    )
    return summed / (len(neutral) if denominator is None else denominator)


def attribute_mse(
    predicted: Tensor, targets: Tensor, denominator: Tensor | float | None = None
) -> Tensor:
    """Return the mean squared error over existing ratings. NaN marks a missing rating.

    Args:
        predicted: (B, A).
        targets: (B, A).
        denominator: Number of ratings in the whole batch. None means that this is the whole.
    """
    rated = ~targets.isnan()
    errors = torch.where(rated, predicted.float() - targets.nan_to_num(), 0.0)
    total = rated.sum() if denominator is None else denominator
    return errors.square().sum() / torch.as_tensor(total).clamp(min=1)

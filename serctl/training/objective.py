"""The loss of a training: the paper's loss, with optional terms of other systems.

A batch may be computed in parts and by several processes. The loss of a part is divided by the
denominators of the whole batch, so that gradients add up to those of the batch.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serctl.models.adjustment import LogitAdjustment, logit_adjustment
from serctl.models.fusion import FusionOutput
from serctl.models.losses import (
    ClassWeighting,
    attribute_mse,
    class_weights,
    soft_margin_loss,
    total_class_weight,
    weighted_cross_entropy,
)
from serctl.models.mixup import MixUp
from serctl.options import TrainOptions
from serctl.training.dataset import UtteranceSet


@dataclass(frozen=True)
class Targets:
    """Targets of B utterances: ``emotion (B, C)``, ``neutral (B,)``, ``attributes (B, 3)``."""

    emotion: Tensor
    neutral: Tensor
    attributes: Tensor

    @classmethod
    def of(cls, data: UtteranceSet, rows: NDArray[np.int64], device: torch.device) -> Self:
        """Return the targets of rows of a table on a device."""
        emotion = torch.from_numpy(data.targets[rows])
        neutral = torch.from_numpy(data.neutral[rows]).float()
        attributes = torch.from_numpy(data.attributes[rows])
        return cls(emotion.to(device), neutral.to(device), attributes.to(device))

    def mix(self, mixup: MixUp | None) -> Self:
        """Mix the targets like the pooled vectors."""
        if mixup is None:
            return self
        return type(self)(mixup(self.emotion), mixup(self.neutral), mixup(self.attributes))


@dataclass(frozen=True)
class Denominators:
    """Denominators of the losses of the parts of one batch."""

    class_weight: float
    utterances: int
    ratings: int


@dataclass(frozen=True)
class Objective:
    """Weighted cross-entropy, the soft margin loss, attributes and logit adjustment.

    Attributes:
        weights: ``(C,)`` class weights, 0 for a class absent from training.
        margin: Weight of the neutral-expressive soft margin loss; 0 is off.
        attribute: Weight of the attributes' mean squared error; 0 is off.
        adjustment: Adjustment of the logits in the loss; None is off.
    """

    weights: Tensor
    margin: float = 0.0
    attribute: float = 0.0
    adjustment: LogitAdjustment | None = None

    @classmethod
    def of(
        cls, options: TrainOptions, targets: NDArray[np.float32], weighting: ClassWeighting
    ) -> Self:
        """Return the loss of the options for training targets ``(N, C)``."""
        counts = torch.from_numpy(targets.sum(axis=0))
        adjusted = options.logit_adjustment or options.logit_scaling
        return cls(
            class_weights(counts, weighting),
            margin=float(options.loss == "wce+sml"),
            attribute=options.attribute_weight,
            adjustment=logit_adjustment(counts, options.logit_adjustment, options.logit_scaling)
            if adjusted
            else None,
        )

    def denominators(self, targets: Targets) -> Denominators:
        """Return the denominators of a whole batch."""
        return Denominators(
            float(total_class_weight(targets.emotion, self.weights.to(targets.emotion.device))),
            len(targets.emotion),
            int((~targets.attributes.isnan()).sum()),
        )

    def __call__(self, output: FusionOutput, targets: Targets, whole: Denominators) -> Tensor:
        """Return the loss of a part of a batch. The parts' losses sum to the loss of ``whole``."""
        logits = self.adjustment(output.logits) if self.adjustment else output.logits
        weights = self.weights.to(logits.device)
        # Each term is a sum over this part divided by the denominator of the whole batch.
        loss = weighted_cross_entropy(logits, targets.emotion, weights, whole.class_weight)
        if self.margin and output.neutral is not None:
            margin = soft_margin_loss(output.neutral, targets.neutral, whole.utterances)
            loss = loss + self.margin * margin
        if self.attribute and output.attributes is not None:
            error = attribute_mse(output.attributes, targets.attributes, whole.ratings)
            loss = loss + self.attribute * error
        return loss

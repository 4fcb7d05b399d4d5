"""A linear classifier on mean and deviation of each branch's frames, like a `FusionModel`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionOutput
from serctl.models.layers import make_mask


class PooledModel(nn.Module):
    """Logistic regression on pooled frames. `serctl.ensemble.pooled` fits the weights.

    Args:
        dims: Feature dimension of each branch.
        config: Configuration. Only ``num_classes``, ``layers`` and ``by_speaker`` are used.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dims: Sequence[int], config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        layers = config.layers or (1,) * len(dims)
        size = 2 * sum(dim * count for dim, count in zip(dims, layers, strict=True))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.classifier = nn.Linear(size, config.num_classes)
        if config.by_speaker:
            for index, (dim, count) in enumerate(zip(dims, layers, strict=True)):
                shape = (dim,) if count == 1 else (count, dim)
                self.register_buffer(f"frame_mean_{index}", torch.zeros(shape))
                self.register_buffer(f"frame_deviation_{index}", torch.ones(shape))

    def frame_statistics(self, branch: int) -> tuple[Tensor, Tensor]:
        """Return mean and deviation ``(D,)`` or ``(L, D)`` of the corpus' frames of a branch."""
        return self.get_buffer(f"frame_mean_{branch}"), self.get_buffer(f"frame_deviation_{branch}")

    def set_standardisation(self, branch: int, mean: Tensor, deviation: Tensor) -> None:
        """Store mean and deviation of the corpus' frames of a branch."""
        for buffer, value in zip(self.frame_statistics(branch), (mean, deviation), strict=True):
            buffer.copy_(value)

    def forward(
        self,
        frames: Sequence[Tensor],
        lengths: Sequence[Tensor],
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> FusionOutput:
        """Classify a batch, see `FusionModel.forward`. ``mix`` is not used."""
        pooled = [pool_batch(frame, length) for frame, length in zip(frames, lengths, strict=True)]
        vectors = torch.cat(pooled, dim=-1)  # (B, sum of the branches' widths)
        vectors = (vectors - self.mean) / self.deviation
        return FusionOutput(self.classifier(vectors.float()), None, None)

    def layer_shares(self) -> dict[int, list[float]]:
        """Return {}, because layers are concatenated and not summed."""
        return {}


def pool_batch(frames: Tensor, lengths: Tensor) -> Tensor:
    """Return mean and deviation over time, ``(B, 2·D)``, or ``(B, L·2·D)`` for L layers.

    Args:
        frames: ``(B, T, D)`` or ``(B, L, T, D)``. Padding is not read.
        lengths: ``(B,)`` number of real frames. An utterance without frames gives zeros.
    """
    mask = make_mask(lengths, frames.shape[-2])[..., None]  # (B, T, 1)
    if frames.ndim == 4:
        mask = mask[:, None]  # (B, 1, T, 1), the same for every layer
    real = torch.where(mask, frames.double(), 0.0)
    count = lengths.clamp(min=1).double().view(-1, *[1] * (frames.ndim - 2))
    mean = real.sum(dim=-2) / count  # (B, D) or (B, L, D)
    centred = torch.where(mask, real - mean.unsqueeze(-2), 0.0)
    deviation = (centred.square().sum(dim=-2) / count).sqrt()
    return torch.cat([mean, deviation], dim=-1).flatten(1)

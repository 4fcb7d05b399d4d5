"""The cross-modal network: one, two, three or more branches of frames to emotion logits.

Per branch: Linear to H, LayerNorm, bidirectional GRU (H each way), attention to every other branch
added to the GRU's output, attention pooling. Then the pooled vectors side by side, LayerNorm and a
head of Linear, ReLU, Dropout, Linear. All parameters start from PyTorch's defaults.

Source: section 3.1 of the paper; where it is silent, the settings of the released code
(``docs/paper.md``, rows 12-20).
"""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from serctl.models.config import ModelConfig
from serctl.models.layers import (
    LayerSum,
    attend,
    average_frames,
    make_mask,
    make_pooling,
    run_bidirectional,
)


class FusionOutput(NamedTuple):
    """Outputs of the network for a batch, in float32."""

    logits: Tensor
    """(B, C)."""
    neutral: Tensor | None
    """(B,), above 0 for neutral speech; None without that head."""
    attributes: Tensor | None
    """(B, A); None without that head."""


class FusionBranch(nn.Module):
    """One encoder's frames: standardisation, projection, GRU, attention and pooling."""

    mean: Tensor
    deviation: Tensor
    attentions: Sequence[nn.MultiheadAttention]

    def __init__(self, dim: int, index: int, num_branches: int, config: ModelConfig) -> None:
        super().__init__()
        width = 2 * config.hidden
        heads = config.heads[index] if config.heads else 1
        num_partners = num_branches - 1
        num_attentions = num_partners if config.attention == "pair" else min(1, num_partners)
        self.standardise = bool(config.standardise) and config.standardise[index]
        num_layers = config.layers[index] if config.layers else 1
        shape = (dim,) if num_layers == 1 else (num_layers, dim)
        if self.standardise:
            self.register_buffer("mean", torch.zeros(shape))
            self.register_buffer("deviation", torch.ones(shape))
        summed = num_layers > 1 and config.layer_fusion == "sum"
        self.layer_sum = LayerSum(num_layers) if summed else None
        self.normalise_layers = num_layers > 1 and config.normalise_layers
        self.projection = nn.Linear(dim if summed else num_layers * dim, config.hidden)
        self.norm = nn.LayerNorm(config.hidden)
        self.gru = nn.GRU(config.hidden, config.hidden, batch_first=True, bidirectional=True)
        self.attentions = nn.ModuleList(  # type: ignore[assignment]
            nn.MultiheadAttention(width, heads, config.dropout, batch_first=True)
            for _ in range(num_attentions)
        )
        self.pooling = make_pooling(config.pooling, width)

    def read(self, frames: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, 2H) from (B, T', D), or from (B, L, T', D) of L layers, T' ≥ T.

        Only the R real frames of the batch are read, because padding is undefined and is about a
        third of a batch of speech.
        """
        batch, time = mask.nonzero(as_tuple=True)
        if frames.ndim == 3:
            rows = frames[batch, time]  # (R, D)
        else:
            rows = torch.stack([layer[batch, time] for layer in frames.unbind(dim=1)])  # (L, R, D)
        rows = rows.float()
        if self.standardise:  # (D,), or (L, 1, D)
            mean, deviation = (
                x if x.ndim == 1 else x[:, None] for x in (self.mean, self.deviation)
            )
            rows = (rows - mean) / deviation
        if rows.ndim == 3:
            with torch.autocast(rows.device.type, enabled=False):
                rows = self._join_layers(rows)  # (R, D) or (R, L·D)
        rows = self.norm(self.projection(rows).float())  # (R, H)
        padded = rows.new_zeros(*mask.shape, rows.shape[-1])  # (B, T, H)
        padded[batch, time] = rows
        return run_bidirectional(self.gru, padded, lengths).float()

    def _join_layers(self, rows: Tensor) -> Tensor:
        """Return the learned sum (R, D) of layers (L, R, D), or all of them side by side."""
        if self.normalise_layers:
            rows = nn.functional.layer_norm(rows, rows.shape[-1:])
        if self.layer_sum is None:
            return rows.transpose(0, 1).flatten(start_dim=1)  # (R, L·D)
        return self.layer_sum(rows)

    def fuse(self, own: Tensor, partners: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Add the attention to each partner, given as frames and mask, to the branch's frames."""
        attentions = cycle(self.attentions)  # one for each partner, or a shared one
        attended = [attend(next(attentions), own, *partner) for partner in partners]
        return sum(attended, own).float()


class FusionModel(nn.Module):
    """Frames of M encoders to emotion logits.

    The logits of an utterance depend only on its real frames, and not on other utterances of the
    batch or on padding. A branch may have no frames of an utterance; it then contributes zeros.
    Under autocast, matrix products use the lower precision. Softmax, pooling and heads use float32.

    Args:
        dims: Feature dimension of each branch.
        config: The rest of the shape.

    Example:
        >>> model = FusionModel([1280, 1024])
        >>> sum(parameter.numel() for parameter in model.parameters())
        16942600
    """

    branches: Sequence[FusionBranch]

    def __init__(self, dims: Sequence[int], config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        for name in ("heads", "standardise", "layers", "downsample"):
            if len(getattr(config, name)) not in (0, len(dims)):
                raise ValueError(
                    f"{name} {getattr(config, name)} does not fit {len(dims)} branches"
                )
        self.branches = nn.ModuleList(  # type: ignore[assignment]
            FusionBranch(dim, index, len(dims), config) for index, dim in enumerate(dims)
        )
        width = sum(branch.pooling.output_dim for branch in self.branches)
        self.norm = nn.LayerNorm(width)
        self.emotion_head = _make_head(width, config.num_classes, config)
        self.neutral_head = _make_head(width, 1, config) if config.neutral_head else None
        attributes = config.num_attributes
        self.attribute_head = _make_head(width, attributes, config) if attributes else None

    def set_standardisation(self, branch: int, mean: Tensor, deviation: Tensor) -> None:
        """Store mean and deviation of one branch's training frames; they are saved with it.

        They are (D,), or (L, D) of a branch that sums L layers.

        A feature that never varies (deviation 0) is only centred.
        """
        target = self.branches[branch]
        target.mean.copy_(mean)
        target.deviation.copy_(deviation.masked_fill(deviation == 0, 1.0))

    def frame_statistics(self, branch: int) -> tuple[Tensor, Tensor]:
        """Return the stored mean and deviation, see `set_standardisation`."""
        return self.branches[branch].mean, self.branches[branch].deviation

    def forward(
        self,
        frames: Sequence[Tensor],
        lengths: Sequence[Tensor],
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> FusionOutput:
        """Classify a batch.

        Args:
            frames: Per branch (B, T, D) of any float type, or (B, L, T, D) of L layers.
                The padding is not read.
            lengths: Per branch (B,), the number of real frames.
            mix: Manifold MixUp of the pooled vectors (`serctl.models.mixup`), in training only.
        """
        factors = self.config.downsample or (1,) * len(lengths)
        averaged = map(average_frames, frames, lengths, factors)
        frames, lengths = zip(*averaged, strict=True)
        # T is the length of the longest utterance, because reused buffers may be longer.
        masks = [make_mask(length, max(1, int(length.max()))) for length in lengths]
        inputs = zip(self.branches, frames, lengths, masks, strict=True)
        read = [branch.read(frame, length, mask) for branch, frame, length, mask in inputs]
        others = list(zip(read, masks, strict=True))
        fused = [
            branch.fuse(own, others[:index] + others[index + 1 :])
            for index, (branch, own) in enumerate(zip(self.branches, read, strict=True))
        ]
        # Softmax and heads in float32, because bfloat16 has only three digits.
        with torch.autocast(fused[0].device.type, enabled=False):
            pooled = [
                branch.pooling(frame, mask)
                for branch, frame, mask in zip(self.branches, fused, masks, strict=True)
            ]
            vectors = torch.cat(pooled, dim=-1)  # (B, sum of the branches' widths)
            return self._classify(vectors if mix is None else mix(vectors))

    def layer_shares(self) -> dict[int, list[float]]:
        """Return the weights of the layers of each branch that sums several, by its position."""
        return {
            index: branch.layer_sum.shares.tolist()
            for index, branch in enumerate(self.branches)
            if branch.layer_sum is not None
        }

    def _classify(self, vectors: Tensor) -> FusionOutput:
        vectors = self.norm(vectors)
        neutral = None if self.neutral_head is None else self.neutral_head(vectors).squeeze(-1)
        attributes = None if self.attribute_head is None else self.attribute_head(vectors)
        return FusionOutput(self.emotion_head(vectors), neutral, attributes)


def _make_head(width: int, num_outputs: int, config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, num_outputs),
    )

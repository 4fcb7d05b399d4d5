"""Masked layers. Their output for an utterance does not depend on padding or batch.

Parameters stay in PyTorch's own modules, with PyTorch's names, layout and initialisation; the
functions here run those modules on padded batches. ``mask`` is (B, T), True for real frames.

Letters of shapes and of einsum: B utterances, T frames in time, D width of a frame, H hidden width,
L layers of an encoder, R real frames of a whole batch. In attention T is the querying branch, S the
frames of its partner, E = 2H the width of both (O, where it is that of the output), A the heads
and W = E/A the width of one.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from serctl.models.config import Pooling


def make_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """Return (B, T), True where frame t < length."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def average_frames(frames: Tensor, lengths: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Average every ``factor`` consecutive frames of each utterance; the last group may have fewer.

    Args:
        frames: (B, T, D) or (B, L, T, D); the padding is not read.
        lengths: (B,) numbers of real frames.
        factor: 1 returns the arguments.

    Returns:
        Frames (B, ..., ⌈T ÷ factor⌉, D) float32 with zeros as padding, and lengths (B,).
    """
    if factor == 1:
        return frames, lengths
    num_frames = frames.shape[-2]
    mask = make_mask(lengths, num_frames)  # (B, T)
    padding = (0, 0, 0, -num_frames % factor)
    shaped = mask[:, None, :, None] if frames.ndim == 4 else mask[:, :, None]
    # (B, ..., T, D) -> (B, ..., groups, factor, D)
    groups = nn.functional.pad(torch.where(shaped, frames, 0), padding).unflatten(-2, (-1, factor))
    sizes = nn.functional.pad(shaped, padding).unflatten(-2, (-1, factor)).sum(dim=-2)
    return groups.sum(dim=-2, dtype=torch.float32) / sizes.clamp(min=1), -(-lengths // factor)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return float32 weights over the last axis: exactly 0 where ``mask`` is False.

    They sum to 1, or to 0 without real entries.
    """
    # The lowest float instead of -inf, because a row without real entries would be NaN.
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


def run_bidirectional(gru: nn.GRU, frames: Tensor, lengths: Tensor) -> Tensor:
    """Run a one-layer bidirectional GRU on each utterance without its padding.

    On the CPU sequences are not packed. The backward direction reads each utterance reversed within
    its length, so that padding is last in both directions. Packed sequences give the same result,
    but their gradient takes about ten times as long there (torch 2.13, 32 utterances of 4-6 s).
    cuDNN uses packed sequences.

    Args:
        gru: Batch first.
        frames: (B, T, D); the padding must be finite.
        lengths: (B,).

    Returns:
        (B, T, 2H). Padding is undefined.
    """
    num_frames = frames.shape[1]
    if frames.is_cuda:
        sizes = lengths.clamp(min=1).cpu()  # packing needs at least one frame
        packed = pack_padded_sequence(frames, sizes, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=num_frames)[0]
    time = torch.arange(num_frames, device=frames.device)  # (T,)
    ends = lengths[:, None]  # (B, 1)
    # Real frames in reverse order, then the padding: the permutation is its own inverse.
    order = torch.where(time < ends, ends - 1 - time, time)[:, :, None]
    reversed_frames = frames.gather(1, order.expand_as(frames))
    forward = _run_direction(gru, frames, "")
    backward = _run_direction(gru, reversed_frames, "_reverse")
    return torch.cat([forward, backward.gather(1, order.expand_as(backward))], dim=-1)


def _run_direction(gru: nn.GRU, frames: Tensor, suffix: str) -> Tensor:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [cast(Tensor, getattr(gru, name + suffix)) for name in names]
    initial = frames.new_zeros(1, frames.shape[0], gru.hidden_size)
    # torch.gru instead of the module, which would read both directions in the same order.
    outputs, _ = torch.gru(
        frames,
        initial,
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=gru.training,
        bidirectional=False,
        batch_first=True,
    )
    return outputs  # (B, T, H)


def attend(attention: nn.MultiheadAttention, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """Attend from one branch to the real frames of another.

    The result equals ``attention(query, keys, keys)`` with matrix products in another order:
    (x Wq)(y Wk)ᵀ is x (y Wk Wqᵀ)ᵀ, and (A y Wv) Wo is A (y Wv Wo). All four projections can thus be
    applied to the branch with fewer frames. A second of speech has 50 frames and about three
    tokens, so the cost of the projections, more than half of the released network's, nearly
    vanishes.

    Args:
        attention: Attention of width E.
        query: (B, T, E).
        keys: (B, S, E); the padding must be finite.
        mask: (B, S).

    Returns:
        (B, T, E).
    """
    few_queries = query.shape[1] < keys.shape[1]
    return (_project_queries if few_queries else _project_keys)(attention, query, keys, mask)


def _project_queries(
    attention: nn.MultiheadAttention, query: Tensor, keys: Tensor, mask: Tensor
) -> Tensor:
    """Apply all projections to the T queries. The S keys are not changed."""
    (to_query, to_key, to_value), (b_query, _, b_value), to_out = _split_heads(attention)
    queries = torch.einsum("bte,awe->batw", query, to_query) + b_query  # (B, A, T, W)
    # The bias of the keys adds a constant to all scores of a query, which the softmax cancels.
    queries = torch.einsum("batw,awe->bate", queries, to_key)  # (B, A, T, E), as wide as the keys
    scores = torch.einsum("bate,bse->bats", queries, keys)  # (B, A, T, S)
    weights = _attention_weights(attention, scores, mask)
    context = torch.einsum("bats,bse->bate", weights, keys)  # (B, A, T, E)
    context = torch.einsum("bate,awe->batw", context, to_value)  # (B, A, T, W)
    # Dropout changes the sum of the weights and therefore the share of the bias.
    context = context + weights.sum(dim=-1, keepdim=True) * b_value
    return torch.einsum("batw,oaw->bto", context, to_out) + attention.out_proj.bias


def _project_keys(
    attention: nn.MultiheadAttention, query: Tensor, keys: Tensor, mask: Tensor
) -> Tensor:
    """Apply all projections to the S keys. The T queries are not changed."""
    (to_query, to_key, to_value), (b_query, b_key, b_value), to_out = _split_heads(attention)
    keyed = torch.einsum("bse,awe->basw", keys, to_key) + b_key  # (B, A, S, W)
    wide = torch.einsum("basw,awe->base", keyed, to_query)  # (B, A, S, E), as wide as the queries
    scores = torch.einsum("bte,base->bats", query, wide)  # (B, A, T, S)
    # The bias of the queries is one score per key, the same for every query (axis x of size 1).
    scores = scores + torch.einsum("basw,axw->baxs", keyed, b_query)
    weights = _attention_weights(attention, scores, mask)
    values = torch.einsum("bse,awe->basw", keys, to_value) + b_value  # (B, A, S, W)
    outputs = torch.einsum("basw,oaw->baso", values, to_out)  # (B, A, S, E): heads add up below
    return torch.einsum("bats,baso->bto", weights, outputs) + attention.out_proj.bias


def _split_heads(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights (3, A, W, E), biases (3, A, 1, W) and output weights (E, A, W)."""
    heads, width = attention.num_heads, attention.head_dim
    weights = cast(Tensor, attention.in_proj_weight).view(3, heads, width, -1)
    biases = cast(Tensor, attention.in_proj_bias).view(3, heads, 1, width)
    return weights, biases, attention.out_proj.weight.view(-1, heads, width)


def _attention_weights(attention: nn.MultiheadAttention, scores: Tensor, mask: Tensor) -> Tensor:
    """Return weights (B, A, T, S), with dropout in training like the module."""
    weights = masked_softmax(scores / math.sqrt(attention.head_dim), mask[:, None, None, :])
    return nn.functional.dropout(weights, attention.dropout, attention.training)


class LayerSum(nn.Module):
    """Softmax-weighted sum of several layers of one encoder with learned weights.

    Source: Yang et al., SUPERB, Interspeech 2021 (arXiv 2105.01051), section 3.2. The layer norm
    before it (`ModelConfig.normalise_layers`), which prevents that a layer of large values
    dominates, is an option of the authors' toolkit s3prl.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        # Zeros are equal shares. They draw no random numbers, so other weights do not change.
        self.scores = nn.Parameter(torch.zeros(num_layers))

    @property
    def shares(self) -> Tensor:
        """The weights of the layers ``(L,)``, with sum 1."""
        return self.scores.softmax(dim=0)

    def forward(self, rows: Tensor) -> Tensor:
        """Sum frames (L, R, D) of L layers to (R, D)."""
        return torch.tensordot(self.shares, rows.float(), dims=1)


class AttentionPooling(nn.Module):
    """Weighted mean over the real frames, w = softmax(r·m/√D): equations 1 and 2 of the paper.

    ``m`` starts from PyTorch's default for a Linear, uniform in ±1/√D.
    """

    def __init__(self, dim: int, *, bias: bool = False, scaled: bool = True) -> None:
        super().__init__()
        self.output_dim = dim
        self.score = nn.Linear(dim, 1, bias=bias)
        self.scale = dim**-0.5 if scaled else 1.0

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Pool (B, T, D) to (B, D); zeros for an utterance without frames."""
        weights = masked_softmax(self.score(frames).squeeze(-1) * self.scale, mask)  # (B, T)
        return torch.einsum("bt,btd->bd", weights, frames)


class StatisticsPooling(nn.Module):
    """Attentive mean and deviation: e = v·tanh(W r + b) + k, w = softmax(e), [μ, √(Σ w (r-μ)²)].

    Source: Okabe et al., Attentive Statistics Pooling for Deep Speaker Embedding, Interspeech 2018
    (equations 3-6, arXiv 1803.10963). Variances are at least 1e-5, for a finite gradient of the
    root.
    """

    def __init__(self, dim: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.output_dim = 2 * dim
        self.score = nn.Sequential(nn.Linear(dim, bottleneck), nn.Tanh(), nn.Linear(bottleneck, 1))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Pool (B, T, D) to (B, 2D)."""
        weights = masked_softmax(self.score(frames).squeeze(-1), mask)  # (B, T)
        mean = torch.einsum("bt,btd->bd", weights, frames)
        variance = torch.einsum("bt,btd->bd", weights, (frames - mean[:, None]).square())
        return torch.cat([mean, variance.clamp(min=1e-5).sqrt()], dim=-1)


def make_pooling(kind: Pooling, dim: int) -> AttentionPooling | StatisticsPooling:
    """Return the pooling of that name for frames of width ``dim``."""
    if kind == "statistics":
        return StatisticsPooling(dim)
    return AttentionPooling(dim, bias=kind == "linear", scaled=kind == "vector")

"""Building blocks of FACodec's convolutional encoder.

Module names follow the state dict of the official checkpoints, so that these load by name; weight
normalisation is folded into ``weight`` before loading.

Source: the published method, Ju et al. 2024 (NaturalSpeech 3, arXiv 2403.03100); anti-aliased
activation after Karras et al. 2021 and Lee et al. 2023 (BigVGAN).
"""

import math

import torch
from torch import Tensor, nn

STRIDES = (2, 4, 5, 5)
HOP = math.prod(STRIDES)
"""Samples per frame: 16 kHz / 200 = 80 Hz."""

_BLOCK_SAMPLES = 1 << 17
"""Samples per step of an activation on a CPU, so that temporary values fit in the L2 cache."""


class Taps(nn.Module):
    """The 12 low-pass taps that the checkpoint stores with every activation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.empty(1, 1, 12))


class SnakeBeta(nn.Module):
    """``x + sin²(exp(alpha)·x) / exp(beta)`` with one ``alpha`` and ``beta`` per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Activate the channels ``rows``: ``x`` is ``(..., C, T)`` with C rows."""
        alpha = self.alpha[rows, None].float().exp()
        beta = self.beta[rows, None].float().exp() + 1e-9
        return torch.addcmul(x, (alpha * x).sin_().square_(), 1 / beta)


class Activation(nn.Module):
    """Anti-aliased SnakeBeta: upsample by 2, activate, downsample by 2; ``(1, C, T)`` → same.

    The upsampled signal is kept as its even and odd samples, so that both filters are plain sums
    of six shifted signals per phase, computed in float32 a few channels at a time: three to four
    times faster on a CPU than depthwise convolutions over an interleaved signal, and the same to
    rounding. Edges are continued with the edge value, as in training.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.upsample = Taps()
        self.downsample = nn.ModuleDict({"lowpass": Taps()})

    def forward(self, x: Tensor) -> Tensor:
        """Activate ``(1, C, T)``."""
        up = (2 * self.get_buffer("upsample.filter").flip(-1)).flatten().tolist()
        down = self.get_buffer("downsample.lowpass.filter").flatten().tolist()
        rows = max(1, _BLOCK_SAMPLES // x.shape[-1]) if x.device.type == "cpu" else x.shape[1]
        out = torch.empty_like(x)
        for start in range(0, x.shape[1], rows):
            part = slice(start, start + rows)
            out[:, part] = self._activate(x[:, part].float(), part, up, down)
        return out

    def _activate(self, x: Tensor, rows: slice, up: list[float], down: list[float]) -> Tensor:
        padded = extend(x, x[..., :1], 3, x[..., -1:], 3)
        even = self.act(correlate(padded[..., :-1], up[0::2]), rows)
        odd = self.act(correlate(padded[..., 1:], up[1::2]), rows)
        first, last = even[..., :1], odd[..., -1:]
        from_even = correlate(extend(even, first, 2, last, 3), down[1::2])
        return from_even.add_(correlate(extend(odd, first, 3, last, 2), down[0::2]))


class ResidualUnit(nn.Module):
    """``x + conv1(act(conv7(act(x))))``, the wide convolution dilated."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        wide = nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation)
        narrow = nn.Conv1d(channels, channels, 1)
        self.block = nn.Sequential(Activation(channels), wide, Activation(channels), narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(1, C, T)``."""
        return self.block(x).add_(x)


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        units = [ResidualUnit(channels, dilation) for dilation in (1, 3, 9)]
        padding = math.ceil(stride / 2)
        halve = nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=padding)
        self.block = nn.Sequential(*units, Activation(channels), halve)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(1, C, T)`` to ``(1, 2C, about T / stride)``."""
        return self.block(x)


def build_encoder(channels: int, dim: int) -> nn.Sequential:
    """Return the network ``(1, 1, HOP·T)`` → ``(1, dim, T)``; ``channels`` are its first."""
    widths = [channels * 2**level for level in range(len(STRIDES) + 1)]
    return nn.Sequential(
        nn.Conv1d(1, channels, 7, padding=3),
        *(EncoderBlock(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
        Activation(widths[-1]),
        nn.Conv1d(widths[-1], dim, 3, padding=1),
    )


def extend(x: Tensor, first: Tensor, before: int, last: Tensor, after: int) -> Tensor:
    """Put ``first`` ``(B, C, 1)`` several times before ``(B, C, T)``, and ``last`` after it."""
    return torch.cat([first.expand(-1, -1, before), x, last.expand(-1, -1, after)], -1)


def correlate(x: Tensor, taps: list[float]) -> Tensor:
    """Correlate ``(..., T + K - 1)`` with K ``taps`` to ``(..., T)``."""
    frames = x.shape[-1] - len(taps) + 1
    out = x[..., :frames] * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        out.add_(x[..., shift : shift + frames], alpha=tap)
    return out

"""FACodec up to its prosody and timbre representations, without the waveform decoder.

Tensors are ``(1, C, T)`` in the convolutional encoder and ``(1, T, D)`` after it. The batch size is
1, because the network has no masks.

Source: Ju et al. 2024 (NaturalSpeech 3, arXiv 2403.03100).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serctl.encoders.facodec.layers import HOP, build_encoder

Version = Literal["v1", "v2"]

NUM_LAYERS = 4
NUM_HEADS = 4
PROSODY_BANDS = 20
"""Number of lowest bands of the log-mel spectrogram, up to 782 Hz, the prosody input of v2."""

_MEL_FFT, _MEL_WINDOW = 1024, 800
_MEL_PAD = (_MEL_FFT - HOP) // 2

MIN_SAMPLES: dict[Version, int] = {"v1": 1, "v2": _MEL_PAD // HOP * HOP}
"""Minimum samples: v2 reflects 412 samples at both ends after padding to whole frames."""


@dataclass(frozen=True)
class Sizes:
    """Widths from the state dict. The defaults are the official ones."""

    channels: int = 32
    dim: int = 256
    ffn: int = 1024
    codes: int = 1024
    code_dim: int = 8


class FACodec(nn.Module):
    """Waveform → prosody and timbre, ``(1, T, D)`` each, at 80 Hz.

    v1 quantises prosody from the convolutional encoder, v2 from a low log-mel spectrogram.
    """

    def __init__(self, version: Version, sizes: Sizes) -> None:
        super().__init__()
        self.block = build_encoder(sizes.channels, sizes.dim)
        self.quantizer = nn.ModuleList([ResidualQuantizer(1, sizes)])
        self.timbre_encoder = Transformer(sizes.dim, sizes.ffn)
        self.version: Version = version
        self.dim = sizes.dim
        self.compute_dtype = torch.float32
        if version == "v2":
            self.mel_transform = LogMel()
            self.melspec_linear = nn.Linear(PROSODY_BANDS, sizes.dim)
            self.melspec_encoder = Transformer(sizes.dim, sizes.ffn)

    def forward(self, waveform: Tensor, *, timbre: bool = True) -> Tensor:
        """Encode ``(1, HOP·T)`` samples to ``(1, T, 2D)``, or ``(1, T, D)`` without timbre.

        Without timbre, v2 does not run the convolutional encoder, most of the work.
        """
        if self.version == "v2" and not timbre:
            return self.quantise_prosody(self.encode_mel(waveform))
        latent = self.encode(waveform)
        prosody = self.quantise_prosody(
            latent if self.version == "v1" else self.encode_mel(waveform)
        )
        return torch.cat([prosody, self.timbre_encoder(latent)], -1) if timbre else prosody

    def set_compute_dtype(self, dtype: torch.dtype) -> None:
        """Compute convolutions and transformers in ``dtype``; spectrum and quantiser in float32."""
        self.to(dtype)
        self.compute_dtype = dtype
        for part in ("mel_transform", "quantizer"):
            if hasattr(self, part):
                getattr(self, part).float()

    def encode(self, waveform: Tensor) -> Tensor:
        """Run the convolutional encoder on ``(1, num_samples)``; returns ``(1, T, D)``."""
        return self.block(waveform[:, None].to(self.compute_dtype)).mT

    def encode_mel(self, waveform: Tensor) -> Tensor:
        """Run v2's prosody front on ``(1, num_samples)``; returns ``(1, T, D)``."""
        bands = self.mel_transform(waveform)[:, :PROSODY_BANDS].mT
        return self.melspec_encoder(self.melspec_linear(bands.to(self.compute_dtype)))

    def quantise_prosody(self, latent: Tensor) -> Tensor:
        """Replace ``(1, T, D)`` by the nearest entries of the prosody codebook."""
        quantised, _ = self.quantizer[0](latent.float())
        return quantised


class LogMel(nn.Module):
    """Log-mel magnitudes of 16 kHz audio; its two buffers come with the v2 checkpoint."""

    mel_basis: Tensor
    hann_window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel_basis", torch.empty(80, _MEL_FFT // 2 + 1))
        self.register_buffer("hann_window", torch.empty(_MEL_WINDOW))

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform ``(1, HOP·T)`` samples to ``(1, 80, T)``, natural log, floor 1e-5."""
        padded = F.pad(waveform, (_MEL_PAD, _MEL_PAD), mode="reflect")
        spectrum = torch.stft(
            padded, _MEL_FFT, HOP, _MEL_WINDOW, self.hann_window, center=False, return_complex=True
        )
        magnitude = torch.view_as_real(spectrum).square().sum(-1).add(1e-9).sqrt()
        return (self.mel_basis @ magnitude).clamp(min=1e-5).log()


class Transformer(nn.Module):
    """Pre-norm transformer over ``(1, T, D)`` without masks."""

    def __init__(self, dim: int, ffn: int, num_layers: int = NUM_LAYERS) -> None:
        super().__init__()
        self.position_emb = PositionTerm(dim)
        self.layers = nn.ModuleList(TransformerLayer(dim, ffn) for _ in range(num_layers))
        self.last_ln = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode ``(1, T, D)``."""
        x = self.position_emb(x)
        for layer in self.layers:
            x = layer(x)
        return self.last_ln(x)


class PositionTerm(nn.Module):
    """Adds one constant vector to every frame: row 0 of the sinusoidal position table.

    The released code, written for time-first tensors, adds row b of the table to every frame of
    the b-th utterance of a batch: its frames have no positions, and its numbers depend on its
    place in the batch. The paper's features were made one utterance at a time, so from row 0.
    """

    pe: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Shift ``(B, T, D)``."""
        return x + self.pe


class TransformerLayer(nn.Module):
    """Self-attention, then a feed-forward pair whose first half looks two frames either way."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, NUM_HEADS, batch_first=True)
        self.ln_2 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, T, D)``."""
        normed = self.ln_1(x)
        x = x + self.self_attn(normed, normed, normed, need_weights=False)[0]
        return x + self.ffn(self.ln_2(x))


class FeedForward(nn.Module):
    """Convolution over five frames, ReLU, linear."""

    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.ffn_1 = nn.Conv1d(dim, ffn, 5, padding=2)
        self.ffn_2 = nn.Linear(ffn, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``(B, T, D)``."""
        return self.ffn_2(self.ffn_1(x.mT).relu().mT)


class ResidualQuantizer(nn.Module):
    """Layers that each quantise the residual of the previous layers. Prosody has one layer."""

    def __init__(self, num_layers: int, sizes: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Quantizer(sizes) for _ in range(num_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise ``(B, T, D)``; returns the sum of the layers and codes ``(L, B, T)``."""
        total, codes = torch.zeros_like(x), []
        for layer in self.layers:
            quantised, code = layer(x - total)
            total = total + quantised
            codes.append(code)
        return total, torch.stack(codes)


class Quantizer(nn.Module):
    """Nearest codebook row by cosine similarity in a space of few dimensions."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.in_proj = nn.Linear(sizes.dim, sizes.code_dim)
        self.out_proj = nn.Linear(sizes.code_dim, sizes.dim)
        self._codebook = nn.Embedding(sizes.codes, sizes.code_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise ``(B, T, D)``; returns the rows, projected back, and codes ``(B, T)``."""
        directions = F.normalize(self._codebook.weight, dim=-1)
        codes = (self.in_proj(x) @ directions.T).argmax(-1)
        return self.out_proj(self._codebook(codes)), codes

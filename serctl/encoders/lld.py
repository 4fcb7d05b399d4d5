"""eGeMAPS low-level descriptors: 25 acoustic features every 10 ms, computed by openSMILE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serctl.encoders.base import SAMPLE_RATE, Encoder, EncoderIdentity, Frames

SHORTEST = 960
"""Samples of openSMILE's longest window, 60 ms. Shorter audio would give no values."""


class LLDEncoder(Encoder):
    """Raw descriptors: loudness, pitch, formants and voice quality, without standardisation.

    Source: Eyben et al. 2016, The Geneva Minimalistic Acoustic Parameter Set; eGeMAPSv02 of the
    ``opensmile`` package.
    """

    frame_rate: float | None = 100.0

    def __init__(self, path: Path, identity: EncoderIdentity, device: torch.device) -> None:
        import opensmile

        self.identity = identity
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02,
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        self.dim: int = self._smile.num_features
        self.windowed = 0
        self.notes: tuple[str, ...] = ()

    def cost(self, size: int) -> float:
        """Return the seconds of an utterance of ``size`` samples."""
        return size / SAMPLE_RATE

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Describe 16 kHz waveforms ``(num_samples,)``. Those below 60 ms are padded with zeros.

        Returns:
            One ``(T, 25)`` float32 array for each, about 100 frames per second. The only layer is
            -1.
        """
        padded = [np.pad(wave, (0, max(0, SHORTEST - len(wave)))) for wave in batch]
        return [[self._smile(wave, SAMPLE_RATE)[0].T.astype(np.float32)] for wave in padded]

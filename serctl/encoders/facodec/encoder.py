"""FACodec as an encoder: prosody and per-frame timbre of an utterance, 80 frames per second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from serctl.encoders.base import SAMPLE_RATE, Encoder, EncoderIdentity, Frames
from serctl.encoders.facodec.layers import HOP
from serctl.encoders.facodec.network import MIN_SAMPLES, FACodec
from serctl.encoders.facodec.release import find_pair, load_facodec
from serctl.errors import AudioError


class FacodecEncoder(Encoder):
    """``facodec``: prosody and timbre, concatenated. ``facodec-prosody``: only prosody.

    Utterances are encoded one at a time, because the network has no masks and frames would depend
    on padding. See `serctl.encoders.base.Encoder`.
    """

    frame_rate: float | None = SAMPLE_RATE / HOP

    def __init__(self, network: FACodec, identity: EncoderIdentity, device: torch.device) -> None:
        self.identity = identity
        self.timbre = identity.encoder != "facodec-prosody"
        self.dim = network.dim * (2 if self.timbre else 1)
        self.shortest = MIN_SAMPLES[network.version]
        self.windowed = 0
        self.notes: tuple[str, ...] = (
            f"{identity.encoder} has no masks, so its utterances are encoded one at a time.",
        )
        self._network = network.to(device)
        self._device = device

    @classmethod
    def load(
        cls, path: Path, identity: EncoderIdentity, device: torch.device | str = "cpu"
    ) -> Self:
        """Load the checkpoint pair of a folder: v2, which the paper used, before v1.

        Raises:
            WeightsError: The pair is missing, mixed, damaged or not exactly the official layout.
        """
        network = load_facodec(find_pair(path))
        network.set_compute_dtype(getattr(torch, identity.compute_dtype))
        return cls(network, identity, torch.device(device))

    def cost(self, size: int) -> float:
        """Return the seconds of an utterance of ``size`` samples, padded to whole frames.

        Raises:
            AudioError: The utterance is too short for the network.
        """
        if size < self.shortest:
            raise AudioError(
                f"An utterance of {size} samples is too short for FACodec, expected at least "
                f"{self.shortest} samples ({1000 * self.shortest // SAMPLE_RATE} ms at 16 kHz)."
            )
        return count_frames(size) * HOP / SAMPLE_RATE

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode 16 kHz waveforms ``(num_samples,)`` to ``num_samples // 200 + 1`` frames each.

        The only layer is -1.

        Raises:
            AudioError: A waveform is too short for the network.
        """
        return [[self._encode(wave)] for wave in batch]

    @torch.inference_mode()
    def _encode(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        self.cost(len(wave))  # raises an error for short audio
        waveform = torch.from_numpy(wave)[None].to(self._device)
        padded = F.pad(waveform, (0, count_frames(len(wave)) * HOP - len(wave)))
        frames = self._network(padded, timbre=self.timbre)
        return frames[0].float().contiguous().cpu().numpy()


def count_frames(num_samples: int) -> int:
    """Return the frames of a waveform. As in the reference, 1 to 200 zeros are appended."""
    return num_samples // HOP + 1

"""w2v-BERT 2.0: a Conformer on mel filter banks, 50 frames per second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor

from serctl.encoders.base import SAMPLE_RATE, Encoder, EncoderIdentity, Frames
from serctl.encoders.network import cut_padding, list_layers, load_network, pick_layers
from serctl.errors import WeightsError

WINDOW, HOP = 400, 160
"""Window and hop of spectra in samples. The extractor joins ``stride`` spectra to a frame."""


class W2vBertEncoder(Encoder):
    """Mel spectra, normalised over the utterance → Conformer.

    Source: Seamless Communication 2023; network and extractor are those of transformers.
    """

    def __init__(self, path: Path, identity: EncoderIdentity, device: torch.device) -> None:
        try:
            self.extractor = AutoFeatureExtractor.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"'{path}' has no readable preprocessor_config.json. Copy it from the model's page."
            ) from error
        self.identity = identity
        self.device = device
        self.network = load_network(path, identity.compute_dtype, device)
        self.dim: int = self.network.config.hidden_size
        self.frame_rate: float | None = SAMPLE_RATE / HOP / self.extractor.stride
        self.shortest = WINDOW + HOP * (self.extractor.stride - 1)
        self.windowed = 0
        self.notes = (
            f"{identity.encoder} has convolutions without a mask, so its utterances are encoded "
            "one at a time.",
        )

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer; see `serctl.encoders.base.Encoder`."""
        return list_layers(self.network.config)

    def cost(self, size: int) -> float:
        """Return the seconds of an utterance of ``size`` samples."""
        return max(size, self.shortest) / SAMPLE_RATE

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode 16 kHz waveforms ``(num_samples,)``. Those below 35 ms are padded with zeros."""
        padded = [np.pad(wave, (0, max(0, self.shortest - len(wave)))) for wave in batch]
        return [self._encode(wave, layers) for wave in padded]

    @torch.inference_mode()
    def _encode(self, wave: NDArray[np.float32], layers: Sequence[int]) -> Frames:
        given = self.extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        mask = given["attention_mask"]
        output = self.network(
            given["input_features"].to(self.device, self.network.dtype),
            attention_mask=mask.to(self.device),
            output_hidden_states=max(layers) >= 0,
        )
        [frames] = cut_padding(pick_layers(output, layers), [int(mask.sum())])
        return frames

"""Speech encoders of the wav2vec 2.0 family, such as WavLM, HuBERT, wav2vec 2.0 and XLS-R."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor

from serctl.encoders.base import SAMPLE_RATE, Encoder, EncoderIdentity, Frames
from serctl.encoders.network import cut_padding, list_layers, load_network, pick_layers
from serctl.errors import UsageError, WeightsError

# WavLM in transformers passes a boolean padding mask and a position bias to PyTorch.
warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)


MASKED = ("wavlm", "hubert", "wav2vec2", "unispeech", "unispeech-sat")
"""Model types without an effect of padding, given a mask and layer norm in the first layers.

Others of the family have convolutions between their layers without a mask.
"""


class SpeechEncoder(Encoder):
    """Waveform → convolutions → Transformer, one frame every 20 ms.

    Source: Baevski et al. 2020 (wav2vec 2.0), Hsu et al. 2021 (HuBERT), Chen et al. 2022 (WavLM);
    the networks are those of transformers.
    """

    def __init__(self, path: Path, identity: EncoderIdentity, device: torch.device) -> None:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"'{path}' has no readable preprocessor_config.json, which defines the "
                f"normalisation of audio. Copy this file from the model's page."
            ) from error
        if extractor.sampling_rate != SAMPLE_RATE:
            raise WeightsError(
                f"'{path}' needs {extractor.sampling_rate} Hz, expected a model for 16 kHz."
            )
        self.identity = identity
        self.device = device
        self.network = load_network(path, identity.compute_dtype, device)
        config = self.network.config
        self.normalise = bool(extractor.do_normalize)
        self.adapter = bool(getattr(config, "add_adapter", False))
        adapter = self.adapter and identity.layer < 0
        masked = config.model_type in MASKED and config.feat_extract_norm == "layer"
        # mHuBERT normalises the padding before its positional convolution.
        self.alone = adapter or not masked or getattr(config, "conv_pos_batch_norm", False)
        self.dim: int = config.output_hidden_size if adapter else config.hidden_size
        stride = float(np.prod(config.conv_stride))
        stride *= config.adapter_stride**config.num_adapter_layers if adapter else 1
        self.frame_rate: float | None = SAMPLE_RATE / stride
        joined = getattr(config, "squeeze_factor", 1)  # SEW joins two frames to one
        self.shortest = _receptive_field(config.conv_kernel, config.conv_stride, joined)
        self.windowed = 0
        self.notes: tuple[str, ...] = ()
        if self.alone:
            self.notes = (
                f"Frames of {identity.encoder} depend on padding (normalisation or convolution "
                "without a mask), so its utterances are encoded one at a time.",
            )

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer, except that of an adapter with another frame rate."""
        layers = list_layers(self.network.config)
        return (*layers[:-1], len(layers) - 1) if self.adapter else layers

    def cost(self, size: int) -> float:
        """Return the seconds of an utterance of ``size`` samples."""
        return max(size, self.shortest) / SAMPLE_RATE

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode 16 kHz waveforms ``(num_samples,)``; see `serctl.encoders.base.Encoder`.

        A waveform shorter than the receptive field (25 ms) is padded with zeros.

        Raises:
            UsageError: The last layer has another frame rate because of an adapter.
        """
        if self.adapter and len({layer < 0 for layer in layers}) > 1:
            raise UsageError(
                f"Layer -1 of '{self.identity.encoder}' comes from an adapter with another frame "
                f"rate. Extract it separately from the other layers."
            )
        waves = [self._prepare(wave) for wave in batch]
        groups = [[wave] for wave in waves] if self.alone else [waves]
        return [frames for group in groups for frames in self._encode(group, layers)]

    def _prepare(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.normalise:  # as Wav2Vec2FeatureExtractor does, without the padding
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        return np.pad(wave, (0, max(0, self.shortest - len(wave))))

    @torch.inference_mode()
    def _encode(self, waves: Sequence[NDArray[np.float32]], layers: Sequence[int]) -> list[Frames]:
        sizes = torch.tensor([len(wave) for wave in waves])
        padded = torch.zeros(len(waves), int(sizes.max()))
        for row, wave in zip(padded, waves, strict=True):
            row[: len(wave)] = torch.from_numpy(wave)
        mask = torch.arange(padded.shape[1]) < sizes[:, None]
        output = self.network(
            padded.to(self.device, self.network.dtype),
            attention_mask=None if mask.all() else mask.long().to(self.device),
            output_hidden_states=max(layers) >= 0,
        )
        lengths = self.network._get_feat_extract_output_lengths(sizes)
        return cut_padding(pick_layers(output, layers), lengths.tolist())


def _receptive_field(kernels: Sequence[int], strides: Sequence[int], frames: int) -> int:
    """Return the minimum number of samples for ``frames`` frames."""
    size = frames
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        size = (size - 1) * stride + kernel
    return size

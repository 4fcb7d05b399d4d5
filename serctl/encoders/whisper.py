"""Whisper's encoder on 30 s windows. Frames of padding are removed.

Whisper was trained on windows of exactly 30 s, and its attention has no mask. A short utterance is
padded with silence to 30 s, and ``ceil(num_samples / 320)`` of the 1500 frames are kept. Longer
audio is cut into consecutive windows, and their frames are concatenated. A shorter window is
optional. It costs less and gives other frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder as EncoderNetwork
from transformers.utils import logging

from serctl.encoders.base import SAMPLE_RATE, Encoder, EncoderIdentity, Frames
from serctl.encoders.network import list_layers, load_network, pick_layers
from serctl.encoders.recognisers.backends import is_ctranslate2
from serctl.encoders.whisper_ct2 import load_ctranslate2
from serctl.errors import UsageError

WINDOW_SAMPLES = 480_000
SAMPLES_PER_FRAME, SAMPLES_PER_MEL = 320, 160
FRAME_RATE = 50.0
SPECTRUM_TAIL = 400
"""Zeros after the last sample whose spectrum differs from that of silence (one FFT frame)."""


@dataclass(frozen=True)
class EncodedWindows:
    """Result of one pass of the encoder for a batch of utterances.

    Attributes:
        hidden: Last hidden state of all windows ``(num_windows, 1500, D)``, for a decoder.
        owners: Position in the batch of each window's utterance.
        frames: One ``(T, D)`` float32 array per layer for each utterance.
    """

    hidden: Tensor
    owners: tuple[int, ...]
    frames: list[Frames]


class WhisperEncoder(Encoder):
    """A frozen Whisper encoder; see `serctl.encoders.base.Encoder`."""

    frame_rate: float | None = FRAME_RATE
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        network: EncoderNetwork,
        extractor: WhisperFeatureExtractor,
        identity: EncoderIdentity,
    ) -> None:
        layers = network.config.encoder_layers
        if not -1 <= identity.layer <= layers:
            raise UsageError(
                f"--layer is {identity.layer}, expected 0 to {layers}, or -1 for the last hidden "
                f"state of '{identity.encoder}'."
            )
        self.identity = identity
        self.dim = int(network.config.d_model)
        self.windowed = 0
        self.window = int(identity.window.removesuffix("s")) * SAMPLE_RATE
        self.network = shorten(network, self.window // SAMPLES_PER_FRAME).requires_grad_(False)
        self._extractor = extractor

    @classmethod
    def load(
        cls,
        weights_path: Path,
        *,
        layer: int = -1,
        dtype: str = "float32",
        device: torch.device | str = "cpu",
        identity: EncoderIdentity | None = None,
    ) -> "WhisperEncoder":
        """Load the encoder without the decoder from a Hugging Face or CTranslate2 folder.

        Args:
            weights_path: Folder of the checkpoint.
            layer: ``hidden_states[layer]``; -1 is ``last_hidden_state``.
            dtype: Name of the floating-point type of the computation.
            device: Device to compute on.
            identity: Identity of the encoder; None derives it from the other arguments.

        Raises:
            WeightsError: The folder holds no complete Whisper checkpoint.
            UsageError: There is no such layer.
        """
        identity = identity or EncoderIdentity(
            weights_path.name, "speech", str(weights_path), "", layer, dtype, "30s"
        )
        network = load_whisper(
            weights_path, identity.compute_dtype, torch.device(device), decoder=False
        )
        return cls(network, load_extractor(weights_path, network.num_mel_bins), identity)

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer; see `serctl.encoders.base.Encoder`."""
        return list_layers(self.network.config)

    def cost(self, size: int) -> float:
        """Return the computed seconds for ``size`` samples, in whole windows."""
        return count_windows(size, self.window) * self.window / SAMPLE_RATE

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Return the frames ``(ceil(num_samples / 320), D)`` of each waveform and layer."""
        return self.encode_windows(batch, layers).frames

    @torch.inference_mode()
    def encode_windows(
        self, batch: Sequence[NDArray[np.float32]], layers: Sequence[int] = ()
    ) -> EncodedWindows:
        """Encode waveforms, and keep the last hidden state of every window for a decoder."""
        pieces = [cut_windows(waveform, self.window) for waveform in batch]
        long = sum(len(windows) > 1 for windows in pieces)
        self.windowed += long
        mel = torch.stack([self.compute_mel(w) for windows in pieces for w in windows])
        hidden, chosen = self._run(mel, layers)
        frames: list[Frames] = []
        start = 0
        for waveform, windows in zip(batch, pieces, strict=True):
            own, length = slice(start, start + len(windows)), count_frames(len(waveform))
            # (windows, 1500, D) → (T, D). A copy frees the memory of the padding.
            joined = [layer[own].flatten(0, 1)[:length] for layer in chosen]
            frames.append([layer.float().cpu().numpy().copy() for layer in joined])
            start += len(windows)
        owners = tuple(i for i, windows in enumerate(pieces) for _ in windows)
        return EncodedWindows(hidden, owners, frames)

    def _run(self, mel: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Return the last hidden state and the layers, ``(num_windows, 1500, D)`` each.

        On the CPU windows are encoded one at a time: batches are not faster there, and frames are
        then bit-identical in any batch.
        """
        weight = self.network.conv1.weight
        outputs = [
            self.network(part.to(weight), output_hidden_states=max(layers, default=-1) >= 0)
            for part in (mel.split(1) if weight.device.type == "cpu" else [mel])
        ]
        picked = [pick_layers(output, (-1, *layers)) for output in outputs]
        hidden, *chosen = map(torch.cat, zip(*picked, strict=True))
        return hidden, chosen

    def compute_mel(self, window: NDArray[np.float32]) -> Tensor:
        """Return the log-mel spectrogram of a window, ``(num_mel_bins, 3000)`` of one of 30 s.

        Only the real samples are transformed. The padding gives the floor of the spectrogram, which
        is 8 below its peak on the log10 scale and at least -10.
        """
        short = np.pad(window, (0, SPECTRUM_TAIL))[: self.window]
        made = self._extractor(short, padding="do_not_pad", sampling_rate=SAMPLE_RATE)
        mel = torch.from_numpy(np.asarray(made.input_features[0]))
        floor = max(-1.5, float(mel.max()) - 2.0)  # the extractor returns (log10 + 4) / 4
        missing = self.window // SAMPLES_PER_MEL - mel.shape[1]
        return torch.nn.functional.pad(mel, (0, missing), value=floor)


def shorten(network: EncoderNetwork, positions: int) -> EncoderNetwork:
    """Limit a network to windows of fewer frames, with the first positions of its table."""
    if positions < network.config.max_source_positions:
        network.config.max_source_positions = positions
        rows = network.embed_positions.weight[:positions].clone()
        network.embed_positions = torch.nn.Embedding.from_pretrained(rows)
    return network.eval()


def count_windows(num_samples: int, window: int = WINDOW_SAMPLES) -> int:
    """Return the number of windows of an utterance."""
    return max(1, -(-num_samples // window))


def count_frames(num_samples: int) -> int:
    """Return the number of frames of an utterance without padding."""
    return -(-num_samples // SAMPLES_PER_FRAME)


def cut_windows(
    waveform: NDArray[np.float32], window: int = WINDOW_SAMPLES
) -> list[NDArray[np.float32]]:
    """Cut a waveform into consecutive windows of ``window`` samples. The last may be shorter."""
    starts = range(0, max(1, len(waveform)), window)
    return [waveform[start : start + window] for start in starts]


def load_whisper(folder: Path, dtype: str, device: torch.device, *, decoder: bool) -> Any:
    """Load Whisper from a Hugging Face or CTranslate2 folder, with or without its decoder.

    Raises:
        WeightsError: The folder holds no whole Whisper checkpoint.
    """
    logging.set_verbosity_error()
    if is_ctranslate2(folder):
        network: Any = load_ctranslate2(folder, getattr(torch, dtype))
        return (network if decoder else network.model.encoder).to(device)
    if decoder:
        return load_network(
            folder, dtype, device, WhisperForConditionalGeneration, needed="decoder"
        )
    # The decoder is more than half of large-v3. Without it, its tensors are not read.
    mapping = {r"^(model\.)?encoder\.": ""}
    return load_network(folder, dtype, device, EncoderNetwork, key_mapping=mapping)


def load_extractor(folder: Path, num_mel_bins: int) -> WhisperFeatureExtractor:
    """Return the log-mel settings of a checkpoint, or Whisper's defaults if it has none."""
    if (folder / "preprocessor_config.json").is_file():
        return WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return WhisperFeatureExtractor(feature_size=num_mel_bins)

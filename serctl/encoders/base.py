"""What every encoder is: a frozen network that turns utterances into frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["speech", "text", "paralinguistic"]


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the catalogue.

    ``frame_rate`` is in Hz, None for text (its frames are tokens). ``weights`` is a Hugging Face
    id, or the name of an installed weights package. ``dim`` is 0 where only the checkpoint knows.
    """

    name: str
    modality: Modality
    family: str
    weights: str
    dim: int
    frame_rate: float | None
    license: str
    source: str


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


class Encoder(Protocol):
    """A loaded encoder. Its frames do not depend on the batch an utterance is encoded in."""

    identity: EncoderIdentity
    dim: int
    frame_rate: float | None

    def cost(self, size: int) -> int:
        """Return what an utterance of ``size`` samples (or characters) costs in a batch, padded."""
        ...

    def encode(self, batch: Sequence[NDArray[np.float32]] | Sequence[str]) -> list[NDArray[np.float32]]:
        """Encode utterances: 16 kHz waveforms ``(num_samples,)`` or transcripts.

        Returns:
            One ``(T, D)`` float32 array per utterance, real frames only.
        """
        ...

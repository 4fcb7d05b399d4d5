"""What a decoder is, and what becomes of its words: joined over windows, doubted, tried again.

The encoder runs once for a batch. Its hidden states give the frames of the feature cache and, to
whichever decoder, the words; so words and frames are the same whether made together or apart.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serctl.encoders.base import SAMPLE_RATE
from serctl.encoders.whisper import WhisperEncoder

NO_SPEECH = 0.6
MEAN_LOGPROB = -1.0
COMPRESSION_RATIO = 2.4
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Thresholds and temperatures of Radford et al. 2022 (Whisper), section 4.5."""

CHARACTERS_PER_SECOND = 30.0
"""More than anybody says: fast English speech is about 20. Catches phrases made up for a click."""

SILENCE = "no-speech"


@dataclass(frozen=True)
class Hypothesis:
    """The words of one window or utterance.

    Attributes:
        text: Without white space around it.
        language: Spoken or detected, a code such as ``en``.
        logprob: Log-probability of the tokens and the end token.
        num_tokens: Tokens, the end token counted.
        no_speech: Probability that the window holds no speech.
        temperature: At which it was sampled; 0 is the most likely token at each step.
    """

    text: str
    language: str
    logprob: float
    num_tokens: int
    no_speech: float
    temperature: float = 0.0

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability of a token."""
        return self.logprob / self.num_tokens

    @property
    def compression_ratio(self) -> float:
        """Bytes of the text over its compressed bytes; a loop of words compresses well."""
        raw = self.text.encode()
        return len(raw) / len(zlib.compress(raw))


@dataclass(frozen=True)
class Recognised:
    """An utterance's words, why to doubt the most likely ones, and its frames ``(T, D)``."""

    words: Hypothesis
    doubts: tuple[str, ...]
    frames: NDArray[np.float32]


class Decoder(Protocol):
    """Whisper's decoder in one of the back-ends.

    Attributes:
        languages: Codes it knows; only ``en`` for the English models.
    """

    languages: tuple[str, ...]

    def decode(
        self, hidden: Tensor, language: str | None, temperature: float = 0.0
    ) -> list[Hypothesis]:
        """Return the words of encoded windows ``(N, 1500, D)``.

        Args:
            hidden: Last hidden state of the encoder.
            language: A code, or None to detect it window by window.
            temperature: 0 takes the most likely token; else torch's generator draws.
        """
        ...


class Recogniser:
    """Encoder and decoder: waveforms in, words and frames out.

    Args:
        encoder: Runs once for each batch.
        decoder: Finds the words.
        language: A code, or None to detect it.
        seed: Of the draws when a doubtful text is tried again.
    """

    def __init__(
        self, encoder: WhisperEncoder, decoder: Decoder, language: str | None, seed: int
    ) -> None:
        self.encoder = encoder
        self._decoder = decoder
        self._language = language
        self._seed = seed

    def recognise(self, batch: Sequence[NDArray[np.float32]]) -> list[Recognised]:
        """Transcribe 16 kHz waveforms ``(num_samples,)``; also returns their frames."""
        encoded = self.encoder.encode_windows(batch)
        found = self._decoder.decode(encoded.hidden, self._language)
        owners = torch.tensor(encoded.owners)
        made = []
        for i, (waveform, frames) in enumerate(zip(batch, encoded.frames, strict=True)):
            rows = (owners == i).nonzero()[:, 0]
            words = join_windows([found[row] for row in rows])
            seconds = len(waveform) / SAMPLE_RATE
            doubts = find_doubts(words, seconds)
            if doubts and SILENCE not in doubts:
                words = self._try_again(
                    encoded.hidden[rows.to(encoded.hidden.device)], words, seconds
                )
            made.append(Recognised(words, doubts, frames))
        return made

    def _try_again(self, hidden: Tensor, words: Hypothesis, seconds: float) -> Hypothesis:
        """Draw at rising temperatures until nothing speaks against the text.

        One utterance at a time and from the same seed: the words do not depend on the batch. If
        all are doubtful, the most likely one that is not a loop is taken.
        """
        tried = [words]
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            for temperature in TEMPERATURES:
                found = join_windows(self._decoder.decode(hidden, words.language, temperature))
                if not find_doubts(found, seconds):
                    return found
                tried.append(found)
        calm = [one for one in tried if one.compression_ratio <= COMPRESSION_RATIO]
        return max(calm or tried, key=lambda one: one.mean_logprob)


def find_doubts(words: Hypothesis, seconds: float) -> tuple[str, ...]:
    """Return the reasons to take a text for a hallucination, none for most."""
    reasons = {
        SILENCE: bool(words.text) and words.no_speech > NO_SPEECH,
        "unsure": words.mean_logprob < MEAN_LOGPROB,
        "repetitive": words.compression_ratio > COMPRESSION_RATIO,
        "too-fast": len(words.text) > CHARACTERS_PER_SECOND * seconds,
    }
    return tuple(name for name, holds in reasons.items() if holds)


def join_windows(windows: Sequence[Hypothesis]) -> Hypothesis:
    """Return the words of consecutive windows as one text; silence means all of it is silent."""
    if len(windows) == 1:
        return windows[0]
    return Hypothesis(
        text=" ".join(window.text for window in windows if window.text),
        language=windows[0].language,
        logprob=sum(window.logprob for window in windows),
        num_tokens=sum(window.num_tokens for window in windows),
        no_speech=min(window.no_speech for window in windows),
        temperature=windows[0].temperature,
    )

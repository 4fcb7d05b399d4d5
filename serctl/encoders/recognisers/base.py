"""What a decoder is, and what becomes of its words: joined over windows, doubted, tried again.

The encoder runs once for a batch. Its hidden states give the frames of the feature cache and, to
whichever decoder, the words; so words and frames are the same whether made together or apart.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from serctl.encoders.base import SAMPLE_RATE, Frames
from serctl.encoders.whisper import WhisperEncoder

NO_SPEECH = 0.6
MEAN_LOGPROB = -1.0
COMPRESSION_RATIO = 2.4
"""Thresholds of Radford et al. 2022 (Whisper), section 4.5."""

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the same section, to break a loop of words."""

MILD_TEMPERATURES = TEMPERATURES[:2]
"""For any other doubt: warmer draws are only less likely still, and costly where they ramble."""

CHARACTERS_PER_SECOND = 30.0
"""More than anybody says: fast English speech is about 20. Catches phrases made up for a click."""

SILENCE, LOOP = "no-speech", "repetitive"


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
    """An utterance's words, why to doubt the most likely ones, and its frames of some layers."""

    words: Hypothesis
    doubts: tuple[str, ...]
    layers: Frames

    @property
    def frames(self) -> NDArray[np.float32]:
        """The frames ``(T, D)`` of the first layer."""
        return self.layers[0]


class Decoder(Protocol):
    """Whisper's decoder in one of the back-ends.

    Attributes:
        languages: Codes it knows; only ``en`` for the English models.
    """

    languages: tuple[str, ...]

    def decode(self, hidden: Tensor, language: str | None) -> list[Hypothesis]:
        """Return the most likely words of encoded windows ``(N, 1500, D)``.

        Args:
            hidden: Last hidden state of the encoder.
            language: A code, or None to detect it window by window.
        """
        ...

    def draw(
        self, hidden: Tensor, languages: Sequence[str], temperatures: Sequence[float], seed: int
    ) -> list[list[Hypothesis]]:
        """Return, for each window, its words drawn at every temperature.

        A window's draws depend on the seed, not on the other windows.
        """
        ...


class Recogniser:
    """Encoder and decoder: waveforms in, words and frames out. Several threads may use it.

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

    def recognise(
        self, batch: Sequence[NDArray[np.float32]], layers: Sequence[int] | None = None
    ) -> list[Recognised]:
        """Transcribe 16 kHz waveforms ``(num_samples,)``; also returns their frames.

        Args:
            batch: Waveforms.
            layers: Of the frames; without them, the layer that the encoder was loaded for.
        """
        own = (self.encoder.identity.layer,)
        encoded = self.encoder.encode_windows(batch, own if layers is None else layers)
        found = self._decoder.decode(encoded.hidden, self._language)
        rows = [
            [r for r, owner in enumerate(encoded.owners) if owner == i] for i in range(len(batch))
        ]
        seconds = [len(waveform) / SAMPLE_RATE for waveform in batch]
        words = [join_windows([found[row] for row in own]) for own in rows]
        doubts = list(map(find_doubts, words, seconds))
        for loops, temperatures in ((False, MILD_TEMPERATURES), (True, TEMPERATURES)):
            again = [
                i
                for i, reasons in enumerate(doubts)
                if reasons and SILENCE not in reasons and (LOOP in reasons) == loops
            ]
            windows = [row for i in again for row in rows[i]]
            drawn = dict(
                zip(windows, self._draw(encoded.hidden, found, windows, temperatures), strict=True)
            )
            for i in again:
                tried = [
                    words[i],
                    *map(join_windows, zip(*[drawn[row] for row in rows[i]], strict=True)),
                ]
                words[i] = choose_words(tried, seconds[i])
        return list(map(Recognised, words, doubts, encoded.frames))

    def _draw(
        self,
        hidden: Tensor,
        found: Sequence[Hypothesis],
        windows: Sequence[int],
        temperatures: Sequence[float],
    ) -> list[list[Hypothesis]]:
        """Draw words for some windows, no more rows at once than the batch has."""
        step = max(1, len(hidden) // len(temperatures))
        parts = [list(windows[i : i + step]) for i in range(0, len(windows), step)]
        return [
            drawn
            for part in parts
            for drawn in self._decoder.draw(
                hidden[part], [found[row].language for row in part], temperatures, self._seed
            )
        ]


def choose_words(tried: Sequence[Hypothesis], seconds: float) -> Hypothesis:
    """Return the first text that nothing speaks against, else the likeliest that is no loop."""
    calm = [words for words in tried if words.compression_ratio <= COMPRESSION_RATIO]
    likeliest = max(calm or tried, key=lambda words: words.mean_logprob)
    return next((words for words in tried if not find_doubts(words, seconds)), likeliest)


def find_doubts(words: Hypothesis, seconds: float) -> tuple[str, ...]:
    """Return the reasons to take a text for a hallucination, none for most."""
    reasons = {
        SILENCE: bool(words.text) and words.no_speech > NO_SPEECH,
        "unsure": words.mean_logprob < MEAN_LOGPROB,
        LOOP: words.compression_ratio > COMPRESSION_RATIO,
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

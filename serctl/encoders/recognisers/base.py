"""Protocol of decoders, joining of windows, detection of suspects and repeated sampling.

The encoder runs once per batch. Its hidden states are the frames of the feature cache and the input
of the decoder, so transcripts and frames do not depend on whether they are computed together.
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
"""Temperatures of the same section, for repetitions."""

MILD_TEMPERATURES = TEMPERATURES[:2]
"""Temperatures for other reasons. Higher ones give less probable and longer texts."""

CHARACTERS_PER_SECOND = 30.0
"""Maximum characters per second. Fast English speech has about 20. It detects hallucinations."""

SILENCE, LOOP = "no-speech", "repetitive"


@dataclass(frozen=True)
class Hypothesis:
    """The transcript of one window or utterance.

    Attributes:
        text: Text without surrounding white space.
        language: Given or detected code such as ``en``.
        logprob: Log-probability of the tokens and the end token.
        num_tokens: Number of tokens with the end token.
        no_speech: Probability that the window holds no speech.
        temperature: Temperature of the sampling; 0 is the most probable token at each step.
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
        """Bytes of the text divided by its compressed bytes. Repetitions give a high value."""
        raw = self.text.encode()
        return len(raw) / len(zlib.compress(raw))


@dataclass(frozen=True)
class Recognised:
    """Transcript of an utterance, reasons of suspicion, and frames of the requested layers."""

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
        languages: Known language codes; only ``en`` for English models.
    """

    languages: tuple[str, ...]

    def decode(self, hidden: Tensor, language: str | None) -> list[Hypothesis]:
        """Return the most probable transcripts of encoded windows ``(num_windows, 1500, D)``.

        Args:
            hidden: Last hidden state of the encoder.
            language: Language code, or None to detect it for each window.
        """
        ...

    def draw(
        self, hidden: Tensor, languages: Sequence[str], temperatures: Sequence[float], seed: int
    ) -> list[list[Hypothesis]]:
        """Return for each window the transcripts sampled at every temperature.

        Samples of a window depend on the seed, and not on other windows.
        """
        ...


class Recogniser:
    """Encoder and decoder: waveforms in, transcripts and frames out. Several threads may use it.

    Args:
        encoder: Encoder, which runs once per batch.
        decoder: Decoder.
        language: Language code, or None to detect it.
        seed: Seed of the samples for suspects.
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
        """Transcribe 16 kHz waveforms ``(num_samples,)``, and return their frames.

        Args:
            batch: Waveforms.
            layers: Layers of the frames. The default is the layer of the encoder's identity.
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
        """Sample transcripts for windows, with at most as many rows at once as the batch has."""
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
    """Return the first text without suspicion, else the most probable one without repetitions."""
    calm = [words for words in tried if words.compression_ratio <= COMPRESSION_RATIO]
    likeliest = max(calm or tried, key=lambda words: words.mean_logprob)
    return next((words for words in tried if not find_doubts(words, seconds)), likeliest)


def find_doubts(words: Hypothesis, seconds: float) -> tuple[str, ...]:
    """Return the reasons why a text may be a hallucination; () without a reason."""
    reasons = {
        SILENCE: bool(words.text) and words.no_speech > NO_SPEECH,
        "unsure": words.mean_logprob < MEAN_LOGPROB,
        LOOP: words.compression_ratio > COMPRESSION_RATIO,
        "too-fast": len(words.text) > CHARACTERS_PER_SECOND * seconds,
    }
    return tuple(name for name, holds in reasons.items() if holds)


def join_windows(windows: Sequence[Hypothesis]) -> Hypothesis:
    """Return the text of consecutive windows. ``no_speech`` is that of the whole."""
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

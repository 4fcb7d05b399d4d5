"""Standardisation per speaker: mean and deviation of a speaker's frames become those of the corpus.

A voice shifts and scales the features of an encoder. Standardisation by the speaker's statistics
removes this effect. The statistics need no labels, so they include utterances of a test split. This
is an advantage over systems that use one utterance at a time, and results must state it.

Source: B. Schuller et al., "Cross-corpus acoustic emotion recognition: variances and strategies",
IEEE Transactions on Affective Computing 1(2), 2010 (speaker normalisation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.cache.pooled import pool_utterance
from serctl.cache.store import FeatureStore

SHRINKAGE = 5.0
"""Weight of the corpus' statistics in those of a speaker, in utterances."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpeakerMoments:
    """Statistics of the frames of all utterances of one speaker.

    Attributes:
        mean: ``(D,)``.
        variance: ``(D,)``.
        num_utterances: Number of utterances.
    """

    mean: Vector
    variance: Vector
    num_utterances: int


@dataclass(frozen=True, eq=False)
class Restatement:
    """An affine map of frames ``(T, D)``: ``frames * scale + shift``."""

    scale: Vector
    shift: Vector

    def frames(self, frames: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return mapped frames ``(T, D)``."""
        return (frames * self.scale + self.shift).astype(np.float32)

    def pooled(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return mean and deviation of mapped frames, from those of the frames ``(…, 2·D)``."""
        mean, deviation = np.split(vectors, 2, axis=-1)
        restated = [mean * self.scale + self.shift, deviation * np.abs(self.scale)]
        return np.concatenate(restated, axis=-1).astype(np.float32)


def measure_speakers(
    pooled: NDArray[np.floating], num_frames: NDArray[np.integer], speakers: Sequence[str]
) -> dict[str, SpeakerMoments]:
    """Return the statistics of every known speaker.

    Args:
        pooled: ``(N, 2·D)`` mean and deviation of each utterance's frames.
        num_frames: ``(N,)``.
        speakers: N names. Unknown speakers ('') have no statistics.
    """
    found = {}
    names = np.asarray(speakers, dtype=object)
    for name in sorted(set(speakers) - {""}):
        rows = np.flatnonzero((names == name) & (num_frames > 0))
        if len(rows):
            found[name] = combine_moments(pooled[rows], num_frames[rows])
    return found


def combine_moments(
    pooled: NDArray[np.floating], num_frames: NDArray[np.integer]
) -> SpeakerMoments:
    """Return the statistics of all frames from those of each utterance ``(N, 2·D)``."""
    mean, deviation = np.split(pooled.astype(np.float64), 2, axis=1)
    share = (num_frames / num_frames.sum())[:, None]
    total = (share * mean).sum(axis=0)
    squares = (share * (deviation**2 + mean**2)).sum(axis=0)
    return SpeakerMoments(total, np.maximum(squares - total**2, 0.0), len(pooled))


def restate_speaker(
    speaker: SpeakerMoments, corpus: SpeakerMoments, shrinkage: float = SHRINKAGE
) -> Restatement:
    """Return the map of a speaker's frames to the statistics of the corpus.

    For few utterances the speaker's statistics are shrunk towards those of the corpus. Without
    utterances the map is the identity.
    """
    own = speaker.num_utterances / (speaker.num_utterances + shrinkage)
    mean = own * speaker.mean + (1 - own) * corpus.mean
    variance = own * speaker.variance + (1 - own) * corpus.variance
    scale = np.sqrt(
        np.divide(corpus.variance, variance, where=variance > 0, out=np.ones_like(mean))
    )
    return Restatement(scale, corpus.mean - mean * scale)


def restate_frames(
    frames: Sequence[NDArray[np.generic]], speakers: Sequence[str], corpus: SpeakerMoments
) -> list[NDArray[np.generic]]:
    """Return frames ``(T, D)`` standardised per speaker, by the statistics of these utterances.

    Args:
        frames: Frames of N utterances in memory.
        speakers: N names. Utterances of unknown speakers ('') are unchanged.
        corpus: Statistics of the corpus, to which the frames are mapped.
    """
    exact = [np.asarray(one, dtype=np.float32) for one in frames]
    pooled, lengths = (
        np.stack([pool_utterance(one) for one in exact]),
        np.array([len(one) for one in exact]),
    )
    found = measure_speakers(pooled, lengths, speakers)
    maps = {name: restate_speaker(moments, corpus) for name, moments in found.items()}
    return [
        maps[name].frames(one) if name in maps else one
        for one, name in zip(exact, speakers, strict=True)
    ]


class SpeakerFrames:
    """A store whose frames are standardised per speaker when they are read.

    Args:
        store: Store of the original frames.
        speaker_of: Speaker of each utterance. Speakers without a map are unchanged.
        maps: Map of each speaker.
    """

    dtype = np.dtype(np.float32)
    num_layers = 1

    def __init__(
        self,
        store: FeatureStore,
        speaker_of: Mapping[str, str],
        maps: Mapping[str, Restatement],
    ) -> None:
        self.store, self._speaker_of, self._maps = store, speaker_of, maps

    @property
    def dim(self) -> int:
        """D, the size of a frame."""
        return self.store.dim

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance, ``(B,)``."""
        return self.store.num_frames(ids)

    def prefetch(self, ids: Sequence[str]) -> None:
        """Prefetch utterances that will be read soon."""
        self.store.prefetch(ids)

    def restate_pooled(
        self, ids: Sequence[str], vectors: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return pooled frames ``(N, 2·D)`` after standardisation, from those before it."""
        found = [self._maps.get(self._speaker_of.get(name, "")) for name in ids]
        rows = [m.pooled(row) if m else row for m, row in zip(found, vectors, strict=True)]
        return np.stack(rows).astype(np.float32)

    def read_batch(self, ids: Sequence[str], out: NDArray[np.float32]) -> None:
        """Fill ``out (B, T, D)`` with standardised frames. Padding is not changed."""
        self.store.read_batch(ids, out)
        for frames, name, length in zip(out, ids, self.num_frames(ids), strict=False):
            if restatement := self._maps.get(self._speaker_of.get(name, "")):
                frames[:length] = restatement.frames(frames[:length])

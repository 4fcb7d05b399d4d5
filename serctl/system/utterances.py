"""Utterances in memory: waveform, transcript and the frames that the networks read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.speakers import SpeakerMoments, restate_frames
from serctl.cache.storage import get_storage
from serctl.encoders.base import Encoder, TokenEncoder
from serctl.encoding.pipeline import Reading
from serctl.errors import SerctlError
from serctl.training.dataset import NO_LABEL, UtteranceSet, make_reader
from serctl.training.speakers import Moments


@dataclass(eq=False)
class LoadedUtterance:
    """The unit of prediction: a file, an array, or a segment of a recording.

    Attributes:
        name: Name of the file; '' for an array.
        waveform: ``(num_samples,)``, 16 kHz mono.
        start: Seconds from the beginning of the file.
        text: Transcript, if known. Otherwise the recogniser sets it.
        suspect: Reason why the transcript may be a hallucination.
        speaker: Name of the speaker; '' if unknown.
        frames: ``(T, D)`` by the digest of a feature key, rounded like those of a store.
        error: Reason why there is no prediction.
    """

    name: str
    waveform: NDArray[np.float32]
    start: float = 0.0
    text: str | None = None
    suspect: str = ""
    speaker: str = ""
    frames: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    error: SerctlError | None = None

    @property
    def utterance_id(self) -> str:
        """Name of the utterance in messages."""
        place = f" at {self.start:.1f} s" if self.start else ""
        return f"{self.name or 'array'}{place}"

    def keep_frames(self, key: FeatureKey, frames: NDArray[np.float32]) -> None:
        """Round frames like a store. Values out of range become the utterance's error."""
        try:
            self.frames[key.digest] = get_storage(key.storage).as_read(frames, self.utterance_id)
        except SerctlError as error:
            self.error = error


class LoadedAudio:
    """The waveforms of utterances in memory, as an encoder's `Content`."""

    def sizes(self, rows: Sequence[LoadedUtterance], encoder: Encoder) -> list[int]:
        """Return the samples of each utterance."""
        return [len(row.waveform) for row in rows]

    def read(self, row: LoadedUtterance) -> Reading:
        """Return the waveform."""
        return Reading(row.waveform)


class LoadedText:
    """The transcripts of utterances in memory, as an encoder's `Content`."""

    def sizes(self, rows: Sequence[LoadedUtterance], encoder: Encoder) -> list[int]:
        """Return the tokens of each transcript."""
        texts = [self.read(row).content for row in rows]
        return cast(TokenEncoder, encoder).count_tokens(texts)

    def read(self, row: LoadedUtterance) -> Reading:
        """Return the transcript as `serctl extract` strips it."""
        return Reading((row.text or "").strip())


class LoadedFrames:
    """Frames of utterances in memory, as training reads them from a store: a `FrameReader`."""

    num_layers = 1

    def __init__(self, frames: Mapping[str, NDArray[np.generic]]) -> None:
        self._frames = frames
        first = next(iter(frames.values()))
        self.dim, self.dtype = first.shape[1], first.dtype

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each utterance ``(B,)``."""
        return np.array([len(self._frames[name]) for name in ids], dtype=np.int64)

    def prefetch(self, ids: Sequence[str]) -> None:
        """Do nothing: the frames are in memory."""

    def read_batch(self, ids: Sequence[str], out: NDArray[np.generic]) -> None:
        """Fill ``out[b, :T_b]``."""
        for row, name in zip(out, ids, strict=True):
            row[: len(self._frames[name])] = self._frames[name]


def tabulate(
    utterances: Sequence[LoadedUtterance],
    branches: Sequence[Sequence[FeatureKey]],
    num_classes: int,
    moments: Sequence[Moments] | None = None,
) -> UtteranceSet:
    """Return utterances as the table that a network reads.

    Args:
        utterances: N, with their frames.
        branches: A key for each layer of each branch.
        num_classes: C.
        moments: Statistics of the corpus, for each branch and layer, where the frames of each
            known speaker are standardised by the speaker's utterances among these.
    """
    ids = tuple(f"{i:09d}" for i in range(len(utterances)))

    def read(key: FeatureKey, corpus: SpeakerMoments | None) -> LoadedFrames:
        frames = [one.frames[key.digest] for one in utterances]
        if corpus is not None:
            frames = restate_frames(frames, [one.speaker for one in utterances], corpus)
        return LoadedFrames(dict(zip(ids, frames, strict=True)))

    corpora: Sequence[Sequence[SpeakerMoments | None]] = moments or [
        [None] * len(keys) for keys in branches
    ]
    readers = [
        make_reader([read(*pair) for pair in zip(keys, layers, strict=True)])
        for keys, layers in zip(branches, corpora, strict=True)
    ]
    size = len(ids)
    return UtteranceSet(
        ids=ids,
        readers=tuple(readers),
        lengths=np.stack([reader.num_frames(ids) for reader in readers], axis=1),
        label_ids=np.full(size, NO_LABEL),
        targets=np.zeros((size, num_classes), np.float32),
        neutral=np.zeros(size, bool),
        attributes=np.full((size, 3), np.nan, np.float32),
    )

"""Utterances in memory: they get transcripts and frames by the pipeline of `serctl extract`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.speakers import SpeakerMoments, restate_frames
from serctl.cache.storage import get_storage
from serctl.encoders.base import Encoder, TokenEncoder
from serctl.encoding.pipeline import (
    Content,
    Encoded,
    Reading,
    measure_sizes,
    plan_rows,
    run_batches,
)
from serctl.errors import SerctlError, TranscriptsError
from serctl.runtime import split_threads
from serctl.system.encoders import Encoders, makes
from serctl.training.dataset import NO_LABEL, FramesInMemory, UtteranceSet, make_reader
from serctl.training.speakers import Moments

Made = TypeVar("Made")


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
        channel: Channel of the file, from 1; 0 is the mean. None if no recording has a channel.
    """

    name: str
    waveform: NDArray[np.float32]
    start: float = 0.0
    text: str | None = None
    suspect: str = ""
    speaker: str = ""
    frames: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    error: SerctlError | None = None
    channel: int | None = None

    @property
    def utterance_id(self) -> str:
        """Name of the utterance in messages."""
        place = f" at {self.start:.1f} s" if self.start else ""
        place += f" (channel {self.channel})" if self.channel else ""
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


def encode_utterances(
    utterances: Sequence[LoadedUtterance],
    encoders: Encoders,
    device: torch.device,
    batch_seconds: float,
    keys: Sequence[FeatureKey] | None,
) -> None:
    """Add transcript and frames, or the error, to every utterance.

    Several utterances are computed in parallel with one thread each, as in extraction. A single
    one gets all threads.

    Args:
        utterances: Utterances to transcribe and encode, changed in place.
        encoders: Encoders and recogniser of the system.
        device: Device to compute on.
        batch_seconds: Padded seconds of a batch.
        keys: Keys of the frames to compute; None computes all that the networks read.
    """
    with split_threads(device) if len(utterances) > 1 else nullcontext(1) as workers:
        without = [one for one in utterances if one.text is None]
        if encoders.find_transcripts:
            _recognise(without, encoders, batch_seconds, workers)
        elif any(key.modality == "text" for key in encoders.keys):
            for one in without:
                one.error = TranscriptsError(
                    f"'{one.utterance_id}' has no text, and no recogniser is loaded. Give its text."
                )
        for digest, given in encoders.passes.items():
            wanted = [key for key in given if keys is None or key in keys]
            left = [
                one
                for one in utterances
                if one.error is None and not all(key.digest in one.frames for key in wanted)
            ]
            if left:
                _encode(left, encoders.encoder(digest), wanted, batch_seconds, workers)


def _recognise(
    utterances: Sequence[LoadedUtterance], encoders: Encoders, batch_seconds: float, workers: int
) -> None:
    """Add the transcripts, and the frames that the recogniser's encoder computes for them."""
    if not utterances:
        return
    recogniser = encoders.recogniser()
    keys = [key for keys in encoders.passes.values() for key in keys if makes(recogniser, key)]
    network = partial(recogniser.recognise, layers=[key.layer for key in keys])
    audio = LoadedAudio()
    for one in _run(network, recogniser.encoder, audio, utterances, batch_seconds, workers):
        one.row.text, one.row.suspect = one.made.words.text, "+".join(one.made.doubts)
        for key, frames in zip(keys, one.made.layers, strict=True):
            one.row.keep_frames(key, frames)


def _encode(
    utterances: Sequence[LoadedUtterance],
    encoder: Encoder,
    keys: Sequence[FeatureKey],
    batch_seconds: float,
    workers: int,
) -> None:
    """Add the frames of all keys that one pass of an encoder computes."""
    content = LoadedText() if keys[0].modality == "text" else LoadedAudio()
    network = partial(encoder.encode_layers, layers=[key.layer for key in keys])
    for one in _run(network, encoder, content, utterances, batch_seconds, workers):
        for key, frames in zip(keys, one.made, strict=True):
            one.row.keep_frames(key, frames)


def _run(
    network: Callable[[list[Any]], Sequence[Made]],
    encoder: Encoder,
    content: Content[LoadedUtterance],
    utterances: Sequence[LoadedUtterance],
    batch_seconds: float,
    workers: int,
) -> Iterator[Encoded[LoadedUtterance, Made]]:
    """Yield the output for each utterance. Utterances that fail get their error."""
    sizes = measure_sizes(utterances, content, encoder)
    for one, size in zip(utterances, sizes, strict=True):
        one.error = size if isinstance(size, SerctlError) else None
    # At least one batch for each worker, if there are enough utterances.
    share = sum(encoder.cost(size) for size in sizes if isinstance(size, int)) / workers
    batches = plan_rows(utterances, sizes, encoder, min(batch_seconds, share))
    for batch in run_batches(network, content, batches, workers):
        yield from batch.done


def tabulate(
    utterances: Sequence[LoadedUtterance],
    branches: Sequence[Sequence[FeatureKey]],
    num_classes: int,
    moments: Sequence[Moments] | None,
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

    def read(key: FeatureKey, corpus: SpeakerMoments | None) -> FramesInMemory:
        frames = [one.frames[key.digest] for one in utterances]
        if corpus is not None:
            frames = restate_frames(frames, [one.speaker for one in utterances], corpus)
        return FramesInMemory(dict(zip(ids, frames, strict=True)))

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

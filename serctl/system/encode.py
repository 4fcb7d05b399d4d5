"""Transcribe and encode utterances in memory with the pipeline of `serctl extract`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import torch

from serctl.cache.key import FeatureKey
from serctl.encoders.base import Encoder
from serctl.encoding.pipeline import Content, Encoded, measure_sizes, plan_rows, run_batches
from serctl.errors import SerctlError, TranscriptsError
from serctl.runtime import split_threads
from serctl.system.encoders import Encoders, makes
from serctl.system.utterances import LoadedAudio, LoadedText, LoadedUtterance

Made = TypeVar("Made")


def encode_utterances(
    utterances: Sequence[LoadedUtterance],
    encoders: Encoders,
    device: torch.device,
    batch_seconds: float,
    keys: Sequence[FeatureKey] | None = None,
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
        if encoders.find_words:
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

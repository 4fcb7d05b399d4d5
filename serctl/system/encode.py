"""Words and frames of utterances in memory, by the pipeline of `serctl extract`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch

from serctl.cache.key import FeatureKey
from serctl.encoders.base import Encoder
from serctl.encoding.inputs import Content
from serctl.encoding.pipeline import Encoded, measure_sizes, plan_rows, run_batches
from serctl.errors import SerctlError
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
    """Put words and frames, or the error that there is, into every utterance.

    Several utterances are computed side by side with a thread each, as in extraction; one alone
    gets all threads.

    Args:
        utterances: To fill.
        encoders: Of the system, and its recogniser.
        device: Where they compute.
        batch_seconds: Padded seconds of a batch.
        keys: Of the frames to make; None makes all that the networks read.
    """
    with split_threads(device) if len(utterances) > 1 else nullcontext(1) as workers:
        if encoders.find_words:
            without = [one for one in utterances if one.text is None]
            _recognise(without, encoders, batch_seconds, workers)
        for key in encoders.keys if keys is None else keys:
            left = [one for one in utterances if one.error is None and key.digest not in one.frames]
            _encode(left, key, encoders, batch_seconds, workers)


def _recognise(
    utterances: Sequence[LoadedUtterance], encoders: Encoders, batch_seconds: float, workers: int
) -> None:
    """Fill in the transcripts, and the frames that the recogniser's encoder makes on the way."""
    if not utterances:
        return
    recogniser = encoders.recogniser()
    own = [key for key in encoders.keys if makes(recogniser, key)]
    found = _run(
        recogniser.recognise, recogniser.encoder, LoadedAudio(), utterances, batch_seconds, workers
    )
    for one in found:
        one.row.text, one.row.suspect = one.made.words.text, "+".join(one.made.doubts)
        for key in own:
            one.row.keep_frames(key, one.made.frames)


def _encode(
    utterances: Sequence[LoadedUtterance],
    key: FeatureKey,
    encoders: Encoders,
    batch_seconds: float,
    workers: int,
) -> None:
    if not utterances:
        return
    encoder = encoders.encoder(key)
    content = LoadedText() if key.modality == "text" else LoadedAudio()
    for one in _run(encoder.encode, encoder, content, utterances, batch_seconds, workers):
        one.row.keep_frames(key, one.made)


def _run(
    network: Callable[[list[Any]], Sequence[Made]],
    encoder: Encoder,
    content: Content[LoadedUtterance],
    utterances: Sequence[LoadedUtterance],
    batch_seconds: float,
    workers: int,
) -> Iterator[Encoded[LoadedUtterance, Made]]:
    """Yield what the network makes of each utterance; the others get their error."""
    sizes = measure_sizes(utterances, content, encoder)
    for one, size in zip(utterances, sizes, strict=True):
        one.error = size if isinstance(size, SerctlError) else None
    # At least one batch for each worker, where there are so many utterances.
    share = sum(encoder.cost(size) for size in sizes if isinstance(size, int)) / workers
    batches = plan_rows(utterances, sizes, encoder, min(batch_seconds, share))
    for batch in run_batches(network, content, batches, workers):
        yield from batch.done

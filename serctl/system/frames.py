"""Frames in memory: the same encoders, batches of like length and rounding as `serctl extract`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.storage import get_storage
from serctl.encoders.base import TextEncoder
from serctl.encoders.batches import plan_batches
from serctl.encoding.failures import capture
from serctl.encoding.inputs import run_ahead
from serctl.errors import SerctlError
from serctl.runtime import split_threads
from serctl.system.encoders import Encoders, makes
from serctl.training.dataset import NO_LABEL, UtteranceSet


@dataclass
class Clip:
    """What is judged in one go: an utterance, or a segment of a recording.

    Attributes:
        name: Of the file, for messages and results.
        waveform: ``(num_samples,)``, 16 kHz mono.
        start: Seconds from the beginning of the file.
        text: The words, if they are known; else the recogniser fills them in.
        suspect: Why the recogniser's words may be a hallucination.
        frames: ``(T, D)`` by the digest of a feature key, as a store would hold them.
        error: Why it cannot be judged.
    """

    name: str
    waveform: NDArray[np.float32]
    start: float = 0.0
    text: str | None = None
    suspect: str = ""
    frames: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    error: SerctlError | None = None


class FrameMaker:
    """Fills clips with the words and frames that the networks of a system read.

    Args:
        encoders: Of the system, and its recogniser.
        device: Where they compute.
        batch_seconds: Padded seconds of a batch.
    """

    def __init__(self, encoders: Encoders, device: torch.device, batch_seconds: float) -> None:
        self._encoders, self._device, self._batch_seconds = encoders, device, batch_seconds

    def fill(self, clips: Sequence[Clip]) -> None:
        """Put words and frames, or the error that there is, into every clip.

        Several clips are computed side by side with a thread each, as in extraction; one alone
        gets all threads.
        """
        with split_threads(self._device) if len(clips) > 1 else nullcontext(1) as workers:
            mute = [clip for clip in clips if clip.text is None]
            if self._encoders.find_words and mute:
                self._find_words(mute, workers)
            for key in self._encoders.keys:
                good = [c for c in clips if c.error is None and key.digest not in c.frames]
                if good:
                    self._encode(good, key, workers)

    def _find_words(self, clips: Sequence[Clip], workers: int) -> None:
        recogniser = self._encoders.recogniser()
        own = [key for key in self._encoders.keys if makes(recogniser, key)]
        sizes = [len(clip.waveform) for clip in clips]
        plan = self._plan(sizes, recogniser.encoder.cost, workers)
        waves = [clip.waveform for clip in clips]
        for batch, found in self._run(recogniser.recognise, waves, plan, workers):
            for i, one in zip(batch, found, strict=True):
                clips[i].text, clips[i].suspect = one.words.text, "+".join(one.doubts)
                for key in own:
                    self._keep(clips[i], key, one.frames)

    def _encode(self, clips: Sequence[Clip], key: FeatureKey, workers: int) -> None:
        encoder = self._encoders.encoder(key)
        contents: list[Any] = [clip.waveform for clip in clips]
        sizes = [len(clip.waveform) for clip in clips]
        if key.modality == "text":
            contents = [(clip.text or "").strip() for clip in clips]
            sizes = cast(TextEncoder, encoder).count_tokens(contents)
        for clip, cost in zip(clips, map(capture(encoder.cost), sizes), strict=True):
            clip.error = cost if isinstance(cost, SerctlError) else None
        good = [i for i, clip in enumerate(clips) if clip.error is None]
        clips, contents = [clips[i] for i in good], [contents[i] for i in good]
        plan = self._plan([sizes[i] for i in good], encoder.cost, workers)
        for batch, made in self._run(encoder.encode, contents, plan, workers):
            for i, frames in zip(batch, made, strict=True):
                self._keep(clips[i], key, frames)

    def _plan(
        self, sizes: Sequence[int], cost: Callable[[int], float], workers: int
    ) -> list[list[int]]:
        """Return batches of like length, at least one for each worker where there are so many."""
        share = sum(map(cost, sizes)) / workers
        return plan_batches(sizes, cost, min(self._batch_seconds, share))

    def _run(
        self,
        work: Callable[[list[Any]], list[Any]],
        contents: Sequence[Any],
        plan: Sequence[list[int]],
        workers: int,
    ) -> Iterator[tuple[list[int], list[Any]]]:
        """Yield each batch of a plan with what came of it, computed side by side."""

        def run(batch: list[int]) -> list[Any]:
            try:
                return work([contents[i] for i in batch])
            except torch.OutOfMemoryError as error:
                raise SerctlError(
                    f"The device is out of memory with {len(batch)} utterances in a batch. "
                    f"Make batches smaller: serctl predict --batch-seconds N"
                ) from error

        return zip(plan, run_ahead(run, plan, ahead=workers, workers=workers), strict=True)

    def _keep(self, clip: Clip, key: FeatureKey, frames: NDArray[np.float32]) -> None:
        """Round frames as the store would; what does not fit is the clip's error."""
        try:
            clip.frames[key.digest] = get_storage(key.storage).as_read(frames, clip.name)
        except SerctlError as error:
            clip.error = error


class ClipFrames:
    """Frames of clips as training reads them from a store; see `FrameReader`."""

    def __init__(self, frames: Mapping[str, NDArray[np.generic]]) -> None:
        self._frames = frames
        first = next(iter(frames.values()))
        self.dim, self.dtype = first.shape[1], first.dtype

    def num_frames(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of frames of each clip ``(B,)``."""
        return np.array([len(self._frames[name]) for name in ids], dtype=np.int64)

    def read_batch(self, ids: Sequence[str], out: NDArray[np.generic]) -> None:
        """Fill ``out[b, :T_b]``."""
        for row, name in zip(out, ids, strict=True):
            row[: len(self._frames[name])] = self._frames[name]


def tabulate(clips: Sequence[Clip], keys: Sequence[FeatureKey], num_classes: int) -> UtteranceSet:
    """Return clips as the table that a network with branches of these keys reads."""
    ids = tuple(f"{i:09d}" for i in range(len(clips)))
    readers = [
        ClipFrames(dict(zip(ids, (clip.frames[key.digest] for clip in clips), strict=True)))
        for key in keys
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

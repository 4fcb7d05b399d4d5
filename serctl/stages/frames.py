"""Frames in memory: the same encoders, batches of like length and rounding as `serctl extract`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.storage import get_storage
from serctl.config import Workspace, check_options
from serctl.encoders.base import Encoder, EncoderIdentity, TextEncoder
from serctl.encoders.batches import plan_batches
from serctl.encoders.catalog import ENCODERS, is_hub_id
from serctl.encoders.load import load_encoder
from serctl.errors import SerctlError, TranscriptsError, WeightsError
from serctl.options import TranscribeOptions
from serctl.runtime import split_threads
from serctl.stages.failures import capture
from serctl.stages.inputs import run_ahead
from serctl.stages.parts import Branch, Parts
from serctl.stages.recognition import settle_recognition
from serctl.training.dataset import NO_LABEL, UtteranceSet

if TYPE_CHECKING:
    from serctl.encoders.recognisers.base import Recogniser


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
    """All encoders of a system, loaded once, and the recogniser if it reads words.

    Args:
        parts: Of the system.
        device: Where to compute.
        mapping: Encoder name to checkpoint, ``[weights]`` of serctl.toml.
        batch_seconds: Padded seconds of a batch.
        words: Whether words have to be found; False where all clips come with theirs.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device,
        mapping: Mapping[str, Path],
        batch_seconds: float,
        *,
        words: bool,
    ) -> None:
        self._batch_seconds, self._device = batch_seconds, device
        self._keys = {digest: branch.key for digest, branch in parts.encoders.items()}
        self._recogniser: Recogniser | None = None
        if words and parts.needs_words:
            self._recogniser = load_words(parts.recogniser or {}, device, mapping)
        self._encoders = {
            digest: load_branch(branch, device, mapping, parts.contents)
            for digest, branch in parts.encoders.items()
            if not self._by_recogniser(branch.key)
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how the encoders run."""
        return tuple(note for encoder in self._encoders.values() for note in encoder.notes)

    def fill(self, clips: Sequence[Clip]) -> None:
        """Put words and frames, or the error that there is, into every clip.

        Several clips are computed side by side with a thread each, as in extraction; one alone
        gets all threads.
        """
        with split_threads(self._device) if len(clips) > 1 else nullcontext(1) as workers:
            if self._recogniser is not None:
                self._find_words([clip for clip in clips if clip.text is None], workers)
            for digest, key in self._keys.items():
                good = [clip for clip in clips if clip.error is None and digest not in clip.frames]
                self._encode(good, digest, key, workers)

    def _by_recogniser(self, key: FeatureKey) -> bool:
        """Whether the recogniser's own encoder makes these very frames."""
        if self._recogniser is None:
            return False
        identity = asdict(self._recogniser.encoder.identity)
        return all(getattr(key, name) == value for name, value in identity.items())

    def _find_words(self, clips: Sequence[Clip], workers: int) -> None:
        assert self._recogniser is not None
        recognise = self._recogniser.recognise
        own = [digest for digest, key in self._keys.items() if self._by_recogniser(key)]
        sizes = [len(clip.waveform) for clip in clips]
        plan = self._plan(sizes, self._recogniser.encoder.cost, workers)
        for batch, found in self._run(recognise, [clip.waveform for clip in clips], plan, workers):
            for i, one in zip(batch, found, strict=True):
                clips[i].text, clips[i].suspect = one.words.text, "+".join(one.doubts)
                for digest in own:
                    self._keep(clips[i], digest, one.frames)

    def _encode(self, clips: Sequence[Clip], digest: str, key: FeatureKey, workers: int) -> None:
        encoder: Encoder | None = self._encoders.get(digest)
        if encoder is None:  # frames of the recogniser's encoder for clips that came with words
            assert self._recogniser is not None
            encoder = self._recogniser.encoder
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
                self._keep(clips[i], digest, frames)

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

    def _keep(self, clip: Clip, digest: str, frames: NDArray[np.float32]) -> None:
        """Round frames as the store would; what does not fit is the clip's error."""
        try:
            clip.frames[digest] = get_storage(self._keys[digest].storage).as_read(frames, clip.name)
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


def load_branch(
    branch: Branch, device: torch.device, mapping: Mapping[str, Path], contents: Mapping[str, str]
) -> Encoder:
    """Load the encoder that made a branch's frames.

    Raises:
        WeightsError: What is at hand under its name is something else.
    """
    key = branch.key
    known = key.encoder in ENCODERS or key.encoder in mapping or is_hub_id(key.encoder)
    encoder = load_encoder(
        key.encoder if known else branch.encoder,
        device=device,
        mapping=mapping,
        layer=key.layer,
        dtype=key.compute_dtype,
        revision=key.revision if is_hub_id(key.weights) else None,
    )
    check_identity(encoder.identity, key, contents)
    return encoder


def check_identity(found: EncoderIdentity, key: FeatureKey, contents: Mapping[str, str]) -> None:
    """Refuse weights that are not those a network learnt from.

    Raises:
        WeightsError: Their revision is another one, or they are cut into windows otherwise.
    """
    wanted = {key.revision, contents.get(key.revision)}
    if found.revision not in wanted or found.window != key.window:
        raise WeightsError(
            f"The weights of '{key.encoder}' at hand ({found.weights}, {found.revision[:19]}) are "
            f"not those the networks learnt from ({key.weights}, {key.revision[:19]}). Copy those "
            f"here and name them in serctl.toml under [weights], or with --weights NAME=DIR."
        )


def load_words(
    recogniser: Mapping[str, Any], device: torch.device, mapping: Mapping[str, Path]
) -> "Recogniser":
    """Load the recogniser whose words the networks learnt from.

    Raises:
        TranscriptsError: They learnt from a corpus' own words, or from another revision's.
    """
    if "settings" not in recogniser:
        raise TranscriptsError(
            "This system learnt from words that came with the corpus. Give the words of these "
            "recordings too: serctl predict AUDIO --model NAME --transcripts words.csv "
            "(columns utterance_id,text), or name a recogniser: --recogniser whisper-large-v3"
        )
    settings = {name: value for name, value in recogniser["settings"].items() if value is not None}
    settings["backend"] = recogniser.get("backend", "auto")
    options = TranscribeOptions(**check_options(TranscribeOptions, settings, "recogniser"))
    recognition = settle_recognition(Workspace(Path(), weights=mapping), options)
    if recogniser["source"] not in ("", recognition.source):
        raise TranscriptsError(
            f"The networks learnt from words of '{recogniser['source']}'; what is at hand would "
            f"give '{recognition.source}'. Name the same weights in serctl.toml under [weights]."
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "serctl"
    with split_threads(device) as workers:
        return recognition.load(cache, device, workers)

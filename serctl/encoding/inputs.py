"""What encoders read: the audio of the manifest, or the words that `serctl transcribe` wrote."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from serctl.cache.sources import SourceHasher, hash_bytes
from serctl.data.audio import decode_audio, measure_samples, read_bytes
from serctl.data.manifest import Utterance
from serctl.data.transcripts import read_transcripts
from serctl.encoders.base import Encoder
from serctl.encoding.failures import Failures, capture
from serctl.errors import SerctlError

READERS = 4
"""Threads that read and decode ahead of the encoder."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Reading:
    """What an encoder gets of one utterance, and the hash of what it was read from."""

    utterance_id: str
    content: Any
    source: str


class Inputs(Protocol):
    """The waveforms or transcripts of a manifest's utterances.

    Attributes:
        source: What goes into the feature key.
    """

    source: str

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of what would be encoded.

        Raises:
            SerctlError: There is nothing to encode.
        """
        ...

    def sizes(self, utterances: Sequence[Utterance], encoder: Encoder) -> list[int | SerctlError]:
        """Return samples or tokens of each utterance, or why it has none."""
        ...

    def read(self, utterance: Utterance) -> Any:
        """Return the waveform or the transcript.

        Raises:
            SerctlError: It cannot be read.
        """
        ...


class AudioInputs:
    """Waveforms, hashed by the bytes of their files."""

    source = "audio-16k-mono"

    def __init__(self, hasher: SourceHasher) -> None:
        self._hasher = hasher

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of the file, read again only if it has changed."""
        return self._hasher.hash_file(utterance.path)

    def sizes(self, utterances: Sequence[Utterance], encoder: Encoder) -> list[int | SerctlError]:
        """Return the samples of each file, from its header."""
        return list(run_ahead(capture(lambda row: measure_samples(row.path)), utterances, ahead=64))

    def read(self, utterance: Utterance) -> Any:
        """Return the waveform ``(num_samples,)``, 16 kHz mono float32."""
        return decode_audio(read_bytes(utterance.path), utterance.path)


class TextInputs:
    """Transcripts without surrounding white space, hashed by their text."""

    def __init__(self, path: Path) -> None:
        transcripts = read_transcripts(path)
        self.source = f"text:{transcripts.source};strip"
        self._texts = transcripts.texts

    def hash_of(self, utterance: Utterance) -> str:
        """Return the hash of the text."""
        return hash_bytes(self.read(utterance).encode())

    def sizes(self, utterances: Sequence[Utterance], encoder: Encoder) -> list[int | SerctlError]:
        """Return the tokens of each transcript."""
        texts = [capture(self.read)(row) for row in utterances]
        counts = iter(encoder.count_tokens([text for text in texts if isinstance(text, str)]))  # type: ignore[attr-defined]
        return [next(counts) if isinstance(text, str) else text for text in texts]

    def read(self, utterance: Utterance) -> str:
        """Return the words."""
        try:
            return self._texts[utterance.utterance_id].strip()
        except KeyError:
            raise SerctlError(
                f"Utterance '{utterance.utterance_id}' has no transcript. Run: serctl transcribe"
            ) from None


def read_batches(
    inputs: Inputs, batches: Iterable[Sequence[Utterance]], ahead: int = 2
) -> Iterator[tuple[list[Reading], Failures]]:
    """Yield what was read of each batch, and what could not be, some batches ahead."""

    def read(row: Utterance) -> Reading:
        content = inputs.read(row)
        return Reading(row.utterance_id, content, inputs.hash_of(row))

    def read_batch(batch: Sequence[Utterance]) -> tuple[list[Reading], Failures]:
        made = {row.utterance_id: capture(read)(row) for row in batch}
        failures = {name: item for name, item in made.items() if isinstance(item, SerctlError)}
        return [item for item in made.values() if isinstance(item, Reading)], failures

    return run_ahead(read_batch, batches, ahead)


def run_ahead(
    work: Callable[[Item], Made], items: Iterable[Item], ahead: int, workers: int = READERS
) -> Iterator[Made]:
    """Yield ``work(item)`` in order, computed by threads up to ``ahead`` items early."""
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

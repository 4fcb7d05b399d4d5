"""The pipeline of encoding: utterances → sizes → batches → read → network → results.

`serctl extract`, `serctl transcribe` and `serctl predict` use it. They differ in the source of an
utterance's content (`Content`), in the network, and in the destination of the results.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from serctl.encoders.base import Encoder
from serctl.encoders.batches import plan_batches
from serctl.errors import SerctlError

READERS = 4
"""Number of threads that read and decode ahead of the network."""


class Named(Protocol):
    """Protocol for objects with an utterance id."""

    @property
    def utterance_id(self) -> str: ...  # noqa: D102


Row_contra = TypeVar("Row_contra", bound=Named, contravariant=True)


@dataclass(frozen=True)
class Reading:
    """Input of an encoder for one utterance, and the hash of its source."""

    content: Any
    source: str = ""


class Content(Protocol[Row_contra]):
    """Waveforms or transcripts of utterances, on disk or in memory."""

    def sizes(self, rows: Sequence[Row_contra], encoder: Encoder) -> Sequence[int | SerctlError]:
        """Return samples or tokens of each utterance, or an error."""
        ...

    def read(self, row: Row_contra) -> Reading:
        """Return the waveform or the transcript.

        Raises:
            SerctlError: The utterance cannot be read.
        """
        ...


Row = TypeVar("Row", bound=Named)
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Encoded(Generic[Row, Made]):
    """Result of a network for one utterance.

    Attributes:
        row: The utterance.
        made: Frames, or transcript and frames.
        size: Samples of the audio, or characters of the text.
        source: Hash of the source; '' for audio in memory.
    """

    row: Row
    made: Made
    size: int
    source: str


@dataclass(frozen=True)
class EncodedBatch(Generic[Row, Made]):
    """The encoded utterances of a batch, and those that could not be read."""

    done: list[Encoded[Row, Made]]
    failed: dict[str, SerctlError]


def ids_of(rows: Iterable[Row]) -> set[str]:
    """Return the ids of utterances."""
    return {row.utterance_id for row in rows}


def measure_sizes(
    rows: Sequence[Row], content: Content[Row], encoder: Encoder
) -> list[int | SerctlError]:
    """Return samples or tokens of each utterance, or an error."""

    def check(row: Row, size: int | SerctlError) -> int | SerctlError:
        if isinstance(size, SerctlError):
            return size
        cost = capture(encoder.cost)(size)  # an encoder may find an utterance too short
        if isinstance(cost, SerctlError):
            return type(cost)(f"Utterance '{row.utterance_id}': {cost}")
        return size

    return [check(row, size) for row, size in zip(rows, content.sizes(rows, encoder), strict=True)]


def plan_rows(
    rows: Sequence[Row], sizes: Sequence[int | SerctlError], encoder: Encoder, seconds: float
) -> list[list[Row]]:
    """Return batches of all utterances with a size, including those that are finished.

    Frames differ in the last bit between batches. A resumed extraction must use the same batches to
    give bit-identical frames.
    """
    measured = [(row, size) for row, size in zip(rows, sizes, strict=True) if isinstance(size, int)]
    plan = plan_batches([size for _, size in measured], encoder.cost, seconds)
    return [[measured[i][0] for i in batch] for batch in plan]


def run_batches(
    network: Callable[[list[Any]], Sequence[Made]],
    content: Content[Row],
    batches: Iterable[Sequence[Row]],
    workers: int,
) -> Iterator[EncodedBatch[Row, Made]]:
    """Yield each batch in order. Reading runs ahead of the network, and batches run in parallel.

    Args:
        network: Returns one result for each content of a batch. Several threads call it.
        content: Reads the utterances.
        batches: Result of `plan_rows`.
        workers: Number of batches that the network computes in parallel.

    Raises:
        SerctlError: A batch does not fit into the memory of the device.
    """

    def read(batch: Sequence[Row]) -> list[tuple[Row, Any]]:
        return [(row, capture(content.read)(row)) for row in batch]

    def encode(batch: list[tuple[Row, Any]]) -> EncodedBatch[Row, Made]:
        good = [(row, read) for row, read in batch if not isinstance(read, SerctlError)]
        made = _run_network(network, [read.content for _, read in good])
        return EncodedBatch(
            done=[
                Encoded(row, one, len(read.content), read.source)
                for (row, read), one in zip(good, made, strict=True)
            ],
            failed={row.utterance_id: read for row, read in batch if isinstance(read, SerctlError)},
        )

    ahead = run_ahead(read, batches, ahead=workers + 1)
    return run_ahead(encode, ahead, ahead=workers, workers=workers)


def _run_network(
    network: Callable[[list[Any]], Sequence[Made]], contents: list[Any]
) -> Sequence[Made]:
    import torch

    try:
        return network(contents) if contents else []
    except torch.OutOfMemoryError as error:
        raise SerctlError(
            f"The device is out of memory with {len(contents)} utterances in a batch. "
            f"Use smaller batches: --batch-seconds N"
        ) from error


def capture(work: Callable[[Item], Made]) -> Callable[[Item], Made | SerctlError]:
    """Return ``work`` as a function that returns a `SerctlError` instead of raising it."""

    def captured(item: Item) -> Made | SerctlError:
        try:
            return work(item)
        except SerctlError as error:
            return error

    return captured


def run_ahead(
    work: Callable[[Item], Made], items: Iterable[Item], ahead: int, workers: int = READERS
) -> Iterator[Made]:
    """Yield ``work(item)`` in order. Threads compute up to ``ahead`` items in advance."""
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

"""The one pipeline: utterances → sizes → batches → read → network → what it made of each.

`serctl extract`, `serctl transcribe` and `serctl predict` all run it. They differ in where the
content of an utterance comes from (`Content`), in the network, and in where its results go.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serctl.encoders.base import Encoder
from serctl.encoders.batches import plan_batches
from serctl.encoding.failures import capture
from serctl.encoding.inputs import Content, Named
from serctl.errors import SerctlError

READERS = 4
"""Threads that read and decode ahead of the network."""

Row = TypeVar("Row", bound=Named)
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Encoded(Generic[Row, Made]):
    """What a network made of one utterance.

    Attributes:
        row: The utterance.
        made: Its frames, or its words and frames.
        size: Samples of its audio, or characters of its text.
        source: Hash of what was read; '' for what never was on disk.
    """

    row: Row
    made: Made
    size: int
    source: str


@dataclass(frozen=True)
class EncodedBatch(Generic[Row, Made]):
    """The utterances of a batch that were encoded, and those that could not be read."""

    done: list[Encoded[Row, Made]]
    failed: dict[str, SerctlError]


def measure_sizes(
    rows: Sequence[Row], content: Content[Row], encoder: Encoder
) -> list[int | SerctlError]:
    """Return samples or tokens of each utterance, or why it cannot be encoded."""

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
    """Return batches of all utterances that have a size.

    Never of those alone that are still missing: an encoder's frames differ in the last bit from
    batch to batch, and a resumed extraction has to give the bits of an uninterrupted one.
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
    """Yield each batch in order; reading runs ahead of the network, batches run side by side.

    Args:
        network: Makes one result for each content of a batch; several threads call it.
        content: Reads the utterances.
        batches: From `plan_rows`.
        workers: How many batches the network computes at once.

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
            f"Make batches smaller: --batch-seconds N"
        ) from error


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

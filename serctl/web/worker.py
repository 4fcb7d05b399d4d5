"""One thread for predictions. Requests wait in a queue and are predicted in batches."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, Queue
from threading import Thread
from typing import Any

from serctl.errors import SerctlError
from serctl.system.prediction import Prediction
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance

MOST_TOGETHER = 32
"""Maximum utterances in a batch. In a larger batch the first request waits for the last."""


class BusyError(SerctlError):
    """The queue of requests is full."""


class Worker:
    """Runs all predictions of a server, in the order of the requests.

    Requests that wait at the same time are predicted in one batch, which is faster. Predictions do
    not depend on the batch. There is one thread, because the networks use all cores.

    Args:
        predictor: The system.
        capacity: Maximum number of waiting requests.
    """

    def __init__(self, predictor: Predictor, capacity: int) -> None:
        self.predictor, self.capacity = predictor, capacity
        self._queue: Queue[tuple[Any, Future]] = Queue()
        self._thread = Thread(target=self._run, name="predict", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return self._queue.qsize()

    def predict(self, utterances: Sequence[LoadedUtterance]) -> list[Prediction]:
        """Predict the utterances of one request. The call blocks until they are predicted.

        Raises:
            BusyError: The queue is full.
            SerctlError: An utterance cannot be predicted.
        """
        found = self._submit(list(utterances)).result()
        for one in found:
            if isinstance(one, SerctlError):
                raise one
        return found

    def run(self, work: Callable[[Predictor], Any]) -> Any:
        """Run a function with the predictor in the worker's thread; see `predict`."""
        return self._submit(work).result()

    def close(self) -> None:
        """End the thread after all waiting requests."""
        self._queue.put((None, Future()))
        self._thread.join()

    def _submit(self, work: Any) -> Future:
        if self.waiting >= self.capacity:
            raise BusyError(f"{self.waiting} requests are waiting. Try again in a few seconds.")
        future: Future = Future()
        self._queue.put((work, future))
        return future

    def _run(self) -> None:
        while (first := self._queue.get())[0] is not None:
            batch, rest = self._gather(first)
            if batch:
                self._predict(batch)
            for work, future in rest:
                if work is None:
                    return
                _settle(future, partial(work, self.predictor))

    def _gather(self, first: tuple[Any, Future]) -> tuple[list, list]:
        """Return waiting requests: lists of utterances for a batch, and at most one other call."""
        batch: list[tuple[list[LoadedUtterance], Future]] = []
        taken = first
        while isinstance(taken[0], list):
            batch.append(taken)
            if sum(len(utterances) for utterances, _ in batch) >= MOST_TOGETHER:
                return batch, []
            try:
                taken = self._queue.get_nowait()
            except Empty:
                return batch, []
        return batch, [taken]

    def _predict(self, batch: list[tuple[list[LoadedUtterance], Future]]) -> None:
        together = [one for utterances, _ in batch for one in utterances]
        whole: Future = Future()
        _settle(whole, lambda: self.predictor.predict_utterances(together))
        at = 0
        for utterances, future in batch:
            start, at = at, at + len(utterances)
            _settle(future, partial(_take, whole, start, at))


def _take(whole: Future, start: int, stop: int) -> Any:
    return whole.result()[start:stop]


def _settle(future: Future, work: Callable[[], Any]) -> None:
    """Set the result or the exception of a future. Any exception is caught to keep the thread."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)

"""Waiting requests are predicted together, and the thread continues after any error."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from serctl.errors import AudioError
from serctl.web.worker import BusyError, Worker


class Slow:
    """A predictor that begins when it may, and notes how many it predicts at once."""

    def __init__(self) -> None:
        self.begun, self.may_go = Event(), Event()
        self.batches: list[int] = []

    def predict_utterances(self, utterances):
        self.begun.set()
        assert self.may_go.wait(10)
        self.batches.append(len(utterances))
        if "broken" in utterances:
            raise RuntimeError("out of memory")
        return [AudioError(one) if one == "bad" else one.upper() for one in utterances]


@pytest.fixture
def slow():
    predictor = Slow()
    worker = Worker(predictor, capacity=5)
    yield predictor, worker
    predictor.may_go.set()
    worker.close()


def wait_for(worker: Worker, waiting: int) -> None:
    while worker.waiting < waiting:
        pass


def test_what_waits_is_predicted_together_and_goes_back_to_who_asked(slow) -> None:
    predictor, worker = slow
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(worker.predict, ["a"])
        assert predictor.begun.wait(10)
        others = [pool.submit(worker.predict, names) for names in (["b", "c"], ["d"], ["e"])]
        wait_for(worker, 3)
        predictor.may_go.set()
        assert first.result() == ["A"]
        assert [other.result() for other in others] == [["B", "C"], ["D"], ["E"]]
    assert predictor.batches == [1, 4]


def test_an_error_is_that_of_its_own_request(slow) -> None:
    predictor, worker = slow
    with ThreadPoolExecutor(3) as pool:
        pool.submit(worker.predict, ["a"])
        assert predictor.begun.wait(10)
        bad, good = pool.submit(worker.predict, ["bad"]), pool.submit(worker.predict, ["b"])
        wait_for(worker, 2)
        predictor.may_go.set()
        with pytest.raises(AudioError):
            bad.result()
        assert good.result() == ["B"]


def test_after_an_unforeseen_error_the_next_request_is_answered(slow) -> None:
    predictor, worker = slow
    predictor.may_go.set()
    with pytest.raises(RuntimeError):
        worker.predict(["broken"])
    assert worker.predict(["a"]) == ["A"]
    assert worker.run(lambda it: it is predictor)
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda it: 1 / 0)
    assert worker.predict(["b"]) == ["B"]


def test_too_many_are_asked_to_come_again(slow) -> None:
    predictor, worker = slow
    with ThreadPoolExecutor(6) as pool:
        pool.submit(worker.predict, ["a"])
        assert predictor.begun.wait(10)
        for _ in range(5):
            pool.submit(worker.predict, ["b"])
        wait_for(worker, 5)
        with pytest.raises(BusyError, match="Try again"):
            worker.predict(["c"])
        predictor.may_go.set()

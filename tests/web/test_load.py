"""Eight clients at once, two hundred requests: all answered, and memory stays flat."""

import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bad_uploads import list_bad_uploads

CLIENTS, REQUESTS, WARM = 8, 200, 100
GROWTH = 60_000_000
"""Bytes by which memory may grow from the first hundred requests to the last."""


def read_memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
def test_eight_clients_and_two_hundred_requests(served) -> None:
    paths = [served.project / f"u{number:02d}.wav" for number in range(36)]
    contents = [path.read_bytes() for path in paths]
    alone = [served.get("/predict", content)[1]["predictions"][0] for content in contents]
    bad = list(list_bad_uploads().values())
    seconds: list[float] = []

    def ask(number: int) -> None:
        started = time.monotonic()
        status, found = served.post_form(contents[number % 36])
        seconds.append(time.monotonic() - started)
        assert status == 200
        expected = alone[number % 36]["probabilities"]
        assert found["predictions"][0]["probabilities"] == pytest.approx(expected, abs=1e-5)
        if number % 5 == 0:
            assert served.post_form(bad[number % len(bad)])[0] in (400, 413)

    def ask_all(count: int) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask, range(count)))

    ask_all(WARM)
    before = read_memory()
    seconds.clear()
    ask_all(REQUESTS)
    grown = read_memory() - before
    p50, p95 = np.percentile(seconds, [50, 95])
    figures = {"clients": CLIENTS, "requests": REQUESTS, "p50": p50, "p95": p95, "grown": grown}
    print(json.dumps(figures | {"cores": os.cpu_count()}))
    assert grown < GROWTH
    assert served.get("/health")[1]["waiting"] == 0

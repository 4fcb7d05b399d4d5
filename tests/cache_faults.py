"""The one fault injector: run a writer in a process of its own and break it at a chosen moment.

The process writes a plan of utterances batch by batch, as `serctl extract` does. Its faults:

    "kill", n     SIGKILL just before the n-th call that changes the disk
    "28", n       that call, and all later writes, fail so (28 disk full, 30 read-only: any errno)
    "limit", n    RLIMIT_FSIZE: the kernel refuses to write files beyond n bytes

Nothing in serctl knows of it: it wraps the functions of `os` that the writer calls.
"""

import itertools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import zarr  # noqa: F401  # imported late, it would change a disk that fails

from serctl.cache.key import FeatureKey
from serctl.cache.store import StoreWriter
from serctl.errors import SerctlError

DIM = 16
KEY = FeatureKey("tiny", "speech", "hub", "abc", -1, "float32", "whole", "audio-16k-mono")
CHANGING = ("write", "fsync", "rename", "mkdir", "open", "ftruncate")
"""Calls that change the disk, each an instant at which a process may die."""


def make_plan(seed: int, batches: int = 6) -> list[list[tuple[str, np.ndarray, str]]]:
    """Return batches of (utterance, frames, source): a pure function of the seed."""
    rng = np.random.default_rng(seed)
    return [
        [
            (f"utterance {b}-{i}", rng.normal(size=(rng.integers(1, 400), DIM)), f"source {b}-{i}")
            for i in range(rng.integers(1, 5))
        ]
        for b in range(batches)
    ]


CONTEXT = multiprocessing.get_context("forkserver")


def write_plan(
    store: Path, seed: int, *, pause: float = 0.0, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Write what is missing of a plan, with a commit after every second batch or so."""
    with StoreWriter(store, KEY, DIM, 50.0, commit_bytes=20_000) as writer:
        tell("ready")
        for batch in make_plan(seed):
            rows = [row for row in batch if not writer.has(row[0], row[2])]
            if rows:
                ids, frames, sources = zip(*rows, strict=True)
                writer.append(ids, frames, sources)
            time.sleep(pause)


class Writer:
    """`write_plan` in a process, which says "ready" and at last what became of it."""

    def __init__(
        self, store: Path, seed: int, fault: str = "", at: int = 0, *, pause: float = 0.0
    ) -> None:
        self._words, mouth = CONTEXT.Pipe(duplex=False)
        arguments = (mouth, store, seed, fault, at, pause)
        self.process = CONTEXT.Process(target=write_with_fault, args=arguments)
        self.process.start()
        mouth.close()

    def hear(self) -> str:
        """Return its next words; '' when it is gone."""
        assert self._words.poll(200), "the writer hangs"
        try:
            return str(self._words.recv())
        except EOFError:
            return ""

    def end(self) -> tuple[int | None, str]:
        """Return its exit code (-9: killed) and all its words."""
        words = " ".join(iter(self.hear, ""))
        self.process.join()
        return self.process.exitcode, words


def write_with_fault(
    mouth: Connection, store: Path, seed: int, fault: str, at: int, pause: float
) -> None:
    """What the process of a `Writer` does."""
    sys.dont_write_bytecode = True
    calls = inject(fault, at) if fault else itertools.count()
    try:
        write_plan(store, seed, pause=pause, tell=mouth.send)
    except SerctlError as error:
        mouth.send(f"refused: {error}")
        sys.exit(error.exit_code)
    mouth.send(str(next(calls)))


def inject(fault: str, at: int) -> Iterator[int]:
    """Make the ``at``-th changing call of `os` from now on fail; return the numbers to come."""
    calls = itertools.count(1)
    if fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
        return calls

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def wrapped(*args: object, **options: object) -> object:
            if name == "open" and not int(args[1]) & (os.O_CREAT | os.O_WRONLY):  # type: ignore[call-overload]
                return real(*args, **options)
            if next(calls) >= at:
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if name != "ftruncate":
                    raise OSError(int(fault), os.strerror(int(fault)))
            return real(*args, **options)

        setattr(os, name, wrapped)

    for name in CHANGING:
        wrap(name)
    return calls

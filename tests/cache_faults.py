"""The one fault injector: run a writer in a process of its own and break it at a chosen moment.

``python cache_faults.py STORE SEED`` writes a plan of utterances batch by batch, as
`serctl extract` does. The environment chooses the fault:

    FAULT_AT=n FAULT=kill      SIGKILL just before the n-th call that changes the disk
    FAULT_AT=n FAULT=<errno>   that call, and all later writes, fail (28 disk full, 30 read-only)
    FAULT=limit FAULT_AT=bytes RLIMIT_FSIZE: the kernel refuses to write files beyond that size

Nothing in serctl knows of it: it wraps the functions of `os` that the writer calls.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

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


def write_plan(store: Path, seed: int, *, pause: float = 0.0) -> None:
    """Write what is missing of a plan, with a commit after every second batch or so."""
    with StoreWriter(store, KEY, DIM, 50.0, commit_bytes=20_000) as writer:
        print("ready", flush=True)
        for batch in make_plan(seed):
            rows = [row for row in batch if not writer.has(row[0], row[2])]
            if rows:
                ids, frames, sources = zip(*rows, strict=True)
                writer.append(ids, frames, sources)
            time.sleep(pause)
    print("done", flush=True)


def run_writer(
    store: Path, seed: int, fault: str = "", at: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `write_plan` in a process with a fault."""
    environment = {**os.environ, "FAULT": fault, "FAULT_AT": str(at)}
    command = [sys.executable, __file__, str(store), str(seed)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def inject(fault: str, at: int) -> None:
    """Make the ``at``-th changing call of `os` from now on fail."""
    if fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
        return
    calls = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def wrapped(*args: object, **options: object) -> object:
            nonlocal calls
            if name == "open" and not int(args[1]) & (os.O_CREAT | os.O_WRONLY):  # type: ignore[call-overload]
                return real(*args, **options)
            calls += 1
            if calls >= at:
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if name != "ftruncate":
                    raise OSError(int(fault), os.strerror(int(fault)))
            return real(*args, **options)

        setattr(os, name, wrapped)

    for name in CHANGING:
        wrap(name)


if __name__ == "__main__":
    if os.environ.get("FAULT"):
        import zarr  # noqa: F401  # so that importing it writes nothing that counts

        sys.dont_write_bytecode = True
        inject(os.environ["FAULT"], int(os.environ["FAULT_AT"]))
    try:
        write_plan(Path(sys.argv[1]), int(sys.argv[2]), pause=float(os.environ.get("PAUSE", 0)))
    except SerctlError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(error.exit_code)

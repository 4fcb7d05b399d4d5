"""A training in several processes."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serctl.config import Workspace

CONTEXT = multiprocessing.get_context("forkserver")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]

Done = subprocess.CompletedProcess[str]


def run_ranks(project: Workspace, *flags: str, size: int = 2) -> Done:
    """Run `serctl train` as so many ranks, the way a user does."""
    command = [*TORCHRUN, str(size), "-m", "serctl", "train", "-C", str(project.root), *flags]
    found = os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=found, timeout=400, check=False
    )


def fork_ranks(project: Workspace, *flags: str, size: int = 2) -> Done:
    """Run `serctl train` as so many ranks in the environment of torchrun, with torch imported."""
    arguments = ["train", "-C", str(project.root), *flags]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    places |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    logs = [project.root / name for name in ("ranks.out", "ranks.err")]
    started = []
    for rank in range(size):
        own = {name: str(value) for name, value in (places | {"RANK": rank}).items()}
        own["LOCAL_RANK"] = own["RANK"]
        started.append(CONTEXT.Process(target=_run_rank, args=(arguments, own, logs)))
        started[-1].start()
    for process in started:
        process.join(400)
    code = max(1 if one.exitcode is None else abs(one.exitcode) for one in started)
    return Done(arguments, code, *(log.read_text() for log in logs))


def _run_rank(arguments: list[str], environment: dict[str, str], logs: Sequence[Path]) -> None:
    os.environ |= environment
    for number, log in enumerate(logs, start=1):  # both ranks write to the same files
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    from serctl.cli import app

    try:
        app(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def read_losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]

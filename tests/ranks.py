"""A training in several processes, started the way a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from serctl.config import Workspace

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def run_ranks(project: Workspace, *flags: str, size: int = 2) -> "subprocess.CompletedProcess[str]":
    """Run `serctl train` as so many ranks, the way a user does."""
    command = [*TORCHRUN, str(size), "-m", "serctl", "train", "-C", str(project.root), *flags]
    found = os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=found, timeout=400, check=False
    )


def read_losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]

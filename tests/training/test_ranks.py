"""Two processes train the network that one trains, and end together."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_frames import TINY, make_project

from serctl.stages.train import train

SCRIPT = """
import os
import sys
from dataclasses import replace
from pathlib import Path
from synthetic_frames import TINY
from serctl.config import Workspace
from serctl.errors import CheckpointError
from serctl.stages.train import train
project, options = Workspace(Path(sys.argv[1])), replace(TINY, name="two", dropout=0.0)
train(project, replace(options, loss="wce+sml"))
try:
    train(project, options)  # only the first process looks into the folder
except CheckpointError as error:
    print(error, flush=True)
os._exit(0)  # torch's own end of two gloo processes aborts now and then
"""


def test_two_processes_equal_one(tmp_path):
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", str(tmp_path / "script.py"), str(tmp_path)]
    path = ":".join(sys.path)
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(path), timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("two' holds a run of other options (loss wce+sml, now wce)") == 2
    one = train(project, replace(TINY, name="one", dropout=0.0, loss="wce+sml")).runs[0]
    first, second = read_losses(one.folder), read_losses(tmp_path / "runs" / "two")
    assert first == pytest.approx(second, rel=1e-4)
    assert len(second) == TINY.epochs


def read_losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]


def environment(path: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

"""Four processes at once fill the store that one process fills, whatever happens to one of them."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_project import write_project

from serctl.cache.store import FeatureStore
from serctl.config import Workspace, open_workspace
from serctl.options import ExtractOptions
from serctl.stages.extract import extract

PRELOAD = ("serctl.stages.extract", "transformers.models.wavlm")
CONTEXT = multiprocessing.get_context("forkserver")
OPTIONS = ExtractOptions(encoder="wavlm-large", device="cpu")


def extract_part(root: Path, part: int, batches: int, barrier: Any) -> None:
    """Extract the part of a task; after so many batches, be killed (-1: never)."""
    from serctl.encoding import extraction

    os.environ["SLURM_ARRAY_TASK_ID"] = str(part)
    append, seen = extraction.append_new, []

    def append_some(*arguments: Any) -> Any:
        if len(seen) == batches:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(arguments)
        return append(*arguments)

    extraction.append_new = append_some
    barrier.wait(120)
    extract(open_workspace(root), replace(OPTIONS, shard="auto/4"))


def run_parts(root: Path, parts: list[int], killed: int = 0) -> list[int]:
    """Run tasks of an array at once; return their exit codes."""
    barrier = CONTEXT.Barrier(len(parts))
    processes = [
        CONTEXT.Process(target=extract_part, args=(root, i, 2 if i == killed else -1, barrier))
        for i in parts
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def read_store(workspace: Workspace) -> dict[str, bytes]:
    (path,) = workspace.cache.glob("*.zarr")
    store = FeatureStore.open(path, verify="always")
    return {name: np.array(store.read_stored(name)).tobytes() for name in sorted(store.ids)}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    workspace = write_project(tmp_path_factory.mktemp("whole") / "project")
    extract(workspace, OPTIONS)
    return read_store(workspace)


def test_four_tasks_at_once_of_which_one_is_killed_and_submitted_again(
    wanted: dict[str, bytes], tmp_path: Path
) -> None:
    workspace = write_project(tmp_path / "project")
    assert run_parts(workspace.root, [1, 2, 3, 4], killed=2) == [0, -signal.SIGKILL, 0, 0]
    assert len(read_store(workspace)) < len(wanted)
    assert run_parts(workspace.root, [2]) == [0]
    assert read_store(workspace) == wanted

"""Four processes at once fill the store that one process fills, whatever happens to one of them."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_project import write_project
from typer.testing import CliRunner

from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.encoders.load import load_encoder
from serctl.errors import CacheError, SerctlError
from serctl.options import ExtractOptions
from serctl.pipeline import Step
from serctl.pipeline.execute import Execution, run_steps
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


def kill_once(dask_worker: Any) -> None:
    """Let a worker's second batch kill it; the process that replaces it is not killed."""
    from serctl.encoding import extraction

    append, seen = extraction.append_new, []

    def append_some(*arguments: Any) -> Any:
        if seen:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(arguments)
        return append(*arguments)

    extraction.append_new = append_some


def test_two_dask_workers_of_which_one_is_killed(wanted: dict[str, bytes], tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    workspace = write_project(tmp_path / "project")
    told: list[str] = []
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster, set_as_default=False) as client:
            client.run(kill_once, workers=list(client.nthreads())[:1])
            before = set(client.run(os.getpid).values())
        step = Step("extract", "wavlm-large", OPTIONS)
        result = run_steps(
            workspace, [step], Execution(scheduler=cluster.scheduler_address, log=told.append)
        )
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            assert len(before & set(client.run(os.getpid).values())) == 1  # one was killed
    assert result.encoded + result.present == len(wanted)
    assert read_store(workspace) == wanted
    assert not any("failed" in line for line in told)


def test_a_part_that_fails_twice_is_reported_and_the_others_continue(
    wanted: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    from serctl.encoding import extraction

    append, loads, told = extraction.append_new, [], []

    def refuse(writer: Any, done: Any, frames: Any) -> Any:
        if any(one.row.utterance_id == "u07" for one in done):
            raise CacheError("no room for u07")
        return append(writer, done, frames)

    def load(*arguments: Any, **settings: Any) -> Any:
        loads.append(arguments)
        return load_encoder(*arguments, **settings)

    monkeypatch.setattr(extraction, "append_new", refuse)
    monkeypatch.setattr(extraction, "load_encoder", load)
    workspace = write_project(tmp_path / "project")
    step = Step("extract", "wavlm-large", OPTIONS)
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, pytest.raises(SerctlError, match="no room for u07"):
        run_steps(
            workspace, [step], Execution(scheduler=cluster.scheduler_address, log=told.append)
        )
    assert sum("failed twice" in line for line in told) == 1
    assert len(loads) == 1  # for eight parts
    stored = read_store(workspace)
    assert len(stored) > len(wanted) / 2
    assert all(wanted[name] == frames for name, frames in stored.items())


def test_extract_on_dask_reports_what_one_process_reports(
    wanted: dict[str, bytes], tmp_path: Path
) -> None:
    from distributed import LocalCluster

    one, many = write_project(tmp_path / "one"), write_project(tmp_path / "many")
    alone = extract(one, OPTIONS)
    flags = ["extract", "--encoder", "wavlm-large", "--device", "cpu", "-C", str(many.root)]
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster:
        place = ["--dask", cluster.scheduler_address]
        done = CliRunner().invoke(app, [*flags, *place, "--json"])
        again = CliRunner().invoke(app, [*flags, *place, "--shard", "1/2"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    for name in ("utterances", "present", "encoded", "failed", "windowed", "frames", "whole"):
        assert told[name] == getattr(alone, name), name
    assert told["audio_seconds"] == pytest.approx(alone.audio_seconds)
    assert read_store(many) == wanted
    assert again.exit_code == 2
    assert "--dask makes its own parts" in again.stderr

"""Several processes at once leave what one process leaves, whatever happens to one of them."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest
import tiny
from distributed import Client, LocalCluster, WorkerPlugin
from trained_project import write_project
from typer.testing import CliRunner

from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.journal import Journal
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.encoders.load import load_encoder
from serctl.encoders.recognisers.base import Hypothesis, Recognised
from serctl.encoding import extraction
from serctl.encoding.recognition import Recognition
from serctl.errors import CacheError, SerctlError
from serctl.options import ExtractOptions, TranscribeOptions
from serctl.pipeline import RecipeStep
from serctl.pipeline.execute import Execution, call_stage, run_steps

PRELOAD = (
    "serctl.stages.extract", "serctl.stages.transcribe", "transformers.models.wavlm",
    "serctl.encoders.speech", "serctl.encoders.recognisers.load", "distributed.nanny",
)  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")
EXTRACT = RecipeStep(
    "extract", "wavlm-large", ExtractOptions("wavlm-large", device="cpu", skip_bad=True)
)
TRANSCRIBE = RecipeStep(
    "transcribe",
    "whisper-tiny",
    TranscribeOptions(
        "whisper-tiny",
        backend="transformers",
        device="cpu",
        batch_seconds=1.0,
        skip_bad=True,
    ),
)


class StubRecogniser:
    """Words that tell one utterance from the others, without a network."""

    def __init__(self, *_: Any) -> None:
        self.encoder = SimpleNamespace(cost=lambda size: size / 16_000, windowed=0)

    def recognise(self, batch: list[Any]) -> list[Recognised]:
        return [
            Recognised(Hypothesis(f"{wave.sum():.4f}", "en", -1.0, 10, 0.0), ("unsure",), [])
            for wave in batch
        ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 20 utterances, one of which is no audio, and a tiny Whisper."""
    workspace = write_project(tmp_path_factory.mktemp("template"))
    rows = list(read_manifest(workspace.manifest))[:20]
    write_manifest(workspace.manifest, rows)
    rows[3].path.write_bytes(b"no audio")
    weights = tiny.write_whisper(workspace.root / "weights" / "whisper")
    with (workspace.root / "serctl.toml").open("a") as file:
        file.write(f'whisper-tiny = "{weights}"\n')
    return workspace.root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Workspace:
    """A copy in which nothing was done."""
    return open_workspace(shutil.copytree(template, tmp_path / "project"))


def read_outcome(workspace: Workspace) -> dict[str, bytes]:
    """Return the frames of every utterance, the transcripts and the list of failures."""
    found = {
        path.name: path.read_bytes()
        for path in sorted(workspace.root.iterdir())
        if path.name.startswith(("transcripts", "failures"))
    }
    for path in workspace.cache.glob("*.zarr"):
        store = FeatureStore.open(path, verify="always")
        found |= {name: np.array(store.read_stored(name)).tobytes() for name in sorted(store.ids)}
    return {
        name: content.replace(bytes(workspace.root), b"ROOT") for name, content in found.items()
    }


@dataclass(frozen=True)
class Whole:
    """What one process did with a step, and what it left."""

    result: Any
    outcome: dict[str, bytes]


@pytest.fixture(scope="module", autouse=True)
def _stub_whisper() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recognition, "load", StubRecogniser)
        yield


@pytest.fixture(scope="module")
def wanted(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    """Each step in one process."""
    found = {}
    for step in (EXTRACT, TRANSCRIBE):
        root = shutil.copytree(template, tmp_path_factory.mktemp("whole") / step.stage)
        workspace = open_workspace(root)
        result = call_stage(workspace, step)
        found[step.stage] = Whole(result, read_outcome(workspace))
    return found


def extract_part(root: Path, part: int, killed: bool, barrier: Any) -> None:
    """Extract the part of a task; a killed one does not get past its second batch."""
    os.environ["SLURM_ARRAY_TASK_ID"] = str(part)
    if killed:
        kill_at_second(extraction, "append_new")
    barrier.wait(120)
    call_stage(open_workspace(root), change(EXTRACT, shard="auto/4"))


def kill_at_second(where: Any, name: str) -> None:
    """Let the second call of a function kill this process."""
    function, seen = getattr(where, name), []

    def call(*arguments: Any) -> Any:
        if seen:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(arguments)
        return function(*arguments)

    setattr(where, name, call)


def run_parts(root: Path, parts: list[int], killed: int = 0) -> list[int | None]:
    """Run tasks of an array at once; return their exit codes."""
    barrier = CONTEXT.Barrier(len(parts))
    processes = [
        CONTEXT.Process(target=extract_part, args=(root, i, i == killed, barrier)) for i in parts
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def test_four_tasks_at_once_of_which_one_is_killed_and_submitted_again(
    wanted: dict[str, Whole], project: Workspace
) -> None:
    whole = wanted["extract"].outcome
    assert run_parts(project.root, [1, 2, 3, 4], killed=2) == [0, -signal.SIGKILL, 0, 0]
    assert len(read_outcome(project)) < len(whole)
    assert run_parts(project.root, [2]) == [0]
    assert read_outcome(project) == whole


@pytest.fixture(scope="module")
def two_workers() -> Iterator[str]:
    """Two Dask workers in processes, forked from a server that has imported PRELOAD."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster:
            yield cluster.scheduler_address


class StubWhisper(WorkerPlugin):
    """Gives every worker the stub, also the successor of a killed one."""

    def setup(self, worker: Any) -> None:
        Recognition.load = StubRecogniser  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize(
    ("step", "where", "name"),
    [(EXTRACT, extraction, "append_new"), (TRANSCRIBE, Journal, "append")],
    ids=["extract", "transcribe"],
)
def test_two_dask_workers_of_which_one_is_killed(
    step: RecipeStep,
    where: Any,
    name: str,
    two_workers: str,
    wanted: dict[str, Whole],
    project: Workspace,
) -> None:
    logged: list[str] = []
    with Client(two_workers, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        client.register_plugin(StubWhisper())
        before = client.run(os.getpid)
        client.run(kill_at_second, where, name, workers=list(before)[:1])
        result = run_steps(project, [step], Execution(scheduler=two_workers, log=logged.append))
        client.wait_for_workers(2, timeout=60)
        after = client.run(os.getpid)
    assert len(set(before.values()) & set(after.values())) == 1  # one was killed
    assert read_outcome(project) == wanted[step.stage].outcome
    assert result.utterances == wanted[step.stage].result.utterances
    assert not any("failed twice" in line for line in logged)


@pytest.fixture(scope="module")
def one_worker() -> Iterator[str]:
    """A Dask worker of two threads in this process."""
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster:
        yield cluster.scheduler_address


def refuse(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails for utterance u07."""

    def call(*arguments: Any) -> Any:
        if "u07" in str(arguments):
            raise CacheError("no room for u07")
        return function(*arguments)

    return call


@pytest.mark.parametrize(
    ("step", "where", "name"),
    [(EXTRACT, extraction, "append_new"), (TRANSCRIBE, Journal, "append")],
    ids=["extract", "transcribe"],
)
def test_a_part_that_fails_twice_is_reported_and_the_others_continue(
    step: RecipeStep,
    where: Any,
    name: str,
    one_worker: str,
    wanted: dict[str, Whole],
    project: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[str] = []
    loads: list[Any] = []

    def note(load: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **more: loads.append(arguments) or load(*arguments, **more)

    monkeypatch.setattr(where, name, refuse(getattr(where, name)))
    monkeypatch.setattr(extraction, "load_encoder", note(load_encoder))
    monkeypatch.setattr(Recognition, "load", note(StubRecogniser))
    with pytest.raises(SerctlError, match="no room for u07"):
        run_steps(project, [step], Execution(scheduler=one_worker, log=logged.append))
    assert sum("failed twice" in line for line in logged) == 1
    assert len(loads) == 1  # for eight parts
    monkeypatch.undo()
    monkeypatch.setattr(Recognition, "load", StubRecogniser)
    done = call_stage(project, step)
    assert len(done.stores) == 1 if step is EXTRACT else done.left == 0
    assert done.present > done.utterances / 2
    assert read_outcome(project) == wanted[step.stage].outcome


@pytest.mark.parametrize("step", [EXTRACT, TRANSCRIBE], ids=["extract", "transcribe"])
def test_dask_reports_what_one_process_reports(
    step: RecipeStep, one_worker: str, wanted: dict[str, Whole], project: Workspace
) -> None:
    what = ["--encoder", step.what] if step is EXTRACT else ["--model", step.what]
    flags = [step.stage, *what, "--device", "cpu", "--skip-bad", "-C", str(project.root)]
    flags += [] if step is EXTRACT else ["--batch-seconds", "1", "--backend", "transformers"]
    place = ["--dask", one_worker]
    done = CliRunner().invoke(app, [*flags, *place, "--json"])
    assert done.exit_code == 3, done.output
    found, alone = json.loads(done.stdout), asdict(wanted[step.stage].result)
    assert found.pop("seconds") > 0
    for name in ("seconds", "store", "stores", "transcripts", "failures"):
        alone.pop(name, None)
        found.pop(name, None)
    assert found.pop("audio_seconds") == pytest.approx(alone.pop("audio_seconds"))
    assert found == json.loads(json.dumps(alone))
    assert read_outcome(project) == wanted[step.stage].outcome
    again = CliRunner().invoke(app, [*flags, *place, "--shard", "1/2"])
    assert again.exit_code == 2
    assert "--dask makes its own parts" in again.stderr


def change(step: RecipeStep, **options: Any) -> RecipeStep:
    """Return a step with other options."""
    return replace(step, options=replace(step.options, **options))

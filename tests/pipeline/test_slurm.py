"""Job files of a recipe, under an sbatch that runs each task at once and under a real Slurm."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_slurm import find_missing, run_slurm
from trained_project import write_project
from typer.testing import CliRunner

from serctl.cache.locate import list_stores
from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.errors import UsageError
from serctl.options import ExtractOptions, TrainOptions
from serctl.pipeline.recipe import RecipeStep, take_part
from serctl.pipeline.slurm import list_queued

PYTHON = sys.executable
RECIPE = """
[transcribe]
from_manifest = true
[train]
hidden = 4
epochs = 1
[stack]
stacker = "mean-logits"
stack_on = "dev"
[[models]]
speech = ["wavlm-large"]
[[models]]
speech = ["wavlm-large"]
text = ["roberta-large"]
"""
SBATCH = """#!{python}
import os, re, subprocess, sys
flags = dict(re.findall(r"--([a-z-]+)=(\\S+)", " ".join(sys.argv)))
here = {here!r}
number = str(len(open(here + "/calls").readlines()) + 1)
open(here + "/calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
for index in flags["array"].split(","):
    log = sys.argv[-1].replace(".sbatch", f".{{index}}.log")
    told = os.environ | {{"SLURM_ARRAY_TASK_ID": index}}
    out = open(log, "a")
    subprocess.run(["bash", sys.argv[-1]], env=told, stdout=out, stderr=subprocess.STDOUT)
print(number)
"""
SERCTL = """#!/bin/bash
echo "$@" >> {here}/serctl
[[ "$*" == *"--only extract"* && $SLURM_ARRAY_TASK_ID == 2 && ! -e {here}/mended ]] && exit 1
[[ "$*" == *"--only train"* ]] && exit 3
exit 0
"""
SLURM = "[slurm]\nparts = 3\ngpus = 0\ncpus = 1\npartition = 'short'\n"
PATIENCE = 360
"""Seconds that Slurm has for all tasks."""
BREAKABLE = """#!/bin/bash
if [[ "$*" == *"--only extract"* && $SLURM_ARRAY_TASK_ID != 1 && ! -e {here}/mended ]]; then
    shift 2
    exec {python} {here}/broken.py "$@"
fi
exec {python} "$@"
"""
BROKEN = """
import os, runpy, signal, time
from serctl.encoding import extraction

append, seen = extraction.append_new, []

def append_some(*arguments):
    if seen and os.environ["SLURM_ARRAY_TASK_ID"] == "3":
        os.kill(os.getpid(), signal.SIGKILL)
    if seen:
        open({hung!r}, "w").close()
        time.sleep(600)
    seen.append(arguments)
    return append(*arguments)

extraction.append_new = append_some
runpy.run_module("serctl", run_name="__main__")
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and a cluster whose second task of extract fails until it is repaired."""
    (tmp_path / "serctl.toml").write_text(
        "[slurm]\nparts = 3\npartition = 'short'\ntime = '4:00'\n"
    )
    write_manifest(tmp_path / "manifest.csv", [])
    (tmp_path / "two.toml").write_text(RECIPE)
    programs = {"sbatch": SBATCH, "squeue": "#!/bin/sh\ncat {here}/queue\n", "serctl": SERCTL}
    for name, text in programs.items():
        (tmp_path / name).write_text(text.format(python=sys.executable, here=str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    for name in ("calls", "queue"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "serctl"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*flags: str) -> tuple[list[str], str]:
    """Return the row of each job, and the other output."""
    done = CliRunner().invoke(app, ["run", "two.toml", "--slurm", "jobs", *flags])
    assert done.exit_code == 0, done.output
    return [" ".join(line.split()) for line in done.stdout.splitlines()[1:]], done.stderr


def test_a_job_runs_only_the_stages_that_were_named(cluster: Path) -> None:
    run("--only", "stack")
    assert "--only evaluate" not in (cluster / "jobs" / "evaluate.sbatch").read_text()


def test_failed_parts_are_named_and_submitted_alone(cluster: Path) -> None:
    assert run()[0] == [
        "transcribe 0 0 0 1", "extract 0 0 0 3", "train 0 0 0 2",
        "export-logits 0 0 0 2", "evaluate 0 0 0 1",
    ]  # fmt: skip
    assert not (cluster / "calls").read_text()
    run("--submit")
    first = (cluster / "calls").read_text().splitlines()
    assert [line.split()[1] for line in first] == [
        "--array=1", "--array=1,2,3", "--array=1,2", "--array=1,2", "--array=1",
    ]  # fmt: skip
    assert ["afterok:" in line for line in first] == [False, True, True, True, True]
    rows, told = run()
    assert rows[1:3] == ["extract 2 0 1 0", "train 2 0 0 0"]  # 3 is an end of its own kind
    assert f"Failed: {cluster / 'jobs' / 'extract.2.log'}" in told
    (cluster / "mended").touch()
    run("--submit")
    assert len((cluster / "calls").read_text().splitlines()) == 6
    assert (cluster / "serctl").read_text().count("--shard auto/3") == 4
    assert run()[0][1] == "extract 3 0 0 0"


def test_what_slurm_still_has_is_not_submitted_again_and_what_it_lost_is(cluster: Path) -> None:
    run()
    (cluster / "jobs" / "extract.jobs").write_text("77\n")
    (cluster / "queue").write_text("77_1\n77_3\n8_2\n")
    (cluster / "jobs" / "extract.1.state").write_text("running")
    (cluster / "jobs" / "extract.2.state").write_text("running")  # killed with its node
    assert run()[0][1] == "extract 0 2 1 0"
    run("--submit", "--only", "extract", "--only", "train")
    extract, train = (cluster / "calls").read_text().splitlines()
    assert "--array=2 " in extract
    assert "--dependency=afterok:77_1:77_3:1 " in train


def test_other_flags_or_another_recipe_forget_what_was_done(cluster: Path) -> None:
    run("--submit")
    assert run()[0][0] == "transcribe 1 0 0 0"
    assert run("--seed", "1")[0][0] == "transcribe 0 0 0 1"
    run("--seed", "1", "--submit")
    (cluster / "two.toml").write_text(RECIPE.replace("hidden = 4", "hidden = 8"))
    assert run("--seed", "1")[0][0] == "transcribe 0 0 0 1"


def test_changed_audio_forgets_what_was_done(cluster: Path) -> None:
    audio = cluster / "a.wav"
    audio.touch()
    write_manifest(cluster / "manifest.csv", [Utterance("a", audio, "train", "sad", "x")])
    run("--submit")
    assert run()[0][0] == "transcribe 1 0 0 0"
    os.utime(audio, (1e9, 1e9))
    assert run()[0][0] == "transcribe 0 0 0 1"


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_the_job_files_are_bash(cluster: Path) -> None:
    run()
    for script in (cluster / "jobs").glob("*.sbatch"):
        subprocess.run(["bash", "-n", script], check=True)
        lines = script.read_text().splitlines()
        assert "#SBATCH --partition=short" in lines
        assert ("#SBATCH --gres=gpu:1" in lines) == (script.stem != "evaluate")


def test_the_job_files_ask_for_what_the_project_states(cluster: Path) -> None:
    (cluster / "serctl.toml").write_text("[slurm]\naccount = 'speech'\ngpus = 2\ncpus = 6\n")
    run()
    asked = {path.stem: path.read_text().splitlines() for path in (cluster / "jobs").glob("*")}
    for name, lines in asked.items():
        assert {"#SBATCH --account=speech", "#SBATCH --cpus-per-task=6"} <= set(lines)
        assert ("#SBATCH --gres=gpu:2" in lines) == (name != "evaluate")


def test_a_part_of_a_plan() -> None:
    steps = [RecipeStep("extract", "a", ExtractOptions(encoder="a"))]
    steps += [RecipeStep("train", name, TrainOptions()) for name in "bcd"]
    first, second = take_part(steps, (1, 2)), take_part(steps, (2, 2))
    assert [step.what for step in first] == ["a", "b", "d"]
    assert [step.what for step in second] == ["a", "c"]
    assert second[0].options.shard == "2/2"
    with pytest.raises(UsageError, match="not evaluate"):
        take_part([RecipeStep("evaluate", "x", None)], (1, 2))


def test_more_parts_than_trainings_divide_their_networks() -> None:
    kinds = {"a": TrainOptions(folds=2, main=True), "b": TrainOptions(folds=2), "c": TrainOptions()}
    steps = [RecipeStep("train", name, options) for name, options in kinds.items()]
    assert [step.options.shard for step in take_part(steps, (1, 3))] == [""]
    tasks = [take_part(steps, (i, 6)) for i in range(1, 7)]
    assert [(step.what, step.options.shard) for task in tasks for step in task] == [
        ("a", "1/3"), ("a", "2/3"), ("a", "3/3"), ("b", "1/2"), ("b", "2/2"), ("c", ""),
    ]  # fmt: skip
    steps[0] = RecipeStep("train", "a", TrainOptions(folds=2, overwrite=True))
    assert [step.what for i in (1, 2, 3, 4) for step in take_part(steps, (i, 4))] == list("abbc")


def test_the_array_of_trainings_has_a_task_for_each_network(cluster: Path) -> None:
    (cluster / "two.toml").write_text(RECIPE.replace("epochs = 1", "epochs = 1\nfolds = 3"))
    assert run()[0][2:4] == ["train 0 0 0 6", "export-logits 0 0 0 2"]


def read_stores(workspace: Workspace) -> dict[str, bytes]:
    stores = [FeatureStore.open(it.path, verify="always") for it in list_stores(workspace.cache)]
    return {f"{it.key.encoder} {name}": it.read(name).tobytes() for it in stores for name in it.ids}


def make_project(root: Path) -> Workspace:
    """Write a project whose manifest has words."""
    workspace = write_project(root)
    rows = [replace(row, transcript="I am happy") for row in read_manifest(workspace.manifest)]
    write_manifest(workspace.manifest, rows)
    return workspace


@pytest.mark.slow
def test_the_jobs_of_a_project_leave_the_stores_and_the_report_of_one_process(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster / "serctl").write_text(f'#!/bin/bash\nexec {PYTHON} "$@"\n')
    ends = []
    for name in ("one", "jobs"):
        workspace = make_project(cluster / name)
        monkeypatch.chdir(workspace.root)
        flags = ["--slurm", "jobs", "--submit"] if name == "jobs" else []
        recipe = str(cluster / "two.toml")
        done = CliRunner().invoke(app, ["run", recipe, "--device", "cpu", *flags])
        assert done.exit_code == 0, done.output
        ends.append(read_stores(workspace))
        assert (workspace.reports / "two.json").is_file()
    assert ends[0] == ends[1]
    assert len(ends[0]) == 72


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm whose second and third task of extract stop after a batch until it is repaired."""
    (tmp_path / "python").write_text(BREAKABLE.format(python=PYTHON, here=tmp_path))
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "broken.py").write_text(BROKEN.format(hung=str(tmp_path / "hung")))
    (tmp_path / "two.toml").write_text(RECIPE.replace("epochs = 1", "epochs = 1\nfolds = 2"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.chdir(tmp_path)
    with run_slurm() as told:
        for name in ("PATH", "SLURM_CONF"):
            monkeypatch.setenv(name, told[name])
        yield tmp_path


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, list_queued()
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.skipif(
    bool(find_missing()), reason=f"no {', '.join(find_missing())}: apt install slurm-wlm munge"
)
def test_a_cancelled_and_a_killed_task_are_submitted_again_alone(slurm: Path) -> None:
    one, many = make_project(slurm / "one"), make_project(slurm / "many")
    flags = ["run", "two.toml", "--device", "cpu"]
    assert CliRunner().invoke(app, [*flags, "-C", "one"]).exit_code == 0
    wanted, jobs = read_stores(one), slurm / "jobs"
    with (many.root / "serctl.toml").open("a") as file:
        file.write(SLURM)
    many_of = ["-C", "many", "--device", "cpu"]

    run(*many_of, "--submit")
    wait_for((slurm / "hung").is_file)
    (number,) = (jobs / "extract.jobs").read_text().split()
    subprocess.run(["scancel", f"{number}_2"], check=True)
    wait_for(lambda: not list_queued())
    rows, told = run(*many_of)
    assert rows == [
        "transcribe 1 0 0 0", "extract 1 0 2 0", "train 0 0 0 4",
        "export-logits 0 0 0 2", "evaluate 0 0 0 1",
    ]  # fmt: skip
    assert all(f"{jobs / 'extract'}.{index}.log" in told for index in (2, 3))
    assert 0 < len(read_stores(many)) < len(wanted)

    first = (jobs / "extract.1.log").read_bytes()
    (slurm / "mended").touch()
    run(*many_of, "--submit")
    _, again = (jobs / "extract.jobs").read_text().split()
    assert {it for it in list_queued() if it.startswith(again)} == {f"{again}_2", f"{again}_3"}
    wait_for(lambda: not list_queued())
    assert run(*many_of)[0] == [
        "transcribe 1 0 0 0", "extract 3 0 0 0", "train 4 0 0 0",
        "export-logits 2 0 0 0", "evaluate 1 0 0 0",
    ]  # fmt: skip
    assert (jobs / "extract.1.log").read_bytes() == first
    assert len((jobs / "transcribe.jobs").read_text().split()) == 1
    assert read_stores(many) == wanted
    assert len(wanted) == 72
    scores = [json.loads((it.reports / "two.json").read_text())["systems"] for it in (one, many)]
    assert scores[0] == scores[1]

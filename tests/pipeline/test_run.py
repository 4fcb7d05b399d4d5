"""`serctl run`: the paper's twelve models from six encoders, and what a plan says of itself."""

import json
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from tiny_facodec import write_facodec
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.errors import (
    ConfigError,
    ManifestError,
    SerctlError,
    UnknownNameError,
    UsageError,
)
from serctl.options import TrainOptions
from serctl.options.files import find_recipe
from serctl.pipeline import RecipeStep, execute, parts, plan_recipe, read_plan
from serctl.pipeline.execute import Execution, run_steps

PRELOAD = ("serctl.stages.train",)
PROJECT = """
[transcribe]
from_manifest = true
[weights]
whisper-large-v3 = "weights/whisper"
hubert-xlarge = "weights/hubert"
wavlm-large = "weights/wavlm"
roberta-large = "weights/roberta"
deberta-v2-xxlarge = "weights/deberta"
facodec = "weights/facodec"
facodec-prosody = "weights/facodec"
"""
WRITERS = {
    "whisper": tiny.write_whisper,
    "hubert": tiny.write_hubert,
    "wavlm": tiny.write_wavlm,
    "roberta": tiny.write_roberta,
    "deberta": tiny.write_deberta,
    "facodec": write_facodec,
}


def write_tones(folder: Path) -> list[Utterance]:
    """Two emotions that differ in pitch; 24 train utterances of two speakers, 8 dev, 8 test."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        split = "train" if i < 24 else "dev" if i < 32 else "test1"
        emotion = "angry" if i % 2 else "neutral"
        time = np.arange(rng.integers(4000, 8000)) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * (400 if i % 2 else 150) * time)
        path = folder / f"u{i:02}.wav"
        soundfile.write(path, tone + 0.01 * rng.normal(size=tone.size), 16_000)
        words = tiny.SENTENCES[i % len(tiny.SENTENCES)]
        rows.append(Utterance(path.stem, path, split, emotion, f"{split}-{i // 12}", words))
    return rows


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, write in WRITERS.items():
        write(folder / "weights" / name)
    write_manifest(folder / "manifest.csv", write_tones(folder))
    (folder / "serctl.toml").write_text(PROJECT)
    return folder


def shrink(name: str, folder: Path) -> Path:
    """Return the shipped recipe with a network that trains in a moment."""
    text = find_recipe(name).read_text()
    small = re.sub(r"(?m)^epochs = \d+", "epochs = 1", text.replace("hidden = 512", "hidden = 4"))
    path = folder / f"{name}.toml"
    path.write_text(small.replace("keep_frames = true", "keep_frames = false"))
    return path


@pytest.mark.parametrize("name", ["paper", "released"])
def test_the_twelve_models_are_the_papers(name: str) -> None:
    models = read_plan(name).models
    branches = [(*model.speech, *model.text, *model.paralinguistic) for model in models]
    assert len(models) == 12
    assert [model.loss for model in models] == ["wce"] * 6 + ["wce+sml"] * 6
    assert branches[:6] == branches[6:]
    trimodal = [model for model in models if model.paralinguistic]
    assert {m.paralinguistic for m in trimodal} == (
        {("facodec",)} if name == "paper" else {("facodec-prosody",)}
    )


@pytest.mark.usefixtures("few_trees")
def test_the_paper_runs_through_and_a_second_run_does_nothing(project: Path) -> None:
    workspace = open_workspace(project)
    recipe = read_plan(str(shrink("paper", project)), workspace)
    steps = plan_recipe(workspace, recipe)
    told: list[str] = []
    result = run_steps(
        workspace, steps, Execution(report=lambda step, result: told.append(step.stage))
    )
    assert told == [step.stage for step in steps]
    assert list(dict.fromkeys(told)) == [
        "transcribe", "extract", "train", "export-logits", "stack", "evaluate",
    ]  # fmt: skip
    assert told.count("extract") == 6
    assert told.count("train") == 12
    systems = [row.name for row in result.table]
    assert len(systems) == 15  # twelve models, the stacker, two baselines
    assert "paper" in systems

    again: list[tuple[str, Any]] = []
    run_steps(
        workspace, steps, Execution(report=lambda step, result: again.append((step.stage, result)))
    )
    assert all(result.encoded == 0 for stage, result in again if stage == "extract")
    assert all(result.runs[0].present for stage, result in again if stage == "train")


@pytest.mark.usefixtures("few_trees")
def test_an_interrupted_run_continues_where_it_was(project: Path) -> None:
    workspace = open_workspace(project)
    recipe = read_plan(str(shrink("released", project)), workspace)
    steps = plan_recipe(workspace, recipe)

    def interrupt(step: object, result: object) -> None:
        if step is steps[-20]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps(workspace, steps, Execution(report=interrupt))
    result = run_steps(workspace, steps)
    assert "released" in [row.name for row in result.table]


def test_trainings_in_processes_and_on_dask_equal_those_one_by_one(
    project: Path,
) -> None:
    from distributed import LocalCluster

    recipe = project / "two.toml"
    recipe.write_text(
        "[train]\nhidden = 4\nepochs = 1\n"
        "[[models]]\nspeech = ['wavlm-large']\n[[models]]\nspeech = ['hubert-xlarge']\n"
    )
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    losses = []
    with cluster:
        on_dask = Execution(scheduler=cluster.scheduler_address)
        for execution in (Execution(), Execution(jobs=2), on_dask):
            runs = project / f"runs{len(losses)}"
            workspace = replace(open_workspace(project), paths={"runs": runs})
            steps = plan_recipe(workspace, read_plan(str(recipe)), only=["extract", "train"])
            run_steps(workspace, steps, execution)
            summaries = [json.loads(path.read_text()) for path in runs.glob("*/summary.json")]
            losses.append(sorted(summary["loss"] for summary in summaries))
        with pytest.raises(ManifestError, match="does not exist"):
            run_steps(Workspace(project / "nothing"), steps, on_dask)
    assert len(losses[0]) == 2
    for others in losses[1:]:
        assert others == pytest.approx(losses[0], rel=1e-5)


def test_an_error_of_one_training_is_reported_while_others_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told, both = Event(), Barrier(2)

    def train(workspace: Workspace, step: RecipeStep) -> None:
        both.wait(30)
        if step is steps[0]:
            raise ConfigError("no such encoder.")
        assert told.wait(30)

    def log(line: str) -> None:
        assert "no such encoder" in line
        told.set()

    steps = [RecipeStep("train", name, TrainOptions()) for name in "ab"]
    monkeypatch.setattr(execute, "call_stage", train)
    monkeypatch.setattr(execute, "_open_pool", lambda *how: ThreadPoolExecutor(2))
    with pytest.raises(ConfigError, match="no such encoder"):
        run_steps(Workspace(Path()), steps, Execution(jobs=2, log=log))
    assert told.is_set()


def end_process(workspace: Workspace, step: RecipeStep) -> None:
    os._exit(9)


def test_a_killed_process_of_jobs_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "call_stage", end_process)
    steps = [RecipeStep("train", name, None) for name in ("a", "b")]
    with pytest.raises(SerctlError, match=r"^A process of --jobs 2 was killed.* it continues\.$"):
        run_steps(Workspace(Path()), steps, Execution(jobs=2))


def test_no_dask_scheduler_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "DASK_SECONDS", 0.3)
    with pytest.raises(ConfigError, match="No Dask scheduler responds"):
        run_steps(Workspace(Path()), [], Execution(scheduler="tcp://127.0.0.1:9"))


def test_processes_are_refused_where_workers_of_dask_train(tmp_path: Path) -> None:
    execution = Execution(jobs=2, scheduler="tcp://localhost:1")
    with pytest.raises(UsageError, match=r"^--jobs has no effect with --dask: its workers tr"):
        run_steps(Workspace(tmp_path), [], execution)


def test_a_dry_run_counts_trainings_disk_and_what_is_done(project: Path) -> None:
    workspace = open_workspace(project)
    recipe = read_plan(str(shrink("paper", project)), workspace)
    run_steps(workspace, plan_recipe(workspace, recipe, only=["transcribe"]))
    command = ["run", str(project / "paper.toml"), "--dry-run", "-C", str(project)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert "12 models" in result.stdout
    assert "40 of 40 done" in result.stdout
    assert "MB" in result.stdout
    flag = ["run", "paper", "--recipe", *command[1:]]
    assert CliRunner().invoke(app, flag).stdout == result.stdout
    assert "No recipe given" in CliRunner().invoke(app, ["run"]).stderr


def test_only_keeps_the_stages_it_names(project: Path) -> None:
    workspace = open_workspace(project)
    recipe = read_plan("paper", workspace)
    assert {s.stage for s in plan_recipe(workspace, recipe, only=["extract"])} == {"extract"}
    with pytest.raises(UnknownNameError, match="Did you mean 'extract'"):
        plan_recipe(workspace, recipe, only=["extrct"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nhidden = 4\n", "names no models"),
        ("[[models]]\nhidden = 4\n", "1 names no encoders"),
        ("[[models]]\nspeech = ['a']\n[[models]]\nspeech = ['a']\n", "2 equals 1"),
        ("[[models]]\nspech = ['a']\n", "Did you mean 'speech'"),
        ("[trian]\n[[models]]\nspeech = ['a']\n", "Did you mean 'train'"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_plan(str(tmp_path / "mine.toml"))


def test_an_error_of_a_training_in_another_process_arrives_whole() -> None:
    error = UnknownNameError("encoder", "wavlm-lrge", ["wavlm-large"], "See: serctl encoders")
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived)) == (UnknownNameError, str(error))


def test_a_limit_holds_for_every_step_that_reads_the_manifest() -> None:
    plan = read_plan("paper", limit=100)
    steps = plan_recipe(Workspace(Path()), plan, limit=100)
    limited = {step.stage for step in steps if getattr(step.options, "limit", None) == 100}
    assert limited == {"transcribe", "extract", "train", "evaluate"}  # the others follow the runs
    assert steps[-1].options.name == "paper-limit100"
    assert steps[-1].options.systems[-1] == "paper-limit100"
    assert (steps[-2].what, steps[-2].options.name) == ("paper-limit100", "paper-limit100")

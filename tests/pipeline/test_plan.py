"""What `serctl run` says and settles beforehand."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthetic_frames import make_utterances
from synthetic_run import write_run
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import write_manifest
from serctl.data.transcripts import read_source, read_transcripts
from serctl.errors import CheckpointError, ConfigError
from serctl.options import TranscribeOptions
from serctl.pipeline import RecipeStep, plan_recipe, read_plan
from serctl.pipeline.estimate import estimate_steps
from serctl.stages.extract import ExtractResult
from serctl.stages.train import TrainResult
from serctl.stages.transcribe import transcribe
from serctl.training.run_folder import run_name

HEAVY = ("torch", "transformers", "sklearn", "xgboost", "zarr")


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    (tmp_path / "serctl.toml").write_text("")
    rows = make_utterances(4, folder=tmp_path)
    write_manifest(tmp_path / "manifest.csv", rows)
    for row in rows[1:]:  # a file that is not there does not hinder a plan
        soundfile.write(row.path, np.full(1600, 0.1), 16_000)
    return open_workspace(tmp_path)


def plan_words(recipe: str) -> RecipeStep:
    """Return the step that finds the words, as `serctl run` in this project would take it."""
    workspace = open_workspace()
    return plan_recipe(workspace, read_plan(recipe, workspace))[0]


def test_a_dry_run_imports_nothing_heavy(project: Workspace) -> None:
    code = (
        "import sys; from serctl.cli import app\n"
        f"try: app(['run', 'small', '--dry-run', '-C', {str(project.root)!r}])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "5 models" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    ("recipe", "models"),
    [("small", 5), ("demo", 5), ("paper", 12), ("released", 12), ("challenge", 6)],
)
def test_a_dry_run_of_a_shipped_recipe_lists_its_models_and_the_last_steps(
    project: Workspace, recipe: str, models: int
) -> None:
    command = ["run", recipe, "--dry-run", "--json", "-C", str(project.root)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    steps = [step["stage"] for step in json.loads(done.stdout)]
    assert steps.count("train") == models
    assert {"extract", "export-logits", "stack", "evaluate"} < set(steps)


def test_a_dry_run_counts_models_as_they_are_trained(project: Workspace) -> None:
    states = [
        step.state for step in estimate_steps(project, plan_recipe(project, read_plan("small")))
    ]
    assert states.count("4 pooled models") == 3
    assert states.count("4 x 20 epochs") == 2
    assert "log-pool on out-of-fold logits" in states


@pytest.mark.parametrize("recipe", ["small", "paper"])
def test_words_taken_from_the_manifest_stay_whatever_recogniser_a_recipe_names(
    recipe: str, project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    assert not plan_words(recipe).options.from_manifest
    transcribe(project, TranscribeOptions(from_manifest=True, limit=1))
    assert (
        len(read_transcripts(project.transcripts).texts) == 4
    )  # what costs nothing knows no limit
    step = plan_words(recipe)
    assert (step.what, estimate_steps(project, [step])[0].state) == ("manifest", "4 of 4 done")
    assert transcribe(project, step.options).present == 4
    edited = project.transcripts.read_text().replace("words of", "word of", 1)
    project.transcripts.write_text(edited)
    assert estimate_steps(project, [step])[0].state == "3 of 4 done"
    assert read_source(project.transcripts) == "manifest"
    (project.root / "serctl.toml").write_text("[transcribe]\nfrom_manifest = false\n")
    assert not plan_words(recipe).options.from_manifest


def test_own_words_of_the_project_file_go_before_a_recipe_that_keeps_frames(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    (project.root / "serctl.toml").write_text("[transcribe]\nfrom_manifest = true\n")
    assert transcribe(project, plan_words("demo").options).transcribed == 4


def test_a_plan_asks_no_hub_for_weights_that_are_not_here(
    project: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("asked"))
    steps = plan_recipe(project, read_plan("paper", project), only=["transcribe", "extract"])
    assert {step.state for step in estimate_steps(project, steps)} == {"weights missing"}


def test_a_plan_with_a_limit_reports_that_many(project: Workspace) -> None:
    def disk(limit: int | None) -> int:
        steps = plan_recipe(project, read_plan("small", project), only=["extract"], limit=limit)
        return sum(step.bytes or 0 for step in estimate_steps(project, steps))

    assert 0 < disk(2) < disk(None)


def test_a_run_ends_with_3_where_utterances_failed_and_prints_a_note_once(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(workspace: Workspace, step: RecipeStep, **more: object) -> object:
        if step.stage == "extract":
            return ExtractResult(step.what, "speech", (-1,), (project.cache,), 4, 3, failed=1)
        return TrainResult((), notes=("Left out: 1 utterances.",))

    monkeypatch.setattr("serctl.pipeline.execute.call_stage", call)
    command = ["run", "small", "-C", str(project.root), "--only", "extract", "--only", "train"]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr.count("Left out")) == (3, 1)


def test_an_encoder_of_two_names_is_extracted_once(tmp_path: Path) -> None:
    names = {"whisper": 64, "whisper-large-v3": 32}  # equal entries are refused
    entries = [f"[[models]]\nspeech = ['{name}']\nhidden = {h}" for name, h in names.items()]
    (tmp_path / "mine.toml").write_text("\n".join(entries))
    assert read_plan(str(tmp_path / "mine.toml")).encoders == ("whisper-large-v3",)


def test_each_seed_of_a_model_is_a_run_that_the_stack_reads(
    project: Workspace, tmp_path: Path
) -> None:
    recipe = tmp_path / "seeds.toml"
    recipe.write_text(
        "[[models]]\nspeech = ['whisper-tiny']\nseed = 3\nseeds = 2\n"
        "[[models]]\nkind = 'pooled'\nname = 'mine'\nspeech = ['whisper-tiny']\nseeds = 2\n"
    )
    steps = plan_recipe(project, read_plan(str(recipe), project))
    runs = ("whisper-tiny-s3", "whisper-tiny-s4", "mine-s0", "mine-s1")
    trained = [step.options for step in steps if step.stage == "train"]
    assert [(run_name(one), one.seed, one.seeds) for one in trained] == [
        (name, int(name[-1]), 1) for name in runs
    ]
    assert tuple(step.what for step in steps if step.stage == "export-logits") == runs
    assert next(step.options.models for step in steps if step.stage == "stack") == runs
    recipe.write_text(recipe.read_text() + "[[models]]\nspeech = ['whisper-tiny']\nseed = 4\n")
    with pytest.raises(ConfigError, match=r"\[\[models\]\] 3 equals 1"):
        read_plan(str(recipe), project)


def test_two_models_of_one_name_are_refused_before_any_training(
    project: Workspace, tmp_path: Path
) -> None:
    recipe = tmp_path / "twins.toml"
    recipe.write_text(
        "[[models]]\nkind = 'pooled'\nname = 'm'\nspeech = ['whisper-tiny']\n"
        "[[models]]\nkind = 'pooled'\nname = 'm'\nspeech = ['whisper-tiny']\nfolds = 2\n"
    )
    with pytest.raises(ConfigError, match=r"several \[\[models\]\] have the name 'm'"):
        plan_recipe(project, read_plan(str(recipe), project))


def test_a_model_with_the_name_of_the_stacker_is_refused_before_any_training(
    project: Workspace, tmp_path: Path
) -> None:
    recipe, mine = tmp_path / "mine.toml", "[[models]]\nname = 'mine'\nspeech = ['whisper-tiny']\n"
    recipe.write_text(mine)
    assert plan_recipe(project, read_plan(str(recipe), project))  # no stacker
    recipe.write_text(mine + mine.replace("mine", "other"))
    with pytest.raises(ConfigError, match=r"run 'mine' has the name of the recipe, .* stacker"):
        plan_recipe(project, read_plan(str(recipe), project))
    recipe.write_text(mine.replace("mine", "one") + mine.replace("mine", "other"))
    assert plan_recipe(project, read_plan(str(recipe), project))
    (project.runs / "mine" / "logits").mkdir(parents=True)
    with pytest.raises(ConfigError, match="run 'mine' has the name of the recipe"):
        plan_recipe(project, read_plan(str(recipe), project))


def test_layers_that_models_name_are_extracted_in_one_pass(
    project: Workspace, tmp_path: Path
) -> None:
    recipe = tmp_path / "layers.toml"
    entries = ["whisper-tiny", "whisper-tiny@1+3", "whisper-tiny@2", "whisper-tiny@0a1b2c"]
    models = [f"[[models]]\nspeech = ['{name}']" for name in entries]
    recipe.write_text("\n".join(models))
    plan = read_plan(str(recipe), project)
    assert plan.encoders == ("whisper-tiny",)
    [step] = plan_recipe(project, plan, only=["extract"])
    assert (step.what, step.options.layers) == ("whisper-tiny", (-1, 1, 3, 2))
    [four] = estimate_steps(project, [step])
    recipe.write_text(f"[extract]\nlayer = [2, 3]\n{models[0]}\n{models[1]}")
    [step] = plan_recipe(project, read_plan(str(recipe), project), only=["extract"])
    assert step.options.layers == (2, 3, 1)
    [three] = estimate_steps(project, [step])
    assert four.bytes
    assert three.bytes == pytest.approx(four.bytes * 3 / 4)


def test_recipes_share_what_is_the_same_and_keep_apart_what_is_not(project: Workspace) -> None:
    def plan(recipe: str) -> list[str]:
        steps = plan_recipe(project, read_plan(recipe, project), only=["train"])
        return [step.what for step in steps]

    usual = plan("small")
    demo = read_plan("demo", project).models[0]
    for options, kept in ((demo, False), (read_plan("small", project).models[0], True)):
        assert run_name(options) == usual[0]
        write_run(project.runs / usual[0], options)
        name = usual[0] if kept else f"small-{usual[0]}"
        assert plan("small") == [name, *usual[1:]]


@pytest.mark.parametrize("only", [["export-logits"], ["evaluate"], []])
def test_a_finished_run_of_other_options_is_not_taken_for_the_one_of_a_recipe(
    project: Workspace, tmp_path: Path, only: list[str]
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[[models]]\nname = 'a'\nspeech = ['whisper-tiny']\nhidden = 32\n")
    plan = read_plan(str(recipe), project)
    write_run(project.runs / "a", replace(plan.models[0], hidden=16))
    assert plan_recipe(project, plan, only=only)  # not finished: train decides
    (project.runs / "a" / "summary.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"other options \(hidden 16, now 32\)"):
        plan_recipe(project, plan, only=only)
    assert plan_recipe(project, plan, only=["extract"])  # reads no run
    recipe.write_text("[train]\noverwrite = true\n" + recipe.read_text())
    assert plan_recipe(project, read_plan(str(recipe), project), only=only)

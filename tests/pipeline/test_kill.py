"""`serctl run` killed at any instant: the same command ends where an undisturbed one does."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from command_faults import is_written
from trained_project import write_project

from serctl.cache.locate import list_stores
from serctl.cache.store import FeatureStore
from serctl.config import open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.pipeline import plan_recipe, read_plan
from serctl.pipeline.execute import run_steps

RECIPE = """
[transcribe]
from_manifest = true
[train]
hidden = 8
epochs = 2
learning_rate = 0.01
folds = 2
device = "cpu"
[stack]
stacker = "linear"
balance = "weights"
[[models]]
speech = ["wavlm-large"]
text = ["roberta-large"]
[[models]]
speech = ["wavlm-large"]
loss = "wce+sml"
"""
TRIALS = 40
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
"""Audit events of Python before which the disk is about to change."""
STAGES = [
    f"serctl.stages.{name}"
    for name in ("transcribe", "extract", "train", "export_logits", "stack", "evaluate")
]
PRELOAD = (
    *STAGES, "transformers.models.wavlm", "transformers.models.roberta", "sklearn.linear_model"
)  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")


def run_recipe(root: Path) -> None:
    """What `serctl run` does."""
    workspace = open_workspace(root)
    plan = read_plan(str(root / "two.toml"), workspace)
    run_steps(workspace, plan_recipe(workspace, plan))


def run_and_die(root: Path, at: int, count: Any) -> None:
    """Run the recipe and be killed just before the ``at``-th change of the disk."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and (event != "open" or is_written(arguments)):
            count.value += 1
            if count.value == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    run_recipe(root)


def start(root: Path, at: int) -> tuple[Any, Any]:
    count = CONTEXT.Value("i", 0)
    process = CONTEXT.Process(target=run_and_die, args=(root, at, count))
    process.start()
    return process, count


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fresh") / "project"
    rows = list(read_manifest(write_project(root).manifest))
    words = [replace(r, transcript=tiny.SENTENCES[i % 6]) for i, r in enumerate(rows)]
    write_manifest(root / "manifest.csv", words)
    (root / "two.toml").write_text(RECIPE)
    return root


def read_end(root: Path) -> dict[str, Any]:
    """Return all that a run leaves, without its seconds: files by name, frames by utterance."""
    workspace = open_workspace(root)
    kept = ("*.safetensors", "train_ids.txt", "logits/*.csv")
    files = [path for name in kept for path in workspace.runs.rglob(name)]
    files += [workspace.transcripts, *workspace.stackers.glob("*/*.csv")]
    end: dict[str, Any] = {str(p.relative_to(root)): p.read_bytes() for p in files}
    for path in workspace.runs.rglob("metrics.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        end[str(path.relative_to(root))] = [(r["loss"], r["dev_macro_f1"]) for r in records]
    report = json.loads((workspace.reports / "two.json").read_text())
    end["report"] = [report["systems"], report["paired"], report["warnings"]]
    for info in list_stores(workspace.cache):
        store = FeatureStore.open(info.path, verify="always")
        for name in store.ids:
            end[f"{info.path.name} {name}"] = store.read(name).tobytes()
    return end


@dataclass(frozen=True)
class Undisturbed:
    """What an undisturbed run leaves, in how many changes of the disk, in how many seconds."""

    end: dict[str, Any]
    changes: int
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(fresh, root)
    started = time.monotonic()
    process, count = start(root, 0)
    process.join()
    assert process.exitcode == 0
    return Undisturbed(read_end(root), count.value, time.monotonic() - started)


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_run_killed_at_any_instant_ends_as_an_undisturbed_one(
    fresh: Path, undisturbed: Undisturbed, tmp_path: Path, trial: int
) -> None:
    root, rng = tmp_path / "killed", random.Random(trial)
    shutil.copytree(fresh, root)
    for again in range(1 + trial % 2):  # every second one is killed again while it resumes
        by_time = trial % 4 == 3
        change = 1 + (trial * undisturbed.changes // TRIALS + again * 7) % undisturbed.changes
        process, _ = start(root, 0 if by_time else change)
        process.join(rng.uniform(0.1, 0.9) * undisturbed.seconds if by_time else None)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    process, _ = start(root, 0)
    process.join()
    assert process.exitcode == 0
    assert read_end(root) == undisturbed.end
    shutil.rmtree(root)

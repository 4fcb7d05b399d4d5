"""Estimates for a plan: finished work, disk space, and time from earlier trainings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.data.transcripts import FROM_MANIFEST, read_finished
from serctl.documents.logits import name_source
from serctl.documents.stacker import STACKER_FILE
from serctl.encoders.catalog import get_spec
from serctl.encoders.weights import have_weights
from serctl.encoding.disk_space import estimate_bytes, estimate_seconds
from serctl.encoding.keys import open_inputs
from serctl.encoding.recognition import settle_recognition
from serctl.errors import SerctlError, count
from serctl.options import TrainOptions
from serctl.pipeline.recipe import RecipeStep, list_other_stacking
from serctl.training.run_folder import SUMMARY, read_summary

NO_WEIGHTS = "weights missing"


@dataclass(frozen=True)
class Estimate:
    """One step: its state, bytes on disk, and seconds (None: unknown)."""

    stage: str
    what: str
    state: str
    bytes: int | None = None
    seconds: float | None = None


def estimate_steps(workspace: Workspace, steps: Sequence[RecipeStep]) -> list[Estimate]:
    """Return the state, disk space and time of each step.

    Disk space follows from durations, frame rate and dimension. The time of a training is the mean
    of the recipe's finished trainings in this project. It is unknown before the first one.
    """
    manifest = read_manifest(workspace.manifest)
    spent = {s.what: _train_seconds(workspace.runs / s.what) for s in steps if s.stage == "train"}
    known = [seconds for seconds in spent.values() if seconds]
    typical = sum(known) / len(known) if known else None

    def estimate(step: RecipeStep) -> Estimate:
        if step.stage == "transcribe":
            return Estimate(step.stage, step.what, _count_words(workspace, step, manifest))
        if step.stage == "extract":
            part = manifest.limit(step.options.limit)
            spec = get_spec(step.what, workspace.weights)
            seconds = estimate_seconds(part.utterances)
            size = estimate_bytes(spec, seconds, step.options.storage) * len(step.options.layers)
            return Estimate(step.stage, step.what, _coverage(workspace, step, part.ids), size)
        if step.stage == "train" and not spent[step.what]:
            return Estimate(step.stage, step.what, _plan_training(step.options), seconds=typical)
        if step.stage == "train":
            return Estimate(step.stage, step.what, "done")
        return Estimate(step.stage, step.what, SAY[step.stage](workspace, step, manifest))

    return [estimate(step) for step in steps]


def _plan_training(options: TrainOptions) -> str:
    """Return the number of models to train, and the epochs of a network."""
    models = options.folds + (options.main or not options.folds)
    if options.kind == "pooled":
        return count(models, "pooled model")
    return f"{models} x {options.epochs} epochs"


def _count_words(workspace: Workspace, step: RecipeStep, manifest: Manifest) -> str:
    if step.options.from_manifest:
        texts = {row.utterance_id: row.transcript or "" for row in manifest}
        known = read_finished(workspace.transcripts, FROM_MANIFEST)
        done = sum(texts.get(row.utterance_id) == row.text for row in known)
        return f"{done} of {len(texts)} done"
    if not _have_weights(workspace, step):
        return NO_WEIGHTS
    ids = manifest.limit(step.options.limit).ids
    source = settle_recognition(workspace, step.options).source
    found = {row.utterance_id for row in read_finished(workspace.transcripts, source)}
    return f"{len(found.intersection(ids))} of {len(ids)} done"


def _have_weights(workspace: Workspace, step: RecipeStep) -> bool:
    """Whether the weights of a step's encoder are on this machine. No network is used."""
    spec = get_spec(step.what, workspace.weights)
    return bool(step.options.weights or have_weights(spec, workspace.weights))


def _coverage(workspace: Workspace, step: RecipeStep, ids: Sequence[str]) -> str:
    if not _have_weights(workspace, step):
        return NO_WEIGHTS
    try:
        keys, _ = open_inputs(workspace, step.options, SourceHasher(workspace.cache))
    except SerctlError:  # no transcripts yet
        return f"0 of {len(ids)} done"
    done = set(ids)
    for key in keys:
        store = workspace.cache / key.store_name
        done &= set(FeatureStore.open(store).ids) if store.exists() else set()
    return f"{len(done)} of {len(ids)} done"


def _say_exported(workspace: Workspace, step: RecipeStep, manifest: Manifest) -> str:
    splits = step.options.splits or manifest.splits
    folder = workspace.runs / step.what / "logits"
    done = sum((folder / f"{split}.csv").is_file() for split in splits)
    return f"{done} of {len(splits)} splits done"


def _say_stacked(workspace: Workspace, step: RecipeStep, manifest: Manifest) -> str:
    is_fitted = (workspace.stackers / step.what / STACKER_FILE).is_file()
    if is_fitted and not list_other_stacking(workspace, step.options):
        return "done"
    return f"{step.options.stacker} on {name_source(step.options.stack_on)} logits"


def _say_evaluated(workspace: Workspace, step: RecipeStep, manifest: Manifest) -> str:
    report = workspace.reports / f"{step.options.name}.json"
    return "done" if report.is_file() else count(len(step.options.systems), "system")


SAY = {"export-logits": _say_exported, "stack": _say_stacked, "evaluate": _say_evaluated}


def _train_seconds(folder: Path) -> float:
    """Return the training time of a run and its fold models in seconds; 0 if one is unfinished."""
    parts = [folder, *sorted((folder / "folds").glob("*"))]
    if not all((part / SUMMARY).is_file() for part in parts):
        return 0.0
    return sum(read_summary(part).seconds for part in parts)

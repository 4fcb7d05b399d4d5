"""Recipes: a complete experiment in one TOML file, and the calls of stages that it plans.

A recipe has a table for each stage, with the keys of a ``--config`` file, and one ``[[models]]``
entry per model. An entry overrides keys of ``[train]`` for this model. The name of the recipe is
the name of its stacker and of its report.
"""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serctl.config import Workspace, lay_over, options_to_dict, resolve_options
from serctl.data.transcripts import FROM_MANIFEST, read_source
from serctl.documents.recipe import RecipeDocument
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.encoding.keys import group_layers
from serctl.ensemble.choice import AUTO, AVERAGE
from serctl.errors import CheckpointError, ConfigError, UnknownNameError, UsageError, first_few
from serctl.options import (
    EvaluateOptions,
    ExportLogitsOptions,
    ExtractOptions,
    StackOptions,
    TrainOptions,
    TranscribeOptions,
)
from serctl.options.files import find_recipe, read_config
from serctl.options.training import split_seeds
from serctl.training.run_folder import (
    SUMMARY,
    choose_run_name,
    list_other_options,
    settle_options,
)

STAGES = ("transcribe", "extract", "train", "export-logits", "stack", "evaluate")
"""Stages in the order in which they run."""


@dataclass(frozen=True)
class Recipe:
    """A plan of a complete experiment.

    Attributes:
        name: Stem of the file.
        title: Title in one line.
        note: Note for readers of the results, for example that a network is reduced.
        models: Options of each run, in the order of the table and of the stacker's input. A model
            with several seeds has a run for each.
        path: File of the recipe.
    """

    name: str
    title: str
    note: str
    models: tuple[TrainOptions, ...]
    path: Path

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches of all models, each once, in order of first use: ``wavlm``, ``wavlm@9+12``."""
        found = [name for m in self.models for name in (*m.speech, *m.text, *m.paralinguistic)]
        return tuple(dict.fromkeys(found))

    @property
    def encoders(self) -> tuple[str, ...]:
        """Encoders of all models, each once, in order of first use."""
        return tuple(group_layers(self.branches, ()))

    @property
    def needs_transcripts(self) -> bool:
        """Whether any model has a text branch."""
        return any(model.text for model in self.models)


@dataclass(frozen=True)
class RecipeStep:
    """One call of one stage."""

    stage: str
    what: str
    options: Any


def read_plan(name: str, workspace: Workspace | None = None, **flags: Any) -> Recipe:
    """Read a shipped recipe by name, or a file.

    Args:
        name: ``demo``, ``paper``, … or a path.
        workspace: Project. The recipe overrides its ``[train]`` table.
        flags: Train options for every model (``seed``, ``device``, ``limit``).

    Raises:
        UnknownNameError: There is no shipped recipe and no file of this name.
        ConfigError: The recipe names no models or holds an unknown key.
    """
    path = find_recipe(name)
    document = RecipeDocument.read_toml(path)
    shared = resolve_options(TrainOptions, "train", workspace, recipe=name, **flags)
    models: dict[TrainOptions, int] = {}
    for number, entry in enumerate(document.models, 1):
        model = settle_options(lay_over(shared, entry, f"{path} [[models]] {number}"))
        for one in split_seeds(model):
            if (twin := models.setdefault(one, number)) < number:
                raise ConfigError(
                    f"{path} [[models]] {number} equals {twin}. Change or remove one."
                )
        if not (model.speech or model.text or model.paralinguistic):
            raise ConfigError(
                f"{path} [[models]] {number} names no encoders. "
                f"Add one of speech, text, paralinguistic: speech = ['wavlm-large']"
            )
    return Recipe(path.stem, document.title or path.stem, document.note, tuple(models), path)


def plan_recipe(
    workspace: Workspace, recipe: Recipe, *, only: Sequence[str] = (), limit: int | None = None
) -> list[RecipeStep]:
    """Return the calls of a recipe in order, or those of the stages in ``only``.

    Raises:
        UnknownNameError: ``only`` holds an unknown stage.
        CheckpointError: A finished run of a model's name has other options, or the stacker that is
            only evaluated.
        ConfigError: Two models have one name.
    """
    for stage in only:
        if stage not in STAGES:
            raise UnknownNameError("stage", stage, STAGES)

    def options(kind: type, stage: str, **flags: Any) -> Any:
        return resolve_options(kind, stage, workspace, recipe.path, **flags)

    models = [_make_room(workspace, recipe, model) for model in recipe.models]
    names = [choose_run_name(workspace.runs, model) for model in models]
    _refuse_equal(workspace, names, recipe)
    reads_runs = not only or bool({*only} - {"transcribe", "extract"})
    for name, model in zip(names, models, strict=True) if reads_runs else ():
        _refuse_other_run(workspace.runs / name, model, recipe)
    words = options(TranscribeOptions, "transcribe", limit=limit)
    if _keep_own_words(workspace, recipe):
        words = TranscribeOptions(from_manifest=True)
    whose = FROM_MANIFEST if words.from_manifest else words.model
    steps = [RecipeStep("transcribe", whose, words)] * recipe.needs_transcripts
    usual = options(ExtractOptions, "extract").layers
    steps += [
        RecipeStep(
            "extract", name, options(ExtractOptions, "extract", **_choose(name, layers, limit))
        )
        for name, layers in group_layers(recipe.branches, usual).items()
    ]
    steps += [RecipeStep("train", name, model) for name, model in zip(names, models, strict=True)]
    steps += [
        RecipeStep("export-logits", name, options(ExportLogitsOptions, "export-logits", run=name))
        for name in names
    ]
    # A dry run replaces neither the stacker nor the report of all utterances.
    name = f"{recipe.name}-limit{limit}" if limit else recipe.name
    stack = options(StackOptions, "stack", models=tuple(names), name=name)
    if "evaluate" in only and "stack" not in only:
        _refuse_other_stacker(workspace, recipe, stack)
    systems = (*names, name) if len(names) > 1 else tuple(names)
    evaluate = options(EvaluateOptions, "evaluate", systems=systems, name=name, limit=limit)
    steps += [RecipeStep("stack", name, stack)] * (len(names) > 1)
    steps += [RecipeStep("evaluate", name, evaluate)]
    return [step for step in steps if not only or step.stage in only]


def count_networks(options: TrainOptions) -> int:
    """Return the number of networks that processes can train at the same time."""
    together = not options.folds or options.overwrite
    return 1 if together else options.folds + options.main


def take_part(steps: Sequence[RecipeStep], part: tuple[int, int]) -> list[RecipeStep]:
    """Return part i of n of the steps: a part of the utterances, or every n-th training.

    With more parts than trainings, the networks of a training are divided too.

    Raises:
        UsageError: A step cannot be divided, because it reads the output of all others.
    """
    found: list[RecipeStep] = []
    whole: dict[str, list[RecipeStep]] = {}
    divide = part[1] > sum(step.stage == "train" for step in steps)
    for step in steps:
        if step.stage in ("transcribe", "extract"):
            cut = replace(step.options, shard=f"{part[0]}/{part[1]}")
            found.append(replace(step, options=cut))
        elif step.stage == "train" and divide and (size := count_networks(step.options)) > 1:
            cuts = [replace(step.options, shard=f"{k}/{size}") for k in range(1, size + 1)]
            whole.setdefault(step.stage, []).extend(replace(step, options=cut) for cut in cuts)
        elif step.stage in ("train", "export-logits"):
            whole.setdefault(step.stage, []).append(step)
        elif part[1] > 1:
            raise UsageError(
                f"--shard divides transcribe, extract, train and export-logits, not {step.stage}. "
                f"Name a stage, such as: --only extract"
            )
        else:
            found.append(step)
    return found + [step for own in whole.values() for step in own[part[0] - 1 :: part[1]]]


def _choose(encoder: str, layers: tuple[int, ...], limit: int | None) -> dict[str, Any]:
    """Return the options to extract all layers of an encoder in one pass."""
    return {"encoder": encoder, "layer": layers if len(layers) > 1 else layers[0], "limit": limit}


def _make_room(workspace: Workspace, recipe: Recipe, model: TrainOptions) -> TrainOptions:
    """Prefix a run's name with the recipe's if a run of another recipe has the same name."""
    name = choose_run_name(workspace.runs, model)
    if model.name or not list_other_options(workspace.runs / name, model):
        return model
    return replace(model, name=f"{recipe.name}-{name}")


def _refuse_equal(workspace: Workspace, names: Sequence[str], recipe: Recipe) -> None:
    """Refuse two runs of one name, and a run with the name of the stacker."""
    if equal := [name for name, number in Counter(names).items() if number > 1]:
        raise ConfigError(
            f"{recipe.path}: several [[models]] have the name '{equal[0]}'. Rename one."
        )
    is_run = recipe.name in names or (workspace.runs / recipe.name / "logits").is_dir()
    if len(names) > 1 and is_run:
        raise ConfigError(
            f"{recipe.path}: the run '{recipe.name}' has the name of the recipe, which is that of "
            f"its stacker. Rename the model or the recipe."
        )


def _refuse_other_run(folder: Path, model: TrainOptions, recipe: Recipe) -> None:
    """Refuse a finished run that the recipe would take for its own."""
    other = list_other_options(folder, model)
    if other and not model.overwrite and (folder / SUMMARY).is_file():
        raise CheckpointError(
            f"'{folder}' holds a run of other options ({first_few(other)}). Give the model "
            f"another name in {recipe.path}, delete the folder, or add overwrite = true "
            f"under [train]."
        )


def _refuse_other_stacker(workspace: Workspace, recipe: Recipe, wanted: StackOptions) -> None:
    """Refuse to evaluate a stacker of other options, which the recipe would take for its own."""
    if other := list_other_stacking(workspace, wanted):
        raise CheckpointError(
            f"Stacker '{wanted.name}' was fitted with other options ({first_few(other)}). Run: "
            f"serctl run {shlex.quote(str(recipe.path))} --only stack --only evaluate"
        )


def list_other_stacking(workspace: Workspace, wanted: StackOptions) -> list[str]:
    """Return the options of a fitted stacker that differ from ``wanted``; [] without a stacker."""
    path = workspace.stackers / wanted.name / STACKER_FILE
    if not path.is_file():
        return []
    made = StackerDocument.read(path).options
    settled = {"name", "compare"}
    if wanted.stacker == AUTO:
        settled |= {"stacker", "balance"}
    if made.get("stacker") == AVERAGE:  # it replaces any stacker if folds are broken
        settled |= {"stacker", "balance", "draws", "fold"}
    return [
        f"{name} {made[name]}, now {value}"
        for name, value in json.loads(json.dumps(options_to_dict(wanted))).items()
        if name not in settled and made.get(name, value) != value
    ]


def _keep_own_words(workspace: Workspace, recipe: Recipe) -> bool:
    """Whether transcripts of the manifest are used: by serctl.toml, recipe, or existing ones.

    A recipe's recogniser does not replace transcripts that the user took from the manifest.
    """
    stated = {**workspace.tables.get("transcribe", {}), **read_config(recipe.path, "transcribe")}
    return bool(stated.get("from_manifest", read_source(workspace.transcripts) == FROM_MANIFEST))

"""`serctl run`: run all stages of a recipe and write the page of its evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serctl.config import Workspace
from serctl.encoding.shards import parse_shard
from serctl.options import ReportOptions
from serctl.pipeline.execute import IN_TURN, Execution, run_steps
from serctl.pipeline.recipe import Recipe, RecipeStep, plan_recipe, read_plan, take_part
from serctl.stages.report import report


@dataclass(frozen=True)
class PipelineResult:
    """Result of a recipe.

    Attributes:
        recipe: The recipe.
        steps: Every step with its result, in the order in which they finished.
        report: Page of the evaluation; None without the stage `evaluate`.
    """

    recipe: Recipe
    steps: tuple[tuple[RecipeStep, Any], ...]
    report: Path | None = None


def run(
    workspace: Workspace,
    recipe: str | Path,
    *,
    only: Sequence[str] = (),
    limit: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    shard: str = "",
    execution: Execution = IN_TURN,
) -> PipelineResult:
    """Run all stages of a recipe. Finished stages are skipped.

    Args:
        workspace: The project.
        recipe: Name of a shipped recipe, or path of a TOML file.
        only: Stages to run; all if empty.
        limit: Use only this many utterances, balanced over splits and emotions.
        device: Device of every training; None leaves it to the recipe.
        seed: Seed of every training; None leaves it to the recipe.
        shard: Part i/n of the stages that ``only`` names, or ``auto``: see `parse_shard`.
        execution: Processes or workers, and what receives the reports of the steps.

    Raises:
        SerctlError: A stage failed. The results of the stages before it are kept.
    """
    flags: dict[str, Any] = {"limit": limit, "device": device, "seed": seed}
    plan = read_plan(str(recipe), workspace, **flags)
    done: list[tuple[RecipeStep, Any]] = []

    def note(step: RecipeStep, result: Any) -> None:
        done.append((step, result))
        execution.report(step, result)

    steps = plan_recipe(workspace, plan, only=only, limit=limit)
    if shard:
        steps = take_part(steps, parse_shard(shard))
    run_steps(workspace, steps, replace(execution, report=note))
    page = None
    if done and done[-1][0].stage == "evaluate":
        name = done[-1][1].report.stem
        page = report(workspace, ReportOptions(name=name), progress=execution.progress).output
    return PipelineResult(plan, tuple(done), page)

"""`serctl run`: all stages of a recipe, and the page of its evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serctl.config import Workspace
from serctl.encoding.shards import parse_shard
from serctl.options import ReportOptions
from serctl.pipeline.execute import Log, Tell, run_steps
from serctl.pipeline.recipe import Recipe, Step, plan_steps, read_plan, take_part
from serctl.progress import Progress, silent
from serctl.stages.report import report


@dataclass(frozen=True)
class PipelineResult:
    """What a recipe did.

    Attributes:
        recipe: The recipe.
        steps: Every step with its result, in the order in which they ended.
        report: Page of the evaluation; None if the recipe was run without `evaluate`.
    """

    recipe: Recipe
    steps: tuple[tuple[Step, Any], ...]
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
    jobs: int = 1,
    scheduler: str = "",
    tell: Tell = lambda step, result: None,
    log: Log = lambda line: None,
    log_epoch: Log = lambda line: None,
    progress: Progress = silent,
) -> PipelineResult:
    """Run all stages of a recipe. A stage that is finished is not run again.

    Args:
        workspace: The project; with a ``scheduler``, on a file system that all workers share.
        recipe: Name of a shipped recipe, or path of a TOML file.
        only: Stages to run; all if empty.
        limit: Use only this many utterances, balanced over splits and emotions.
        device: Device of every training; None leaves it to the recipe.
        seed: Seed of every training; None leaves it to the recipe.
        shard: Part i/n of the stages that ``only`` names, or ``auto``: see `parse_shard`.
        jobs: Number of trainings at the same time.
        scheduler: Address of a Dask scheduler whose workers extract and train; or ``local``.
        tell: Called with each finished step and its result.
        log: Receives notes and errors of steps under way.
        log_epoch: Receives a line for every epoch.
        progress: Shows the progress of each stage.

    Raises:
        SerctlError: A stage failed. The results of the stages before it are kept.
    """
    flags: dict[str, Any] = {"limit": limit, "device": device, "seed": seed}
    plan = read_plan(str(recipe), workspace, **flags)
    done: list[tuple[Step, Any]] = []

    def note(step: Step, result: Any) -> None:
        done.append((step, result))
        tell(step, result)

    steps = plan_steps(workspace, plan, only=only, limit=limit)
    if shard:
        steps = take_part(steps, parse_shard(shard))
    run_steps(
        workspace,
        steps,
        jobs=jobs,
        scheduler=scheduler,
        tell=note,
        log=log,
        log_epoch=log_epoch,
        progress=progress,
    )
    page = None
    if done and done[-1][0].stage == "evaluate":
        name = done[-1][1].report.stem
        page = report(workspace, ReportOptions(name=name), progress=progress).output
    return PipelineResult(plan, tuple(done), page)

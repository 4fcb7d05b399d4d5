"""`serctl run`."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt, ProjectOpt
from serctl.cli.signature import take_option
from serctl.config import open_workspace
from serctl.errors import UsageError, count
from serctl.options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from serctl.pipeline import Step
    from serctl.pipeline.estimate import Estimate


def run(
    recipe: Annotated[
        str, typer.Argument(help="demo, small, paper, released, or a TOML file.")
    ] = "",
    recipe_flag: Annotated[
        str, typer.Option("--recipe", help="The recipe as a flag; it overrides the argument.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this stage; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Trainings at a time.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option("--dask", help="Extract and train on the workers of this Dask scheduler."),
    ] = None,
    project: ProjectOpt = None,
    limit: take_option(TrainOptions, "limit") = None,  # type: ignore[valid-type]
    device: take_option(TrainOptions, "device") = None,  # type: ignore[valid-type]
    seed: take_option(TrainOptions, "seed") = None,  # type: ignore[valid-type]
    as_json: JsonOpt = False,
) -> None:
    """Run all stages of a recipe; what is finished is not done again."""
    from serctl.pipeline import plan_steps, read_plan
    from serctl.pipeline.execute import run_steps

    if not (recipe_flag or recipe):
        raise UsageError("No recipe is named. Name one, such as: serctl run demo")
    workspace = open_workspace(project)
    plan = read_plan(recipe_flag or recipe, workspace, limit=limit, device=device, seed=seed)
    steps = plan_steps(workspace, plan, only=only or (), limit=limit)
    console.say(plan.title)
    if dry_run:
        from serctl.pipeline.estimate import estimate_steps

        estimates = estimate_steps(workspace, steps)
        console.show(estimates, show_plan(estimates), as_json=as_json)
        return
    told: dict[str, None] = {}
    failed: list[bool] = []

    def tell(step: "Step", result: Any) -> None:
        _tell(step, result, told)
        failed.append(bool(getattr(result, "failed", 0)))

    def log(line: str) -> None:
        if not line.startswith("Note: ") or line not in told:
            console.say(line)
        told[line] = None

    result = run_steps(
        workspace,
        steps,
        jobs=jobs,
        scheduler=dask or "",
        tell=tell,
        log=log,
        progress=console.progress,
    )
    if plan.note:
        console.say(plan.note)
    last = import_module(f"serctl.cli.{steps[-1].stage.replace('-', '_')}")
    console.show(result, last.describe(result), as_json=as_json)
    if steps[-1].stage == "evaluate" and not as_json:
        console.hint("serctl report")
    if any(failed):
        raise typer.Exit(3)


def show_plan(estimates: "Sequence[Estimate]") -> "Table":
    """Return the plan as a table with its sums."""
    rows = [[e.stage, e.what, e.state, _size(e.bytes), _minutes(e.seconds)] for e in estimates]
    trainings = [e for e in estimates if e.stage == "train"]
    disk = sum(e.bytes or 0 for e in estimates)
    known = [e.seconds for e in trainings if e.seconds is not None]
    rows.append(
        ["sum", "", count(len(trainings), "model"), _size(disk), _minutes(sum(known) or None)]
    )
    return console.table("", ["stage", "what", "state", "disk", "time"], rows)


def _size(count: int | None) -> str:
    return (
        "" if count is None else f"{count / 1e9:.2f} GB" if count > 1e8 else f"{count / 1e6:.1f} MB"
    )


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.0f} min"


def _tell(step: "Step", result: Any, told: dict[str, None]) -> None:
    """Tell on stderr what a step did, and once what is to be known of it.

    The table of the last step goes to stdout.
    """
    if step.stage != "evaluate":
        command = import_module(f"serctl.cli.{step.stage.replace('-', '_')}")
        console.err.print(command.describe(result), markup=False, soft_wrap=True)
    lines = [f"Warning: {warning}" for warning in getattr(result, "warnings", ())]
    if step.stage in ("train", "export-logits", "stack"):
        lines += [f"Note: {note}" for note in result.notes]
    for line in lines:
        if line not in told:
            console.say(line)
    told |= dict.fromkeys(lines)

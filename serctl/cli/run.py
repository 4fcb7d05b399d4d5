"""`serctl run`."""

import shlex
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serctl.cli import console
from serctl.cli.options import DaskOpt, JsonOpt, ProjectOpt
from serctl.cli.signature import take_option
from serctl.cli.steps import STAGE_WIDTH, describe_step
from serctl.cli.train import VerboseOpt
from serctl.config import Workspace, open_workspace, resolve_options
from serctl.errors import UsageError, count, name_size
from serctl.options import ExtractOptions, SlurmOptions, TrainOptions
from serctl.options.idle import refuse_idle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text

    from serctl.pipeline import RecipeStep
    from serctl.pipeline.estimate import Estimate
    from serctl.pipeline.execute import Execution
    from serctl.pipeline.run import PipelineResult
    from serctl.pipeline.slurm import Job


RecipeArg = Annotated[
    str, typer.Argument(help="Recipe: demo, small, paper, released, challenge, or a TOML file.")
]
RecipeOpt = Annotated[
    str, typer.Option("--recipe", help="The recipe as a flag. It overrides the argument.")
]
OnlyOpt = Annotated[
    list[str] | None, typer.Option("--only", help="Run only this stage. May be repeated.")
]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print the plan without running it.")]
JobsOpt = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Number of parallel trainings.")]
SlurmOpt = Annotated[
    Path | None,
    typer.Option(help="Write Slurm job files into this folder and report missing tasks."),
]
SubmitOpt = Annotated[bool, typer.Option("--submit", help="Submit the missing tasks of --slurm.")]


def run(
    recipe: RecipeArg = "",
    recipe_flag: RecipeOpt = "",
    only: OnlyOpt = None,
    dry_run: DryRunOpt = False,
    jobs: JobsOpt = 1,
    dask: DaskOpt = None,
    shard: take_option(ExtractOptions, "shard") = None,  # type: ignore[valid-type]
    slurm: SlurmOpt = None,
    submit: SubmitOpt = False,
    project: ProjectOpt = None,
    limit: take_option(TrainOptions, "limit") = None,  # type: ignore[valid-type]
    device: take_option(TrainOptions, "device") = None,  # type: ignore[valid-type]
    seed: take_option(TrainOptions, "seed") = None,  # type: ignore[valid-type]
    verbose: VerboseOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Run all stages of a recipe. Finished stages are skipped."""
    from serctl.pipeline import plan_recipe, read_plan
    from serctl.pipeline.estimate import estimate_steps
    from serctl.pipeline.run import run as run_recipe

    if not (recipe := recipe_flag or recipe):
        raise UsageError("No recipe given. Name one, such as: serctl run demo")
    if submit and not slurm:
        raise UsageError("--submit needs --slurm DIR, the folder of the job files.")
    if slurm:
        asked = {"--dry-run": dry_run, "--jobs": jobs > 1, "--dask": dask, "--shard": shard}
        refuse_idle(asked, "with --slurm", "job files are written")
    if dry_run:
        refuse_idle({"--shard": shard}, "with --dry-run", "the plan of all parts is printed")
    workspace, given = open_workspace(project), {"limit": limit, "device": device, "seed": seed}
    plan = read_plan(recipe, workspace, **given)
    console.say(plan.title)
    if slurm or dry_run:
        steps = plan_recipe(workspace, plan, only=only or (), limit=limit)
        if slurm:
            flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
            _write_jobs(workspace, recipe, steps, slurm, flags, submit, as_json)
        else:
            estimates = estimate_steps(workspace, steps)
            console.show(estimates, show_plan(estimates), as_json=as_json)
        return
    execution = _execute(jobs, dask or "", verbose)
    part: dict[str, Any] = {"only": only or (), "shard": shard or "", **given}
    _show_result(run_recipe(workspace, recipe, **part, execution=execution), as_json)


def _write_jobs(
    workspace: Workspace,
    recipe: str,
    steps: "Sequence[RecipeStep]",
    folder: Path,
    flags: "Sequence[str]",
    submit: bool,
    as_json: bool,
) -> None:
    """Write the job files of missing tasks, and optionally submit them."""
    from serctl.pipeline.slurm import write_jobs

    table = resolve_options(SlurmOptions, "slurm", workspace)
    written = write_jobs(workspace, recipe, steps, folder, table, flags, submit=submit)
    console.show(written, show_jobs(written), as_json=as_json)
    if not submit and any(job.indexes("new", "failed") for job in written):
        console.hint(shlex.join(["serctl", "run", recipe, "--slurm", str(folder), "--submit"]))


def _execute(jobs: int, scheduler: str, verbose: bool) -> "Execution":
    """Return how steps are run, each reported on stderr."""
    from serctl.pipeline.execute import Execution

    say_once = console.make_say_once()
    return Execution(
        jobs=jobs,
        scheduler=scheduler,
        report=lambda step, result: _report(step, result, say_once),
        log=say_once,
        log_epoch=console.say if verbose else lambda line: None,
        progress=console.progress,
    )


def _show_result(done: "PipelineResult", as_json: bool) -> None:
    """Show the result of the last step.

    Raises:
        Exit: With code 3 if utterances were left out.
    """
    if done.recipe.note:
        console.say(" ".join(done.recipe.note.split()))
    if not done.steps:
        console.say("No work for this part.")
        return
    last, result = done.steps[-1]
    command = import_module(f"serctl.cli.{last.stage.replace('-', '_')}")
    console.show(result, command.describe(result), as_json=as_json)
    if done.report:
        console.say(f"Report: {done.report}")
        if not as_json:
            console.hint_page(done.report)
    if any(getattr(result, "failed", 0) for _, result in done.steps):
        raise typer.Exit(3)


def show_jobs(jobs: "Sequence[Job]") -> "Text":
    """Return the state of each array, and the logs of the tasks that failed."""
    states = ("done", "queued", "failed", "new")
    rows = []
    for job in jobs:
        logs = [str(task.log) for task in job.tasks if task.state == "failed"]
        numbers = [str(len(job.indexes(state))) for state in states]
        rows.append([job.name, *numbers, job.submitted])
        for log in logs:
            console.say(f"Failed: {log}")
    return console.table("", ["job", *states, "submitted as"], rows)


def show_plan(estimates: "Sequence[Estimate]") -> "Text":
    """Return the plan as a table with its sums. On a narrow terminal, a stage heads its rows."""
    rows = [[e.stage, e.what, e.state, _size(e.bytes), _minutes(e.seconds)] for e in estimates]
    trainings = [e for e in estimates if e.stage == "train"]
    disk = sum(e.bytes or 0 for e in estimates)
    known = [e.seconds for e in trainings if e.seconds is not None]
    rows.append(
        ["sum", "", count(len(trainings), "model"), _size(disk), _minutes(sum(known) or None)]
    )
    columns = ["stage", "what", "state", "disk", "time"]
    if console.fits(columns, rows):
        return console.table("", columns, rows)
    narrow: list[list[str]] = []
    for stage, rows_of_stage in groupby(rows, key=lambda row: row[0]):
        outcomes = [(row[1], ", ".join(filter(None, row[2:]))) for row in rows_of_stage]
        alone = not outcomes[0][0]
        narrow += [[stage, outcomes[0][1]]] if alone else [[stage, ""]]
        narrow += [] if alone else [[f"  {what}", outcome] for what, outcome in outcomes]
    return console.table("", ["what", "state"], narrow)


def _size(size: int | None) -> str:
    return "" if size is None else name_size(size)


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.0f} min"


def _report(step: "RecipeStep", result: Any, say_once: "Callable[[str], None]") -> None:
    """Print the outcome of a step on stderr, and each warning and note once."""
    if line := describe_step(step, result):
        console.say(line, indent=STAGE_WIDTH + 2)
    if verdict := getattr(result, "verdict", ""):
        console.say(verdict)
    for warning in getattr(result, "warnings", ()):
        say_once(f"Warning: {warning}")
    if step.stage in ("train", "export-logits", "stack"):
        for note in result.notes:
            say_once(f"Note: {note}")

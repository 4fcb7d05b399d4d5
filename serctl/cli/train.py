"""`serctl train`."""

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import TrainOptions
from serctl.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from serctl.stages.train import TrainResult
    from serctl.training.run_trainer import RunResult

VerboseOpt = Annotated[bool, typer.Option("--verbose", "-v", help="Print one line per epoch.")]


@with_options(TrainOptions, "train")
def train(
    workspace: Workspace,
    options: TrainOptions,
    verbose: VerboseOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Train a fusion network or a pooled model on cached frames."""
    from serctl.stages import train as stage
    from serctl.training.ranks import read_place

    first = read_place()[0] == 0
    say_once = console.make_say_once()
    result = stage.train(
        workspace,
        options,
        progress=console.progress if first else silent,
        log=say_once,
        log_epoch=console.say if verbose else lambda line: None,
    )
    if not first:
        return
    for note in result.notes:
        say_once(f"Note: {note}")
    console.show(result, describe(result), as_json=as_json)
    if not as_json:
        if result.deviation:
            console.out.print(show_seeds(result))
        if options.profile and result.runs:
            console.out.print(show_profile(result))
        if not options.shard:
            console.hint(f"serctl export-logits {result.runs[0].name}")


def describe(result: "TrainResult") -> "Text":
    """Return a row for each run, with the rows of its fold models under it."""
    return show_runs([*result.runs, *result.folds])


def show_runs(runs: "Sequence[RunResult]") -> "Text":
    """Return a table of trained models: epoch kept or number of fits, dev metric and seconds."""
    main = [run for run in runs if " fold " not in run.name] or runs
    rows = []
    for run in main:
        folds = [fold for fold in runs if fold.name.startswith(f"{run.name} fold ")]
        rows.append(_to_row(run.name, run, len(folds) or 1))
        rows += [_to_row("  " + f.name[len(run.name) + 1 :].split("/")[0], f) for f in folds]
    kept = "epoch kept" if any(run.summary.epochs for run in runs) else "fits"
    return console.table("", ["run", kept, "dev macro-F1", "seconds"], rows)


def _to_row(name: str, run: "RunResult", fits: int = 1) -> list[str]:
    """Return a row of `show_runs`. Seconds in brackets are of an earlier training."""
    found = run.summary
    metric = f"{found.metrics['dev_macro_f1']:.3f}" if found.metrics else "-"
    seconds = f"{found.seconds:,.0f}"
    kept = f"{found.best_epoch} of {found.epochs}" if found.epochs else str(fits)
    return [name, kept, metric, f"({seconds})" if run.present else seconds]


def show_seeds(result: "TrainResult") -> "Text":
    """Return mean and standard deviation of the dev metrics over seeds."""
    rows = [
        [name.removeprefix("dev_"), f"{mean:.3f}", f"{result.deviation[name]:.3f}"]
        for name, mean in result.mean.items()
    ]
    columns = [f"dev, {len(result.runs)} seeds", "mean", "standard deviation"]
    return console.table("", columns, rows)


def show_profile(result: "TrainResult") -> "Text":
    """Return seconds and shares of loading, forward, backward, step and evaluation."""
    run = result.runs[-1]
    seconds = run.summary.profile
    total = sum(seconds.values()) or 1.0
    rows = [[name, f"{value:.2f}", f"{value / total:.1%}"] for name, value in seconds.items()]
    return console.table(f"Time of {run.name}", ["part", "seconds", "share"], rows)

"""`serctl train`."""

from typing import TYPE_CHECKING

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import TrainOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.stages.train import RunResult, TrainResult


@with_options(TrainOptions, "train")
def train(workspace: Workspace, options: TrainOptions, as_json: JsonOpt = False) -> None:
    """Train a fusion network on cached frames. More options in recipes: docs/training.md."""
    from serctl.stages import train as stage

    told: list[str] = []

    def log(line: str) -> None:
        told.append(line)
        console.say(line)

    result = stage.train(workspace, options, progress=console.progress, log=log)
    for line in (f"Note: {note}" for note in result.notes):
        if line not in told:
            console.say(line)
    console.show(result, describe(result), as_json=as_json)
    if not as_json:
        if options.profile:
            console.out.print(show_profile(result))
        console.hint(f"serctl export-logits {result.runs[0].name}")


def describe(result: "TrainResult") -> str:
    """Return a line for each network, and mean and deviation over seeds."""
    lines = [_describe_run(run) for run in (*result.runs, *result.folds)]
    if result.deviation:
        shown = ", ".join(
            f"{name.removeprefix('dev_')} {result.mean[name]:.3f} ± {result.deviation[name]:.3f}"
            for name in result.mean
        )
        lines.append(f"mean ± deviation of {len(result.runs)} seeds on dev: {shown}")
    return "\n".join(lines)


def _describe_run(run: "RunResult") -> str:
    found = run.summary
    state = "already trained" if run.present else f"trained in {found.seconds:,.0f} s"
    line = f"{run.name}: {state}, epoch {found.best_epoch} of {found.epochs} kept"
    line += f" ({found.chosen_because})"
    if metrics := found.metrics:
        line += f", dev macro-F1 {metrics['dev_macro_f1']:.3f} BS-F1 {metrics['dev_bs_f1']:.3f}"
    if found.skipped:
        line += f"; {found.skipped} utterances skipped (no emotion, or unread)"
    return line


def show_profile(result: "TrainResult") -> "Table":
    """Return seconds and shares of loading, forward, backward, step and evaluation."""
    run = result.runs[-1]
    seconds = run.summary.profile
    total = sum(seconds.values()) or 1.0
    rows = [[name, f"{value:.2f}", f"{value / total:.1%}"] for name, value in seconds.items()]
    return console.table(f"Where the time of {run.name} went", ["part", "seconds", "share"], rows)

"""`serctl train`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, JsonOpt, LimitOpt, ProjectOpt, SeedOpt
from serctl.config import open_workspace, resolve_options
from serctl.options import TrainOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.stages.train import RunResult, TrainResult

NETWORK, OPTIMISATION, RUN = "Network", "Optimisation", "Run"


def _flag(help_: str, default: str = "", panel: str | None = None, *names: str, **more: Any) -> Any:
    return typer.Option(
        *names, help=help_, show_default=default or False, rich_help_panel=panel, **more
    )


def train(
    speech: Annotated[list[str] | None, _flag("Speech encoder; may be repeated.")] = None,
    text: Annotated[list[str] | None, _flag("Text encoder.")] = None,
    paralinguistic: Annotated[list[str] | None, _flag("Such as facodec, egemaps.")] = None,
    loss: Annotated[str | None, _flag("wce or wce+sml.", "wce")] = None,
    recipe: Annotated[str | None, _flag("paper, released, small, demo, or a TOML file.")] = None,
    hidden: Annotated[int | None, _flag("Width of the network.", "512", NETWORK, min=1)] = None,
    dropout: Annotated[
        float | None, _flag("In attention and heads.", "0.5", NETWORK, min=0, max=1)
    ] = None,
    pooling: Annotated[
        str | None, _flag("vector, linear or statistics.", "vector", NETWORK)
    ] = None,
    epochs: Annotated[int | None, _flag("At most.", "20", OPTIMISATION, min=1)] = None,
    learning_rate: Annotated[
        float | None, _flag("Of the first epoch.", "1e-5", OPTIMISATION, min=0)
    ] = None,
    batch_size: Annotated[
        int | None, _flag("Utterances a step.", "64", OPTIMISATION, min=1)
    ] = None,
    balance: Annotated[
        str | None,
        _flag("on: half of each batch neutral; off.", "on with wce+sml", OPTIMISATION),
    ] = None,
    precision: Annotated[
        str | None, _flag("float32, bfloat16 or float16.", "float32", OPTIMISATION)
    ] = None,
    patience: Annotated[
        int | None,
        _flag("Stop after so many epochs without a better one.", "never", OPTIMISATION, min=0),
    ] = None,
    select_by: Annotated[
        str | None,
        _flag("Keep the epoch best in macro_f1 or bs_f1 on dev, or the last.", "macro_f1", RUN),
    ] = None,
    fit_on: Annotated[str | None, _flag("train or train+dev.", "train", RUN)] = None,
    folds: Annotated[
        int | None, _flag("Also K fold models, for out-of-fold logits.", "", RUN, min=2)
    ] = None,
    heldout: Annotated[
        bool | None, _flag("Leave a tenth of train to the stacker.", "", RUN, "--heldout")
    ] = None,
    seed: SeedOpt = None,
    seeds: Annotated[int | None, _flag("Runs, with consecutive seeds.", "1", RUN, min=1)] = None,
    name: Annotated[str | None, _flag("Of the run.", "encoders-loss-seed", RUN)] = None,
    overwrite: Annotated[
        bool | None, _flag("Replace the run of that name.", "", RUN, "--overwrite")
    ] = None,
    profile: Annotated[
        bool | None, _flag("Show where the time goes.", "", RUN, "--profile")
    ] = None,
    device: DeviceOpt = None,
    limit: LimitOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Train a fusion network on cached frames. More options stand in recipes: docs/training.md."""
    workspace = open_workspace(project)
    options = resolve_options(
        TrainOptions,
        "train",
        workspace,
        config,
        speech=tuple(speech) if speech else None,
        text=tuple(text) if text else None,
        paralinguistic=tuple(paralinguistic) if paralinguistic else None,
        recipe=recipe,
        loss=loss,
        hidden=hidden,
        dropout=dropout,
        pooling=pooling,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        balance=balance,
        precision=precision,
        patience=patience,
        select_by=select_by,
        fit_on=fit_on,
        folds=folds,
        heldout=heldout,
        seed=seed,
        seeds=seeds,
        name=name,
        overwrite=overwrite,
        profile=profile,
        device=device,
        limit=limit,
    )

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

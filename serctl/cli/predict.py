"""`serctl predict`."""

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import count
from serctl.options import PredictOptions
from serctl.progress import silent


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    textgrid = "textgrid"


@with_options(PredictOptions, "predict", needs_project=False)
def predict(
    workspace: Workspace | None,
    options: PredictOptions,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the predictions.")
    ] = Format.table,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; a folder for TextGrids."),
    ] = None,
    per_model: Annotated[
        bool, typer.Option("--per-model", help="Add the predictions of each network of a stacker.")
    ] = False,
) -> None:
    """Predict the emotion of every utterance in recordings, with probabilities."""
    names = [
        name
        for given in options.audio
        for name in (sys.stdin.read().splitlines() if given == "-" else [given])
        if name
    ]
    options = replace(options, audio=tuple(names))
    from serctl.cli import predictions
    from serctl.stages import predict as stage

    paths = stage.find_audio(options.audio)
    predictions.check_output(form.value, paths, output)
    # Rows on the terminal are progress themselves; a bar would share their lines.
    bar = console.progress if output or not sys.stdout.isatty() else silent
    console.say(f"Loading {options.model} for {count(len(paths), 'recording')}")
    with predictions.open_output(form.value, paths, output, per_model) as tell:
        result = stage.predict(workspace, options, tell=tell, progress=bar)
    for note in result.notes:
        console.say(note)
    for name, start, reason in result.failures:
        console.say(f"Left out: {name} at {start:.1f} s: {reason}")
    console.say(stage.speed_of(result))
    if result.failures:
        raise typer.Exit(3)

"""`serctl predict`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, ProjectOpt
from serctl.config import find_workspace, resolve_options
from serctl.errors import count
from serctl.options import PredictOptions
from serctl.progress import silent


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    textgrid = "textgrid"


def predict(
    audio: Annotated[
        list[str] | None,
        typer.Argument(help="Files or folders; - reads a list of them from stdin."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Bundle (folder, or hf:OWNER/NAME@COMMIT), stacker or run."
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="How to write what was found.")
    ] = Format.table,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File; for TextGrids a folder.", show_default="stdout"),
    ] = None,
    per_model: Annotated[
        bool, typer.Option("--per-model", help="Also what each network of a stacker says.")
    ] = False,
    transcripts: Annotated[
        str | None,
        typer.Option(help="CSV utterance_id,text (id: the file's stem): no recognition, no cuts."),
    ] = None,
    recogniser: Annotated[
        str | None, typer.Option(help="Another Whisper than the one that the model learnt with.")
    ] = None,
    cut_over: Annotated[
        float | None,
        typer.Option(
            min=0, help="Cut recordings of more seconds at their pauses.", show_default="30"
        ),
    ] = None,
    segment_seconds: Annotated[
        float | None, typer.Option(min=1, help="Longest segment.", show_default="11")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="How frequent emotions are: as-trained, natural (as in dev), balanced, or a JSON "
            "or TOML file.",
            show_default="as-trained",
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Name no emotion less probable.", show_default="0"),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="NAME=DIR: checkpoint of an encoder; may be repeated."),
    ] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(min=0, help="Padded seconds in a batch.", show_default="60")
    ] = None,
    one_at_a_time: Annotated[
        bool | None,
        typer.Option("--one-at-a-time", help="Hold one encoder in memory; slower to begin."),
    ] = None,
    device: DeviceOpt = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Tell what cannot be judged, go on.")
    ] = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
) -> None:
    """Judge recordings: the emotion of every utterance, with probabilities."""
    workspace = find_workspace(project)
    names = [
        name
        for given in audio or ()
        for name in (sys.stdin.read().splitlines() if given == "-" else [given])
        if name
    ]
    options = resolve_options(
        PredictOptions,
        "predict",
        workspace,
        config,
        audio=tuple(names),
        model=model,
        transcripts=transcripts,
        recogniser=recogniser,
        cut_over=cut_over,
        segment_seconds=segment_seconds,
        prior=prior,
        abstain_below=abstain_below,
        weights=tuple(weights) if weights else None,
        batch_seconds=batch_seconds,
        one_at_a_time=one_at_a_time,
        device=device,
        skip_bad=skip_bad,
    )
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

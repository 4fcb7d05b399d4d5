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
from serctl.errors import UnknownNameError, UsageError, count
from serctl.options import OVER_TIME, PredictOptions
from serctl.progress import silent


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    textgrid = "textgrid"
    rttm = "rttm"


SUFFIXES = {
    ".csv": Format.csv,
    ".jsonl": Format.jsonl,
    ".rttm": Format.rttm,
    ".txt": Format.table,
}
"""Suffixes of ``--output`` that imply a format."""

FormatOpt = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        help="Format of the predictions: table, csv, jsonl, textgrid or rttm.",
        metavar="TEXT",
        show_default="by the suffix of --output; on stdout table",
    ),
]
OutputOpt = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write, - for stdout; a folder for TextGrids."),
]
PerModelOpt = Annotated[
    bool, typer.Option("--per-model", help="Add the predictions of each network of a stacker.")
]
PlotOpt = Annotated[
    Path | None,
    typer.Option(
        help="Page or picture of the timeline: FILE.html, FILE.png, or a folder for several.",
        metavar="FILE",
        rich_help_panel=OVER_TIME,
    ),
]


@with_options(PredictOptions, "predict", needs_project=False)
def predict(
    workspace: Workspace | None,
    options: PredictOptions,
    form: FormatOpt = None,
    output: OutputOpt = None,
    per_model: PerModelOpt = False,
    plot: PlotOpt = None,
) -> None:
    """Predict the emotion of every utterance in recordings, with probabilities."""
    given = (_read_names() if one == "-" else [one] for one in options.audio)
    names = [name for part in given for name in part if name]
    options = replace(options, audio=tuple(names))
    output = None if output == Path("-") else output
    from serctl.cli import predictions
    from serctl.cli.prediction_checks import check_output
    from serctl.data.outputs import check_output_file
    from serctl.data.recordings import check_files, read_recordings
    from serctl.system.parts import check_model

    if output:
        check_output_file(workspace, output)
    form = form or choose_format(output)
    recordings, _ = read_recordings(options.audio)
    paths = list(dict.fromkeys(one.path for one in recordings))
    files = [Path(name) for name in (*names, options.transcripts, options.prior) if name]
    check_output(form.value, recordings, output, files)
    check_model(options.model, workspace)
    if not options.skip_bad:
        check_files(paths)
    loading = f"Loading {options.model} for {count(len(recordings), 'recording')}"
    # Rows on the terminal show the progress. A bar would share their lines.
    bar = console.progress if output or not sys.stdout.isatty() else silent
    if options.every:
        from serctl.cli.timelines import check_plot, show_timelines

        if per_model:
            raise UsageError("--per-model cannot be used with --every. Leave one of them out.")
        if plot is not None:
            check_plot(plot, paths)
        console.say(loading)
        show_timelines(workspace, options, paths, form.value, output, plot, bar)
        return
    check_over_time(options, form, plot)
    from serctl.stages import predict as stage

    console.say(loading)
    with predictions.open_output(form.value, paths, output, per_model) as report:
        result = stage.predict(workspace, options, report=report, progress=bar)
    for note in result.notes:
        console.say(note)
    for name, start, reason in result.failures:
        at = f" at {start:.1f} s" if start else ""
        console.say(f"Left out: {name}{at}: {reason}")
    console.say(stage.speed_of(result))
    if output:
        console.say(f"Wrote {output}.")
    if result.failures:
        raise typer.Exit(3)


def _read_names() -> list[str]:
    """Return the lines of stdin. Only a line feed ends one: names may hold other separators.

    Raises:
        UsageError: It holds a NUL, which no name does: a recording, or names from ``find -print0``.
    """
    text = sys.stdin.read()
    if "\0" in text:
        raise UsageError(
            "stdin holds binary data, expected the path of a recording on each line. For one "
            "recording: serctl predict /dev/stdin < FILE"
        )
    return [line.removesuffix("\r") for line in text.lstrip("\ufeff").split("\n")]


def choose_format(output: Path | None) -> Format:
    """Return the format that the suffix of a file implies; a table on stdout.

    Raises:
        UnknownNameError: The suffix implies none.
    """
    if output is None:
        return Format.table
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        hint = "Or name the format: --format csv. For Praat: --format textgrid --output DIR"
        raise UnknownNameError("suffix of --output", suffix, SUFFIXES, hint)
    return SUFFIXES[suffix]


def check_over_time(options: PredictOptions, form: Format, plot: Path | None) -> None:
    """Refuse flags of a timeline if ``--every`` is not given.

    Raises:
        UsageError: The flag, and the one to add.
    """
    asked = {"--plot": plot, "--format rttm": form is Format.rttm}
    asked["--channels"] = options.channels != "mix"
    for flag, given in asked.items():
        if given:
            raise UsageError(f"{flag} needs a timeline. Add: --every 1")

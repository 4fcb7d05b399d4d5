"""`serctl report`."""

from typing import Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, JsonOpt, ProjectOpt
from serctl.config import open_workspace, resolve_options
from serctl.errors import count
from serctl.options import ReportOptions


def report(
    name: Annotated[
        str | None, typer.Argument(help="Name of an evaluation (default: the newest).")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File to write.", show_default="reports/NAME.html"),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="html, md, csv, latex or json.", show_default="by the file's suffix"),
    ] = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Show an evaluation: one HTML page that opens offline, or a table for a paper."""
    from serctl.stages.report import report as run_report

    workspace = open_workspace(project)
    options = resolve_options(
        ReportOptions, "report", workspace, config, name=name, output=output, format=format
    )
    result = run_report(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(note)
    text = (
        f"{count(result.num_systems, 'system')} on {result.num_utterances} utterances, "
        f"as {result.format}: {result.output}"
    )
    console.show(result, text, as_json=as_json)

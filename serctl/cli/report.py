"""`serctl report`."""

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import count
from serctl.options import ReportOptions


@with_options(ReportOptions, "report")
def report(workspace: Workspace, options: ReportOptions, as_json: JsonOpt = False) -> None:
    """Write an evaluation as one HTML page that works offline, or as a table for a paper."""
    from serctl.stages.report import report as run_report

    result = run_report(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(note)
    text = (
        f"{count(result.num_systems, 'system')} on {result.num_utterances} utterances, "
        f"as {result.format}: {result.output}"
    )
    console.show(result, text, as_json=as_json)
    if result.format == "html" and not as_json:
        console.hint_page(result.output)

"""`serctl evaluate`."""

from typing import TYPE_CHECKING

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import EvaluateOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.stages.evaluate import EvaluateResult


@with_options(EvaluateOptions, "evaluate")
def evaluate(workspace: Workspace, options: EvaluateOptions, as_json: JsonOpt = False) -> None:
    """Judge all systems and baselines: a table with intervals, and whether a difference is real."""
    from serctl.stages.evaluate import evaluate as run_evaluate

    result = run_evaluate(workspace, options, progress=console.progress)
    if result.submission:
        text = f"{result.num_utterances} answers for '{result.split}' in {result.submission}"
        console.show(result, text, as_json=as_json)
        return
    for warning in result.warnings:
        console.say(f"Warning: {warning}")
    for note in result.notes:
        console.say(note)
    console.show(result, describe(result), as_json=as_json)
    for verdict in result.verdicts[:1]:  # the best against the next best; the report has them all
        console.say(verdict)
    console.say(f"Report: {result.markdown} (figures: {result.report})")
    if result.report and not as_json:
        console.hint(f"serctl report {result.report.stem}")


def describe(result: "EvaluateResult") -> "Table":
    """Return the table of all systems and baselines."""
    from serctl.evaluation.markdown import TABLE_COLUMNS, table_row

    title = f"Split '{result.split}', {result.num_utterances} utterances"
    return console.table(title, list(TABLE_COLUMNS), [table_row(row) for row in result.table])

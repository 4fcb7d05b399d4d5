"""`serctl evaluate`."""

from typing import TYPE_CHECKING

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import EvaluateOptions

if TYPE_CHECKING:
    from rich.text import Text

    from serctl.documents.report import SystemSummary
    from serctl.stages.evaluate import EvaluateResult

METHOD = ("BS-F1:", "95 % intervals:")
"""First words of the notes that explain the metrics."""
KINDS = {"run": "model", "stacker": "stack"}
"""Names of system kinds in the terminal, where they differ from those of the report."""


@with_options(EvaluateOptions, "evaluate")
def evaluate(workspace: Workspace, options: EvaluateOptions, as_json: JsonOpt = False) -> None:
    """Evaluate systems and baselines: metrics with confidence intervals and significance tests."""
    from serctl.stages.evaluate import evaluate as run_evaluate

    result = run_evaluate(workspace, options, progress=console.progress)
    for warning in result.warnings:
        console.say(f"Warning: {warning}")
    if result.submission:
        text = f"{result.num_utterances} predictions for '{result.split}' in {result.submission}"
        console.show(result, text, as_json=as_json)
        return
    for note in result.notes:
        if not note.startswith(METHOD):  # the report explains the metrics
            console.say(note)
    console.show(result, describe(result), as_json=as_json)
    for verdict in result.verdicts[:1]:  # the best two systems; the report compares all
        console.say(verdict)
    console.say(f"Report: {result.markdown}")
    if result.report and not as_json:
        console.hint(f"serctl report {result.report.stem}")


def describe(result: "EvaluateResult") -> "Text":
    """Return the table of all systems and baselines.

    Too few speakers give no meaningful interval. The column is then left out.
    """
    columns = ["system", "kind", "macro-F1", "95 % interval", "UAR", "accuracy", "BS-F1"]
    rows = [_to_row(system) for system in result.table]
    if not any(system.intervals for system in result.table):
        at = columns.index("95 % interval")
        columns, rows = [*columns[:at], *columns[at + 1 :]], [[*r[:at], *r[at + 1 :]] for r in rows]
    return console.table(f"{result.split}: {result.num_utterances:,} utterances", columns, rows)


def _to_row(system: "SystemSummary") -> list[str]:
    kind = KINDS.get(system.kind, system.kind)
    metrics = (system.uar, system.accuracy, system.bs_f1.mean)
    interval = "[{:.3f}, {:.3f}]".format(*system.intervals.macro_f1) if system.intervals else ""
    return [system.name, kind, f"{system.macro_f1:.3f}", interval, *(f"{m:.3f}" for m in metrics)]

"""`serctl evaluate`."""

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, JsonOpt, LimitOpt, ProjectOpt, SeedOpt
from serctl.config import open_workspace, resolve_options
from serctl.options import EvaluateOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.stages.evaluate import EvaluateResult


def evaluate(
    systems: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, stackers or CSV files (default: all); two are compared."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to judge on.", show_default="test if labelled, or dev")
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(help="Majority class and pooled frames.", show_default="--baselines"),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Utterances of a class in a BS-F1 subset.", show_default="200"),
    ] = None,
    subsets: Annotated[
        int | None, typer.Option(min=1, help="Balanced subsets of BS-F1.", show_default="100")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(min=1, help="Resamples of speakers.", show_default="1000")
    ] = None,
    submission: Annotated[
        str | None, typer.Option(help="Write the challenge's csv of one system here instead.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the report's files.", show_default="the split")
    ] = None,
    seed: SeedOpt = None,
    limit: LimitOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Judge all systems and baselines: a table with intervals, and whether a difference is real."""
    from serctl.stages.evaluate import evaluate as run_evaluate

    workspace = open_workspace(project)
    options = resolve_options(
        EvaluateOptions,
        "evaluate",
        workspace,
        config,
        systems=tuple(systems) if systems else None,
        split=split,
        baselines=baselines,
        per_class=per_class,
        subsets=subsets,
        resamples=resamples,
        submission=submission,
        name=name,
        seed=seed,
        limit=limit,
    )
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

"""`serctl stack`."""

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, JsonOpt, LimitOpt, ProjectOpt, SeedOpt
from serctl.config import open_workspace, resolve_options
from serctl.errors import count
from serctl.options import StackOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.ensemble.compare import StackerScore
    from serctl.stages.stack import StackResult


def stack(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or CSV files of outside systems (default: every run)."),
    ] = None,
    stacker: Annotated[
        str | None,
        typer.Option(
            help="random-forest, xgboost, logistic-regression, linear, mean-logits, "
            "mean-probabilities or majority-vote.",
            show_default="random-forest",
        ),
    ] = None,
    stack_on: Annotated[
        str | None,
        typer.Option(help="Fit on oof, heldout, dev or in-sample logits.", show_default="oof"),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(help="subset, weights or none, of the classes.", show_default="subset"),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, max=4, help="One of the five forests alone (paper: 4).")
    ] = None,
    compare: Annotated[
        bool | None, typer.Option("--compare", help="Cross-validate all stackers; fit none.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Speaker-disjoint folds of --compare and of dev.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the stacker's folder.")] = None,
    seed: SeedOpt = None,
    limit: LimitOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Combine the models: fit a second-level classifier on logits they did not train on."""
    from serctl.stages.stack import stack as run_stack

    workspace = open_workspace(project)
    options = resolve_options(
        StackOptions,
        "stack",
        workspace,
        config,
        models=tuple(models) if models else None,
        stacker=stacker,
        stack_on=stack_on,
        balance=balance,
        fold=fold,
        compare=compare,
        folds=folds,
        name=name,
        seed=seed,
        limit=limit,
    )
    result = run_stack(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(note)
    console.show(result, describe(result), as_json=as_json)
    if (found := result.comparison) is not None:
        for score in found.scores:
            if score.problem:
                console.say(f"Left out: {score.problem}")
        console.say(f"Recommended: {found.recommended}. {found.reason}")
        console.hint(f"serctl stack --stacker {found.recommended} --stack-on {result.stack_on}")
    else:
        console.hint("serctl evaluate")


def describe(result: "StackResult") -> "str | Table":
    """Return what was fitted in a sentence, or the comparison of all stackers as a table."""
    found = result.comparison
    if found is None:
        return (
            f"Stacker '{result.name}' fitted on {result.num_rows} {result.stack_on} utterances "
            f"with {count(len(result.models), 'model')} ({', '.join(result.models)}); "
            f"probabilities for {', '.join(result.splits) or 'no split'} in {result.folder}"
        )
    title = (
        f"Stackers, {found.num_folds} speaker-disjoint folds of {found.num_rows} utterances "
        f"({result.stack_on} logits of {count(len(result.models), 'model')})"
    )
    columns = ["stacker", "macro-F1", "UAR", "accuracy", "BS-F1", "p against the first"]
    return console.table(title, columns, [_score_row(score) for score in found.scores])


def _score_row(score: "StackerScore") -> list[str]:
    if score.problem:
        return [score.kind, "-", "-", "-", "-", ""]
    figures = (score.macro_f1, score.uar, score.accuracy, score.bs_f1)
    p_value = "" if score.corrected_p is None else f"{score.corrected_p:.3f}"
    return [score.kind, *(f"{figure:.3f}" for figure in figures), p_value]

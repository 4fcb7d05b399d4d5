"""`serctl stack`."""

from typing import TYPE_CHECKING

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import count
from serctl.options import StackOptions

if TYPE_CHECKING:
    from rich.text import Text

    from serctl.ensemble.compare import StackerScore
    from serctl.stages.stack import StackResult


@with_options(StackOptions, "stack")
def stack(workspace: Workspace, options: StackOptions, as_json: JsonOpt = False) -> None:
    """Combine models: fit a second-level classifier on logits of held-out utterances."""
    from serctl.stages.stack import stack as run_stack

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
        if result.verdict:
            console.say(result.verdict)
        console.hint("serctl evaluate")


def describe(result: "StackResult") -> "str | Text":
    """Return a sentence on the fitted stacker, or the table that compares all stackers."""
    from serctl.documents.logits import name_source

    found, source = result.comparison, name_source(result.stack_on)
    if found is None:
        models = f"{count(len(result.models), 'model')} ({', '.join(result.models)})"
        return (
            f"Stacker '{result.name}' fitted on {source} logits of {models} for "
            f"{result.num_rows} utterances; "
            f"probabilities for {', '.join(result.splits) or 'no split'} in {result.folder}"
        )
    title = (
        f"Stackers, {found.num_folds} speaker-disjoint folds of {found.num_rows} utterances "
        f"({source} logits of {count(len(result.models), 'model')})"
    )
    columns = ["stacker", "macro-F1", "UAR", "accuracy", "BS-F1", "p against the first"]
    return console.table(title, columns, [_score_row(score) for score in found.scores])


def _score_row(score: "StackerScore") -> list[str]:
    if score.problem:
        return [score.kind, "-", "-", "-", "-", ""]
    metrics = (score.macro_f1, score.uar, score.accuracy, score.bs_f1)
    p_value = "" if score.corrected_p is None else f"{score.corrected_p:.3f}"
    return [score.kind, *(f"{metric:.3f}" for metric in metrics), p_value]

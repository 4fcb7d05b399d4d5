"""`serctl layers`."""

from typing import TYPE_CHECKING

import typer

from serctl.cli import console
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.errors import UsageError, count
from serctl.options import LayersOptions

if TYPE_CHECKING:
    from serctl.documents.layers import LayersDocument
    from serctl.stages.layers import LayersResult

BAR = 24
"""Characters from the lowest to the highest macro-F1."""


@with_options(LayersOptions, "layers", each="encoder")
def layers(workspace: Workspace, options: list[LayersOptions], as_json: JsonOpt = False) -> None:
    """Find the layer of an encoder that separates emotions best, without storing frames."""
    if len(options) > 1 and options[0].weights:
        raise UsageError("--weights is for one encoder; give one encoder at a time.")
    from serctl.stages import layers as stage

    results = []
    for one in options:
        result = stage.layers(workspace, one, progress=console.progress)
        results.append(result)
        if not as_json:
            console.show(result, describe(result))
            console.hint(result.document.next_command(result.document.encoder))
    if as_json:
        documents = [{**vars(it), "document": it.document.to_dict()} for it in results]
        console.show(documents[0] if len(documents) == 1 else documents, "", as_json=True)
    if any(result.failed for result in results):
        raise typer.Exit(3)


def describe(result: "LayersResult") -> str:
    """Return the table of the layers and the conclusion."""
    document = result.document
    head = (
        f"{document.encoder}: {count(document.utterances, 'utterance')} of "
        f"{count(document.speakers, 'speaker')}, {document.folds} folds; {result.encoded:,} "
        f"encoded, {result.present:,} already present"
    )
    interval = "  95 % interval " if document.intervals else ""
    lines = [head, f"layer  macro-F1{interval}    UAR"]
    lines += [_row(document, position) for position in range(len(document.scores))]
    lines += ["", document.verdict(), *document.notes, str(result.curve)]
    return "\n".join(lines)


def _row(document: "LayersDocument", position: int) -> str:
    scores = [score.macro_f1 for score in document.scores]
    one = document.scores[position]
    spread = max(scores) - min(scores) or 1.0
    bar = "█" * round(1 + (BAR - 1) * (one.macro_f1 - min(scores)) / spread)
    alike = " as good" if document.intervals and not one.is_worse else ""
    mark = " best" if one is document.best else alike
    interval = "" if one.low is None else f"  {one.low:.3f} to {one.high:.3f}"
    return f"{one.layer:>5}  {one.macro_f1:>8.3f}{interval}  {one.uar:.3f}  {bar}{mark}"

"""`serctl export-logits`."""

from typing import TYPE_CHECKING

from serctl.cli import console
from serctl.cli.hints import hint_logits
from serctl.cli.options import JsonOpt
from serctl.cli.signature import with_options
from serctl.config import Workspace
from serctl.options import ExportLogitsOptions

if TYPE_CHECKING:
    from rich.text import Text

    from serctl.stages.export_logits import ExportLogitsResult


@with_options(ExportLogitsOptions, "export-logits")
def export_logits(
    workspace: Workspace, options: ExportLogitsOptions, as_json: JsonOpt = False
) -> None:
    """Write the logits of a run for every split. Train is predicted out of fold."""
    from serctl.stages import export_logits as stage

    result = stage.export_logits(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(f"Note: {note}")
    console.show(result, describe(result), as_json=as_json)
    if not as_json:
        console.hint(hint_logits(workspace))


def describe(result: "ExportLogitsResult") -> "Text":
    """Return a row for each split."""
    from serctl.documents.logits import name_source

    rows = [
        [
            part.split,
            f"{part.rows:,}",
            f"{part.in_sample:,}",
            name_source(part.source),
            "already present" if part.present else "written",
        ]
        for part in result.splits
    ]
    columns = ["split", "utterances", "in-sample", "predicted by", "file"]
    return console.table(f"Logits of {result.run}", columns, rows)

"""`serctl export-logits`."""

from typing import TYPE_CHECKING, Annotated

import typer

from serctl.cli import console
from serctl.cli.options import ConfigOpt, DeviceOpt, JsonOpt, ProjectOpt
from serctl.config import open_workspace, resolve_options
from serctl.options import ExportLogitsOptions

if TYPE_CHECKING:
    from rich.table import Table

    from serctl.stages.export_logits import ExportLogitsResult


def export_logits(
    run: Annotated[str, typer.Argument(help="Name of a run, or its folder.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split; may be repeated.")
    ] = None,
    train_logits: Annotated[
        str | None,
        typer.Option(
            help="Who predicts what the run learnt from: oof, heldout, in-sample or auto.",
            show_default="auto",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Utterances a batch.", show_default="64")
    ] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Export again what is there.")
    ] = None,
    device: DeviceOpt = None,
    project: ProjectOpt = None,
    config: ConfigOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write the logits of a run for every split, those of train out of fold."""
    workspace = open_workspace(project)
    options = resolve_options(
        ExportLogitsOptions,
        "export-logits",
        workspace,
        config,
        run=run,
        splits=tuple(split) if split else None,
        train_logits=train_logits,
        batch_size=batch_size,
        overwrite=overwrite,
        device=device,
    )

    from serctl.stages import export_logits as stage

    result = stage.export_logits(workspace, options, progress=console.progress)
    for note in result.notes:
        console.say(f"Note: {note}")
    console.show(result, describe(result), as_json=as_json)
    if not as_json:
        console.hint(f"serctl evaluate {result.run}")


def describe(result: "ExportLogitsResult") -> "Table":
    """Return a row for each split."""
    rows = [
        [
            part.split,
            f"{part.rows:,}",
            f"{part.in_sample:,}",
            part.source,
            "there already" if part.present else "written",
        ]
        for part in result.splits
    ]
    columns = ["split", "utterances", "in-sample", "predicted by", "file"]
    return console.table(f"Logits of {result.run}", columns, rows)

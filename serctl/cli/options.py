"""Flags that are not options of a stage."""

from pathlib import Path
from typing import Annotated

import typer

ProjectOpt = Annotated[
    Path | None,
    typer.Option("--project", "-C", help="Folder with serctl.toml (default: here or above)."),
]
ConfigOpt = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file or config.json of a run; flags override it."),
]
JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of a table.")
]
DaskOpt = Annotated[
    str | None,
    typer.Option(
        "--dask", help="Dask scheduler of the workers; local starts workers on this machine."
    ),
]

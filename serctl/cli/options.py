"""Flags that several subcommands share. A flag left out is None and leaves the file's value."""

from pathlib import Path
from typing import Annotated

import typer

ProjectOpt = Annotated[
    Path | None,
    typer.Option("--project", "-C", help="Folder with serctl.toml (default: here or above)."),
]
ConfigOpt = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML recipe, or the config.json of a run, read before the flags."
    ),
]
JsonOpt = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of a table.")
]
LimitOpt = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Only N utterances, of every split and emotion in turn."),
]
DeviceOpt = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", show_default="auto"),
]
SeedOpt = Annotated[int | None, typer.Option("--seed", help="Seed of every random choice.")]

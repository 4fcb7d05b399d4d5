"""Write docs/options.md from the fields of serctl.options: `python docs/_site/options.py`."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from serctl.options import STAGE_OPTIONS
from serctl.options.check import show_default
from serctl.options.option import option_of

PAGE = Path(__file__).parents[1] / "options.md"
INTRODUCTION = """\
# Options

<!-- Made by `make docs` from serctl/options/. Do not edit. -->

Every option of every stage. A file, the command line and Python set the same option:

| Place | Form |
|---|---|
| serctl.toml, a recipe, a `--config` file | `epochs = 30` in the table `[train]` |
| the command line | the flag, `--epochs 30`; flags take precedence over files |
| Python | `serctl.TrainOptions(epochs=30)` |

A value of the wrong type or out of range is an error in all three. So is a flag, an
argument in Python or a key of `[[models]]` that has no effect with the other values. Elsewhere in a
file such a key is a default for other calls. [Training](training.md#options)
gives the order of precedence. [Commands](cli.md) also lists the flags that are no options of a
stage, such as `--json`.
"""
COMMANDS = {
    "bundle": "bundle make",
    "push": "bundle push",
    "space": "bundle space",
    "slurm": "run --slurm",
}
"""Subcommands whose name is not that of their table."""
TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def describe_page() -> str:
    """Return the page: a section for each stage, a table for each panel."""
    sections = [INTRODUCTION]
    for stage, kind in STAGE_OPTIONS.items():
        sections.append(f"## `[{stage}]`\n\nOptions of `serctl {COMMANDS.get(stage, stage)}`.\n")
        fields = dataclasses.fields(kind)
        for panel in dict.fromkeys(option_of(field).panel for field in fields):
            chosen = [field for field in fields if option_of(field).panel == panel]
            heading = f"### {panel}\n\n" if panel else ""
            sections.append(heading + "\n".join(describe_table(kind, chosen)) + "\n")
    return "\n".join(sections)


def describe_table(kind: type, fields: list[dataclasses.Field[Any]]) -> Iterator[str]:
    """Yield the lines of a table of options."""
    hints = typing.get_type_hints(kind)
    yield "| Option | Flag | Values | Default | Meaning |"
    yield "|---|---|---|---|---|"
    for field in fields:
        default = str(field.default).lower() if hints[field.name] is bool else show_default(field)
        values = describe_values(hints[field.name], field)
        cells = (f"`{field.name}`", describe_flag(field), values, default, option_of(field).help)
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |")


def describe_flag(field: dataclasses.Field[Any]) -> str:
    """Return how the command line gives an option."""
    found = option_of(field)
    if found.only_in_files:
        return "–"
    if found.argument:
        return "argument"
    off = "no-" if field.default is True else ""
    flags = f"`--{off}{(found.flag or field.name).replace('_', '-')}`"
    return f"{flags}, `{found.short}`" if found.short else flags


def describe_values(hint: Any, field: dataclasses.Field[Any]) -> str:
    """Return the values that an option takes, with their range."""
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint) if value != "")
    if typing.get_origin(hint) is tuple:
        return f"list of {TYPES[typing.get_args(hint)[0]]}s"
    hint = next((it for it in typing.get_args(hint) if it is not type(None)), hint)
    return ", ".join(filter(None, (TYPES[hint], option_of(field).range)))


if __name__ == "__main__":
    PAGE.write_text(describe_page(), encoding="utf-8")

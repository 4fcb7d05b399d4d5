"""Command lines made from options: one flag or argument for each field."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from serctl.cli.options import ConfigOpt, ProjectOpt
from serctl.config import find_workspace, open_workspace, resolve_options
from serctl.errors import UsageError
from serctl.options.check import show_default
from serctl.options.option import option_of

Command = Callable[..., None]
LONG = 24
"""Maximum letters of choices in a column of ``--help`` on a terminal of 80 columns."""


def with_options(
    kind: type, stage: str, *, each: str = "", needs_project: bool = True
) -> Callable[[Command], Command]:
    """Turn ``command(workspace, options, **own)`` into a command that typer can read.

    A flag that is not given is None, so that it does not override the value of a file.

    Args:
        kind: Dataclass of the options. Each field becomes a flag, unless it says otherwise.
        stage: Table of serctl.toml and of ``--config`` files.
        each: Option that may be repeated. The command receives one options object for each value.
        needs_project: Raise an error without a project.
    """
    generated = [_make_parameter(field, kind, field.name == each) for field in _find_flags(kind)]

    shared = [
        Parameter("project", Parameter.KEYWORD_ONLY, default=None, annotation=ProjectOpt),
        Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=ConfigOpt),
    ]
    find = open_workspace if needs_project else find_workspace

    def decorate(command: Command) -> Command:
        parameters = inspect.signature(command, eval_str=True).parameters
        own = [item.replace(kind=Parameter.KEYWORD_ONLY) for item in parameters.values()][2:]

        @functools.wraps(command)
        def call(*, project: Path | None, config: Path | None, **given: Any) -> None:
            rest = {item.name: given.pop(item.name) for item in own}
            workspace = find(project)
            flags = {name: value for name, value in given.items() if value not in (None, [])}
            for name, value in flags.items():
                if value == "" or (isinstance(value, list) and "" in value):
                    # An unset variable of a shell: '' as a path would be the current folder.
                    raise UsageError(
                        f"{name.replace('_', '-')} is '', expected a text. Leave it out to take "
                        f"the default"
                    )
            ones = [{each: value} for value in flags.pop(each, [])] or [{}]
            # Once, because the configuration may be a pipe.
            first: Any = resolve_options(
                kind, stage, workspace, config, needs_table=True, **flags, **ones[0]
            )
            options = [dataclasses.replace(first, **one) for one in ones]
            command(workspace, options if each else options[0], **rest)

        call.__signature__ = inspect.Signature([*generated, *shared, *own])  # type: ignore[attr-defined]
        return call

    return decorate


def take_option(kind: type, name: str) -> Any:
    """Return the annotation of one flag, for a command without options of a stage."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    parameter = _make_parameter(field, kind, repeat=False).annotation
    parameter.__metadata__[0].rich_help_panel = None
    return parameter


def _find_flags(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the fields of a command line, arguments first."""
    found = [item for item in dataclasses.fields(kind) if not option_of(item).only_in_files]
    return sorted(found, key=lambda item: not option_of(item).argument)


def _make_parameter(field: dataclasses.Field[Any], kind: type, repeat: bool) -> Parameter:
    found = option_of(field)
    hint = typing.get_type_hints(kind)[field.name]
    several = repeat or any(typing.get_origin(it) is tuple for it in (hint, *typing.get_args(hint)))
    plain = _to_flag_type(hint)
    help_, metavar = found.help, found.metavar
    if len(choices := ", ".join(typing.get_args(plain))) > LONG:
        help_, metavar = f"{help_} One of: {choices}.", "TEXT"
    help_ += " May be repeated." if several and not found.argument else ""
    about: dict[str, Any] = {"help": help_, "metavar": metavar}
    about["show_default"] = show_default(field) or False
    if found.above is not None or found.below is not None:
        about["help"] += f" {found.range.capitalize()}."  # typer has no open bounds
    elif plain in (int, float):
        about |= {"min": found.min, "max": found.max}
    info = typer.Argument(**about)
    if not found.argument:
        name = (found.flag or field.name).replace("_", "-")
        names = [f"--{name}/--no-{name}" if field.default is True else f"--{name}", found.short]
        info = typer.Option(*filter(None, names), **about, rich_help_panel=found.panel)
    value = list[plain] if several else plain  # type: ignore[valid-type]
    return Parameter(
        field.name,
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if found.required else None,
        annotation=Annotated[value if found.required else value | None, info],
    )


def _to_flag_type(hint: Any) -> Any:
    """Return the type of one value: without None, the items of a list, choices without ''."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType, tuple):
        return next(arg for arg in args if arg is not type(None))
    if origin is Literal:
        return Literal[tuple(value for value in args if value != "")]
    return hint

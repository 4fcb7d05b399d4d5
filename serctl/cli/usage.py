"""Errors of typer as one line each, in the form of all other errors."""

import re
from typing import Any

import typer

from serctl.errors import UsageError, guess
from serctl.options.option import LARGEST_SEED

PROJECT_FLAGS = ("-C", "--project")
VALUES = {
    "bool": "", "str": "TEXT", "path": "PATH", "Path": "PATH", "int": "N", "float": "X",
}  # fmt: skip
"""What ``--help`` shows for the value of an option, by typer's name of its type."""
PHRASES = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
"""Plain words for phrases of pydantic."""
CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of typer's errors for an invalid command line. typer exports only some subclasses."""


def name_values(params: list[Any], ctx: Any) -> list[Any]:
    """Name arguments, and values of options, in plain words where typer names Python's types."""
    for param in params:
        if param.param_type_name == "argument":
            param.metavar = param.metavar or param.name.upper()
            param.display_type_rich = _show_no_type
        elif param.metavar is None:
            kind = param.display_type(ctx)
            param.metavar = VALUES.get(re.sub(r"list\[(.*)\]|<|>| range", r"\1", kind))
        if param.max == LARGEST_SEED:  # ten digits that narrow the column of the descriptions
            param.max = None
    return params


def _show_no_type(ctx: Any) -> str:
    return ""


def to_usage_error(error: Any, ctx: Any) -> UsageError:
    """Return typer's error as one line with the value, the expectation and the help command.

    Args:
        error: A `CommandLineError`.
        ctx: typer's context of the group whose subcommand could not be called.
    """
    command = (
        error.ctx.command_path if error.ctx else f"{ctx.command_path} {ctx.invoked_subcommand}"
    )
    see = f"See: {command} --help"
    if hasattr(error, "possibilities"):
        params = error.ctx.command.params
        options = [name for item in params for name in (*item.opts, *item.secondary_opts)]
        known = [name for name in options if name.startswith("--")]
        name = error.option_name
        if name in PROJECT_FLAGS and "--project" not in known:
            return UsageError(f"{name} goes after a command: serctl train {name} FOLDER. {see}")
        return UsageError(f"Unknown option '{name}'.{guess(name, known)} {see}")
    param = getattr(error, "param", None)
    if param is None:
        text = error.format_message().rstrip(".")
        text = re.sub(r"^Got unexpected extra .*?\((?!s\))(.*)\)", r"Unexpected: \1", text)
        return UsageError(f"{text}. {see}")
    is_option = param.param_type_name == "option"
    name = max(param.opts, key=len) if is_option else param.metavar
    if hasattr(error, "param_type"):
        return UsageError(f"{name} is missing: {param.help.rstrip('.')}. {see}")
    cause: Any = error.__cause__  # only pydantic's error holds the value
    value = repr(cause.errors()[0]["input"]) if hasattr(cause, "errors") else "not usable"
    return UsageError(f"{name} is {value}, {_say_expectation(error.message)}. {see}")


def _say_expectation(text: str) -> str:
    """Return pydantic's sentence with the phrases of `serctl.options.check_options`."""
    if choices := re.match(r"Value error, .* is not one of (.*)", text):
        return "expected " + choices[1].replace("'", "").rstrip(".")
    text = re.sub(r"^Input should be", "expected", text)
    for phrase, plain in PHRASES.items():
        text = text.replace(phrase, plain)
    return text.partition(", unable to")[0].rstrip(".")

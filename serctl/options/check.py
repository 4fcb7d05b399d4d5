"""Validation of option values from files, flags and Python."""

import dataclasses
import functools
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar

from serctl.errors import ConfigError, SerctlError, UnknownNameError, UsageError
from serctl.options.files import find_recipe, read_config
from serctl.options.idle import check_idle
from serctl.options.option import FLAGS, Option, flag_of, option_of

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}

Options = TypeVar("Options")


def check_options(kind: type, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check names, types and ranges of option values against the fields of a dataclass.

    A list becomes a tuple. A single name becomes a tuple if the option takes several. A path
    becomes text.

    Args:
        kind: Dataclass of the options.
        values: The values to check, by name.
        source: Origin of the values, for the error message.

    Raises:
        ConfigError: A name is unknown, or a value has another type or is out of range.
        UsageError: The same, for a flag.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{source}: {UnknownNameError('key', name, fields)}")
        value = _convert(value, hints[name])
        found = option_of(fields[name])
        default = fields[name].default
        is_default = type(value) is type(default) and value == default
        if not (is_default or _fits(value, hints[name], found)):
            expected = _expected(hints[name], found, default)
            if isinstance(value, float) and math.isinf(value) and found.max is None:
                expected = expected.replace(found.range, f"a finite number, {found.range}")
            raise refuse(fields[name], value, expected, source)
        checked[name] = value
    return checked


def check_together(kind: type, values: Mapping[str, Any], source_of: Callable[..., str]) -> None:
    """Check options whose range depends on the value of another option.

    Args:
        kind: Dataclass of the options.
        values: All of them.
        source_of: Returns the origin of the first given option that is not a default.

    Raises:
        SerctlError: A value is not a divisor of the other option's value.
    """
    for field in dataclasses.fields(kind):
        found = option_of(field)
        if not found.divides:
            continue
        whole = found.times * values[found.divides]
        if whole % values[field.name]:
            expected = f"a divisor of {whole} ({found.times} x {found.divides})"
            source = source_of(field.name, found.divides)
            raise refuse(field, values[field.name], expected, source)


def read_recipe(kind: type, stage: str, name: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the options of one stage from a recipe. They override those of its base recipe.

    Args:
        kind: Dataclass of the options.
        stage: Name of the table.
        name: A shipped recipe or the path of a TOML file.
        above: Recipes that name this one, directly or indirectly.

    Raises:
        UnknownNameError: There is no shipped recipe and no file of this name.
        ConfigError: A key is unknown, a value is invalid, or the recipes name each other.
    """
    path = find_recipe(name).resolve()
    source = f"recipe '{name}'"
    if path in above:
        expected = "a recipe that is not based on this one"
        raise ConfigError(f"{above[-1]}: 'recipe' is {name!r}, expected {expected}.")
    values = check_options(kind, read_config(path, stage), source)
    if below := values.get("recipe"):
        return read_recipe(kind, stage, below, (*above, path)) | values
    return values


def refuse(field: dataclasses.Field[Any], value: Any, expected: str, source: str) -> SerctlError:
    """Return the error of a value: its source, its name, the value and the expectation."""
    if source == FLAGS:
        return UsageError(f"{flag_of(field)} is {value!r}, expected {expected}.")
    return ConfigError(f"{source}: '{field.name}' is {value!r}, expected {expected}.")


def checked(stage: str) -> Callable[[type[Options]], type[Options]]:
    """Make a dataclass of options validate its values and document its fields.

    Values that are given and have no effect are refused, unless they are the default. A
    ``recipe`` among the values sets the options that are not given.
    """

    def decorate(kind: type[Options]) -> type[Options]:
        init: Callable[..., None] = kind.__init__
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        names = [field.name for field in fields]
        defaults = {field.name: field.default for field in fields}

        @functools.wraps(init)
        def check_and_init(self: Any, *args: Any, **given: Any) -> None:
            values = dict(zip(names, args, strict=False)) | given
            # A copy of options has all of them: those of files are defaults for other calls.
            chosen = values if len(values) < len(names) else {}
            if values.get("recipe") and len(values) < len(names):
                values = read_recipe(kind, stage, values["recipe"]) | values
            values = check_options(kind, values, kind.__name__)
            check_together(kind, defaults | values, lambda *names: kind.__name__)
            own = [name for name in chosen if values[name] != defaults[name]]
            check_idle(kind, defaults | values, own, kind.__name__, {})
            init(self, **values)

        kind.__init__ = check_and_init  # type: ignore[method-assign]
        lines = [f"    {field.name}: {describe_option(field)}" for field in fields]
        kind.__doc__ = "\n".join([kind.__doc__ or "", "", "Attributes:", *lines])
        return kind

    return decorate


def restore_options(kind: type[Options], values: Mapping[str, Any], source: str) -> Options:
    """Return recorded options without reading their recipe. Missing options get the default.

    Raises:
        ConfigError: A name is unknown, or a value has another type or is out of range.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**defaults | check_options(kind, values, source))


def describe_option(field: dataclasses.Field[Any]) -> str:
    """Return the help of an option with its range and default."""
    found = option_of(field)
    facts = [found.range] if found.range else []
    facts += [f"default: {text}"] if (text := show_default(field)) else []
    return found.help + (f" ({'; '.join(facts)})" if facts else "")


def show_default(field: dataclasses.Field[Any]) -> str:
    """Return the default of an option as ``--help`` shows it; '' if it is empty."""
    value = field.default
    if shown := option_of(field).shown:
        return shown
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    if isinstance(value, bool):
        return "on" if value else ""
    return "" if value is None else str(value)


def _convert(value: Any, hint: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = str(value)
    if typing.get_origin(hint) is tuple:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list | tuple):
            return tuple(str(it) if isinstance(it, os.PathLike) else it for it in value)
    if isinstance(value, list):  # for example one layer or several
        return value[0] if len(value) == 1 else tuple(value)
    if isinstance(value, Real) and not isinstance(value, int | float):  # a number of NumPy
        value = int(value) if isinstance(value, Integral) else float(value)
    return float(value) if hint is float and type(value) is int else value


def _fits(value: Any, hint: Any, found: Option) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, arg, found) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0], found) for item in value)
    if hint is type(None):
        return value is None
    if hint in (int, float):
        is_number = isinstance(value, int | float if hint is float else int)
        return is_number and not isinstance(value, bool) and found.admits(value)
    return isinstance(value, hint)


def _expected(hint: Any, found: Option, default: Any) -> str:
    """Return a description of the allowed values."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(str(value) for value in args if value != "")
    if origin is tuple:
        return f"a list, each {WORDS.get(args[0], args[0])}"
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in args if arg is not type(None))
    if not found.range:
        finite = "a finite number" if hint is float else ""
        return finite or WORDS.get(hint, str(hint))
    is_off = isinstance(default, int | float) and not found.admits(default)
    off = f"{default:g} or " if is_off else ""
    return off + (f"a whole number, {found.range}" if hint is int else found.range)

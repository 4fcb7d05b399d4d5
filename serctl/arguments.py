"""Types of arguments, checked where Python code calls a public function.

The stages trust their arguments. Without the check, a wrong type is an error deep inside them.
"""

import functools
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from serctl.errors import UsageError, show_value

ACCEPTED: Mapping[Any, Any] = {Path: os.PathLike, int: Integral, float: Real}
"""Types that are accepted in place of an annotated one."""


@functools.cache
def check_arguments(function: Callable[..., Any], public_name: str) -> Callable[..., Any]:
    """Return a function that compares its arguments with its annotations before it runs.

    Args:
        function: The function.
        public_name: Its name in the message.

    Raises:
        UsageError: By the returned function, for an argument of another type.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check_and_call(*args: Any, **given: Any) -> Any:
        try:
            bound = signature.bind(*args, **given).arguments
        except TypeError:  # Python names missing and unknown arguments in the call below
            bound = {}
        for name, value in bound.items():
            hint = signature.parameters[name].annotation
            if not _fits(value, hint):
                expected = re.sub(r"[\w.]+\.|~", "", inspect.formatannotation(hint))
                raise UsageError(
                    f"{public_name}(): '{name}' is {show_value(value)} ({type(value).__name__}), "
                    f"expected {expected}."
                )
        return function(*args, **given)

    return check_and_call


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value, and each item of a collection, has the annotated type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if hint in (Any, inspect.Parameter.empty):
        return True
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, args[0]) and _fits(one, args[1]) for key, one in value.items()
        )
    if origin in (Sequence, Iterable):
        # A text would give its characters, and a dict its keys.
        if not isinstance(value, origin) or isinstance(value, str | bytes | Mapping):
            return False
        return not isinstance(value, Collection) or all(_fits(one, args[0]) for one in value)
    if hint in (int, float) and isinstance(value, bool):  # Python counts True as 1
        return False
    return isinstance(value, ACCEPTED.get(hint, origin or hint))

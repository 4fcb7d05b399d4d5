"""The network that a process keeps from one part of the work to the next."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

Loaded = TypeVar("Loaded")

_KEPT: dict[Hashable, Any] = {}
"""The network of the last part."""


def load_or_keep(what: Hashable, load: Callable[[], Loaded], *, keep: bool) -> Loaded:
    """Return the network that ``load`` returns; with ``keep``, the next part takes the same one.

    Args:
        what: Everything on which the network depends.
        load: Loads it.
        keep: Whether this process may be given another part.
    """
    if what in _KEPT:
        return cast(Loaded, _KEPT[what])
    _KEPT.clear()  # before loading, because a GPU may not hold two large networks
    network = load()
    if keep:
        _KEPT[what] = network
    return network

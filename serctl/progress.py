"""Progress reports of long stages. The default is silent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

Log = Callable[[str], None]
"""Receiver of lines for the user, which come while a stage works."""


class Advance(Protocol):
    """Report ``n`` finished units and, if there is one, a short note (a loss, a rate)."""

    def __call__(self, n: float = 1, note: str = "") -> None: ...  # noqa: D102


@runtime_checkable
class Progress(Protocol):
    """Receiver of progress: ``with progress.task("wavlm-large", 480, "utterances") as advance``.

    ``total`` is the number of units; ``unit`` is their name. None means that it is unknown.
    """

    def task(self, description: str, total: int | None = None, unit: str = ""): ...  # type: ignore[no-untyped-def]  # noqa: D102


class Silent:
    """The default, which shows no progress."""

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Yield an ``advance`` that does nothing."""
        yield lambda n=1, note="": None


silent = Silent()

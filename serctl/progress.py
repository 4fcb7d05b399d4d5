"""What a long stage tells the outside while it runs; silent unless a caller wants to hear it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Report ``n`` finished units and, if there is one, a short note (a loss, a rate)."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...  # noqa: D102


class Progress(Protocol):
    """Where stages report to: ``with progress.task("wavlm-large", 480) as advance: ...``."""

    def task(self, description: str, total: int | None = None): ...  # type: ignore[no-untyped-def]  # noqa: D102


class Silent:
    """The default: nothing is shown."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Yield an ``advance`` that does nothing."""
        yield lambda n=1, note="": None


silent = Silent()

"""What a user sees: the result on stdout, progress and hints on stderr."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from serctl.progress import Advance

FILE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH)
err = Console(stderr=True, highlight=False)


class RichProgress:
    """A bar with rate and time left on stderr; only its end is told where stderr is a file."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Show one bar while the block runs."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
            bar = bars.add_task(description, total=total, rate="", note="")

            def advance(n: int = 1, note: str = "") -> None:
                speed = bars.tasks[0].finished_speed or bars.tasks[0].speed
                bars.update(bar, advance=n, note=note, rate=f"{speed:.1f}/s" if speed else "")

            yield advance


progress = RichProgress()


def say(text: str) -> None:
    """Tell something beside the result, on stderr."""
    err.print(text, markup=False, soft_wrap=True)


def hint(command: str) -> None:
    """Name the next command, on stderr."""
    err.print(f"[dim]Next:[/dim] {command}", soft_wrap=True)


def show(result: Any, text: str | Table, *, as_json: bool = False) -> None:
    """Print a result on stdout: ``text`` for people, or the result itself as one JSON document."""
    if as_json:
        document = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]
        sys.stdout.write(json.dumps(document, default=_plain) + "\n")
    else:
        out.print(text, markup=False) if isinstance(text, str) else out.print(text)


def table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    """Return a table whose first column is a name and whose others are figures."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def name_part(count: int, whole: int) -> str:
    """Return how many of the manifest's utterances there are in a dry run or in all."""
    return (
        f"{count:,} of the manifest's {whole:,}" if count < whole else f"{count:,} in the manifest"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_unset=True)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")

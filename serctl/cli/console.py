"""Output for the user: the result on stdout, progress and hints on stderr."""

import dataclasses
import io
import json
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from serctl.errors import escape_controls, name_size
from serctl.progress import Advance


def _replace_closed_streams() -> None:
    """Open the null device for each standard stream that the caller closed: Python has None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def accept_all_text() -> None:
    """Escape characters that stdout cannot encode, such as those of a pipe on Windows."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


_replace_closed_streams()
FILE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
WORDS = frozenset({"kind", "store", "state", "what", "file", "predicted by"})
"""Columns of text, which are aligned to the left."""
SHORTEST_BAR = 6
"""Columns of a progress bar at least."""
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH)
err = Console(stderr=True, highlight=False)


class RichProgress:
    """Progress bar with finished units, time left and a note. It is shown only on a terminal."""

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Show one bar while the block runs; it is full when the block ends without an error."""
        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=SHORTEST_BAR)),
            TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
        )
        bars = Progress(
            *columns,
            console=err,
            transient=True,  # the result is printed after it
            expand=True,
            disable=not err.is_terminal,
            redirect_stdout=out.is_terminal,  # rows in a file do not disturb the bar
        )
        with bars:
            last = ""
            bar = bars.add_task(
                escape_controls(description),
                total=total,
                count=_count(0, total, unit),
                note="",
                left=_name_left(None),
            )

            def advance(n: float = 1, note: str = "") -> None:
                nonlocal last
                task, last = bars.tasks[0], escape_controls(note) or last
                seconds, count = task.time_remaining, _count(task.completed + n, total, unit)
                left = _name_left(seconds)
                room = err.width - len(task.description) - len(count) - SHORTEST_BAR - 4
                shown, left = _fit_bar(last, left, room)
                bars.update(bar, advance=n, note=shown, count=count, left=left)

            yield advance
            done = bars.tasks[0].completed if total is None else total
            count, left = _count(done, total, unit), _name_left(None)
            bars.update(bar, total=done, completed=done, count=count, left=left)


def _fit_bar(note: str, left: str, room: int) -> tuple[str, str]:
    """Return as much of a note and of the time left as fits: no word is cut."""
    parts = note.split("  ")
    shorter = ["  ".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]
    for choice in ((note, left), (note, ""), *((one, "") for one in shorter)):
        if len("".join(choice)) <= room:
            return choice
    return "", ""


def _count(done: float, total: int | None, unit: str) -> str:
    if total == 1 and not unit:
        return ""  # one step says nothing about what is done of it
    of = "" if total is None else f"/{total:,}"
    return f"{int(done + 1e-6):{max(0, len(of) - 1)},}{of} {unit}".rstrip()


def _name_left(seconds: float | None) -> str:
    """Return the time left, in a field of one width up to 100 minutes: the bar does not jump."""
    return f"{'' if seconds is None else f'{_clock(seconds)} left':>10}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


progress = RichProgress()


def say(text: str, indent: int = 0) -> None:
    """Print a line on stderr. A terminal wraps it between words, with ``indent`` for the rest."""
    if indent and err.is_terminal:
        text = textwrap.TextWrapper(
            err.width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        ).fill(text)
    err.print(escape_controls(text), markup=False, soft_wrap=not err.is_terminal)


def make_say_once() -> Callable[[str], None]:
    """Return a `say` that prints each line only once."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def hint_page(path: Path) -> None:
    """Name the command that opens a page, on stderr."""
    opener = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
    hint(f"{opener} {shlex.quote(str(path))}")


def hint(command: str) -> None:
    """Name the next command, on stderr."""
    err.print(f"[dim]Next:[/dim] {escape(escape_controls(command))}", soft_wrap=True)


def write_out(text: str, file: TextIO | None = None) -> None:
    """Write text to stdout (or ``file``). Control characters are escaped on a terminal."""
    file = file or sys.stdout
    if file.isatty():
        text = escape_controls(text)
    encoding = file.encoding or "utf-8"  # file names may hold any bytes; terminals may not be UTF-8
    file.write(text.encode(encoding, "backslashreplace").decode(encoding))


def show(result: Any, text: str | Text, *, as_json: bool = False) -> None:
    """Print a result on stdout, as ``text`` or as one JSON document."""
    if as_json:
        document = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]
        sys.stdout.write(json.dumps(document, default=_plain) + "\n")
    else:
        if isinstance(text, str):
            text = fit_lines(escape_controls(text))
        out.print(text, markup=False)


def fits(columns: list[str], rows: list[list[str]]) -> bool:
    """Return whether a `table` has each row on one line."""
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1) <= out.width


def table(title: str, columns: list[str], rows: list[list[str]]) -> Text:
    """Return a table of names and numbers that fits the terminal.

    A name that is too long for its column is folded before a ``+`` or ``@``, with the rest on the
    next line. A name without such a place has a line of its own above its row.
    """
    cells = [[escape_controls(cell) for cell in row] for row in rows]
    names = columns.index("what") if "what" in columns else 0
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    room = out.width - sum(widths) + widths[names] - 2 * (len(widths) - 1)
    starts = [_find_start(row[names], room) for row in cells]
    widths[names] = max(map(cell_len, (columns[names], *starts)))

    def join(row: list[str]) -> str:
        pads = [
            " " * max(0, width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        left = [i == 0 or name in WORDS for i, name in enumerate(columns)]
        parts = [c + p if at else p + c for c, p, at in zip(row, pads, left, strict=True)]
        return "  ".join(parts).rstrip()

    lines = []
    for row, start in zip(cells, starts, strict=True):
        before, name, after = row[:names], row[names], row[names + 1 :]
        if start or not name:
            lines.append(join([*before, start, *after]))
            left = " " * (sum(widths[:names]) + 2 * names + len(name) - len(name.lstrip()) + 2)
            lines += [f"{left}{rest}"] if (rest := name.removeprefix(start)) else []
        else:
            lines.append(join([*before, name, *[""] * len(after)]))
            lines.append(join([*[""] * (names + 1), *after]))
    head = [(f"{escape_controls(title)}\n", "italic")] if title else []
    body = "".join(f"\n{line}" for line in lines)
    return Text.assemble(*head, (join(columns), "bold"), body)


def _find_start(name: str, room: int) -> str:
    """Return the longest start that fits and ends before a ``+`` or ``@``; '' if there is none."""
    while cell_len(name) > room:
        name = name[: max(name.rfind("+"), name.rfind("@"), 0)]
    return name


def wrap(text: str, indent: str = "") -> str:
    """Return a line wrapped between words on a terminal; later lines begin with ``indent``."""
    if not out.is_terminal:
        return text
    lines = textwrap.TextWrapper(
        out.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines.fill(text)


def show_markdown(text: str) -> None:
    """Print Markdown on stdout, rendered on a terminal."""
    if out.is_terminal:
        from rich.markdown import Markdown

        out.print(Markdown(escape_controls(text)), soft_wrap=False)
    else:
        write_out(text.rstrip() + "\n")


def fit_lines(text: str) -> str:
    """Return text whose long lines are wrapped on a terminal, each with its own indent."""

    def fit_line(line: str) -> str:
        indent = line[: len(line) - len(line.lstrip())]
        return line if len(line) <= out.width else wrap(line, f"{indent}  ")

    return "\n".join(map(fit_line, text.split("\n")))


def name_part(count: int, whole: int) -> str:
    """Return the number of utterances, and the manifest's number if a limit applies."""
    return (
        f"{count:,} of the manifest's {whole:,}" if count < whole else f"{count:,} in the manifest"
    )


def estimate_whole(done: int, whole: int, seconds: float, size: int = 0) -> str:
    """Return what all utterances of a manifest take at the rate of those done."""
    total = seconds * whole / done
    time = f"{total / 3600:,.1f} h" if total > 3600 else f"{total / 60:,.1f} min"
    disk = f" and {name_size(size * whole / done)}" if size else ""
    return f"All {whole:,} utterances take {time}{disk} at this rate."


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

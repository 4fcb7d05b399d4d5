"""Output of `serctl predict`: each prediction is written as soon as it is made.

A table, CSV and JSON lines grow line by line. A Praat TextGrid is written when its recording is
finished.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.cli import console
from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.manifest_file import check_labels
from serctl.data.textgrid import Interval, format_textgrid
from serctl.files import write_atomic, write_lines
from serctl.names import guard_cell, guard_path, join_cells

if TYPE_CHECKING:
    from serctl.system.prediction import Prediction

Write = Callable[["Prediction"], None]
ABSTAINED = "-"
"""Shown in the table if there is no emotion. In files the field is empty."""
WORDS = 32
"""Characters of a transcript in the table."""
SHOWN = 3
"""Emotions of a prediction on a terminal."""
SECONDS = len("123.45-128.90")
"""Width of the column of times. A longer time moves its own row only."""


@contextmanager
def open_output(
    form: str, paths: Sequence[Path], output: Path | None, per_model: bool
) -> Iterator[Write]:
    """Yield a function that writes a prediction to a file, a folder of TextGrids or stdout."""
    if form == "textgrid":
        with _open_textgrids(output, per_model) as write:
            yield write
        return
    with open_lines(output) as write_line:
        rows = {"csv": _csv_lines, "jsonl": _json_lines, "table": _table_lines}[form]
        narrow = form == "table" and output is None and console.out.is_terminal
        yield (_terminal_lines if narrow else rows)(write_line, paths, per_model)


def _json_lines(write_line: Callable[[str], None], paths: Sequence[Path], per_model: bool) -> Write:
    def write(found: "Prediction") -> None:
        write_line(json.dumps(found.to_dict(per_model=per_model), ensure_ascii=False))

    return write


def _csv_lines(write_line: Callable[[str], None], paths: Sequence[Path], per_model: bool) -> Write:
    header: list[str] = []

    def write(found: "Prediction") -> None:
        row = to_row(found, per_model)
        if not header:
            header.extend(row)
            write_line(join_cells(map(guard_cell, header)))
        write_line(join_cells(map(guard_cell, row.values())))

    return write


def to_row(found: "Prediction", per_model: bool) -> dict[str, Any]:
    """Return a prediction as the fields of a CSV row."""
    check_labels(found.probabilities)
    row: dict[str, Any] = {
        "audio": guard_path(found.audio),
        "start": f"{found.start:.3f}",
        "end": f"{found.end:.3f}",
        **({} if found.channel is None else {"channel": found.channel or ""}),
        "emotion": found.emotion or "",
        "confidence": f"{found.confidence:.4f}",
    }
    row |= {name: f"{share:.6f}" for name, share in found.probabilities.items()}
    if per_model:
        for model, shares in found.per_model.items():
            row |= {f"{model}:{name}": f"{share:.6f}" for name, share in shares.items()}
    return row | {"text": found.text or "", "suspect": found.suspect}


def _table_lines(
    write_line: Callable[[str], None], paths: Sequence[Path], per_model: bool
) -> Write:
    """Rows of a table that is not cropped: emotions, their probabilities and the transcript.

    File names and labels fix the widths before the first row.
    """
    widths: list[int] = []
    longest = max((len(path.name) for path in paths), default=0)

    def write(found: "Prediction") -> None:
        labels, models = list(found.probabilities), list(found.per_model) if per_model else []
        if not widths:
            header = ["audio", "seconds", "emotion", *labels, *models, "transcript"]
            label = max(len(name) for name in labels)
            least = [longest, SECONDS, label, *[4] * len(labels), *[label + 5] * len(models), 0]
            widths.extend(map(max, map(len, header), least))
            write_line(_join_cells(header, widths))
        write_line(
            _join_cells(
                [
                    Path(found.audio).name,
                    _name_place(found),
                    found.emotion or ABSTAINED,
                    *(f"{found.probabilities[name]:.2f}" for name in labels),
                    *(_name_best(found.per_model[model]) for model in models),
                    _shorten(found),
                ],
                widths,
            )
        )

    return write


def _terminal_lines(
    write_line: Callable[[str], None], paths: Sequence[Path], per_model: bool
) -> Write:
    """Lines that fit a terminal: the most probable emotions, and below them the transcript."""
    longest = max((len(path.name) for path in paths), default=0)

    def write(found: "Prediction") -> None:
        place = [Path(found.audio).name, _name_place(found)]
        ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])[:SHOWN]
        shares = ", ".join(f"{name} {share:.2f}" for name, share in ranked)
        shares = shares if found.emotion else f"{ABSTAINED} ({shares})"
        write_line(_join_cells([*place, shares], [longest, SECONDS, 0]))
        for model, best in found.per_model.items() if per_model else ():
            write_line(console.wrap(f"    {model}: {_name_best(best)}", "      "))
        if text := " ".join((found.text or "").split()):
            doubt = f" ({found.suspect}?)" if found.suspect else ""
            write_line(console.wrap(f"    {text}{doubt}", "    "))

    return write


def _join_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _name_best(shares: Mapping[str, float]) -> str:
    name = max(shares, key=lambda it: shares[it])
    return f"{name} {shares[name]:.2f}"


def _name_place(found: "Prediction") -> str:
    """Return times and channel."""
    channel = f" ch{found.channel}" if found.channel else ""
    return f"{found.start:.2f}-{found.end:.2f}{channel}"


def _shorten(found: "Prediction") -> str:
    text = " ".join((found.text or "").split())
    text = text if len(text) <= WORDS else f"{text[: WORDS - 1]}…"
    return f"{text} ({found.suspect}?)" if found.suspect else text


@contextmanager
def _open_textgrids(output: Path | None, per_model: bool) -> Iterator[Write]:
    """Yield a function that collects predictions and writes each recording when it is complete."""
    held: list[Prediction] = []

    def finish() -> None:
        if not held:
            return
        name = held[0].audio
        held.sort(key=lambda one: one.start)  # --speaker-per file predicts one channel first
        write_textgrid(_to_textgrid(name, held, per_model), Path(name), output)
        held.clear()

    def write(found: "Prediction") -> None:
        if held and held[0].audio != found.audio:
            finish()
        held.append(found)

    try:
        yield write
    finally:
        finish()


def write_textgrid(text: str, audio: Path, output: Path | None) -> None:
    """Write the TextGrid of a recording into a folder, or to stdout."""
    if output is None:
        console.write_out(text)
        return
    with write_atomic(output / f"{audio.stem}.TextGrid") as file:
        file.write(text)


def _to_textgrid(name: str, found: Sequence["Prediction"], per_model: bool) -> str:
    def tier(label: Callable[["Prediction"], str]) -> list[Interval]:
        return [(one.start, one.end, label(one)) for one in found]

    tiers = {"emotion": tier(lambda one: one.emotion or "")}
    tiers["probability"] = tier(lambda one: f"{one.confidence:.3f}")
    if any(one.text is not None for one in found):
        tiers["words"] = tier(lambda one: one.text or "")
    for model in found[0].per_model if per_model else ():
        own = f"{model} (model)" if model in tiers else model
        tiers[own] = [(one.start, one.end, _name_best(one.per_model[model])) for one in found]
    return format_textgrid(tiers, max(measure_samples(Path(name)) / SAMPLE_RATE, found[-1].end))


@contextmanager
def open_lines(output: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes a line to a file or to stdout at once."""
    if output:
        with write_lines(output) as write_line:
            yield write_line
        return
    out = sys.stdout  # a progress bar replaces sys.stdout later

    def write_out(line: str) -> None:
        console.write_out(f"{line}\n", out)
        out.flush()

    yield write_out

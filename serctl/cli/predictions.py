"""How `serctl predict` shows what it found: a table, CSV, JSON lines or Praat TextGrids."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.textgrid import Interval, format_textgrid
from serctl.errors import UsageError
from serctl.files import write_atomic

if TYPE_CHECKING:
    from serctl.system.predictor import Prediction

ABSTAINED = "-"
"""In the table, for no emotion; in files the field is empty."""


def to_row(found: "Prediction", per_model: bool) -> dict[str, Any]:
    """Return a prediction as the fields of a CSV row."""
    row: dict[str, Any] = {
        "audio": found.audio,
        "start": f"{found.start:.3f}",
        "end": f"{found.end:.3f}",
        "emotion": found.emotion or "",
        "confidence": f"{found.confidence:.4f}",
    }
    row |= {name: f"{share:.6f}" for name, share in found.probabilities.items()}
    if per_model:
        for model, shares in found.per_model.items():
            row |= {f"{model}:{name}": f"{share:.6f}" for name, share in shares.items()}
    return row | {"text": found.text or "", "suspect": found.suspect}


def to_json(found: "Prediction", per_model: bool) -> str:
    """Return a prediction as one line of JSON."""
    document = {
        "audio": found.audio,
        "start": round(found.start, 3),
        "end": round(found.end, 3),
        "emotion": found.emotion,
        "probabilities": {k: round(v, 6) for k, v in found.probabilities.items()},
        "text": found.text,
        "suspect": found.suspect,
    }
    if per_model:
        document["per_model"] = {
            model: {k: round(v, 6) for k, v in shares.items()}
            for model, shares in found.per_model.items()
        }
    return json.dumps(document, ensure_ascii=False)


@contextmanager
def open_stream(
    kind: str, output: Path | None, per_model: bool
) -> Iterator[Callable[["Prediction"], None]]:
    """Yield what writes a prediction as a row of CSV or a line of JSON, at once, and flushes."""
    with write_atomic(output) if output else _stdout() as file:
        writer: csv.DictWriter | None = None

        def write(found: "Prediction") -> None:
            nonlocal writer
            if kind == "jsonl":
                file.write(to_json(found, per_model) + "\n")
            else:
                row = to_row(found, per_model)
                if writer is None:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
            file.flush()

        yield write


def write_textgrids(
    predictions: Sequence["Prediction"], output: Path | None, per_model: bool
) -> list[Path]:
    """Write a TextGrid for each recording into a folder; the only one to stdout without a folder.

    Raises:
        UsageError: There are several recordings and no folder, or two of the same name.
    """
    made = {
        name: _to_textgrid(name, list(group), per_model)
        for name, group in groupby(predictions, key=lambda found: found.audio)
    }
    if output is None:
        if len(made) > 1:
            raise UsageError(f"{len(made)} TextGrids need a folder: --output DIR")
        sys.stdout.write("".join(made.values()))
        return []
    paths = {name: output / f"{Path(name).stem}.TextGrid" for name in made}
    if len(set(paths.values())) < len(paths):
        raise UsageError("Two recordings have the same file name: write their TextGrids apart.")
    for name, path in paths.items():
        with write_atomic(path) as file:
            file.write(made[name])
    return list(paths.values())


def to_table(predictions: Sequence["Prediction"], per_model: bool) -> str:
    """Return lines for people, never cropped: emotions with their probabilities, and the words."""
    labels = list(predictions[0].probabilities) if predictions else []
    models = list(predictions[0].per_model) if predictions and per_model else []
    rows = [("audio", "seconds", "emotion", *labels, *models, "words")]
    for found in predictions:
        shares = (f"{found.probabilities[name]:.2f}" for name in labels)
        bests = (_best(found.per_model[model]) for model in models)
        seconds = f"{found.start:.2f}-{found.end:.2f}"
        emotion = found.emotion or ABSTAINED
        name = Path(found.audio).name
        rows.append((name, seconds, emotion, *shares, *bests, _shorten(found)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _to_textgrid(name: str, found: Sequence["Prediction"], per_model: bool) -> str:
    def tier(label: Callable[["Prediction"], str]) -> list[Interval]:
        return [(one.start, one.end, label(one)) for one in found]

    tiers = {"emotion": tier(lambda one: one.emotion or "")}
    tiers["probability"] = tier(lambda one: f"{one.confidence:.3f}")
    if any(one.text is not None for one in found):
        tiers["words"] = tier(lambda one: one.text or "")
    for model in found[0].per_model if per_model else ():
        tiers[model] = [(one.start, one.end, _best(one.per_model[model])) for one in found]
    return format_textgrid(tiers, max(measure_samples(Path(name)) / SAMPLE_RATE, found[-1].end))


def _best(shares: Any) -> str:
    name = max(shares, key=shares.get)
    return f"{name} {shares[name]:.2f}"


def _shorten(found: "Prediction", length: int = 32) -> str:
    text = " ".join((found.text or "").split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return f"{text} ({found.suspect}?)" if found.suspect else text


@contextmanager
def _stdout() -> Iterator[TextIO]:
    yield sys.stdout

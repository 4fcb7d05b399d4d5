"""Charts: a figure with a sentence and a table, its colours by name of the palette."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

KIND_COLOURS = {
    "run": "var(--c1)",
    "stacker": "var(--c2)",
    "outside": "var(--c3)",
    "baseline": "var(--muted)",
}

LINE_COLOURS = tuple(f"var(--c{i})" for i in range(1, 7))

SEQUENTIAL = [[0.0, "var(--seq-0)"], [0.5, "var(--seq-1)"], [1.0, "var(--seq-2)"]]

DARK_SHARE = 0.7
"""Share of the colour scale from which a cell is dark and needs light text."""

ROW_HEIGHT, MARGIN_HEIGHT = 34, 64
NAMES = {"type": "category"}
"""Axis of names. Plotly would take names such as ``1`` as numbers."""

Cell = str | int


@dataclass(frozen=True)
class Chart:
    """A figure with its summary and its numbers as a table.

    Attributes:
        figure: Plotly's JSON, colours by name.
        summary: One sentence that describes the figure.
        columns: Columns of the table. The first one names the row.
        rows: Rows of the table.
    """

    figure: Mapping[str, Any]
    summary: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def make_chart(
    figure: go.Figure, summary: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> Chart:
    """Return a figure as JSON, without Plotly's own template."""
    figure.layout.template = None
    return Chart(figure.to_plotly_json(), summary, columns, rows)


def plain(text: str) -> str:
    """Return text with escaped HTML, because Plotly interprets some HTML."""
    return escape(text, quote=False)


def write_in_cells(
    figure: go.Figure,
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    **place: int,
) -> None:
    """Write a text in each cell of a heatmap, in a colour with enough contrast.

    ``shares`` are from 0 to 1 along the colour scale. Columns and rows are those of the heatmap.
    """
    heatmap = figure.data[-1]
    cells = [(i, j) for i in range(len(shares)) for j in range(len(shares[i]))]
    figure.add_scatter(
        x=[heatmap.x[j] for _, j in cells],
        y=[heatmap.y[i] for i, _ in cells],
        text=[texts[i][j] for i, j in cells],
        mode="text",
        textfont={
            "color": [
                "var(--paper)" if shares[i][j] > DARK_SHARE else "var(--ink)" for i, j in cells
            ]
        },
        hoverinfo="skip",
        showlegend=False,
        **place,
    )

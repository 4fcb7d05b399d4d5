"""Figures with fixed colours, for notebooks and pages without the report's style sheet."""

import re
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from serctl.page.chart import Chart
from serctl.page.document import STYLE, read_asset


def paint(chart: Chart, scheme: str = "light") -> go.Figure:
    """Return the figure of a chart in the report's ``light`` or ``dark`` colours.

    Example:
        >>> paint(show_confusion(system, labels), "dark").show()  # doctest: +SKIP
    """
    figure = go.Figure(chart.figure)
    axis: dict[str, Any] = {"gridcolor": "var(--line)", "linecolor": "var(--line)"}
    axis |= {"zeroline": False, "fixedrange": True, "automargin": True}
    axis |= {"title": {"font": {"size": 13}}}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_layout(
        template=None,
        autosize=True,
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--ink)", "size": 13},
        hoverlabel={"bgcolor": "var(--raised)", "font": {"color": "var(--ink)"}},
        margin={"l": 56, "r": 16, "b": 48},
    )
    return go.Figure(resolve_colours(figure.to_plotly_json(), read_palette(scheme)))


def resolve_colours(node: Any, palette: Mapping[str, str]) -> Any:
    """Replace the names of the palette in a figure by colours."""
    if isinstance(node, str):
        return palette.get(node, node)
    if isinstance(node, dict):
        return {key: resolve_colours(value, palette) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [resolve_colours(value, palette) for value in node]
    return node


def read_palette(scheme: str) -> dict[str, str]:
    """Return the page's colours by name, from its style sheet."""
    pairs = re.findall(r"(--[\w-]+): light-dark\(([^,]+), ([^)]+)\);", read_asset(STYLE))
    return {f"var({name})": dark if scheme == "dark" else light for name, light, dark in pairs}

"""Figures about one system: confusions, classes, calibration, groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from serctl.documents.report import GroupScore, SystemScore
from serctl.page.chart import (
    KIND_COLOURS,
    NAMES,
    SEQUENTIAL,
    Cell,
    Chart,
    make_chart,
    write_in_cells,
)


def draw_system(system: SystemScore, labels: Sequence[str]) -> dict[str, Chart]:
    """Return all charts about one system, by their place in the page."""
    return {
        "confusion": show_confusion(system, labels),
        "classes": show_classes(system),
        "calibration": show_calibration(system),
    }


def show_confusion(system: SystemScore, labels: Sequence[str]) -> Chart:
    """Return the confusion matrix. Colours are shares of the true class, texts are utterances."""
    counts = system.confusion
    shares = [[100 * cell / max(1, sum(row)) for cell in row] for row in counts]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(labels),
            y=list(labels),
            customdata=counts,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=100,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="%{y} predicted as %{x}: %{customdata:,} utterances, "
            "%{z:.0f} % of %{y}<extra></extra>",
        )
    )
    texts = [[f"{cell:,}" for cell in row] for row in counts]
    write_in_cells(figure, [[share / 100 for share in row] for row in shares], texts)
    figure.update_layout(
        height=96 + 46 * len(labels),
        xaxis={"title": "predicted", "side": "top", "showgrid": False, "tickfont": {"size": 12}},
        yaxis={"title": "true", "autorange": "reversed", "showgrid": False, "automargin": True},
        margin={"t": 64, "b": 8},
    )
    figure.update_xaxes(NAMES)
    figure.update_yaxes(NAMES)
    wrong = [
        (cell, i, j)
        for i, row in enumerate(counts)
        for j, cell in enumerate(row)
        if i != j and cell
    ]
    summary = f"Confusion matrix of {system.name}."
    if wrong:
        most, i, j = max(wrong)
        summary += f" Most frequent confusion: {labels[i]} predicted as {labels[j]}, {most} times."
    rows: list[list[Cell]] = [[label, *row] for label, row in zip(labels, counts, strict=True)]
    return make_chart(figure, summary, ("true ＼ predicted", *labels), rows)


def show_classes(system: SystemScore) -> Chart:
    """Return F1 as bars, precision and recall as marks on them, by class."""
    rows = system.per_class
    labels = [f"{row.label}  <span style='font-size:.8em'>{row.support:,}</span>" for row in rows]
    figure = go.Figure(
        go.Bar(
            x=[row.f1 for row in rows],
            y=labels,
            orientation="h",
            name="F1",
            marker={"color": KIND_COLOURS[system.kind], "opacity": 0.55},
            hovertemplate="F1 %{x:.3f}<extra></extra>",
        )
    )
    for name, symbol in (("precision", "diamond"), ("recall", "circle-open")):
        figure.add_scatter(
            x=[getattr(row, name) for row in rows],
            y=labels,
            mode="markers",
            name=name,
            cliponaxis=False,
            marker={"color": "var(--ink)", "symbol": symbol, "size": 9, "line": {"width": 1.75}},
            hovertemplate=name + " %{x:.3f}<extra></extra>",
        )
    figure.update_layout(
        height=96 + 46 * len(rows),
        bargap=0.5,
        xaxis={"range": [-0.03, 1.03], "tickformat": ".1f", "side": "top"},
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        legend={"orientation": "h", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"},
        margin={"t": 64, "b": 34},
    )
    ranked = sorted(rows, key=lambda row: row.f1)
    summary = (
        f"F1, precision and recall of {system.name} by class: best on {ranked[-1].label} "
        f"(F1 {ranked[-1].f1:.3f}), worst on {ranked[0].label} ({ranked[0].f1:.3f})."
    )
    names = ("precision", "recall", "f1")
    table: list[list[Cell]] = [
        [row.label, *(f"{getattr(row, name):.3f}" for name in names), row.support] for row in rows
    ]
    return make_chart(figure, summary, ("class", "precision", "recall", "F1", "utterances"), table)


def show_calibration(system: SystemScore) -> Chart:
    """Return the reliability diagram: accuracy by confidence."""
    bins, ece = system.calibration.bins, system.calibration.ece
    most = max((each.count for each in bins), default=1)
    colour = KIND_COLOURS[system.kind]
    figure = go.Figure(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": "var(--muted)", "width": 1, "dash": "dash"},
            hoverinfo="skip",
            name="accuracy equals confidence",
        )
    )
    figure.add_scatter(
        x=[each.confidence for each in bins],
        y=[each.accuracy for each in bins],
        customdata=[each.count for each in bins],
        mode="lines+markers",
        name="the system; area = utterances",
        line={"color": colour, "width": 1.5},
        marker={
            "color": colour,
            "size": [6 + 20 * (each.count / most) ** 0.5 for each in bins],
            "opacity": 0.8,
            "line": {"color": "var(--paper)", "width": 1.5},
        },
        hovertemplate="confidence %{x:.2f}, accuracy %{y:.2f}, %{customdata:,} utterances"
        "<extra></extra>",
    )
    figure.update_layout(
        height=380,
        xaxis={"title": "confidence (probability of the predicted class)", "range": [0, 1.04]},
        yaxis={"title": "accuracy", "range": [0, 1.04]},
        legend={"x": 0.02, "y": 0.99, "xanchor": "left", "yanchor": "top"},
        margin={"t": 12},
    )
    excess = sum(each.count * (each.confidence - each.accuracy) for each in bins)
    summary = (
        f"Calibration of {system.name}: expected calibration error {ece:.3f}, "
        f"{'overconfident' if excess > 0 else 'underconfident'} overall."
    )
    rows: list[list[Cell]] = [
        [
            f"{each.low:.2f}–{each.high:.2f}",
            each.count,
            f"{each.confidence:.3f}",
            f"{each.accuracy:.3f}",
        ]
        for each in bins
    ]
    return make_chart(figure, summary, ("range", "utterances", "confidence", "accuracy"), rows)


def tabulate_groups(system: SystemScore) -> Mapping[str, Any]:
    """Return a table by gender and duration, and the speakers with the lowest metrics."""
    columns = ("group", "utterances", "macro-F1", "UAR", "accuracy")
    groups = system.groups
    chosen = [("gender", row) for row in groups.get("gender", ())]
    chosen += [("duration", row) for row in sorted(groups.get("duration", ()), key=_by_duration)]
    speakers = [row for row in groups.get("speaker", ()) if row.count >= 10]
    speakers.sort(key=lambda row: row.accuracy)
    if len(speakers) > 3:
        chosen += [("lowest speakers", row) for row in speakers[:3]]
    return {
        "columns": columns,
        "rows": [
            [
                f"{by}: {row.name}",
                row.count,
                *(f"{getattr(row, name):.3f}" for name in ("macro_f1", "uar", "accuracy")),
            ]
            for by, row in chosen
        ],
        "ccc": [f"{name} {value:.3f}" for name, value in (system.ccc or {}).items()],
    }


def _by_duration(row: GroupScore) -> tuple[bool, float]:
    """Order "< 2 s", "2-4 s", …, "≥ 8 s"."""
    digits = row.name.strip("<≥ s").split("-")[0]
    return row.name.startswith("≥"), 0.0 if "<" in row.name else float(digits)

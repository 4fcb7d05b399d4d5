"""Figures about all systems: BS-F1 distributions, training curves, importances of stackers.

The colours of a figure are names of the page's palette (``var(--ink)``). The page resolves them
when it draws, so one figure serves light and dark. Each figure has a table of its numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from serctl.documents.layers import LayersDocument
from serctl.documents.report import SystemScore
from serctl.documents.run import EpochRecord
from serctl.page.chart import (
    KIND_COLOURS,
    LINE_COLOURS,
    MARGIN_HEIGHT,
    NAMES,
    ROW_HEIGHT,
    SEQUENTIAL,
    Cell,
    Chart,
    make_chart,
    plain,
    write_in_cells,
)


def show_subsets(systems: Sequence[SystemScore]) -> Chart:
    """Return the BS-F1 distribution of every system, with the best one at the top."""
    ordered = sorted(systems, key=lambda system: system.bs_f1.mean)
    figure = go.Figure()
    for system in ordered:
        colour = KIND_COLOURS[system.kind]
        figure.add_box(
            x=system.bs_f1.values,
            name=plain(system.name),
            orientation="h",
            boxpoints="all",
            pointpos=0,
            jitter=0.7,
            line={"color": colour, "width": 1.25},
            fillcolor="rgba(0,0,0,0)",
            marker={"color": colour, "size": 3.5, "opacity": 0.4},
            hovertemplate="%{x:.3f}<extra></extra>",
            hoveron="points",
            showlegend=False,
        )
    figure.update_layout(
        height=MARGIN_HEIGHT + ROW_HEIGHT * len(ordered),
        xaxis={"title": "macro-F1 of a balanced subset", "tickformat": ".2f"},
        yaxis={**NAMES, "automargin": True},
    )
    best = ordered[-1]
    rows = [
        [system.name, *(f"{getattr(system.bs_f1, x):.3f}" for x in ("mean", "std", "min", "max"))]
        for system in reversed(ordered)
    ]
    summary = (
        f"BS-F1 of {len(ordered)} systems over {len(best.bs_f1.values)} balanced subsets. "
        f"{best.name} has the highest mean, {best.bs_f1.mean:.3f}."
    )
    return make_chart(figure, summary, ("system", "mean", "std", "min", "max"), rows)


@dataclass(frozen=True)
class Curve:
    """The epochs of a training."""

    name: str
    encoders: tuple[str, ...]
    loss: str
    best_epoch: int
    records: Sequence[EpochRecord]


def show_curves(curves: Sequence[Curve]) -> Chart:
    """Return loss and dev macro-F1 by epoch. Colours are encoders, dashes are loss functions."""
    figure = make_subplots(1, 2, horizontal_spacing=0.09)
    families = list(dict.fromkeys(curve.encoders for curve in curves))
    for curve in curves:
        family = families.index(curve.encoders) % len(LINE_COLOURS)
        line = {
            "color": LINE_COLOURS[family],
            "width": 1.75,
            "dash": "dot" if curve.loss == "wce+sml" else "solid",
        }
        for column, key in ((1, "loss"), (2, "dev_macro_f1")):
            records = [record for record in curve.records if getattr(record, key) is not None]
            if not records:
                continue
            chosen = [8 if record.epoch == curve.best_epoch else 0 for record in records]
            figure.add_scatter(
                x=[record.epoch for record in records],
                y=[getattr(record, key) for record in records],
                name=plain(curve.name),
                legendgroup=curve.name,
                showlegend=column == 1,
                mode="lines+markers",
                line=line,
                marker={"size": chosen, "opacity": 1, "line": {"width": 0}},
                hovertemplate="%{fullData.name}<br>epoch %{x}: %{y:.3f}<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_layout(
        height=340 + 22 * -(-len(curves) // 2),
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"},
        margin={"t": 12},
    )
    longest = max(len(curve.records) for curve in curves)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, longest) if longest / step <= 10)
    figure.update_xaxes(title="epoch", tick0=0, dtick=step)
    figure.update_yaxes(title="training loss", row=1, col=1)
    figure.update_yaxes(title="macro-F1 on dev", tickformat=".2f", row=1, col=2)
    rows = [_curve_row(curve) for curve in curves]
    summary = f"Training loss and dev macro-F1 of {len(curves)} runs by epoch."
    columns = ("run", "epochs", "kept epoch", "its loss", "its dev macro-F1")
    return make_chart(figure, summary, columns, rows)


def show_layers(comparisons: Sequence[LayersDocument]) -> Chart:
    """Return macro-F1 by layer of each encoder, with 95 % intervals."""
    figure = go.Figure()
    rows: list[Sequence[Cell]] = []
    for number, found in enumerate(comparisons):
        names = [str(score.layer) for score in found.scores]
        bounded = list(zip(found.scores, found.intervals, strict=False))
        figure.add_scatter(
            x=list(range(len(names))),
            y=[score.macro_f1 for score in found.scores],
            error_y={
                "array": [high - it.macro_f1 for it, (_, high) in bounded],
                "arrayminus": [it.macro_f1 - low for it, (low, _) in bounded],
                "thickness": 1,
            },
            name=plain(found.encoder),
            mode="lines+markers",
            line={"color": LINE_COLOURS[number % len(LINE_COLOURS)], "width": 1.75},
            customdata=names,
            hovertemplate="%{fullData.name}<br>layer %{customdata}: %{y:.3f}<extra></extra>",
        )
        rows += [
            [
                found.encoder,
                name,
                *("" if x is None else f"{x:.3f}" for x in (it.macro_f1, it.low, it.high)),
            ]
            for name, it in zip(names, found.scores, strict=True)
        ]
    figure.update_layout(
        height=360,
        xaxis={"title": "layer (the last point is last_hidden_state)"},
        yaxis={"title": "macro-F1, cross-validated", "tickformat": ".2f"},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "xanchor": "left"},
        margin={"t": 12},
    )
    summary = " ".join(f"{found.encoder}: {found.verdict()}" for found in comparisons)
    columns = ("encoder", "layer", "macro-F1", "lower bound", "upper bound")
    return make_chart(figure, summary, columns, rows)


def show_layer_weights(weights: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Chart:
    """Return the learned weights of summed layers, by run, branch and layer."""
    figure = go.Figure()
    rows: list[Sequence[Cell]] = []
    for run, branches in weights.items():
        for branch, shares in branches.items():
            name = f"{run}: {branch}" if len(branches) > 1 else run
            figure.add_bar(
                x=[f"layer {layer}" for layer in shares],
                y=list(shares.values()),
                name=plain(name),
                hovertemplate="%{fullData.name}<br>%{x}: %{y:.3f}<extra></extra>",
            )
            rows += [[run, branch, layer, f"{share:.3f}"] for layer, share in shares.items()]
    figure.update_layout(
        height=320,
        yaxis={"title": "weight", "tickformat": ".2f", "rangemode": "tozero"},
        colorway=list(LINE_COLOURS),
        margin={"t": 12},
    )
    summary = f"Learned weights of the layers of {len(weights)} runs. They sum to 1."
    return make_chart(figure, summary, ("run", "branch", "layer", "weight"), rows)


def _curve_row(curve: Curve) -> list[Cell]:
    best = next((r for r in curve.records if r.epoch == curve.best_epoch), curve.records[-1])
    score = "–" if best.dev_macro_f1 is None else f"{best.dev_macro_f1:.3f}"
    return [curve.name, len(curve.records), curve.best_epoch, f"{best.loss:.3f}", score]


def show_importances(
    models: Sequence[str], labels: Sequence[str], values: Sequence[Sequence[float]]
) -> Chart:
    """Return the importances ``(M, C)`` of each model's logit of each class, and their sums."""
    totals = [sum(row) for row in values]
    figure = _draw_importances([plain(name) for name in models], labels, values, totals)
    top = max(range(len(models)), key=totals.__getitem__)
    summary = (
        f"Importance of each model's logit of each class, in per cent. {models[top]} has the "
        f"highest sum ({100 * totals[top]:.0f} %)."
    )
    rows = [
        [name, *(f"{100 * share:.1f}" for share in row), f"{100 * total:.1f}"]
        for name, row, total in zip(models, values, totals, strict=True)
    ]
    return make_chart(figure, summary, ("model, %", *labels, "all classes"), rows)


def _draw_importances(
    names: Sequence[str],
    labels: Sequence[str],
    values: Sequence[Sequence[float]],
    totals: Sequence[float],
) -> go.Figure:
    """Return a heatmap of the shares and bars of their sums."""
    figure = make_subplots(
        1, 2, column_widths=[0.76, 0.24], shared_yaxes=True, horizontal_spacing=0.03
    )
    _add_shares(figure, names, labels, values)
    _add_totals(figure, names, totals)
    figure.update_layout(
        height=MARGIN_HEIGHT - 16 + 38 * len(names), bargap=0.45, margin={"t": 36, "b": 8}
    )
    figure.update_yaxes(**NAMES, autorange="reversed", automargin=True, showgrid=False)
    return figure


def _add_shares(
    figure: go.Figure,
    names: Sequence[str],
    labels: Sequence[str],
    values: Sequence[Sequence[float]],
) -> None:
    """Add the heatmap of the share of each model and class."""
    percent = [[100 * share for share in row] for row in values]
    figure.add_heatmap(
        z=percent,
        x=list(labels),
        y=names,
        colorscale=SEQUENTIAL,
        zmin=0,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y}<br>logit of %{x}: %{z:.1f} %<extra></extra>",
        row=1,
        col=1,
    )
    top_share = max(map(max, values)) or 1.0
    write_in_cells(
        figure,
        [[share / top_share for share in row] for row in values],
        [[f"{share:.1f}" for share in row] for row in percent],
        row=1,
        col=1,
    )
    figure.update_xaxes(**NAMES, side="top", showgrid=False, row=1, col=1)


def _add_totals(figure: go.Figure, names: Sequence[str], totals: Sequence[float]) -> None:
    """Add the bars of each model's share over all classes."""
    figure.add_bar(
        x=[100 * total for total in totals],
        y=names,
        orientation="h",
        marker={"color": "var(--c2)"},
        text=[f"{100 * total:.0f} %" for total in totals],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        showlegend=False,
        row=1,
        col=2,
    )
    figure.update_xaxes(
        side="top",
        showgrid=False,
        showticklabels=False,
        title={"text": "all classes", "standoff": 8},
        range=[0, 130 * max(totals)],
        row=1,
        col=2,
    )

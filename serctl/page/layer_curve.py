"""Macro-F1 by layer as a small SVG file, without a library.

The page of `serctl report` draws the same figure with Plotly, which needs a browser to write image
files.
"""

from collections.abc import Iterable
from html import escape

from serctl.documents.layers import LayersDocument

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 44, 48
INK, MUTED, LINE, BAND = "#222", "#777", "#2563a8", "#2563a822"
STEP = 0.05
"""Distance of grid lines in macro-F1."""


def draw_curve(document: LayersDocument) -> str:
    """Return the SVG text: metrics as a line, 95 % intervals as a band if there are any."""
    scores, bounds = document.scores, document.intervals
    shown = [score.macro_f1 for score in scores] + [value for pair in bounds for value in pair]
    low, high = STEP * int(min(shown) / STEP), STEP * (int(max(shown) / STEP) + 1)

    def x(position: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * position / max(1, len(scores) - 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def join(points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)

    band = [(x(i), y(top)) for i, (_, top) in enumerate(bounds)]
    band += [(x(i), y(bounds[i][0])) for i in reversed(range(len(bounds)))]
    about = "band: 95 % interval over speakers"
    if not bounds:
        about = f"{document.speakers} speakers: no intervals"
    curve = [(x(i), y(score.macro_f1)) for i, score in enumerate(scores)]
    best = scores.index(document.best)
    title = f"{document.encoder}: macro-F1 by layer ({document.utterances:,} utterances)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for step in range(round((high - low) / STEP) + 1):
        value = low + STEP * step
        lines.append(
            f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    every = -(-len(scores) // 26)  # label only every n-th layer, so that labels do not overlap
    for i, score in enumerate(scores):
        if i % every == 0 or i == len(scores) - 1:
            lines.append(
                f'<text x="{x(i):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" '
                f'fill="{INK if i == best else MUTED}">{score.layer}</text>'
            )
    lines += [
        f'<text x="{(WIDTH + LEFT - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">layer '
        f"(-1: last hidden state); {about}</text>",
        f'<polygon points="{join(band)}" fill="{BAND}"/>' if bounds else "",
        f'<polyline points="{join(curve)}" fill="none" stroke="{LINE}" stroke-width="2"/>',
        *(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{5 if i == best else 2.5}" fill="{LINE}"/>'
            for i, (a, b) in enumerate(curve)
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"

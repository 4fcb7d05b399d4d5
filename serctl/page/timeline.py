"""The HTML file of a recording's timeline: probabilities over time, transcript and audio.

It is self-contained like the report. Its content security policy allows only its own scripts and
its own audio.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from serctl import __version__
from serctl.data.audio import SAMPLE_RATE
from serctl.errors import count
from serctl.page.chart import Chart, make_chart, plain
from serctl.page.document import STYLE, content_policy, open_templates, read_asset
from serctl.page.painting import paint
from serctl.timeline.course import Timeline

SCRIPTS = ("drawing.js", "timeline.js")
COLOURS = {
    "angry": "var(--c7)",
    "sad": "var(--c1)",
    "happy": "var(--c5)",
    "surprise": "var(--c2)",
    "fear": "var(--c8)",
    "disgust": "var(--c3)",
    "contempt": "var(--c4)",
    "neutral": "var(--calm)",
}
"""An emotion has the same colour in every timeline."""
OTHER_COLOURS = ("var(--c4)", "var(--c2)", "var(--c3)", "var(--c8)")
"""Colours of emotions beyond the eight, in turn."""
HEIGHT = 320
NOBODY = "no speech"


@dataclass(frozen=True)
class TimelinePage:
    """Content of a page of timelines.

    Attributes:
        timelines: Timelines of one recording, one for each channel.
        sound: Recording ``(num_samples, num_channels)`` at 16 kHz, for playback.
        every: Seconds of a step.
        window: Seconds of the window of a step.
        notes: Notes for the reader.
    """

    timelines: Sequence[Timeline]
    sound: NDArray[np.float32]
    every: float
    window: float
    notes: Sequence[str] = ()


def render_timeline(page: TimelinePage, *, scheme: str = "light dark") -> str:
    """Return the HTML of the page. A ``scheme`` of ``light`` or ``dark`` fixes the colours."""
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), "\n".join(read_asset(name) for name in SCRIPTS)]
    first = page.timelines[0]
    return (
        open_templates()
        .get_template("timeline.html")
        .render(
            title=Path(first.audio).name,
            page=page,
            first=first,
            version=__version__,
            scheme=scheme,
            policy=content_policy(scripts, media="data:"),
            style=read_asset(STYLE),
            scripts=scripts,
            sound=embed_sound(page.sound),
            data=make_timeline_data(page.timelines),
        )
    )


def make_timeline_data(timelines: Sequence[Timeline]) -> dict[str, Any]:
    """Return the data of the scripts as plain values for JSON."""
    return {
        "seconds": timelines[0].seconds,
        "colours": choose_colours(timelines[0].labels),
        "charts": [asdict(show_course(timeline)) for timeline in timelines],
        "transcript": sorted(
            (
                {
                    "start": spoken.start,
                    "end": spoken.end,
                    "text": spoken.text,
                    "channel": timeline.channel,
                    "emotion": _emotion_at(timeline, (spoken.start + spoken.end) / 2),
                }
                for timeline in timelines
                for spoken in timeline.transcript
            ),
            key=lambda row: row["start"],
        ),
    }


def choose_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return the palette's name of the colour of each emotion."""
    others = [label for label in labels if label not in COLOURS]
    extra = {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(others)}
    return {label: COLOURS.get(label) or extra[label] for label in labels}


def show_course(timeline: Timeline) -> Chart:
    """Return the probabilities of every step, stacked, above the segments of one emotion."""
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.86, 0.14], vertical_spacing=0.04)
    colours = choose_colours(timeline.labels)
    edges = [*timeline.starts.tolist(), timeline.ends[-1].item()]
    shares = np.nan_to_num(timeline.probabilities)  # no area without speech
    silent = np.isnan(timeline.probabilities)
    shown = np.where(silent, "no speech", np.char.mod("%.2f", shares))
    for column, label in enumerate(timeline.labels):
        values = shares[:, column].round(4).tolist()
        figure.add_scatter(
            x=edges,
            y=[*values, values[-1]],
            name=plain(label),
            stackgroup="one",
            # A step is one prediction, so its probability is constant until the next step.
            line={"color": colours[label], "width": 0, "shape": "hv"},
            fillcolor=colours[label],
            customdata=[*shown[:, column].tolist(), shown[-1, column]],
            hovertemplate="%{customdata}",
            row=1,
            col=1,
        )
    _add_segments(figure, timeline, colours)
    figure.update_layout(
        height=HEIGHT,
        barmode="overlay",
        bargap=0,
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        margin={"t": 56},
    )
    figure.update_xaxes(range=[0, timeline.seconds], title="seconds", row=2, col=1)
    figure.update_xaxes(range=[0, timeline.seconds], row=1, col=1)
    figure.update_yaxes(range=[0, 1], title="probability", tickformat=".1f", row=1, col=1)
    figure.update_yaxes(showticklabels=False, showgrid=False, row=2, col=1)
    rows = [
        [f"{s.start:.1f}–{s.end:.1f} s", s.emotion or "–", f"{s.confidence:.2f}"]
        for s in timeline.segments
    ]
    columns = ("segment", "emotion", "mean probability")
    return make_chart(figure, summarise_course(timeline), columns, rows)


def _add_segments(figure: go.Figure, timeline: Timeline, colours: Mapping[str, str]) -> None:
    """Add the segments as bars below the probabilities."""
    if not timeline.segments:  # Plotly draws the axis of seconds only for a trace
        nothing = {"x": [0], "y": [""], "hoverinfo": "skip", "showlegend": False}
        figure.add_bar(**nothing, orientation="h", row=2, col=1)
    for segment in timeline.segments:
        name = segment.emotion or "no emotion above the threshold"
        figure.add_bar(
            x=[segment.end - segment.start],
            base=[segment.start],
            y=[""],
            orientation="h",
            marker={
                "color": colours.get(segment.emotion or "", "rgba(0,0,0,0)"),
                "line": {
                    "color": "var(--paper)" if segment.emotion else "var(--muted)",
                    "width": 1,
                },
            },
            hovertemplate=f"{plain(name)}, {segment.confidence:.2f}<extra></extra>",
            showlegend=False,
            row=2,
            col=1,
        )


def summarise_course(timeline: Timeline) -> str:
    """Return one sentence with the duration of each emotion."""
    lengths: dict[str, float] = {}
    for segment in timeline.segments:
        name = segment.emotion or "no emotion above the threshold"
        lengths[name] = lengths.get(name, 0.0) + segment.end - segment.start
    if not lengths:
        return f"{NOBODY.capitalize()} in {timeline.seconds:.1f} s."
    ordered = sorted(lengths.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in ordered)
    return f"{count(len(timeline.segments), 'segment')} in {timeline.seconds:.1f} s: {listed}."


def embed_sound(samples: NDArray[np.float32]) -> str:
    """Return audio as a data URI in MP3, about 0.25 MB per minute and channel.

    MP3 has at most two channels, so the mean of more is played. A libsndfile older than 1.1 cannot
    write MP3. The data is then WAV, eight times as large.
    """
    import soundfile

    if samples.ndim == 2 and samples.shape[1] > 2:
        samples = samples.mean(axis=1)
    kind, form = ("mpeg", "MP3") if "MP3" in soundfile.available_formats() else ("wav", "WAV")
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), SAMPLE_RATE, format=form)
    return f"data:audio/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _emotion_at(timeline: Timeline, seconds: float) -> str:
    found = (s.emotion for s in timeline.segments if s.start <= seconds < s.end)
    return next(found, None) or ""


def make_figure(timeline: Timeline, scheme: str) -> go.Figure:
    """Return the figure of a timeline with ``light`` or ``dark`` colours."""
    return paint(show_course(timeline), scheme)

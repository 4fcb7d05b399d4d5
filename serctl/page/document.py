"""The HTML file of a report, which contains template, styles, scripts, Plotly and all data.

It fetches no resource, and its content security policy forbids that. Names and transcripts of a
corpus are not parsed as HTML: the template escapes them, the data is JSON without ``<``, and the
scripts only set text.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from serctl import __version__
from serctl.documents.layers import LayersDocument
from serctl.documents.report import Report, SystemScore
from serctl.evaluation.published import PublishedPair, compare_note
from serctl.page.chart import Chart
from serctl.page.figures import (
    Curve,
    show_curves,
    show_importances,
    show_layer_weights,
    show_layers,
    show_subsets,
)
from serctl.page.system_figures import draw_system, tabulate_groups

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE, SCRIPTS = "page.css", ("drawing.js", "figures.js", "tables.js", "browser.js")


_COEFFICIENTS = (
    "Mean absolute coefficient of each model's logit of each class, as a share of their sum."
)
_WEIGHTS = "Weight of each model in the mean of probabilities, divided evenly among the classes."
MEANINGS = {
    "random-forest": "Mean decrease in impurity: how much the splits on each model's logit of each "
    "class separate the emotions of the training rows, averaged over all trees. It does not "
    "measure how much worse the stacker would be without the model.",
    "xgboost": "Gain: how much the splits on each model's logit of each class reduce the loss on "
    "the training rows, averaged over the splits. It does not measure how much worse the stacker "
    "would be without the model.",
    "logistic-regression": _COEFFICIENTS,
    "linear": _COEFFICIENTS,
    "greedy": _WEIGHTS,
    "best-single": _WEIGHTS,
    "log-pool": "Weight of each model's logits, as a share of all weights, divided evenly among "
    "the classes. A model with large logits has a small weight.",
}
"""What the importances of each kind of stacker measure."""


@dataclass(frozen=True)
class Importances:
    """Importance of a stacker's inputs: shares ``(M, C)``."""

    stacker: str
    kind: str
    models: Sequence[str]
    labels: Sequence[str]
    values: Sequence[Sequence[float]]

    @property
    def meaning(self) -> str:
        """What the shares measure, for the reader of the page."""
        return f"{MEANINGS[self.kind]} The shares of all logits sum to 100 %."


@dataclass(frozen=True)
class Page:
    """Content of a report page.

    Attributes:
        name: Name of the evaluation.
        report: Document of `serctl evaluate`.
        audio: Link to each utterance's audio file, relative to the page.
        words: Transcript of each utterance; '' if there is none.
        words_from: Source of the transcripts, for the reader.
        curves: Training curves of the runs.
        importances: Importances of stackers that have them.
        layers: Comparisons of the layers of the runs' encoders.
        layer_weights: Learned weights of summed layers, by run, branch and layer.
        published: Rows of the paper's table, for its corpus.
        notes: Notes in addition to those of the report.
    """

    name: str
    report: Report
    audio: Sequence[str]
    words: Sequence[str]
    words_from: str = ""
    curves: Sequence[Curve] = ()
    importances: Sequence[Importances] = ()
    layers: Sequence[LayersDocument] = ()
    layer_weights: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    published: Sequence[PublishedPair] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def render_page(page: Page) -> str:
    """Return the HTML of the page."""
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), "\n".join(read_asset(name) for name in SCRIPTS)]
    return (
        open_templates()
        .get_template("page.html")
        .render(
            report=page.report,
            page=page,
            version=__version__,
            policy=content_policy(scripts),
            style=read_asset(STYLE),
            scripts=scripts,
            paper_note=compare_note(page.published),
            best=_best_figures(page.report.systems),
            initial=choose_system(page.report.systems),
            data=make_report_data(page),
        )
    )


def open_templates() -> "Environment":
    """Return the templates of the pages. They escape all values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("serctl.page", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def content_policy(scripts: Sequence[str], media: str = "'self' file:") -> str:
    """Return a content security policy that allows only these scripts, and loads only audio.

    Inline styles are needed by Plotly's drawings, and images by its download button.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; media-src {media}; base-uri 'none'; form-action 'none'"
    )


def choose_system(systems: Sequence[SystemScore]) -> str:
    """Return the initial system of the page: the best by BS-F1, without baselines if possible."""
    own = [system for system in systems if system.kind != "baseline"] or systems
    return str(max(own, key=lambda system: system.bs_f1.mean).name)


def make_report_data(page: Page) -> dict[str, Any]:
    """Return the data of the scripts as plain values for JSON."""
    report, labels = page.report, page.report.labels
    rows = report.utterances
    charts = {"subsets": show_subsets(report.systems)}
    if page.curves:
        charts["curves"] = show_curves(page.curves)
    if page.layers:
        charts["layers"] = show_layers(page.layers)
    if page.layer_weights:
        charts["layer-weights"] = show_layer_weights(page.layer_weights)
    for i, found in enumerate(page.importances):
        charts[f"importances-{i}"] = show_importances(found.models, found.labels, found.values)
    return {
        "labels": labels,
        "charts": _plain(charts),
        "systems": [
            {
                "name": system.name,
                "kind": system.kind,
                "charts": _plain(draw_system(system, labels)),
                "groups": tabulate_groups(system),
                "predicted": _pack(np.array(system.predictions)),
                "probabilities": _pack(np.array(system.probabilities) * 255),
            }
            for system in report.systems
        ],
        "utterances": {
            "id": rows.utterance_id,
            "true": _pack(np.array(rows.true)),
            "speaker": rows.speaker,
            "gender": rows.gender,
            "seconds": rows.duration,
            "channel": rows.channel,
            "audio": page.audio,
            "words": page.words,
        },
    }


def _pack(values: np.ndarray) -> str:
    """Return numbers from 0 to 255 as base64, a tenth of the size of JSON."""
    return base64.b64encode(values.round().astype(np.uint8).tobytes()).decode()


def _plain(charts: Mapping[str, Chart]) -> dict[str, Any]:
    return {name: asdict(chart) for name, chart in charts.items()}


def _best_figures(systems: Sequence[SystemScore]) -> dict[str, float]:
    best = {
        name: max(getattr(row, name) for row in systems) for name in ("macro_f1", "uar", "accuracy")
    }
    return best | {"bs_f1": max(row.bs_f1.mean for row in systems)}


def read_asset(name: str) -> str:
    """Return the text of a style sheet or script."""
    return (files("serctl.page") / "assets" / name).read_text(encoding="utf-8")

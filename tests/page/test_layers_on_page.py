"""Layers of encoders in the report: curves of `serctl layers` and learned weights of layer sums."""

import json
from pathlib import Path

import pytest
from synthetic_report import make_evaluation, write_project

from serctl.cache.key import FeatureKey
from serctl.cli.layers import describe
from serctl.documents.layers import LayerScore, LayersDocument
from serctl.documents.run import RunConfig, RunSummary
from serctl.options import ReportOptions
from serctl.page.figures import show_layer_weights, show_layers
from serctl.page.layer_curve import draw_curve
from serctl.stages.layers import LayersResult
from serctl.stages.report import report

KEY = FeatureKey("whisper-tiny", "speech", "w", "r", 0, "float32", "30s", "audio-16k-mono")


def make_comparison(encoder: str, speakers: int = 6) -> LayersDocument:
    scores = [
        LayerScore(
            layer=layer, macro_f1=0.5 + layer / 50, low=0.4, high=0.7, uar=0.5, behind=0.1,
            behind_low=0.01, behind_high=0.2, p_value=0.01, is_worse=layer != 2,
        )
        for layer in (0, 1, 2, -1)
    ]  # fmt: skip
    return LayersDocument(
        serctl_layers=1, encoder=encoder, key=KEY, labels=("a", "b"), utterances=9,
        speakers=speakers, folds=3, data="", scores=tuple(scores),
    )  # fmt: skip


def test_a_curve_has_a_point_an_interval_and_a_row_for_every_layer() -> None:
    made = show_layers([make_comparison("whisper-tiny"), make_comparison("<b>wavlm</b>")])
    first, second = made.figure["data"]
    assert list(first["y"]) == [0.5, 0.52, 0.54, 0.48]
    highs = [y + gap for y, gap in zip(first["y"], first["error_y"]["array"], strict=True)]
    assert highs == pytest.approx([0.7] * 4)
    assert "<b>" not in second["name"]
    assert len(made.rows) == 8
    assert "Layer 2 has the highest macro-F1" in made.summary


def test_fewer_than_six_speakers_have_no_intervals() -> None:
    document = make_comparison("whisper-tiny", speakers=5)
    assert document.scores[0].low is document.last.behind_high is None
    assert document.verdict().startswith("5 speakers: differences cannot be tested. Layer 2 has")
    made = show_layers([document])
    assert not made.figure["data"][0]["error_y"]["array"]
    assert made.rows[0] == ["whisper-tiny", "0", "0.500", "", ""]
    assert "polygon" in draw_curve(make_comparison("whisper-tiny"))
    curve = draw_curve(document)
    assert "polygon" not in curve
    assert "5 speakers: no intervals" in curve
    printed = describe(LayersResult(document, Path("a"), Path("b"), 0))
    assert " to " not in printed
    assert "as good" not in printed


def test_weights_of_a_sum_are_bars_that_add_up_to_one() -> None:
    made = show_layer_weights({"sum": {"wavlm@9+12": {"9": 0.25, "12": 0.75}}})
    [bars] = made.figure["data"]
    assert sum(bars["y"]) == 1
    assert made.rows == [["sum", "wavlm@9+12", "9", "0.250"], ["sum", "wavlm@9+12", "12", "0.750"]]


def test_the_page_shows_what_the_project_knows_of_its_encoders(tmp_path: Path) -> None:
    workspace = write_project(tmp_path, make_evaluation(60))

    def read_page() -> str:
        return report(workspace, ReportOptions()).output.read_text(encoding="utf-8")

    assert "Layers of the encoders" not in read_page()
    config = next(workspace.runs.glob("*/config.json"))
    encoders = {branch.key.encoder for branch in RunConfig.read(config).branches}
    for encoder in (next(iter(encoders)), "of-another-project"):
        make_comparison(encoder).write(workspace.reports / "layers" / f"{encoder}.json")
    path = config.with_name("summary.json")
    weights = {"layer_weights": {"whisper@1+2": {"1": 0.4, "2": 0.6}}}
    RunSummary.read(path).model_copy(update=weights).write(path)
    text = read_page()
    assert "Layers of the encoders" in text
    assert "of-another-project" not in text
    assert json.dumps("whisper@1+2") in text

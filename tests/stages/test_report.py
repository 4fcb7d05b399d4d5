"""`serctl report`: which evaluation, which format, what it gathers, what it refuses."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_report import PAPER, make_evaluation, write_project
from typer.testing import CliRunner

from serctl.cli import app
from serctl.data.transcripts import Transcript, write_transcripts
from serctl.documents.run import EpochRecord, average_epochs
from serctl.errors import ReportError, UnknownNameError
from serctl.options import ReportOptions
from serctl.page import packages
from serctl.stages.report import find_evaluation, link_to, report

runner = CliRunner()


def data_of(output: Path):
    text = output.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0]
    return json.loads(text)


def test_the_newest_evaluation_is_shown_unless_one_is_named(tmp_path: Path) -> None:
    document = make_evaluation(40)
    workspace = write_project(tmp_path, document, name="old")
    write_project(tmp_path, document, name="new")
    os.utime(workspace.reports / "old.json", (1, 1))
    assert report(workspace, ReportOptions()).output == workspace.reports / "new.html"
    assert report(workspace, ReportOptions(name="old")).output == workspace.reports / "old.html"
    report(workspace, ReportOptions(format="json"))
    report(workspace, ReportOptions(output=str(workspace.reports / "table.json")))
    assert find_evaluation(workspace).name == "new.json"
    with pytest.raises(UnknownNameError, match=r"Did you mean 'old'\? .*serctl evaluate"):
        report(workspace, ReportOptions(name="odl"))


def test_nothing_evaluated_names_the_command(tmp_path: Path) -> None:
    workspace = write_project(tmp_path, make_evaluation(40))
    path = workspace.reports / "dev.json"
    with pytest.raises(ReportError, match="is the evaluation itself"):
        report(workspace, ReportOptions(output=str(path)))
    path.write_text("[]")
    with pytest.raises(ReportError, match=r"is not a valid evaluation.*Run: serctl evaluate"):
        report(workspace, ReportOptions(name=str(path)))
    with pytest.raises(ReportError, match=r"No evaluation in .* Run: serctl evaluate"):
        report(workspace, ReportOptions())


@pytest.mark.parametrize(
    ("output", "start"),
    [("t.md", "# Eval"), ("t.csv", "system,"), ("t.tex", "\\begin"), ("t.json", "{")],
)
def test_a_suffix_chooses_the_format(tmp_path: Path, output: str, start: str) -> None:
    workspace = write_project(tmp_path, make_evaluation(40))
    path = report(workspace, ReportOptions(output=str(tmp_path / output))).output
    assert path.read_text().startswith(start)
    with pytest.raises(UnknownNameError, match=r"Unknown suffix '.docx'"):
        report(workspace, ReportOptions(output="t.docx"))


def test_without_plotly_one_line_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    write_project(tmp_path, make_evaluation(40))
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    result = runner.invoke(app, ["report", "--project", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "pip install 'serctl[report]'" in result.stderr
    assert runner.invoke(app, ["report", "-C", str(tmp_path), "--format", "csv"]).exit_code == 0


def test_the_command_says_where_the_page_is(tmp_path: Path) -> None:
    write_project(tmp_path, make_evaluation(40))
    output = tmp_path / "out" / "page.html"
    result = runner.invoke(app, ["report", "dev", "-o", str(output), "-C", str(tmp_path), "--json"])
    assert json.loads(result.stdout)["output"] == str(output)
    assert output.is_file()
    assert "40 of 40 audio files no longer exist." in result.stderr


def test_curves_and_importances_come_from_runs_and_stackers(tmp_path: Path) -> None:
    workspace = write_project(tmp_path, make_evaluation(40))
    page = report(workspace, ReportOptions()).output
    data = data_of(page)
    assert [row[:3] for row in data["charts"]["curves"]["rows"]] == [["a", 20, 9], ["b", 20, 10]]
    assert [row[0] for row in data["charts"]["importances-0"]["rows"]] == ["a", "b"]
    assert "The shares of all logits sum to 100 %." in page.read_text()


def test_a_training_that_continues_has_its_curve_too(tmp_path: Path) -> None:
    workspace = write_project(tmp_path, make_evaluation(40))
    running = shutil.copytree(workspace.runs / "a", workspace.runs / "running")
    (running / "summary.json").unlink()
    lines = (running / "metrics.jsonl").read_text().splitlines(keepends=True)
    (running / "metrics.jsonl").write_text("".join(lines[:5]))
    rows = data_of(report(workspace, ReportOptions()).output)["charts"]["curves"]["rows"]
    assert [row[:2] for row in rows] == [["a", 20], ["b", 20], ["running (not finished)", 5]]


def test_fold_models_have_their_mean_and_a_curve_each_while_they_train(tmp_path: Path) -> None:
    workspace = write_project(tmp_path, make_evaluation(40))
    for run in ("b", "running"):
        if run == "running":
            shutil.copytree(workspace.runs / "a", workspace.runs / run)
        place = workspace.runs / run
        epochs = (place / "metrics.jsonl").read_text().splitlines(keepends=True)
        for fold, count in enumerate((6, 3)):
            folder = shutil.copytree(
                place, place / "folds" / str(fold), ignore=lambda *_: ["folds"]
            )
            (folder / "metrics.jsonl").write_text("".join(epochs[:count]))
        (place / "metrics.jsonl").unlink()
    for unfinished in ("running", "running/folds/1"):
        (workspace.runs / unfinished / "summary.json").unlink()
    rows = data_of(report(workspace, ReportOptions()).output)["charts"]["curves"]["rows"]
    assert [row[:2] for row in rows] == [
        ["a", 20],
        ["b (mean of 2 folds)", 6],
        ["running, fold 1", 6],
        ["running, fold 2 (not finished)", 3],
    ]


def test_epochs_are_averaged_over_the_folds_that_got_so_far() -> None:
    first = [EpochRecord(epoch=1, loss=2.0, dev_macro_f1=0.5), EpochRecord(epoch=2, loss=1.0)]
    second = [EpochRecord(epoch=1, loss=1.0, dev_macro_f1=0.1)]
    found = [(row.epoch, row.loss, row.dev_macro_f1) for row in average_epochs([second, first])]
    assert found == [(1, 1.5, pytest.approx(0.3)), (2, 1.0, None)]


def test_an_evaluation_alone_is_enough(tmp_path: Path) -> None:
    document = make_evaluation(40)
    document["systems"] = document["systems"][:1]
    document["paired"] = []
    for name in ("speaker", "gender"):
        document["utterances"][name] = [""] * 40
    document["utterances"]["transcript"] = [None] * 40
    document["num_speakers"] = 0
    (tmp_path / "runs").mkdir()
    workspace = write_project(tmp_path, document)
    for path in (workspace.runs / "a").iterdir():
        path.unlink()
    data = data_of(report(workspace, ReportOptions()).output)
    assert list(data["charts"]) == ["subsets"]


def test_recognised_words_stand_in_for_missing_ones(tmp_path: Path) -> None:
    document = make_evaluation(40)
    rows = document["utterances"]
    rows["transcript"] = ["given", *[None] * 39]
    workspace = write_project(tmp_path, document)
    spoken = [Transcript(name, f"heard {i}") for i, name in enumerate(rows["utterance_id"])]
    write_transcripts(workspace.transcripts, spoken, {"source": "whisper-tiny"})
    output = report(workspace, ReportOptions()).output
    assert data_of(output)["utterances"]["words"][:3] == ["given", "heard 1", "heard 2"]
    assert "Transcripts are from whisper-tiny." in output.read_text(encoding="utf-8")


def test_a_run_trained_again_since_is_reported(tmp_path: Path) -> None:
    document = make_evaluation(40)
    document["systems"][0]["facts"] = {"run_hash": "before"}
    workspace = write_project(tmp_path, document)
    path = workspace.runs / "a" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hash": "after"}))
    assert "a was trained again since" in report(workspace, ReportOptions()).notes[0]


def test_on_its_corpus_the_paper_is_compared(tmp_path: Path) -> None:
    document = make_evaluation(40)
    text = report(write_project(tmp_path, document, encoders=PAPER), ReportOptions())
    assert "Comparison with the paper" in text.output.read_text(encoding="utf-8")
    other = write_project(tmp_path, make_evaluation(40, prefix="03a"), encoders=PAPER)
    assert "Comparison with the paper" not in report(other, ReportOptions()).output.read_text(
        "utf-8"
    )


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), min_size=1))
def test_a_link_leads_back_to_the_file(parts: list[str]) -> None:
    parts = [part for part in parts if part not in (".", "..")] or ["x"]
    try:
        path = Path("/corpus", *parts)
        os.fsencode(path)
    except UnicodeEncodeError:
        return
    link = link_to(path, Path("/project/reports"))
    assert not {"#", "?", " ", '"', "<"} & set(link)
    followed = Path("/project/reports", os.fsdecode(unquote_to_bytes(link)))
    assert Path(os.path.normpath(followed)) == path

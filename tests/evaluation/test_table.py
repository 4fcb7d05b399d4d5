"""The results table as records, CSV, LaTeX and Markdown."""

import csv
import io

from synthetic_report import make_evaluation, read_evaluation
from synthetic_run import make_branch, make_run_config

from serctl.evaluation.published import pair_published
from serctl.evaluation.table import (
    escape_latex,
    make_records,
    to_csv,
    to_latex,
    to_markdown_published,
)
from serctl.options import TrainOptions

BRANCHES = [make_branch("wavlm-large"), make_branch("roberta-large", "text")]
CONFIGS = {"a": make_run_config("a", TrainOptions(loss="wce"), BRANCHES)}


def test_csv_holds_every_figure_to_the_last_digit() -> None:
    document = read_evaluation(make_evaluation(60))
    rows = list(csv.DictReader(io.StringIO(to_csv(make_records(document)))))
    assert [row["system"] for row in rows] == ["a", "b", "stack", "majority-class"]
    for row, system in zip(rows, document.systems, strict=True):
        assert float(row["macro_f1"]) == system.macro_f1
        assert float(row["bs_f1_max"]) == system.bs_f1.max
    assert "paper_bs_f1" not in rows[0]


def test_the_papers_figures_and_its_other_rows_join_on_its_corpus() -> None:
    document = read_evaluation(make_evaluation(60))
    records = make_records(document, pair_published(document, CONFIGS))
    by_name = {record["system"]: record for record in records}
    assert by_name["a"]["paper_bs_f1"] == 0.392
    assert by_name["Stacking"]["paper_bs_f1"] == 0.430
    assert by_name["Stacking"]["macro_f1"] is None
    assert by_name["Baseline (wce)"]["paper_test_macro_f1"] == 0.329
    assert len(records) == 4 + 15 - 1
    text = to_markdown_published(pair_published(document, CONFIGS))
    assert "| WavLM + Roberta (wce) | a | 0.363 |" in text
    assert to_markdown_published([]) == ""


def test_latex_escapes_names_and_marks_the_best() -> None:
    document = read_evaluation(make_evaluation(60, runs=("a_b & 50%", "c\\d")))
    text = to_latex(document.title, make_records(document))
    assert r"a\_b \& 50\%" in text
    assert r"c\textbackslash{}d" in text
    best = next(line for line in text.splitlines() if line.startswith("stack"))
    assert best.count(r"\textbf{") == 4
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {4}


def test_latex_does_not_show_the_range_of_bs_f1_as_a_confidence_interval() -> None:
    document = read_evaluation(make_evaluation(60, runs=("a",)))
    text = to_latex(document.title, make_records(document))
    assert "BS-F1: mean and range of balanced subsets. The range is not a confidence" in text


def test_latex_signs_stay_signs() -> None:
    assert escape_latex("#{x}~^$") == r"\#\{x\}\textasciitilde{}\textasciicircum{}\$"

"""The HTML text of a page, without a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_report import make_evaluation, make_verdict, read_evaluation, write_project

from serctl.options import ReportOptions
from serctl.page.figures import show_importances, show_subsets
from serctl.page.system_figures import (
    show_calibration,
    show_classes,
    show_confusion,
    tabulate_groups,
)
from serctl.stages.report import report

EVIL = "</script><script>alert(1)</script><!--\"'&"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.links, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.scripts.append(dict(attributes).get("type", ""))
        self.links += [value for name, value in attributes if name in ("src", "href", "action")]


def render(folder: Path, document) -> str:
    workspace = write_project(folder, document)
    return report(workspace, ReportOptions()).output.read_text(encoding="utf-8")


def test_nothing_is_fetched_and_only_known_scripts_stand_in_it(tmp_path: Path) -> None:
    tags = Tags()
    tags.feed(render(tmp_path, make_evaluation(60)))
    assert tags.scripts == ["application/json", "", ""]
    assert all(link.startswith("#") for link in tags.links)


def test_names_and_words_of_a_corpus_stay_text(tmp_path: Path) -> None:
    document = make_evaluation(60, runs=("a", EVIL))
    document["warnings"] = document["notes"] = [EVIL]
    document["split"] = document["title"] = EVIL
    document["paired"] = [make_verdict(EVIL, is_real=False).model_dump()]
    for column in ("utterance_id", "speaker", "gender", "transcript"):
        document["utterances"][column][3] = EVIL
    document["systems"][0]["groups"]["gender"][0]["name"] = EVIL
    workspace = write_project(tmp_path, make_evaluation(60))
    (workspace.reports / "dev.json").write_text(json.dumps(document))
    text = report(workspace, ReportOptions()).output.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.scripts == ["application/json", "", ""]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert "<" not in data[1]
    assert json.loads(data[1])["utterances"]["words"][3] == EVIL


def test_differences_that_cannot_be_tested_are_not_called_insignificant(tmp_path: Path) -> None:
    document = make_evaluation(60)
    verdict = "2 speakers: differences cannot be tested."
    document["paired"] = 3 * [make_verdict(verdict, is_real=False).model_dump()]
    for system in document["systems"]:
        system["intervals"] = None
    text = render(tmp_path, document)
    assert (text.count(verdict), text.count(">not tested<")) == (1, 1)
    assert ">not significant<" not in text


def test_a_figure_shows_markup_in_a_name_as_text() -> None:
    document = make_evaluation(60)
    document["systems"][0]["name"] = "<b>x</b><a href='javascript:1'>"
    system = read_evaluation(document).systems[0]
    chart = show_subsets([system])
    assert "<" not in chart.figure["data"][0]["name"]
    assert chart.rows[0][0] == system.name


def test_names_and_emotions_that_are_numbers_are_no_positions() -> None:
    systems = read_evaluation(make_evaluation(60, runs=("5", "1"))).systems
    shares = [[0.5, 0.2], [0.2, 0.1]]
    for chart, axes in (
        (show_subsets(systems), ("yaxis",)),
        (show_confusion(systems[0], [str(2 * i) for i in range(8)]), ("xaxis", "yaxis")),
        (show_importances(["5", "1"], ["0", "3"], shares), ("xaxis", "yaxis", "yaxis2")),
    ):
        assert {chart.figure["layout"][axis]["type"] for axis in axes} == {"category"}


def test_every_figure_has_its_numbers_as_a_table() -> None:
    document = read_evaluation(make_evaluation(200))
    system, labels = document.systems[1], document.labels
    confusion = show_confusion(system, labels)
    assert [tuple(row[1:]) for row in confusion.rows] == list(system.confusion)
    assert show_classes(system).rows[2][0] == labels[2]
    assert sum(row[1] for row in show_calibration(system).rows) == 200
    shares = [[0.1] * 8, [0.025] * 8]
    importances = show_importances(["a", "b"], labels, shares)
    assert [row[-1] for row in importances.rows] == ["80.0", "20.0"]
    assert "a has the highest sum (80 %)" in importances.summary
    for chart in (confusion, importances, show_subsets(document.systems)):
        assert all(len(row) == len(chart.columns) for row in chart.rows)
        json.dumps(chart.figure)


def test_a_figure_names_colours_and_leaves_them_to_the_page() -> None:
    document = read_evaluation(make_evaluation(60))
    text = json.dumps(show_confusion(document.systems[0], document.labels).figure)
    assert "var(--seq-2)" in text
    assert not re.search(r'"#[0-9a-f]{6}"', text)


def test_groups_are_in_the_order_of_time() -> None:
    rows = tabulate_groups(read_evaluation(make_evaluation(900)).systems[0])["rows"]
    durations = [row[0] for row in rows if row[0].startswith("duration")]
    assert durations == [
        *("duration: < 2 s", "duration: 2-4 s", "duration: 4-6 s", "duration: 6-8 s"),
        "duration: ≥ 8 s",
    ]


@pytest.mark.parametrize(
    "name", ["page.css", "drawing.js", "figures.js", "tables.js", "browser.js"]
)
def test_assets_never_make_html_of_text(name: str) -> None:
    import serctl.page

    text = (Path(serctl.page.__file__).parent / "assets" / name).read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http"):
        assert way not in text

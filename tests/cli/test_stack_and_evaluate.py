"""`serctl stack` and `serctl evaluate` from the outside: results on stdout, talk on stderr."""

import json
from pathlib import Path

import pytest
from synthetic_logits import make_project, make_run, make_utterances
from synthetic_run import SUMMARY
from typer.testing import CliRunner, Result

from serctl.cli import app
from serctl.document import UPDATE


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two runs."""
    rows = make_utterances()
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "first", rows, seed=1)
    make_run(workspace, "second", rows, seed=2)
    return tmp_path


def call(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--project", str(project)])


def test_stack_then_evaluate_give_one_json_document_each(project: Path) -> None:
    stacked = call(project, "stack", "--stacker", "linear", "--json")
    assert stacked.exit_code == 0, stacked.output
    assert json.loads(stacked.stdout)["models"] == ["first", "second"]
    judged = call(project, "evaluate", "--json")
    assert judged.exit_code == 0, judged.output
    names = [row["name"] for row in json.loads(judged.stdout)["table"]]
    assert names == ["first", "second", "linear", "majority-class"]


def test_a_table_and_its_caveats(project: Path) -> None:
    judged = call(project, "evaluate", "first", "second", "--split", "dev")
    assert judged.exit_code == 0, judged.output
    assert "macro-F1" in judged.stdout
    assert "was selected on dev" in judged.stderr
    assert "was selected" not in judged.stdout
    assert "is ahead of" in judged.stderr or "is better than" in judged.stderr
    assert "Next: serctl report dev-first-vs-second" in judged.stderr


def test_compare_recommends_and_keeps_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serctl.ensemble.compare.STACKERS", ("mean-logits", "linear"))
    compared = call(project, "stack", "--compare", "--folds", "2")
    assert compared.exit_code == 0, compared.output
    assert "Recommended:" in compared.stderr
    assert not (project / "stackers").exists()


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(
    ("arguments", "file", "field"),
    [
        (("stack", "first", "second"), "runs/second/logits/train.json", "serctl_logits"),
        (("evaluate", "second", "--split", "dev"), "runs/second/logits/dev.json", "serctl_logits"),
        (("evaluate", "second"), "runs/second/config.json", "serctl_run"),
        (("export-logits", "second"), "runs/second/config.json", "serctl_run"),
        (("predict", "{}/a.wav", "--model", "second"), "runs/second/config.json", "serctl_run"),
        (("predict", "{}/a.wav", "--model", "old"), "stackers/old/stacker.json", "serctl_stacker"),
        (
            ("bundle", "make", "x", "--run", "second", "-o", "x"),
            "runs/second/config.json",
            "serctl_run",
        ),
        (("bundle", "check", "{}/bundle"), "bundle/bundle.json", "serctl_bundle"),
    ],
)
def test_files_of_another_format_version_are_one_line_and_stay(
    project: Path, arguments: tuple[str, ...], file: str, field: str, number: int
) -> None:
    path = project / file
    path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(document | {field: number}))
    SUMMARY.write(project / "runs/second/summary.json")
    (project / "a.wav").touch()  # absent audio would be named first
    before = path.read_bytes()
    command = [word.format(project) for word in arguments]
    whole = [] if "check" in command else ["--project", str(project)]
    result = CliRunner().invoke(app, [*command, *whole])
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert f"{path}' has " in line
    assert f"format {number}, but this serctl reads 1." in line
    assert (UPDATE in line) == (number == 2)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("stack", "--stacker", "forest"), 2, "Unknown stacker 'forest'"),
        (("stack", "--stack-on", "train"), 2, "expected oof, heldout, dev, in-sample"),
        (("stack", "--stacker", "linear", "--fold", "4"), 2, "expected random-forest"),
        (("stack", "--stack-on", "heldout"), 1, "--heldout"),
        (("evaluate", "nobody"), 2, "Unknown run or stacker 'nobody'"),
        (("evaluate", "--submission", "x.csv"), 2, "expected one for a submission"),
    ],
)
def test_mistakes_are_one_line_with_an_exit_code(project, arguments, code, message) -> None:
    result = call(project, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout

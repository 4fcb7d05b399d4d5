"""What a terminal shows: bars, tables at several widths, lines of a run."""

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from serctl.cli import console, encoders, predictions
from serctl.cli.console import RichProgress, table
from serctl.cli.evaluate import describe
from serctl.cli.hints import choose_recipe, hint_logits, hint_train
from serctl.cli.run import show_plan
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.documents.report import SystemSummary
from serctl.pipeline.estimate import Estimate
from serctl.stages.evaluate import EvaluateResult
from serctl.system.prediction import Prediction
from serctl.training.loop import Trainer

NAMES = (
    "whisper-tiny+minilm+egemaps-sml",
    "hubert-xlarge+roberta-large-s7",
    "whisper-large-v3+deberta-v2-xxlarge-sml",
    "demo",
    "pooled-logistic-regression",
)


def row(name: str) -> SystemSummary:
    kind = {"demo": "stacker", NAMES[-1]: "baseline"}.get(name, "run")
    subset = {"mean": 0.5, "std": 0.0, "min": 0.5, "max": 0.5, "per_class": 1}
    intervals = dict.fromkeys(("macro_f1", "uar", "accuracy"), (0.4, 0.6))
    metrics = dict.fromkeys(("macro_f1", "uar", "accuracy"), 0.5)
    values = {"name": name, "kind": kind, "bs_f1": subset, "intervals": intervals, **metrics}
    return SystemSummary.model_validate(values)


def render(shown: object, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    file = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=file, width=width, highlight=False))
    console.out.print(shown() if callable(shown) else shown)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_each_row_of_a_plan_is_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "whisper-tiny@1-2-3-4+minilm+egemaps-pooled"
    plan = [
        Estimate("extract", "egemaps", "8 of 474 done", bytes=6_300_000),
        Estimate("train", name, "4 x 20 epochs", seconds=720),
        Estimate("stack", "demo", "linear on out-of-fold logits"),
    ]
    lines = render(lambda: show_plan(plan), width, monkeypatch)
    assert max(map(len, lines)) <= width
    wanted = ["egemaps 8 of 474 done", f"{name} 4 x 20 epochs", "demo linear on out-of-fold logits"]
    told = [" ".join(line.replace(",", "").split()) for line in lines]
    assert all(sum(one in line for line in told) == 1 for one in wanted)
    assert len(lines) == (5 if width == 120 else 8)
    assert told[-1] == "sum 1 model 6.3 MB 12 min"


def test_a_long_line_of_a_run_is_wrapped_under_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(
        console, "err", Console(file=file, force_terminal=True, width=60, highlight=False)
    )
    line = "train          whisper-tiny@1-2-3-4+minilm-pooled: 4 fits, dev macro-F1 0.322, 8 s"
    console.say(line, indent=15)
    first, second = file.getvalue().splitlines()
    assert second.startswith(" " * 15 + "dev")
    assert f"{first.rstrip()} {second.strip()}" == line


@pytest.mark.parametrize("width", [60, 80, 120])
def test_rows_of_predictions_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=width))
    lines: list[str] = []
    path = Path("a-call-of-an-agent.wav")
    write = predictions._terminal_lines(lines.append, [path], True)
    shares = {"angry": 0.6, "sad": 0.05, "happy": 0.25, "neutral": 0.1}
    text = "the window looks out on the car park and " * 4
    write(Prediction(str(path), 123.45, 128.9, "angry", shares, {NAMES[2]: shares}, text))
    shown = "123.45-128.90  angry 0.60, happy 0.25, neutral 0.10"
    assert lines[0] == f"{path.name}  {shown}"
    wrapped = "\n".join(lines[1:])
    assert max(map(len, wrapped.splitlines())) <= width
    assert " ".join(wrapped.split()) == f"{NAMES[2]}: angry 0.60 {text.strip()}"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_catalogue_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=width))
    rows = [
        ("encoder (alias)", "modality", "dim", "rate", "here", "weights", "licence"),
        (
            NAMES[2][:28],
            "paralinguistic",
            "1280",
            "tokens",
            "yes",
            "o/" + 30 * "w",
            "see its page (MIT)",
        ),
    ]
    lines = "\n".join(encoders._align(rows)).splitlines()
    assert max(map(len, lines)) <= width
    assert ("weights" in lines[0]) == (width == 120)
    assert {"see", "its", "page", "(MIT)"} <= set(" ".join(lines).split())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_an_evaluation_fits_and_breaks_no_name(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    result = EvaluateResult("test", 90, table=tuple(map(row, NAMES)), num_clusters=20)
    lines = render(lambda: describe(result), width, monkeypatch)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    firsts = [line.split()[0] for line in lines[2:] if line[0] != " "]
    assert all(name.startswith(first) for name, first in zip(NAMES, firsts, strict=True))
    text = re.sub(r" model .*\n", "", "\n".join(lines)).replace(" ", "")
    assert all(name in text for name in NAMES)  # read downwards
    kinds = [line.split("0.500")[0].split()[-1] for line in lines[2:] if "0.500" in line]
    assert kinds == ["model", "model", "model", "stack", "baseline"]
    ends = {len(line) for line in lines[2:] if "0.500" in line}
    assert len(ends) == 1  # the numbers of all rows are in the same columns


def test_a_long_name_in_a_later_column_keeps_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> object:
        return table("", ["stage", "what", "time"], [["train", 50 * "n", "3"], ["stack", "s", "4"]])

    assert render(make, 60, monkeypatch) == [
        "stage  what  time",
        f"train  {50 * 'n'}",
        "                3",
        "stack  s        4",
    ]


def test_the_rest_of_a_folded_name_is_indented(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["train", ""], [f"  {20 * 'a'}+{20 * 'b'}", 30 * "x"]]
    lines = render(lambda: table("", ["what", "state"], rows), 60, monkeypatch)
    assert lines[2:] == [f"  {20 * 'a'}  {30 * 'x'}", f"    +{20 * 'b'}"]
    stores = [["whisper-tiny@16ae8dc8445a", 40 * "x"]]
    lines = render(lambda: table("", ["store", "state"], stores), 60, monkeypatch)
    assert lines[1:] == [f"whisper-tiny  {40 * 'x'}", "  @16ae8dc8445a"]


def test_an_interval_over_few_speakers_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown in (False, True):
        system = row("demo") if shown else row("demo").model_copy(update={"intervals": None})
        result = EvaluateResult("test", 9, table=(system,))
        lines = render(lambda result=result: describe(result), 80, monkeypatch)
        assert ("[0.400, 0.600]" in lines[-1]) == shown


def test_a_table_of_nothing_has_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert render(lambda: table("", ["store", "size"], []), 80, monkeypatch) == ["store  size"]


def test_a_bar_counts_units_and_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "err", terminal)
    with RichProgress().task("whisper-tiny+minilm", 20, "epochs") as advance:
        for _ in range(14):  # stopped early, in halves of an epoch
            advance(0.5, "loss 0.412  dev macro-F1 0.512")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()).split("\n")[0].split("\r")
    frames = [text for text in shown if text.strip()]
    assert "20/20 epochs" in frames[-1]
    assert "dev macro-F1 0.512" in frames[-1]
    assert max(map(len, frames)) <= 80


def test_a_bar_with_a_long_name_cuts_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "err", terminal)
    with RichProgress().task("whisper-tiny@1-2-3-4+minilm fold 4/4", 20, "epochs") as advance:
        for _ in range(20):
            advance(1, "loss 0.412  dev macro-F1 0.512")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "20/20 epochs loss 0.412" in " ".join(shown.split())
    assert "…" not in shown


def test_a_bar_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "err", terminal)
    loop = SimpleNamespace(state=SimpleNamespace(history=[]))
    update = Progress.update  # drawn at every step, not ten times a second
    monkeypatch.setattr(Progress, "update", lambda *a, **more: update(*a, refresh=True, **more))
    with RichProgress().task("whisper fold 1/3", 12, "epochs") as advance:
        for loss in (None, 12.5, 9.25, 0.3):
            advance(3, Trainer._describe(loop, loss))
            loop.state.history = [SimpleNamespace(dev_macro_f1=loss / 20)] if loss else []
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()).split("\n")[0].split("\r")
    frames = [text for text in shown if "loss" in text]
    assert len({text.index("/12 epochs") for text in frames}) == 1
    assert "loss -       dev macro-F1 -" in frames[0]


def test_rows_for_a_file_do_not_go_to_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    monkeypatch.setattr(console, "err", terminal)
    with RichProgress().task("predict", 2, "recordings") as advance:
        sys.stdout.write("a.wav,angry\n")
        advance()
    assert capsys.readouterr().out == "a.wav,angry\n"


def test_no_bar_is_drawn_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=file, width=80))
    with RichProgress().task("extract", 2, "utterances") as advance:
        advance()
    assert file.getvalue() == ""


@pytest.mark.parametrize(("size", "recipe"), [(40, "small"), (5000, "small"), (90_000, "paper")])
def test_the_recipe_of_a_hint_fits_the_corpus(size: int, recipe: str) -> None:
    assert choose_recipe(size) == recipe


def test_the_hint_after_an_export_follows_the_project(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def touch(path: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    touch("runs/a/summary.json")
    touch("runs/a/logits/dev.csv")
    assert hint_logits(workspace) == "serctl evaluate"
    touch("runs/b/summary.json")
    assert hint_logits(workspace) == "serctl export-logits b"
    touch("runs/b/logits/dev.csv")
    assert hint_logits(workspace) == "serctl stack"
    touch("stackers/both/stacker.json")
    assert hint_logits(workspace) == "serctl evaluate"


def test_the_hint_of_a_training_names_the_recipe_unless_the_project_does(tmp_path: Path) -> None:
    rows = [Utterance("a", tmp_path / "a.wav", "train", "happy")]
    write_manifest(tmp_path / "manifest.csv", rows)
    branches = ["--speech whisper-tiny"]
    told = hint_train(Workspace(tmp_path), branches)
    assert told == "serctl train --speech whisper-tiny --recipe small"
    own = Workspace(tmp_path, tables={"train": {"recipe": "small"}})
    assert hint_train(own, branches) == "serctl train --speech whisper-tiny"

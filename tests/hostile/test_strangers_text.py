"""Names and words of strangers: shown, never obeyed by a terminal, a spreadsheet or rich."""

import csv
import io
import sys
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from serctl.cli import console
from serctl.cli.predictions import _to_textgrid, open_output, to_row
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.textgrid import parse_textgrid
from serctl.errors import UsageError, escape_controls
from serctl.names import guard_cell, guard_path, join_cells
from serctl.system.prediction import Prediction

HOSTILE = "\x1b[2J\x1b]0;owned\x07 [red]bold[/red] [/nothing] \x9b31m \u202etxt.wav \udcff"


@given(st.text())
def test_what_is_shown_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = escape_controls(text)
    shown.encode()
    assert all(c in "\n\t" or c.isprintable() or not c.isascii() for c in shown)
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}
    if text.isprintable() and not set(text) & set("\u202a\u202b\u202c\u202d\u202e"):
        assert shown == text


def test_messages_hints_and_tables_show_hostile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, color_system=None, width=300)
    monkeypatch.setattr(console, "err", terminal)
    monkeypatch.setattr(console, "out", terminal)
    console.say(HOSTILE)
    console.hint(f"serctl predict {HOSTILE}")
    console.show(None, console.table(HOSTILE, ["what", "n"], [[HOSTILE, "1"]]))
    console.show(None, HOSTILE)
    with console.progress.task(HOSTILE, 1) as advance:
        advance(1, HOSTILE)
    shown = file.getvalue()
    assert shown.count(r"\x1b[2J\x1b]0;owned\x07") >= 5
    assert shown.count("[red]bold[/red] [/nothing]") >= 5
    assert "\x1b]0" not in shown
    assert "\x9b" not in shown


def test_stdout_that_is_a_pipe_gets_the_text_and_a_terminal_the_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.write_out("a\x1b[31m \udcff\n")
    assert capsys.readouterr().out == "a\x1b[31m \\udcff\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.write_out("a\x1b[31m\n")
    assert capsys.readouterr().out == "a\\x1b[31m\n"


@given(st.text(max_size=9))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = str(guard_cell(text))
    try:
        float(cell)
    except ValueError:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in (text, f"'{text}")
    assert not guard_path(text).startswith(("=", "+", "-", "@"))


def test_a_predicted_transcript_is_no_formula(tmp_path: Path) -> None:
    found = Prediction(
        audio="=cmd|' /C calc'!A0.wav",
        start=0.0,
        end=1.0,
        emotion="sad",
        probabilities={"sad": 0.9, "happy": 0.1},
        per_model={},
        text='=HYPERLINK("http://x")',
        suspect="",
    )
    path = tmp_path / "p.csv"
    with open_output("csv", [], path, False) as write:
        write(found)
    _, row = csv.reader(io.StringIO(path.read_text(), newline=""))
    assert row[0].startswith("./=cmd")
    assert '\'=HYPERLINK("http://x")' in row


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_any_text_is_one_cell_of_one_row(cells: list[str]) -> None:
    content = f"{join_cells(cells)}\n{join_cells(cells)}\n"
    assert list(csv.reader(io.StringIO(content, newline=""))) == [cells, cells]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_break_in_a_name_or_text_tears_no_row(end: str, tmp_path: Path) -> None:
    shares = {"sad": 0.9, "happy": 0.1}
    found = Prediction(f"a{end}b.wav", 0.0, 1.0, "sad", shares, text=f"so{end}oh")
    path = tmp_path / "p.csv"
    with open_output("csv", [], path, False) as write:
        write(found)
        write(found)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["audio"], row["text"]) for row in rows] == [(found.audio, found.text)] * 2
    row = Utterance("u1", tmp_path / "a.wav", "train", "sad", "s", transcript=f"so{end}oh")
    write_manifest(tmp_path / "m.csv", [row])
    assert read_manifest(tmp_path / "m.csv").utterances == (row,)


def test_a_label_that_is_another_column_replaces_no_column() -> None:
    shares = {"text": 0.9, "sad": 0.1}
    found = Prediction("a.wav", 0.0, 1.0, "text", shares, per_model={}, text="hello", suspect="")
    with pytest.raises(UsageError, match="the label 'text', which is another column"):
        to_row(found, False)


def test_a_model_named_like_a_tier_replaces_no_tier(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.1] * 8000, 8000)
    shares = {"sad": 0.9, "happy": 0.1}
    found = Prediction(
        str(path), 0.0, 1.0, "sad", shares, per_model={"emotion": shares}, text=None, suspect=""
    )
    tiers = parse_textgrid(_to_textgrid(str(path), [found], True))
    assert tiers["emotion"] == [(0.0, 1.0, "sad")]
    assert tiers["emotion (model)"] == [(0.0, 1.0, "sad 0.90")]


def test_turns_predicted_by_channel_are_intervals_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.1] * 32000, 8000)
    turns = [Prediction(str(path), start, start + 1.0, "sad", {"sad": 1.0}) for start in (0, 2, 1)]
    with open_output("textgrid", [path], tmp_path, per_model=False) as write:
        for turn in turns:
            write(turn)
    emotions = parse_textgrid((tmp_path / "a.TextGrid").read_text())["emotion"]
    assert [interval[:2] for interval in emotions] == [(0, 1), (1, 2), (2, 3), (3, 4)]

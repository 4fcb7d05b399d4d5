"""`serctl predict --every`: one recording or many, mixed or by channel, in every format."""

import csv
import io
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trained_project import SPEECH
from two_talkers import write_call
from typer.testing import CliRunner, Result

from serctl.cli import app
from serctl.config import open_workspace
from serctl.data.segments import SpeechSegment
from serctl.errors import UsageError
from serctl.options import PredictOptions
from serctl.stages.timeline import predict_timelines


@pytest.fixture(autouse=True)
def _all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector of speech hears none in noise."""

    def cut(wave, longest):
        return [SpeechSegment(0, len(wave))]

    monkeypatch.setattr("serctl.system.loading.cut_at_pauses", cut)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two channels, 3.5 s."""
    path = tmp_path_factory.mktemp("calls") / "a call.wav"
    noise = np.random.default_rng(0).standard_normal((56_000, 2)) * [0.05, 0.2]
    soundfile.write(path, noise, 16_000)
    return path


@pytest.fixture
def run(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(trained)

    def run(*words: object) -> Result:
        line = ["predict", *map(str, words), "--model", SPEECH, "--device", "cpu"]
        return CliRunner().invoke(app, line, catch_exceptions=False)

    return run


def test_every_channel_has_its_own_timeline(run, call: Path) -> None:
    rows = {}
    for channels in ("mix", "split", "right"):
        done = run(call, "--every", 1, "--channels", channels, "--format", "csv")
        assert done.exit_code == 0, done.stderr
        rows[channels] = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["channel"] for row in rows["mix"]] == [""] * 4
    assert [row["channel"] for row in rows["split"]] == ["left"] * 4 + ["right"] * 4
    assert rows["right"] == rows["split"][4:]
    assert rows["split"][0]["angry"] != rows["split"][4]["angry"]
    assert [row["end"] for row in rows["mix"]] == ["1.000", "2.000", "3.000", "3.500"]


@pytest.mark.parametrize("form", ["table", "jsonl", "rttm", "textgrid"])
def test_formats_go_to_stdout_or_to_a_file(run, call: Path, tmp_path: Path, form: str) -> None:
    done = run(call, "--every", 1, "--format", form)
    assert done.exit_code == 0, done.stderr
    output = tmp_path / "made"
    run(call, "--every", 1, "--format", form, "--output", output)
    path = output / "a call.TextGrid" if form == "textgrid" else output
    assert path.read_text() == done.stdout
    first = done.stdout.splitlines()[0]
    assert {"table": "audio", "jsonl": "{", "rttm": "SPEAKER a_call", "textgrid": "File type"}[
        form
    ] in first


def test_a_plot_is_one_page_and_of_several_recordings_a_folder(
    run, call: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(call.read_bytes())
    page, table = tmp_path / "one.html", tmp_path / "one.csv"
    done = run(call, "--every", 1, "--plot", page, "-o", table)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Loading ")
    assert {f"Wrote {page}.", f"Wrote {table}."} <= set(lines)
    assert "a call.wav" in (tmp_path / "one.html").read_text()
    run(call, other, "--every", 1, "--plot", tmp_path / "pages")
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"a call.html", "other.html"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plot", "two.html"], "2 recordings need a folder"),
        (["--format", "textgrid"], "2 TextGrids need a folder"),
        (["--output", ".", "--format", "csv"], "is a folder, expected a file"),
    ],
)
def test_an_output_that_does_not_fit_is_refused_before_prediction(
    run, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.setattr("serctl.stages.timeline.predict_timelines", None)
    other = tmp_path / "other.wav"
    other.write_bytes(call.read_bytes())
    done = run(call, other, "--every", 1, *words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_recording_that_is_named_twice_is_noted(run, call: Path) -> None:
    done = run(call, call.parent, "--every", 2, "--format", "csv")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "Named more than once, and predicted each time: 1 recording (" in told


def test_python_and_command_line_agree(run, call: Path, trained: Path) -> None:
    import serctl
    from serctl.data.channels import read_channels
    from serctl.system.timeline import TimelineSettings, predict_timeline

    model = serctl.load(SPEECH, project=trained, device="cpu")
    wave = read_channels(call, "mix")[""]
    made = predict_timeline(model, wave, TimelineSettings(every=0.5, window=2, shortest=0))
    words = ("--every", 0.5, "--window", 2, "--shortest", 0, "--format", "jsonl")
    rows = [json.loads(line) for line in run(call, *words).stdout.splitlines()]
    found = [list(row["probabilities"].values()) for row in rows]
    np.testing.assert_allclose(found, made.probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plot", "x.html"], "--plot needs a timeline. Add: --every 1"),
        (["--channels", "left"], "--channels needs a timeline"),
        (["--window", "2"], "--window needs a timeline. Add: --every 1"),
        (["--windows-alone"], "--windows-alone needs a timeline"),
        (["--every", "1", "--per-model"], "--per-model cannot be used with --every"),
        (["--format", "rttm"], "--format rttm needs a timeline"),
        (["--every", "1", "--plot", "x.svg"], "expected FILE.html, FILE.png, or a folder"),
        (["--every", "1", "--window", "0.5"], "--window is 0.5, expected at least a step"),
        (["--every", "1", "--transcripts", "x.csv"], "has no times"),
        (["--every", "-1"], "--every"),
    ],
)
def test_what_does_not_fit_together_is_reported(
    run, call: Path, words: list[str], told: str
) -> None:
    done = run(call, *words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_picture_without_a_browser_is_refused_before_the_prediction(
    run, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run(call, "--every", 1, "--plot", tmp_path / "x.png")
    assert "a PNG needs Chromium or Chrome on the PATH" in done.stderr
    assert (done.exit_code, done.stdout) == (1, "")


def test_options_of_a_timeline_are_not_ignored_in_python(call: Path) -> None:
    import serctl

    options = PredictOptions(model="b", audio=(str(call),), every=1, channels="left")
    with pytest.raises(UsageError, match=r"every is 1.* serctl\.stages\.timeline\.predict_timelin"):
        serctl.predict(None, options)
    for name, value in {
        "channels": "left",
        "window": 2,
        "smooth": 1,
        "windows_alone": True,
    }.items():
        with pytest.raises(UsageError, match=f"'{name}' needs a timeline. Add: every=1"):
            PredictOptions(model="b", **{name: value})


def test_options_of_a_timeline_may_stand_in_a_file(run, call: Path, trained: Path) -> None:
    config = trained / "predict.toml"
    config.write_text("[predict]\nwindow = 2\nsmooth = 1\n")
    assert run(call, "--config", config).exit_code == 0
    assert run(call, "--config", config, "--every", 1).exit_code == 0
    config.unlink()


def test_a_recording_of_one_channel_is_left_out_or_an_error(run, call, tmp_path: Path) -> None:
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, np.random.default_rng(0).standard_normal(20_000) * 0.1, 16_000)
    done = run(mono, call, "--every", 1, "--channels", "split")
    assert done.exit_code == 1
    assert "one channel" in done.stderr
    done = run(mono, call, "--every", 1, "--channels", "split", "--skip-bad")
    assert done.exit_code == 3
    assert "a call.wav (left)" in done.stdout


def test_two_talkers_are_one_line_unless_their_channels_are_split(run, tmp_path: Path) -> None:
    name = str(write_call(tmp_path / "call.wav"))
    assert "a different talker on each channel" in run(name, "--every", 1).stderr
    assert "a different talker" not in run(name, "--every", 1, "--channels", "split").stderr


def test_the_bar_counts_recordings_by_shares_of_their_channels(
    trained: Path, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[tuple[float, str]] = []
    units = []

    class Bar:
        @contextmanager
        def task(self, description: str, total: int | None = None, unit: str = ""):
            units.append(unit)
            yield lambda n=1, note="": advanced.append((n, note))

    options = PredictOptions(
        model=SPEECH, audio=(str(call),), every=1, channels="split", device="cpu"
    )
    predict_timelines(open_workspace(trained), options, progress=Bar())
    assert units == ["recordings"]
    assert sum(share for share, _ in advanced) == pytest.approx(1)
    assert advanced[0] == (1 / 8, "a call.wav: 1 of 4 s")
    assert {note for _, note in advanced} >= {"", "a call.wav: 4 of 4 s"}  # "" keeps the last note


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "rttm", "textgrid"])
def test_recordings_before_a_bad_one_are_written(run, call: Path, tmp_path: Path, form) -> None:
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"no audio")
    done = run(call, "--every", 1, "--format", form, "--output", tmp_path / "whole")
    assert done.exit_code == 0, done.stderr
    plot = ("--plot", tmp_path / "pages")
    done = run(call, bad, "--every", 1, "--format", form, "--output", tmp_path / "part", *plot)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].endswith("To continue without such files: --skip-bad")
    name = "a call.TextGrid" if form == "textgrid" else ""
    part = (tmp_path / "part" / name).read_text().split()
    assert part == (tmp_path / "whole" / name).read_text().split()
    assert (tmp_path / "pages" / "a call.html").exists()


def test_recordings_before_an_interrupt_are_written(
    run, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import serctl.stages.timeline as stage

    predict, done = stage.predict_timeline, []

    def stop(*args, **more):
        if done:
            raise KeyboardInterrupt
        done.append(None)
        return predict(*args, **more)

    monkeypatch.setattr(stage, "predict_timeline", stop)
    run(call, call, "--every", 1, "--output", tmp_path / "part.csv")
    assert len((tmp_path / "part.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("form", ["table", "csv"])
def test_several_recordings_have_one_header_and_one_layout(run, call, tmp_path, form) -> None:
    other = tmp_path / "b.wav"
    other.write_bytes(call.read_bytes())
    lines = run(other, call, "--every", 1, "--format", form).stdout.splitlines()
    assert sum(line.startswith("audio") for line in lines) == 1
    starts = [line.index(" 0.0-") for line in lines if " 0.0-" in line]
    assert form == "csv" or starts == [lines[0].index(" seconds")] * 2

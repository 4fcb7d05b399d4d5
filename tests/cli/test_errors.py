"""One place for errors: a line on stderr, an exit code, no traceback."""

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from serctl.cli import app, console

runner = CliRunner()


def test_a_known_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = runner.invoke(app, ["extract", "--encoder", "wavlm-large", "--project", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: No serctl.toml in")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("extarct", "Unknown command 'extarct'. Did you mean 'extract'? Known: bundle, cache"),
        ("cache inf", "Unknown command 'inf'. Did you mean 'info'? Known: info, ls"),
        ("--versio", "Unknown option '--versio'. Did you mean '--version'?"),
        ("train --lr 1", "Unknown option '--lr'. Did you mean '--learning-rate'?"),
        ("train --learn 1", "Unknown option '--learn'. Did you mean '--learning-rate'?"),
        ("extract --batch 1", "Unknown option '--batch'. Did you mean '--batch-seconds'?"),
        ("extract --encodr x", "Unknown option '--encodr'. Did you mean '--encoder'?"),
        ("train --zzz", "Unknown option '--zzz'. See: serctl train --help"),
        ("-C x train", "-C goes after a command: serctl train -C FOLDER. See: serctl --help"),
        ("extract --limit x", "--limit is 'x', expected a whole number. See: serctl extract -"),
        ("predict --every x", "--every is 'x', expected a number. See: serctl predict --help"),
        ("extract --limit 0", "--limit is '0', expected at least 1. See: serctl extract --help"),
        ("predict --abstain-below 50", "--abstain-below is '50', expected at most 1. See: serctl"),
        ("predict a.wav --every 1 --window -1", "--window is -1.0, expected more than 0."),
        ("predict a.wav --every 1 --window 0", "--window is 0.0, expected more than 0."),
        ("run x --slurm jobs --dry-run --submit", "--dry-run has no effect with --slurm: job fil"),
        ("run x --slurm jobs -j 4 --shard 1/2", "--jobs, --shard have no effect with --slurm: jo"),
        ("run x --dry-run --shard 1/2", "--shard has no effect with --dry-run: the plan of all p"),
        ("cache verify --device cpu", "--device has no effect without --repair: nothing is"),
        ("extract --limit", "Option '--limit' requires an argument. See: serctl extract --help"),
        (
            "predict --format xml a.wav",
            "--format is 'xml', expected table, csv, jsonl, textgrid, rttm. See: serctl predict",
        ),
        ("cache ls more", "Unexpected: more. See: serctl cache ls --help"),
        ("report a b", "Unexpected: b. See: serctl report --help"),
        (
            "cache info",
            "NAME is missing: Encoder, or encoder@digest of one store. See: serctl cach",
        ),
        ("export-logits", "RUN is missing: Name of a run, or its folder. See: serctl export-logi"),
        (
            "manifest split",
            "--output is missing: The manifest to write. See: serctl manifest split",
        ),
    ],
)
def test_a_slip_of_typing_is_one_line_and_exit_code_2(line: str, told: str) -> None:
    result = runner.invoke(app, line.split(), prog_name="serctl")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {told}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("line", ["", "init", "train", "predict", "cache verify", "manifest merge"])
def test_help_names_no_type_of_python_and_cuts_no_word(line: str) -> None:
    told = runner.invoke(app, [*line.split(), "--help"], env={"COLUMNS": "80"}).stdout
    assert "--help" in told
    types = ("<str>", "<path>", "<bool>", "<int", "<float", "<list", "[[", "2147483647", "…")
    assert not [row for row in told.splitlines() if any(one in row for one in types)]


def test_short_help_is_a_whole_sentence() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    short = [
        row for row in page.read_text("utf-8").splitlines() if re.match(r"\* `[a-z-]+`: ", row)
    ]
    assert len(short) > 25
    assert not [row for row in short if row.endswith("..") or not row.endswith(".")]


@pytest.mark.parametrize("line", ["", "cache"])
def test_a_group_alone_shows_its_help(line: str) -> None:
    result = runner.invoke(app, line.split())
    assert result.exit_code == 2
    assert "Usage:" in result.output
    assert "Error" not in result.output


@pytest.mark.parametrize(
    ("command", "after"), [("extract", "to continue"), ("predict", "to start again")]
)
def test_an_interruption_says_what_the_same_command_does(
    command: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("serctl.cli.signature.resolve_options", interrupt)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serctl.toml").touch()
    result = runner.invoke(app, [command])
    assert result.exit_code == 130
    assert after in result.stderr
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True, width=80))
    runner.invoke(app, [command])
    assert screen.getvalue().startswith("\rInterrupted.")  # over the ^C


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("x: can't allocate memory: y")]
)
def test_too_little_memory_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("serctl.stages.doctor.examine", run_out)
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The device is out of memory.")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and a shell")
@pytest.mark.parametrize(
    ("streams", "code", "told"),
    [
        ("predict - -m x <&-", 2, "No audio given"),
        ("encoders >&-", 0, ""),
        ("encoders >/dev/full", 1, "No space left on device"),
    ],
)
def test_a_closed_or_full_stream_is_no_traceback(streams: str, code: int, told: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m serctl {streams}"
    done = subprocess.run(["sh", "-c", line], check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stream_that_is_not_unicode_shows_escapes(tmp_path: Path) -> None:
    """``PYTHONIOENCODING=ascii``, or a pipe on Windows: before, a traceback after the work."""
    (tmp_path / "serctl.toml").write_text("")
    (tmp_path / "manifest.csv").write_text(
        "utterance_id,path,split,emotion\na,a.wav,train,fröhlich\n", encoding="utf-8"
    )
    shown = CliRunner(charset="ascii").invoke(app, ["manifest", "stats", "-C", str(tmp_path)])
    assert "fr\\xf6hlich" in shown.stdout
    assert shown.exit_code == 0

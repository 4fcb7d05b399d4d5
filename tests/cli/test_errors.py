"""One place for errors: a line on stderr, an exit code, no traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serctl.cli import app

runner = CliRunner()


def test_a_known_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = runner.invoke(app, ["extract", "--encoder", "wavlm-large", "--project", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: No serctl.toml in")
    assert result.stderr.count("\n") == 1


def test_a_wrong_flag_is_exit_code_2() -> None:
    result = runner.invoke(app, ["extract", "--encodr", "wavlm-large"])
    assert result.exit_code == 2
    assert "--encodr" in result.stderr


def test_ctrl_c_says_that_work_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("serctl.config.open_workspace", interrupted)
    monkeypatch.setattr("serctl.cli.extract.open_workspace", interrupted)
    result = runner.invoke(app, ["extract", "--encoder", "wavlm-large"])
    assert result.exit_code == 130
    assert "same command continues" in result.stderr

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


@pytest.mark.parametrize(("command", "after"), [("extract", "continues"), ("predict", "anew")])
def test_an_interruption_says_what_the_same_command_does(
    command: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("open_workspace", "find_workspace"):
        monkeypatch.setattr(f"serctl.cli.{command}.{name}", interrupt, raising=False)
    result = runner.invoke(app, [command])
    assert result.exit_code == 130
    assert after in result.stderr

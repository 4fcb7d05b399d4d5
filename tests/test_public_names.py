"""``import serctl``: a function for every subcommand, names that exist, one page of help."""

import ast
import inspect
import io
import pydoc
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer

import serctl
from serctl.cli import app

OTHERWISE = {"encoders": "list_encoders"}
"""A package has this name, so the function has another."""


def list_commands() -> list[str]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return [
        "_".join(filter(None, (name, part))).replace("-", "_")
        for name, command in commands.items()
        for part in getattr(command, "commands", {"": None})
    ]


@pytest.mark.parametrize("command", list_commands())
def test_every_subcommand_is_a_function_of_the_same_name(command: str) -> None:
    name = OTHERWISE.get(command, command)
    assert name in serctl.PUBLIC_NAMES
    function = getattr(serctl, name)
    assert inspect.isfunction(function)
    assert function.__doc__
    package = Path(serctl.__file__).with_name(name) / "__init__.py"
    assert not package.exists()  # importing it would hide the function


def test_every_public_name_exists_and_stands_in_the_docstring() -> None:
    for name in serctl.PUBLIC_NAMES:
        assert getattr(serctl, name) is not None
    for command in list_commands():
        assert OTHERWISE.get(command, command) in (serctl.__doc__ or "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        serctl.nothing  # noqa: B018


def test_help_is_a_page() -> None:
    told = io.StringIO()
    with redirect_stdout(told):
        pydoc.Helper(output=told)(serctl)
    lines = told.getvalue().splitlines()
    assert len(lines) < 100
    assert any("open_workspace" in line for line in lines)


def test_importing_serctl_imports_nothing_of_it() -> None:
    listed = "[n for n in sys.modules if n.startswith('serctl.')]"
    code = f"import sys, serctl; print({listed}); from serctl import *; print(dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, names = map(ast.literal_eval, done.stdout.splitlines())
    assert modules == []
    assert {name for name in names if not name.startswith("_")} == {"serctl", "sys", "PUBLIC_NAMES"}


def test_paths_may_be_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("serctl.toml").touch()
    Path("mine.toml").write_text("[train]\nhidden = 7\n")
    workspace = serctl.open_workspace(".")
    assert serctl.resolve_options(serctl.TrainOptions, "train", workspace, "mine.toml").hidden == 7
    assert serctl.Workspace("there").runs == Path("there/runs")
    rows = [serctl.Utterance("a", tmp_path / "a.wav", "train", "happy", "s")]
    serctl.write_manifest("manifest.csv", rows)
    assert serctl.read_manifest("manifest.csv").ids == ("a",)
    assert serctl.manifest_stats("manifest.csv").splits["train"].emotions["happy"] == 1
    assert serctl.cache_ls(workspace) == []
    assert any(row["name"] == "whisper-tiny" for row in serctl.list_encoders())

"""``import serctl``: a function for every subcommand, names that exist, one page of help."""

import ast
import inspect
import io
import pydoc
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer

import serctl
from serctl.cli import app
from serctl.errors import UsageError

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


PROJECT = serctl.Workspace(".")
WRONG_ARGUMENTS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("open_workspace", (3,), {}, "'start' is 3 (int), expected Path | str | None."),
    ("read_manifest", (None,), {}, "'path' is None (NoneType), expected Path | str."),
    ("write_manifest", ("m.csv", [1]), {}, "'utterances' is [1] (list), expected Iterable"),
    ("write_manifest", ("m.csv", {}), {}, "'utterances' is {} (dict), expected Iterable"),
    ("load", ("x",), {"project": 3}, "'project' is 3 (int), expected Path | str | None."),
    ("load", ("x",), {"weights": {"a": 1}}, "'weights' is {'a': 1} (dict), expected Mapping"),
    ("load", ("x",), {"abstain_below": True}, "'abstain_below' is True (bool), expected float."),
    ("predictions_to_frame", ([1],), {}, "expected Iterable[Prediction]."),
    ("train", ("x", serctl.TrainOptions()), {}, "'workspace' is 'x' (str), expected Workspace."),
    ("train", (PROJECT, {"hidden": 3}), {}, "'options' is {'hidden': 3} (dict), expected TrainO"),
    ("extract", (PROJECT, serctl.TrainOptions()), {}, "(TrainOptions), expected ExtractOptions."),
    ("stack", (PROJECT, serctl.StackOptions()), {"progress": 3}, "expected Progress."),
    ("cache_rm", (PROJECT, "wavlm"), {}, "'names' is 'wavlm' (str), expected Sequence[str]."),
]


@pytest.mark.parametrize(("name", "given", "named", "message"), WRONG_ARGUMENTS)
def test_an_argument_of_another_type_is_one_line(
    name: str, given: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(serctl, name)(*given, **named)
    assert str(caught.value).startswith(f"serctl.{name}(): ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_argument_is_pythons_error() -> None:
    with pytest.raises(TypeError, match=r"train\(\) missing 1 required .* 'options'"):
        serctl.train(PROJECT)
    assert serctl.train is serctl.train


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

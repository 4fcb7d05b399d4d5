"""The project file and the layering of options."""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from serctl.cli import app
from serctl.cli.signature import with_options
from serctl.config import Workspace, check_options, open_workspace, options_to_dict, resolve_options
from serctl.errors import ConfigError, UnknownNameError, UsageError
from serctl.options import ExtractOptions, ReportOptions, TrainOptions
from serctl.workspace import PROJECT_FILE


@dataclass(frozen=True)
class Options:
    rate: float = 1.0
    layers: tuple[int, ...] = ()
    loss: Literal["wce", "wce+sml"] = "wce"
    limit: int | None = None
    keep: bool = False


def project(folder: Path, text: str) -> Path:
    (folder / "serctl.toml").write_text(text)
    return folder


def test_a_project_file_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    project(tmp_path, '[paths]\ncache = "frames"\n[weights]\nwavlm-large = "w"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    workspace = open_workspace(below)
    assert workspace.root == tmp_path
    assert workspace.cache == tmp_path / "frames"
    assert workspace.runs == tmp_path / "runs"
    assert workspace.weights == {"wavlm-large": tmp_path / "w"}


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / PROJECT_FILE).write_text('[paths]\ncache = "~/cache"\n')
    assert open_workspace(tmp_path).cache == tmp_path / "home" / "cache"


def test_no_project_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="serctl init"):
        open_workspace(tmp_path)


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ('[path]\ncache = "x"', "paths"),
        ('[paths]\ncach = "x"', "cache"),
        ("[trian]\nseed = 1", "train"),
    ],
)
def test_an_unknown_name_is_refused_with_a_guess(tmp_path: Path, text: str, guess: str) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{guess}'"):
        open_workspace(project(tmp_path, text))


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        open_workspace(project(tmp_path, "[paths\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paths = 3", r"value 3 in 'paths', expected a table"),
        ("train = []", r"value \[\] in 'train', expected a table"),
        (
            "[paths]\nmanifest = ''",
            r"value '' in 'paths.manifest', expected text that is not empty",
        ),
        ("[weights]\nwavlm = ''", r"value '' in 'weights.wavlm', expected text that is not empty"),
        ("[weights]\nwavlm = 3", r"value 3 in 'weights.wavlm', expected a valid string"),
    ],
)
def test_a_value_where_a_table_or_a_path_belongs_is_named(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_workspace(project(tmp_path, text))


def test_defaults_are_beaten_by_project_then_config_then_flags(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tables={"train": {"rate": 2, "layers": [1, 2], "limit": 3}})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[train]\nrate = 4.5\nkeep = true\n")
    options = resolve_options(Options, "train", workspace, recipe, limit=9, loss=None)
    assert options == Options(rate=4.5, layers=(1, 2), loss="wce", limit=9, keep=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "hidden = 64\n", "a.toml' has no table [train]; it holds hidden."),
        ("b.toml", "", "has no table [train]; it holds nothing."),
        ("c.json", '{"hidden": 64}', "it has no 'options'"),
    ],
)
def test_a_config_file_without_options_of_the_stage_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "serctl.toml").write_text("")
    (tmp_path / name).write_text(text)
    command = ["train", "-C", str(tmp_path), "--config", str(tmp_path / name)]
    assert message in " ".join(CliRunner().invoke(app, command).output.split())


def test_the_config_of_a_run_gives_the_same_options_again(tmp_path: Path) -> None:
    options = Options(rate=0.5, layers=(3,), loss="wce+sml")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"options": options_to_dict(options)}))
    assert resolve_options(Options, "train", None, config) == options


@pytest.mark.parametrize(
    "values",
    [{"rate": "fast"}, {"loss": "focal"}, {"layers": [1.5]}, {"limit": True}, {"keep": 1}],
)
def test_a_value_of_the_wrong_type_is_refused(values: dict[str, object]) -> None:
    (name,) = values
    with pytest.raises(ConfigError, match=f"'{name}' is .*, expected"):
        check_options(Options, values, "here")


def test_a_flag_of_the_wrong_value_is_named_as_it_was_typed() -> None:
    with pytest.raises(UsageError, match=r"^--format is 'docx', expected html, md, csv, latex"):
        resolve_options(ReportOptions, "report", format="docx")
    with pytest.raises(UsageError, match=r"^--select-by is 'x', expected "):
        resolve_options(TrainOptions, "train", select_by="x")


def test_a_name_where_nothing_is_known_says_so() -> None:
    told = str(UnknownNameError("run", "nope", [], "Make one with: serctl train"))
    assert told == "Unknown run 'nope'. There are none yet. Make one with: serctl train"


def test_a_project_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = "[train]\nhidden = 24\n"
    (tmp_path / "serctl.toml").write_text(text, encoding="utf-8-sig")
    workspace = open_workspace(tmp_path)
    assert resolve_options(TrainOptions, "train", workspace).hidden == 24


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_configuration_may_be_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    project(tmp_path, "")
    text = "[extract]\nwindow = 7\n"
    threading.Thread(target=pipe.write_text, args=(text,), daemon=True).start()
    seen: list[ExtractOptions] = []
    command = typer.Typer()
    command.command()(
        with_options(ExtractOptions, "extract", each="encoder")(lambda _, found: seen.extend(found))
    )
    words = ["--encoder", "egemaps", "--encoder", "minilm", "--config", str(pipe)]
    result = CliRunner().invoke(command, [*words, "-C", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert [(one.encoder, one.window) for one in seen] == [("egemaps", 7), ("minilm", 7)]

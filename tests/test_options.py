"""Options: what stands on a field, the one check of all sources, and the layers of recipes."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import Workspace, lay_over, resolve_options
from serctl.ensemble.stackers import AVERAGES, SELECTIONS
from serctl.errors import ConfigError, SerctlError, UsageError
from serctl.options import (
    STAGE_OPTIONS,
    EvaluateOptions,
    LayersOptions,
    PredictOptions,
    ServeOptions,
    StackOptions,
    TrainOptions,
    TranscribeOptions,
    check_options,
    read_recipe,
)
from serctl.options.idle import UNBALANCED
from serctl.options.option import copy_options, option_of

SMALL = read_recipe(TrainOptions, "train", "small")

REFUSED = [
    ("sort_window", 0, "a whole number, at least 1"),
    ("accumulate", -1, "a whole number, at least 0"),
    ("dropout", 1.5, "0 to less than 1"),
    ("dropout", 1, "0 to less than 1"),
    ("hidden", 1, "a whole number, at least 2"),
    ("heads", 3, "a divisor of 1024 (2 x hidden)"),
    ("learning_rate", math.nan, "more than 0"),
    ("learning_rate", 0, "more than 0"),
    ("weight_decay", math.inf, "a finite number, at least 0"),
    ("learning_rate", math.inf, "a finite number, more than 0"),
    ("folds", 1, "0 or a whole number, at least 2"),
    ("seed", -1, "a whole number, 0 to 2147483647"),
    ("seed", 2**31, "a whole number, 0 to 2147483647"),
    ("limit", 0, "a whole number, at least 1"),
    ("epochs", True, "a whole number, at least 1"),
    ("loss", "focal", "wce, wce+sml"),
    ("speech", [3], "a list, each a text"),
    ("heldout", 1, "true or false"),
]


def to_toml(value: Any) -> str:
    return repr(value).lower() if isinstance(value, bool) else repr(value)


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED)
@pytest.mark.parametrize("source", ["project", "config", "recipe", "flags", "python"])
def test_every_source_passes_the_same_check(
    source: str, name: str, value: Any, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f"[train]\n{name} = {to_toml(value)}\n")
    workspace = Workspace(tmp_path, tables={"train": {name: value}} if source == "project" else {})
    sources = {
        "project": lambda: resolve_options(TrainOptions, "train", workspace),
        "config": lambda: resolve_options(TrainOptions, "train", workspace, file),
        "recipe": lambda: resolve_options(TrainOptions, "train", workspace, recipe=str(file)),
        "flags": lambda: resolve_options(TrainOptions, "train", workspace, **{name: value}),
        "python": lambda: TrainOptions(**{name: value}),
    }
    named = {
        "project": f"serctl.toml: '{name}'",
        "config": f"{file}: '{name}'",
        "recipe": f"recipe '{file}': '{name}'",
        "flags": f"--{name.replace('_', '-')}",
        "python": f"TrainOptions: '{name}'",
    }
    with pytest.raises(UsageError if source == "flags" else ConfigError) as caught:
        sources[source]()
    shown = tuple(value) if isinstance(value, list) else value
    shown = float(shown) if name in ("learning_rate", "weight_decay", "dropout") else shown
    assert str(caught.value) == f"{named[source]} is {shown!r}, expected {expected}."


@pytest.mark.parametrize("kind", [EvaluateOptions, LayersOptions])
def test_a_95_percent_interval_needs_40_resamples(kind: Any) -> None:
    assert kind(resamples=40).resamples == 40
    with pytest.raises(ConfigError, match="is 39, expected a whole number, at least 40"):
        kind(resamples=39)


NEEDS: dict[str, dict[str, Any]] = {
    "layer": {"keep_frames": True},
    "storage": {"keep_frames": True},
    "neutral": {"loss": "wce+sml"},
    "pooled_c": {"kind": "pooled"},
    "mixup_alpha": {"mixup": 0.1},
    "balanced_learning_rate": {"balanced_epochs": 1},
}
"""Options with which an option has an effect."""


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (stage, item.name)
        for stage, kind in STAGE_OPTIONS.items()
        for item in dataclasses.fields(kind)
    ],
)
def test_every_option_can_be_a_flag(stage: str, name: str) -> None:
    kind = STAGE_OPTIONS[stage]
    value = getattr(kind(), name)
    flags = {name: value, **(NEEDS.get(name, {}) if stage in ("train", "transcribe") else {})}
    assert getattr(resolve_options(kind, stage, **flags), name) == value


def test_a_recipe_is_applied_wherever_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[train]\nrecipe = "small"\nepochs = 7\n')
    workspace = Workspace(tmp_path, tables={"train": {"recipe": "small", "epochs": 7}})
    wanted = TrainOptions(**{**SMALL, "recipe": "small", "epochs": 7})
    assert wanted.hidden == 64
    assert TrainOptions(recipe="small", epochs=7) == wanted
    assert resolve_options(TrainOptions, "train", None, file) == wanted
    assert resolve_options(TrainOptions, "train", workspace) == wanted
    assert resolve_options(TrainOptions, "train", recipe="small", epochs=7) == wanted
    of_file = resolve_options(TrainOptions, "train", recipe=str(file))
    assert of_file == dataclasses.replace(wanted, recipe=str(file))


def test_the_layers_are_defaults_project_recipe_config_flags(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[train]\nrecipe = "small"\nbatch_size = 3\nepochs = 3\n')
    own = {"hidden": 99, "patience": 5, "batch_size": 99, "epochs": 99}
    workspace = Workspace(tmp_path, tables={"train": own})
    found = resolve_options(TrainOptions, "train", workspace, file, epochs=4)
    assert (found.dropout, found.patience, found.hidden) == (0.5, 5, SMALL["hidden"])
    assert (found.batch_size, found.epochs) == (3, 4)


def test_only_the_recipe_of_the_last_source_is_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tables={"train": {"recipe": "small"}})
    found = resolve_options(TrainOptions, "train", workspace, recipe="demo")
    assert found == TrainOptions(recipe="demo")
    assert found.select_by == TrainOptions().select_by  # demo leaves it, small does not


def test_recipes_that_lead_back_to_themselves_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(f'[train]\nrecipe = "{second}"\n')
    second.write_text(f'[train]\nrecipe = "{first}"\n')
    with pytest.raises(ConfigError, match="not based on this one"):
        TrainOptions(recipe=str(first))


def test_the_model_of_a_plan_is_checked_like_a_file() -> None:
    with pytest.raises(ConfigError, match=r"^plan \[\[models\]\] 2: 'heads' is 5, expected a div"):
        lay_over(TrainOptions(hidden=8), {"heads": 5}, "plan [[models]] 2")


def test_options_that_a_pooled_model_does_not_read_are_refused(tmp_path: Path) -> None:
    flags = {"kind": "pooled", "hidden": 8, "epochs": 20, "folds": 3}
    with pytest.raises(
        UsageError, match=r"^--hidden, --epochs have no effect with --model pooled: "
    ):
        resolve_options(TrainOptions, "train", None, **flags)
    told = r"^plan \[\[models\]\] 2: 'downsample' has no effect with kind = 'pooled': "
    with pytest.raises(ConfigError, match=told):
        lay_over(TrainOptions(), {"kind": "pooled", "downsample": 2}, "plan [[models]] 2")
    # Defaults of a project or recipe are for its networks.
    workspace = Workspace(tmp_path, tables={"train": {"epochs": 3}})
    found = resolve_options(TrainOptions, "train", workspace, recipe="small", kind="pooled")
    assert lay_over(found, {"kind": "pooled", "speech": "wavlm-large"}, "plan").epochs == 20


WHISPER = "no effect with --from-manifest: no model is run. Leave {} out, or leave out --from-man"
IDLE: list[tuple[str, dict[str, Any], str]] = [
    ("train", {"main": True}, "--main has no effect without --folds: .* or set --folds 5."),
    ("train", {"select_by": "macro_f1", "fit_on": "train+dev"}, "--select-by has .* --fit-on tr"),
    ("train", {"patience": 3, "select_by": "last"}, "--patience has .* set --select-by macro_f1."),
    ("train", {"neutral": "calm"}, "--neutral has no effect with --loss wce: .* --loss wce.sml."),
    ("train", {"neutral": "calm", "balance": "off"}, "--neutral has no effect with --loss wce: "),
    ("train", {"neutral": "calm", "kind": "pooled"}, "--neutral has no effect with --model pool"),
    ("train", {"precision": "float16", "kind": "pooled"}, "--precision has .* --model fusion."),
    ("train", {"log": "tensorboard", "kind": "pooled"}, "--log has no effect with --model pooled"),
    ("train", {"select_by": "bs_f1", "kind": "pooled"}, "--select-by has .* with --model pooled"),
    ("train", {"layer_fusion": "concat", "speech": "a"}, "--layer-fusion has no effect with one l"),
    (
        "train",
        {"normalise_layers": True, "text": ["b@9"]},
        "--normalise-layers has no .* NAME@9.12",
    ),
    ("train", {"pooled_c": 0.1}, "'pooled_c' has no effect with --model fusion. .* --model pooled"),
    ("train", {"mixup_alpha": 0.1}, "'mixup_alpha' has no effect without 'mixup'. .* mixup = 0.3."),
    ("train", {"balanced_learning_rate": 1e-5}, "'balanced_learning_rate' .* balanced_epochs = 3"),
    ("train", {"standardise": "*", "standardise_by": "speaker"}, "'standardise' has .*-by speaker"),
    ("transcribe", {"language": "de", "from_manifest": True}, "--language has " + WHISPER),
    (
        "transcribe",
        {"model": "x", "seed": 1, "skip_bad": True, "from_manifest": True},
        "--model, --seed, --skip-bad have " + WHISPER.replace("{}", "them"),
    ),
    ("transcribe", {"layer": 3}, "--layer has no effect without --keep-frames. .* --keep-frames."),
    ("stack", {"draws": 50, "balance": "none"}, "--draws has no effect with --balance none"),
    ("stack", {"draws": 5, "compare": True}, "--draws has no effect with --compare"),
    ("stack", {"stacker": "greedy", "compare": True}, "--stacker has no effect with --compare"),
    ("stack", {"fold": 2, "compare": True}, "--fold has no effect with --compare"),
    ("stack", {"fold": 2, "stacker": "auto"}, "--fold has no effect with --stacker auto"),
    ("stack", {"balance": "none", "stacker": "auto"}, "--balance has .* with --stacker auto"),
    (
        "stack",
        {"balance": "weights", "stacker": "greedy"},
        "--balance has .* with --stacker greedy",
    ),
    ("evaluate", {"resamples": 90, "submission": "x.csv"}, "--resamples has .*--submission x.csv"),
    ("evaluate", {"limit": 40, "submission": "x.csv"}, "--limit has .*--submission x.csv"),
    (
        "evaluate",
        {"baselines": False, "submission": "x.csv"},
        "--no-baselines has no effect with -",
    ),
    ("predict", {"cut_over": 5.0, "every": 1.0}, "--cut-over has no effect with --every 1: .*"),
    ("predict", {"recogniser": "w", "transcripts": "t.csv"}, "--recogniser has no effect with --t"),
    ("predict", {"segment_seconds": 5.0, "cut_over": float("inf")}, "--segment-seconds has no ef"),
]


@pytest.mark.parametrize(("stage", "flags", "message"), IDLE)
def test_a_flag_without_effect_is_refused(
    stage: str, flags: dict[str, Any], message: str, tmp_path: Path
) -> None:
    kind = STAGE_OPTIONS[stage]
    with pytest.raises(UsageError, match=f"^{message.replace('{}', 'it')}"):
        resolve_options(kind, stage, **flags)
    # In a project such a value is a default for other calls.
    own = {name: flags[name] for name in list(flags)[: max(1, len(flags) - 1)]}
    others = {name: value for name, value in flags.items() if name not in own}
    workspace = Workspace(tmp_path, tables={stage: own})
    found = resolve_options(kind, stage, workspace, **others)
    (name, value), *_ = check_options(kind, own, "").items()
    assert getattr(found, name) == value


@pytest.mark.parametrize(("stage", "flags", "message"), IDLE)
def test_options_without_effect_are_refused_in_python(
    stage: str, flags: dict[str, Any], message: str
) -> None:
    kind: Any = STAGE_OPTIONS[stage]
    if all(getattr(kind(), name) == flags[name] for name in list(flags)[:1]):
        kind(**flags)  # the default
        return
    with pytest.raises(ConfigError, match=rf"^{kind.__name__}: '.*ha(s|ve) no effect with"):
        kind(**flags)
    # Options of a project, some of which are defaults for other calls, can be copied.
    (name, value), *others = flags.items()
    found = resolve_options(kind, stage, Workspace(Path(), tables={stage: {name: value}}))
    dataclasses.replace(found, **dict(others))


def test_what_makes_a_flag_idle_is_named_as_its_source_names_it(tmp_path: Path) -> None:
    tables = {"train": {"kind": "pooled"}, "transcribe": {"from_manifest": True}}
    workspace = Workspace(tmp_path, tables=tables)
    whose = r"with kind = 'pooled' \(serctl.toml\): .* Leave it out, or set --model fusion."
    with pytest.raises(UsageError, match=f"^--hidden has no effect {whose}$"):
        resolve_options(TrainOptions, "train", workspace, hidden=8)
    whose = r"with from_manifest = true \(serctl.toml\): .*, or leave out 'from_manifest'.$"
    with pytest.raises(UsageError, match=f"^--language has no effect {whose}"):
        resolve_options(TranscribeOptions, "transcribe", workspace, language="de")
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[train]\nselect_by = "last"\n[stack]\nbalance = "none"\n')
    with pytest.raises(UsageError, match=r"with select_by = 'last' \(recipe '.*mine.toml'\)\. "):
        resolve_options(TrainOptions, "train", recipe=str(recipe), patience=3)
    with pytest.raises(UsageError, match=r"with balance = 'none' \(/.*mine.toml\): "):
        resolve_options(StackOptions, "stack", None, recipe, draws=3)


def test_a_refused_value_is_called_like_its_flag() -> None:
    with pytest.raises(UsageError, match=r"^--model is 'svm', expected fusion, pooled"):
        resolve_options(TrainOptions, "train", kind="svm")


def test_a_flag_with_an_effect_is_not_refused() -> None:
    for flags in (
        {"main": True, "folds": 3},
        {"select_by": "last", "fit_on": "train+dev"},
        {"select_by": "bs_f1", "patience": 3},
        {"recipe": "small", "fit_on": "train+dev"},
        {"neutral": "calm", "loss": "wce+sml"},
        {"neutral": "calm", "balance": "sqrt"},
        {"kind": "pooled", "select_by": "last", "standardise_by": "speaker"},
        {"layer_fusion": "concat", "normalise_layers": True, "speech": ["a", "b@9+12"]},
        {"layer_fusion": "concat"},  # without an encoder, another message is the right one
    ):
        resolve_options(TrainOptions, "train", **flags)
    resolve_options(PredictOptions, "predict", cut_over=5.0)


def test_an_entry_of_a_plan_without_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^plan \[\[models\]\] 2: 'main' has no effect without"):
        lay_over(TrainOptions(), {"main": True}, "plan [[models]] 2")
    assert lay_over(TrainOptions(folds=2), {"main": True}, "plan").main
    entry = {"normalise_layers": False, "speech": ["a"]}  # switches off the value of [train]
    assert not lay_over(TrainOptions(normalise_layers=True), entry, "plan").normalise_layers


def test_the_stackers_without_draws_are_those_without_estimators() -> None:
    assert (*AVERAGES, *SELECTIONS) == UNBALANCED


def test_a_name_is_a_list_of_one_and_a_path_is_a_text(tmp_path: Path) -> None:
    assert TrainOptions(speech="whisper-tiny").speech == ("whisper-tiny",)
    assert PredictOptions(audio=[tmp_path], model=tmp_path).audio == (str(tmp_path),)


FIELDS = [(kind, field) for kind in STAGE_OPTIONS.values() for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{field.name}" for kind, field in FIELDS]
)
def test_every_option_is_documented_and_its_default_passes(kind: type, field: Any) -> None:
    assert option_of(field).help.endswith(".")
    assert f"    {field.name}: {option_of(field).help}" in (kind.__doc__ or "")
    kind(**{field.name: field.default})


NUMBERS = [field for field in dataclasses.fields(TrainOptions) if field.type in (int, float)]


@given(st.sampled_from(NUMBERS), st.floats() | st.integers(-5, 5))
def test_no_number_out_of_range_is_ever_accepted(field: Any, value: float) -> None:
    try:
        options = TrainOptions(**{field.name: value})
    except SerctlError:
        return
    kept = getattr(options, field.name)
    assert math.isfinite(kept)
    assert kept == field.default or option_of(field).admits(kept)


@pytest.mark.parametrize("stage", STAGE_OPTIONS)
def test_help_shows_every_flag_with_its_text(stage: str) -> None:
    groups = {"bundle": ["bundle", "make"], "push": ["bundle", "push"], "space": ["bundle", stage]}
    command = groups.get(stage, [stage])
    told = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "400"}).stdout
    for field in dataclasses.fields(STAGE_OPTIONS[stage]):
        found = option_of(field)
        name = found.flag or field.name.replace("_", "-")
        if found.only_in_files:
            assert f"--{name} " not in told
        else:
            assert found.help in told
            assert found.argument or f"--{name}" in told


def test_options_of_another_stage_take_the_values_that_both_have() -> None:
    given = ServeOptions(model="m", device="cuda:1", prior="balanced", port=9)
    assert copy_options(PredictOptions, given) == PredictOptions(
        model="m", device="cuda:1", prior="balanced"
    )


def test_an_infinite_number_is_refused_as_one() -> None:
    with pytest.raises(UsageError, match=r"--every is inf, expected 0 or a finite number, more th"):
        resolve_options(PredictOptions, "predict", every=math.inf)
    with pytest.raises(
        UsageError, match=r"--shortest is inf, expected a finite number, at least 0"
    ):
        resolve_options(PredictOptions, "predict", shortest=math.inf)


def test_numbers_of_numpy_are_numbers() -> None:
    options = PredictOptions(abstain_below=np.float32(0.5), every=np.int64(2))
    assert (options.abstain_below, options.every) == (0.5, 2.0)
    assert type(options.abstain_below) is type(options.every) is float
    assert type(TrainOptions(epochs=np.int16(3)).epochs) is int
    for bad in (np.float32(1.5), np.bool_(True), np.float32("nan")):
        with pytest.raises(ConfigError, match="expected 0 to 1"):
            PredictOptions(abstain_below=bad)

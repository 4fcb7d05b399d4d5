"""The shipped recipes are what docs/paper.md says they are."""

import pytest

from serctl.config import resolve_options
from serctl.errors import ConfigError, UnknownNameError
from serctl.options import TrainOptions, read_recipe
from serctl.options.files import find_recipe
from serctl.pipeline import read_plan
from serctl.training.run_folder import run_name


def options(name: str, **flags) -> TrainOptions:
    return resolve_options(TrainOptions, "train", recipe=name, **flags)


@pytest.mark.parametrize("name", ["paper", "released", "challenge", "small", "demo"])
def test_a_shipped_recipe_holds_known_keys_and_lies_below_the_flags(name):
    assert find_recipe(name).is_file()
    assert options(name, epochs=7).epochs == 7
    assert options(name).recipe == name


def test_a_recipe_named_in_the_project_file_lies_below_its_other_keys(tmp_path):
    from serctl.config import Workspace

    workspace = Workspace(tmp_path, tables={"train": {"recipe": "small", "hidden": 99}})
    found = resolve_options(TrainOptions, "train", workspace)
    assert (found.hidden, found.epochs) == (99, options("small").epochs)
    assert resolve_options(TrainOptions, "train", workspace, recipe="released").hidden == 512


def test_an_unknown_recipe_or_key_is_an_error_with_a_suggestion(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        options("smal")
    mine = tmp_path / "mine.toml"
    mine.write_text("[train]\nlearning_rat = 1e-3\n")
    with pytest.raises(ConfigError, match="Did you mean 'learning_rate'"):
        read_recipe(TrainOptions, "train", str(mine))


def test_the_defaults_are_the_papers():
    paper = options("paper")
    assert paper == TrainOptions(recipe="paper", heldout=True)


def test_the_two_recipes_differ_where_paper_and_code_do():
    paper, released = options("paper"), options("released")
    assert (paper.pooling, released.pooling) == ("vector", "linear")
    assert (paper.attention, released.attention) == ("pair", "query")
    assert (paper.paralinguistic_heads, released.paralinguistic_heads) == (1, 2)
    assert (paper.class_weights, released.class_weights) == ("N/N_j", "N/(E*N_j)")
    assert released.seed == 7
    assert released.sort_window == 1


OF_OTHER_SYSTEMS = {
    "soft_targets": False,
    "balanced_epochs": 0,
    "logit_adjustment": 0,
    "logit_scaling": 0,
    "mixup": 0,
    "attribute_weight": 0,
    "select_by": "macro_f1",
}


@pytest.mark.parametrize("name", ["paper", "released"])
def test_what_other_systems_gained_from_is_off_in_every_model(name):
    for model in read_plan(name).models:
        assert {key: getattr(model, key) for key in OF_OTHER_SYSTEMS} == OF_OTHER_SYSTEMS
        assert model.pooling != "statistics"


@pytest.mark.parametrize("name", ["paper", "released"])
def test_the_twelve_models_stand_in_the_order_of_the_released_stack(name):
    models = read_plan(name).models
    assert len(models) == len({run_name(model) for model in models}) == 12
    assert [model.loss for model in models] == ["wce"] * 6 + ["wce+sml"] * 6
    assert [model.epochs for model in models[:6]] == [30, 20, 30, 20, 30, 20]
    prosody = {"paper": "facodec", "released": "facodec-prosody"}[name]
    assert models[5].paralinguistic == models[11].paralinguistic == (prosody,)
    assert models[4].speech == ("whisper-large-v3", "hubert-xlarge")
    balance = {"paper": "auto", "released": "replacement"}[name]
    assert {model.balance for model in models[6:]} == {balance}
    assert {model.learning_rate for model in models} == {1e-5}

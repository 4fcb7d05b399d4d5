"""The paper's table beside ours: only where it belongs, each row with its own system."""

import pytest
from synthetic_report import PAPER, make_evaluation, read_evaluation
from synthetic_run import make_branch, make_run_config

from serctl.evaluation.published import RELEASED, TABLE_2, compare_note, pair_published
from serctl.options import TrainOptions, read_recipe

NAMES = [f"{'+'.join(encoders)}-{loss}" for loss in ("wce", "wce+sml") for encoders in PAPER]


def configs_of(names=NAMES, options=RELEASED):
    found = {}
    for name in names:
        encoders, _, loss = name.rpartition("-")
        branches = map(make_branch, encoders.split("+"))
        found[name] = make_run_config(name, TrainOptions(**options, loss=loss), branches)
    return found


@pytest.fixture(scope="module")
def document():
    found = make_evaluation(60, runs=("a",))
    one, stack, majority = found["systems"]
    stack["facts"] |= {"base_models": NAMES, "stacker": "random-forest"}
    found["systems"] = [one | {"name": name} for name in NAMES] + [stack, majority]
    return found


def test_every_row_of_the_paper_finds_its_system(document) -> None:
    published = pair_published(read_evaluation(document), configs_of())
    assert [row.published for row in published] == list(TABLE_2)
    assert [row.system is None for row in published] == [True, True] + [False] * 13
    named = {row.system.name for row in published if row.system}
    assert named == {*NAMES, "stack"}
    ns3 = next(row for row in published if row.published.title == "Whisper + Roberta + NS3")
    assert ns3.system.name == "whisper-large-v3+roberta-large+facodec-prosody-wce"
    assert all(row.is_released for row in published if row.system)


def test_the_paper_is_compared_on_its_own_corpus_and_split_only(document) -> None:
    other = make_evaluation(60, runs=("a",), prefix="03a01")
    assert pair_published(read_evaluation(other), {}) == []
    assert pair_published(read_evaluation(document | {"split": "test1"}), configs_of()) == []
    assert (
        pair_published(read_evaluation(document | {"labels": ("angry", "sad")}), configs_of()) == []
    )


def test_a_stacker_of_fewer_models_is_not_the_papers(document) -> None:
    published = pair_published(read_evaluation(document), configs_of(NAMES[:11]))
    assert published[-1].system is None


def test_the_papers_stacker_is_preferred_and_others_are_named(document) -> None:
    *runs, forest, majority = document["systems"]
    average = forest | {"name": "average", "facts": forest["facts"] | {"stacker": "mean-logits"}}
    both = read_evaluation(document | {"systems": [*runs, average, forest, majority]})
    assert pair_published(both, configs_of())[-1].system.name == "stack"
    one = pair_published(read_evaluation(document | {"systems": [*runs, average]}), configs_of())
    assert one[-1].system.name == "average"
    assert "of other options: average." in compare_note(one)


def test_a_stacker_of_the_twelve_and_others_is_not_the_papers(document) -> None:
    *runs, forest, majority = document["systems"]
    more = forest | {"facts": forest["facts"] | {"base_models": [*NAMES, "egemaps"]}}
    published = pair_published(
        read_evaluation(document | {"systems": [*runs, more, majority]}), configs_of()
    )
    assert published[-1].system is None


def test_a_pooled_model_is_no_network_of_the_paper(document) -> None:
    configs = configs_of()
    name = NAMES[0]
    pooled = make_run_config(name, TrainOptions(kind="pooled"), configs[name].branches)
    published = pair_published(read_evaluation(document), configs | {name: pooled})
    assert name not in {row.system.name for row in published if row.system}


def test_runs_trained_otherwise_are_named(document) -> None:
    configs = configs_of() | configs_of(NAMES[:1], {"pooling": "vector"})
    note = compare_note(pair_published(read_evaluation(document), configs))
    assert f"of other options: {NAMES[0]}, stack." in note
    assert "strictly" not in compare_note(pair_published(read_evaluation(document), configs_of()))


def test_the_shipped_recipe_is_the_released_one() -> None:
    options = read_recipe(TrainOptions, "train", "released")
    assert RELEASED.items() <= options.items()
    assert not RELEASED.items() <= read_recipe(TrainOptions, "train", "paper").items()


def test_the_authors_own_measurements_round_to_the_table() -> None:
    for row in TABLE_2:
        if row.verified:
            subset, low, high, f1, accuracy = row.verified
            pairs = zip((f1, accuracy, subset, low, high), row.dev, strict=True)
            for measured, printed in pairs:
                assert measured is None or measured == pytest.approx(printed, abs=0.001)

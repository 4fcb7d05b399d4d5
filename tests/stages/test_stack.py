"""`stack`: what it is fitted on, what it refuses, what it leaves behind."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_logits import COUNTS, LABELS, SPEAKERS, make_project, make_run, make_utterances

from serctl.config import Workspace
from serctl.data.folds import assign_folds
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.documents.stacker import stack_command
from serctl.ensemble.choice import Verdict
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.ensemble.stacker_folder import load_stacker
from serctl.ensemble.stackers import SELECTIONS, STACKERS, Learned, make_stacker
from serctl.ensemble.stale import find_stale
from serctl.ensemble.systems import System, find_systems
from serctl.errors import LogitsError, UnknownNameError, UsageError
from serctl.options import StackOptions
from serctl.pipeline import plan_recipe, read_plan
from serctl.stages.stack import stack

QUICK = "linear"  # the forest has its own tests


def make_options(**more: Any) -> StackOptions:
    """Return options with one balanced draw: nothing here depends on their number but the time."""
    # A copy, because stackers without draws refuse them as an argument.
    return replace(StackOptions(), **{"draws": 1, **more})


@pytest.fixture(autouse=True)
def _few_bags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy selection has its own tests, with all its bags."""
    monkeypatch.setattr("serctl.ensemble.selection.NUM_BAGS", 10)


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    """Two runs with out-of-fold logits for train and logits for dev and test."""
    rows = make_utterances()
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "first", rows, seed=1)
    make_run(workspace, "second", rows, seed=2, signal=1.0)
    return workspace


@pytest.mark.usefixtures("few_trees")
def test_without_arguments_the_forest_is_fitted_on_all_runs(project: Workspace) -> None:
    result = stack(project, make_options(draws=2))
    assert (result.name, result.models, result.stack_on) == (
        "random-forest",
        ("first", "second"),
        "oof",
    )
    assert result.num_rows == sum(COUNTS["train"])
    assert result.rows_per_class == dict(zip(LABELS, COUNTS["train"], strict=True))
    assert result.splits == ("dev", "test")
    test = read_logits(result.folder / "test.csv", "forest")
    assert test.kind == "probabilities"
    assert np.allclose(test.values.sum(axis=1), 1)
    assert test.provenance.stack_on == "oof"
    trained = load_stacker(result.folder)
    parts = [s.load_all("test", test.ids) for s in find_systems(project, ["second", "first"])]
    assert np.allclose(trained.predict_parts(parts), test.values)
    assert trained.fitted_on.hashes == {
        "first": "hash-of-first",
        "second": "hash-of-second",
    }


def test_permuting_manifest_and_logits_changes_nothing(project: Workspace, tmp_path: Path) -> None:
    rows = make_utterances()
    random.Random(0).shuffle(rows)
    other = make_project(tmp_path / "other", rows)
    random.Random(1).shuffle(rows)
    make_run(other, "second", rows, seed=2, signal=1.0)
    make_run(other, "first", rows, seed=1)
    options = make_options(stacker="xgboost", draws=2, folds=2)
    plain, shuffled = stack(project, options), stack(other, options)
    for split in ("dev", "test"):
        a = read_logits(plain.folder / f"{split}.csv")
        b = read_logits(shuffled.folder / f"{split}.csv").select(a.ids)
        assert np.array_equal(a.values, b.values)


@pytest.mark.parametrize(("stack_on", "split"), [("oof", "train"), ("dev", "dev")])
def test_labelled_utterances_without_logits_are_noted(
    project: Workspace, stack_on: str, split: str
) -> None:
    options = make_options(stacker=QUICK, stack_on=stack_on)
    assert not any("not in the fit" in note for note in stack(project, options).notes)
    rows = list(read_manifest(project.manifest))
    first = next(row for row in rows if row.split == split)
    new = replace(first, utterance_id="new", path=first.path.with_name("new.wav"))
    write_manifest(project.manifest, [*rows, new])
    size = sum(row.split == split for row in rows)
    told = f"1 of {size + 1} utterances of {split} are not in the fit"
    result = stack(project, options)
    assert result.num_rows == size
    assert [note.startswith(told) and "(new)" in note for note in result.notes].count(True) == 1


def test_unknown_speakers_are_noted_because_they_are_in_several_folds(tmp_path: Path) -> None:
    rows = make_utterances()
    rows = [replace(row, speaker="") if row.emotion == "sad" else row for row in rows]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    for stack_on, told in (("oof", "30 of 180"), ("dev", "14 of 72")):
        notes = stack(workspace, make_options(stacker=QUICK, stack_on=stack_on)).notes
        assert any(note.startswith(f"{told} utterances have no speaker") for note in notes)


def test_in_sample_logits_are_never_seen_unless_requested(project: Workspace) -> None:
    rows = make_utterances()
    make_run(project, "memoriser", rows, signal=9.0, stack_on="in-sample")
    result = stack(project, make_options(stacker=QUICK))
    assert result.models == ("first", "second")
    assert "Left out: 'memoriser' has in-sample logits" in result.notes[0]
    with pytest.raises(LogitsError, match="'memoriser' has in-sample logits for train, not out-of"):
        stack(project, make_options(models=("first", "memoriser"), stacker=QUICK))
    told = stack(project, make_options(stacker=QUICK, stack_on="in-sample"))
    assert (told.name, told.models) == ("linear-in-sample", ("memoriser",))
    assert load_stacker(told.folder).fitted_on.stack_on == "in-sample"


def test_the_flags_of_the_rows_decide_even_without_a_sidecar(project: Workspace) -> None:
    for path in (project.runs / "first" / "logits").glob("*.json"):
        path.unlink()
    path = project.runs / "first" / "logits" / "train.csv"
    header, *lines = path.read_text().splitlines()
    flagged = [line.replace(",0,", ",1,", 1) for line in lines]
    path.write_text("\n".join([header, *flagged]) + "\n")
    with pytest.raises(LogitsError, match="its model was trained on all of them"):
        stack(project, make_options(models=("first",), stacker=QUICK))
    path.write_text("\n".join([header, *flagged[::2], *lines[1::2]]) + "\n")
    assert stack(project, make_options(models=("first",), stacker=QUICK)).num_rows == 90


def test_held_out_rows_alone_are_fitted_on(tmp_path: Path) -> None:
    rows = make_utterances()
    held_out = [row for row in rows if row.split != "train" or row.speaker.endswith(("s0", "s1"))]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", held_out, stack_on="heldout")
    result = stack(workspace, make_options(stacker=QUICK, stack_on="heldout"))
    assert result.num_rows == sum(row.split == "train" for row in held_out)
    assert result.name == "linear-heldout"


def test_dev_is_predicted_by_stackers_that_did_not_see_the_speaker(project: Workspace) -> None:
    result = stack(project, make_options(stacker=QUICK, stack_on="dev", folds=4))
    assert result.splits == ("test", "dev")
    dev = [row for row in make_utterances() if row.split == "dev"]
    folds = assign_folds(dev, 4, 42)
    written = read_logits(result.folder / "dev.csv")
    assert written.provenance.cross_fitted
    systems = find_systems(project, ["first", "second"])
    ids = sorted(row.utterance_id for row in dev)
    x = np.stack([s.load_all("dev", ids).values for s in systems], axis=1)
    y = np.array([LABELS.index(name.split("-")[1]) for name in ids])
    for fold in range(4):
        inside = np.array([folds.fold_of[name] == fold for name in ids])
        alone = make_stacker(QUICK, LABELS, draws=1)
        alone.fit(x[~inside], y[~inside])
        names = [name for name, good in zip(ids, inside, strict=True) if good]
        assert np.allclose(written.select(names).values, alone.predict_proba(x[inside]), atol=1e-8)


def test_one_speaker_cannot_be_cross_fitted(tmp_path: Path) -> None:
    rows = make_utterances(speakers=1)
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    with pytest.raises(LogitsError, match=r"Dev cannot be cross-fitted.*--stack-on oof"):
        stack(workspace, make_options(stacker=QUICK, stack_on="dev"))


@pytest.mark.usefixtures("few_trees")
def test_the_smallest_class_of_a_demo_corpus_is_enough_for_the_forest(tmp_path: Path) -> None:
    rows = make_utterances({"train": (18, 18, 20, 60), "dev": (6, 6, 6, 6)})
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    assert stack(workspace, make_options(draws=2)).splits == ("dev",)


def test_a_class_too_small_leaves_nothing_half_written(tmp_path: Path) -> None:
    rows = make_utterances({"train": (3, 30, 30, 60), "dev": (6, 6, 6, 6)})
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    with pytest.raises(LogitsError, match="angry 3"):
        stack(workspace, make_options())
    assert not workspace.stackers.exists()


def test_an_unlabelled_split_gets_probabilities_too(tmp_path: Path) -> None:
    rows = make_utterances()
    rows += [replace(r, split="test3", emotion="", utterance_id=f"x{r.utterance_id}") for r in rows]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    assert stack(workspace, make_options(stacker=QUICK)).splits == ("dev", "test", "test3")


def test_outside_logits_join_by_utterance_id(project: Workspace, tmp_path: Path) -> None:
    logits = [read_logits(p) for p in sorted((project.runs / "second" / "logits").glob("*.csv"))]
    lines = ["neutral,Happiness,S,anger,in_sample,utterance_id"]
    for part in logits:
        for name, values in zip(part.ids, part.values, strict=True):
            lines.append(",".join([*map(str, values[::-1]), "0", name]))
    (tmp_path / "theirs.csv").write_text("\n".join(lines) + "\n")
    with_run = stack(project, make_options(models=("first", "second"), stacker=QUICK))
    expected = read_logits(with_run.folder / "test.csv").values
    outside = stack(
        project,
        make_options(models=("first", str(tmp_path / "theirs.csv")), stacker=QUICK, name="mine"),
    )
    assert outside.models == ("first", "theirs")
    assert np.allclose(read_logits(outside.folder / "test.csv").values, expected)


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_labels_of_another_system_that_never_name_an_emotion_are_stacked(
    project: Workspace, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.csv"
    rows = [row for row in make_utterances() if row.split != "train"]
    found = {row.utterance_id: row.emotion.replace("neutral", "happy") for row in rows}
    path.write_text("utterance_id,emotion\n" + "".join(f"{a},{b}\n" for a, b in found.items()))
    result = stack(
        project,
        make_options(
            models=(str(path), "first"), stacker="mean-probabilities", stack_on="dev", draws=10
        ),
    )
    test = read_logits(result.folder / "test.csv")
    assert test.labels == LABELS
    ours = read_logits(project.runs / "first" / "logits" / "test.csv").select(test.ids)
    theirs = np.eye(4)[[LABELS.index(found[one]) for one in test.ids]]
    assert np.allclose(test.values, (ours.probabilities() + theirs) / 2, atol=1e-6)


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_outside_logits_of_a_part_of_a_split_are_refused(
    project: Workspace, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.csv"
    rows = [row for row in make_utterances() if row.split != "train"]
    lines = [f"{row.utterance_id},-1,2,3,4" for row in rows if row.utterance_id != "test-sad-003"]
    path.write_text("\n".join(["utterance_id,angry,sad,happy,neutral", *lines]))
    options = make_options(models=(str(path), "first"), stacker=QUICK, stack_on="dev")
    with pytest.raises(LogitsError, match="holds 71 of 72 utterances of test and lacks test-sad-0"):
        stack(project, options)
    dev = [line for line in lines if line.startswith("dev")]
    path.write_text("\n".join(["utterance_id,angry,sad,happy,neutral", *dev]))
    assert stack(project, options).splits == ("dev",)


def test_outside_logits_with_an_index_are_refused(project: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    rows = [row for row in make_utterances() if row.split == "dev"]
    path.write_text(
        ",utterance_id,angry,sad,happy,neutral\n"
        + "".join(f"{i},{row.utterance_id},-1,2,3,4\n" for i, row in enumerate(rows))
    )
    with pytest.raises(LogitsError, match="has a column 'unnamed_1', expected emotions"):
        stack(project, make_options(models=(str(path),), stacker=QUICK, stack_on="dev"))


def test_outside_logits_that_hide_what_they_were_trained_on_are_refused(
    project: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.csv"
    ids = read_logits(project.runs / "first" / "logits" / "train.csv").ids
    path.write_text("utterance_id,A,S,H,N\n" + "".join(f"{name},-1,2,3,4\n" for name in ids))
    with pytest.raises(
        LogitsError, match="not known which utterances of train its model was trained on"
    ):
        stack(project, make_options(models=("first", str(path))))


def test_a_model_trained_again_after_one_export_is_found(project: Workspace) -> None:
    rows = [row for row in make_utterances() if row.split == "test"]
    make_run(project, "first", rows, seed=1, run_hash="another")
    with pytest.raises(LogitsError, match="trained again between its logits for train and test"):
        stack(project, make_options(stacker=QUICK))


def test_other_utterances_are_named(project: Workspace) -> None:
    make_run(project, "second", [r for r in make_utterances() if r.utterance_id[-3:] != "001"])
    with pytest.raises(LogitsError, match=r"4 are in only one of them \(train-angry-001"):
        stack(project, make_options(stacker=QUICK))


def test_names_that_mean_nothing_or_two_things_are_refused(project: Workspace) -> None:
    with pytest.raises(UnknownNameError, match=r"'frist'. Did you mean 'first'"):
        stack(project, make_options(models=("frist",)))
    with pytest.raises(UsageError, match="'first' is named twice"):
        stack(project, make_options(models=("first", "first")))
    stack(project, make_options(stacker=QUICK, name="first"))
    with pytest.raises(UsageError, match="'first' is both a run and a stacker"):
        stack(project, make_options(models=("first",)))


def test_an_empty_project_names_the_next_command(tmp_path: Path) -> None:
    workspace = make_project(tmp_path, make_utterances())
    with pytest.raises(LogitsError, match="serctl export-logits"):
        stack(workspace, make_options())


def test_a_refitted_stacker_leaves_no_old_files(project: Workspace) -> None:
    folder = stack(project, make_options(stacker="xgboost", name="x", draws=1, folds=2)).folder
    assert (folder / "estimator-0.ubj").is_file()
    stack(project, make_options(stacker="mean-logits", name="x"))
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".json", ".txt"}


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "/tmp"])
def test_a_name_cannot_leave_the_folder_of_stackers(project: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid file name"):
        stack(project, make_options(stacker=QUICK, name=name))


def test_compare_ranks_all_stackers_and_says_whether_the_lead_is_real(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple(kind for kind in STACKERS if kind != "random-forest")
    monkeypatch.setattr("serctl.ensemble.compare.STACKERS", quick)
    found = stack(project, make_options(compare=True, folds=3)).comparison
    assert found is not None
    assert {score.kind for score in found.scores} == set(quick)
    figures = [score.macro_f1 for score in found.scores]
    assert figures == sorted(figures, reverse=True)
    assert found.recommended == found.scores[0].kind
    assert found.scores[0].test is None
    assert all(score.corrected_p >= score.test.p_value for score in found.scores[1:])
    assert (found.num_folds, found.num_speakers) == (3, SPEAKERS)
    assert not project.stackers.exists()


def test_compare_continues_where_one_stacker_cannot_be_fitted(tmp_path: Path) -> None:
    rows = make_utterances({"train": (6, 30, 30, 60)}, speakers=4)
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    found = stack(workspace, make_options(compare=True, folds=3)).comparison
    assert found is not None
    problems = {score.kind: score.problem for score in found.scores if score.problem}
    assert "angry" in problems["random-forest"]
    assert "linear" not in problems


def test_utterances_that_a_base_model_learned_from_are_marked(project: Workspace) -> None:
    path = project.runs / "first" / "logits" / "dev.csv"
    dev = read_logits(path)
    learned = np.arange(len(dev)) < 3
    write_logits(path, replace(dev, in_sample=learned))
    result = stack(project, make_options(stacker="mean-logits"))
    made = read_logits(result.folder / "dev.csv").select(dev.ids)
    assert made.in_sample.tolist() == learned.tolist()
    assert not read_logits(result.folder / "test.csv").in_sample.any()


def test_what_a_stacker_has_no_predictions_for_is_reported_what_gives_them(
    project: Workspace,
) -> None:
    options = make_options(models=("first", "second"), stacker=QUICK, name="both")
    stack(project, options)
    [both] = find_systems(project, ["both"])
    command = "serctl stack first second --stacker linear --draws 1 --name both"
    with pytest.raises(LogitsError, match=command):
        both.load_all("test", ["new"] + [f"test-sad-{i:03d}" for i in range(3)])
    stack(project, replace(options, limit=40))
    with pytest.raises(LogitsError, match="serctl evaluate --limit 40"):
        both.load_all("test", read_manifest(project.manifest).select("test").ids)


@pytest.mark.usefixtures("few_trees")
def test_trees_that_never_split_and_runs_without_logits_are_noted(tmp_path: Path) -> None:
    rows = make_utterances({"train": (5, 5, 5, 5), "dev": (2, 2, 2, 2)})
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    (workspace.runs / "b").mkdir()
    (workspace.runs / "b" / "summary.json").write_text("{}")
    left_out, alike = stack(workspace, make_options(draws=2)).notes
    assert left_out == "Left out: 'b' has no logits. Run: serctl export-logits b"
    assert "20 rows are too few to split its trees" in alike
    assert not stack(workspace, make_options(models=("a",), stacker=QUICK)).notes
    found = stack(workspace, make_options(compare=True)).comparison
    assert found is not None
    assert "fits on fewer rows" in {s.kind: s.problem for s in found.scores}["random-forest"]


def test_logits_of_two_kinds_of_model_are_not_mixed(project: Workspace) -> None:
    path = project.runs / "first" / "logits" / "test.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"predicted_by": "main", "document_hash": ""}))
    with pytest.raises(LogitsError, match=r"test of its main model.*--predicted-by folds"):
        stack(project, make_options(stacker=QUICK))


def test_the_order_of_the_models_changes_nothing(project: Workspace) -> None:
    found = []
    for models in (("first", "second"), ("second", "first")):
        result = stack(project, make_options(models=models, stacker=QUICK))
        found.append(read_logits(result.folder / "test.csv").values)
    assert np.array_equal(*found)


def make_one_emotion_project(folder: Path) -> Workspace:
    """Every speaker is heard in one emotion; fold models have not heard the speaker's emotion."""
    rows = [
        replace(row, speaker=f"{row.split}-{row.emotion}-{i % 2}")
        for i, row in enumerate(make_utterances())
    ]
    project = make_project(folder, rows)
    train = [row for row in rows if row.split == "train"]
    for seed, name in enumerate(("first", "second")):
        make_run(project, name, rows, signal=3.0, seed=seed)
        make_run(project, name, train, signal=-2.0, seed=seed)
    return project


@pytest.mark.parametrize("stacker", [QUICK, "auto", "greedy"])
def test_broken_folds_give_an_average_and_a_warning(tmp_path: Path, stacker: str) -> None:
    project = make_one_emotion_project(tmp_path)
    result = stack(project, make_options(stacker=stacker, name="safe"))
    assert result.kind == "mean-probabilities"
    (note,) = [note for note in result.notes if "hardly better than chance" in note]
    assert "8 of 8 speakers have only one emotion" in note
    assert note.count("average") == note.count("--stack-on dev") == 1
    assert stack(project, make_options(stacker=stacker)).name == "mean-probabilities"
    average = stack(project, make_options(stacker="mean-probabilities"))
    expected = read_logits(average.folder / "test.csv").values
    assert np.array_equal(read_logits(result.folder / "test.csv").values, expected)
    with pytest.raises(LogitsError, match="hardly better than chance"):
        stack(project, make_options(compare=True))
    on_dev = stack(project, make_options(stacker=QUICK, stack_on="dev"))
    assert on_dev.kind == QUICK


def test_auto_takes_the_average_where_nothing_is_better(project: Workspace) -> None:
    make_run(project, "second", make_utterances(), seed=2)  # as good as the first
    result = stack(project, make_options(stacker="auto", folds=3))
    assert result.kind == "mean-probabilities"
    assert any("auto chose mean-probabilities" in note for note in result.notes)


def test_auto_fits_the_stacker_that_it_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_utterances({"train": (0, 30, 40, 85), "dev": (6, 6, 6, 6)})
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "a", rows)
    monkeypatch.setattr("serctl.ensemble.choice.CANDIDATES", ("linear",))
    result = stack(workspace, StackOptions(stacker="auto"))
    assert result.kind == "linear"
    fitted = load_stacker(result.folder)
    assert isinstance(fitted.stacker, Learned)
    assert (fitted.stacker.balance, fitted.options["balance"]) == ("weights", "weights")


def test_the_command_of_an_average_in_place_of_another_stacker_is_accepted(tmp_path: Path) -> None:
    project = make_one_emotion_project(tmp_path)
    for given in ({"stacker": "linear", "balance": "weights"}, {"fold": 4}):
        folder = stack(project, StackOptions(**given, name="safe")).folder
        command = stack_command(load_stacker(folder).options, "safe")
        assert command == "serctl stack --stacker mean-probabilities --name safe"
    assert stack(project, StackOptions(fold=4)).name == "mean-probabilities"


def test_a_recipe_knows_the_average_in_place_of_its_stacker(tmp_path: Path) -> None:
    project, recipe = make_one_emotion_project(tmp_path), tmp_path / "safe.toml"
    recipe.write_text(
        "[stack]\nstacker = 'linear'\nbalance = 'weights'\n[[models]]\nname = 'first'\n"
        "speech = ['wavlm-large']\n[[models]]\nname = 'second'\nspeech = ['hubert-xlarge']\n"
    )
    plan = read_plan(str(recipe), project)
    (step,) = plan_recipe(project, plan, only=("stack",))
    assert stack(project, step.options).kind == "mean-probabilities"
    assert plan_recipe(project, plan, only=("evaluate",))


@pytest.mark.parametrize(("stacker", "told"), [("greedy", 1), ("auto", 1), ("log-pool", 0)])
def test_other_speakers_than_those_of_the_fit_are_reported_where_it_reads_them(
    project: Workspace, stacker: str, told: int
) -> None:
    folder = stack(project, make_options(stacker=stacker, name="mine", draws=10)).folder
    system = System("mine", "stacker", folder)
    rows = read_manifest(project.manifest).utterances
    assert not find_stale(project, rows, [system], ["dev"])
    other = [replace(row, speaker=row.speaker.replace("s1", "s2")) for row in rows]
    found = find_stale(project, other, [system], ["dev"])
    assert len(found) == told
    assert all("changed in the manifest: other emotions or speakers" in text for text in found)


def test_auto_leaves_noise_out(project: Workspace) -> None:
    rows = make_utterances()
    for seed in range(4):
        make_run(project, f"noise{seed}", rows, signal=0.0, seed=10 + seed)
    result = stack(project, make_options(stacker="auto", name="chosen", folds=3))
    assert result.kind in SELECTIONS
    assert load_stacker(result.folder).stacker.kind == result.kind


def test_the_verdict_names_what_to_use_instead(project: Workspace) -> None:
    make_run(project, "strong", make_utterances(), signal=4.0, seed=5)
    verdict = stack(project, make_options(stacker="majority-vote")).verdict
    assert re.search(r"majority-vote \d\.\d{3} macro-F1, best single model \d\.\d{3}", verdict)
    assert verdict.endswith("Use --stacker best-single.")


def test_a_verdict_names_every_metric_once() -> None:
    shown = str(Verdict("mean-probabilities", 0.919, 0.890, 0.919, 203))
    assert shown == (
        "Cross-validated over speakers (203 utterances): mean-probabilities 0.919 macro-F1, best "
        "single model 0.890. None of the others is better."
    )
    assert str(Verdict("greedy", 0.9561, 0.939, 0.9563, 203)).endswith(
        "None of the others is better."
    )
    assert str(Verdict("best-single", 0.8, 0.8, 0.9, 9)).endswith(
        "best-single 0.800 macro-F1, plain average 0.900. Use --stacker mean-probabilities."
    )


def test_a_saved_selection_predicts_as_before(project: Workspace) -> None:
    result = stack(project, make_options(stacker="greedy"))
    trained = load_stacker(result.folder)
    parts = [system.load_all("test", ids) for system in find_systems(project, result.models)
             for ids in [read_manifest(project.manifest).select("test").ids]]  # fmt: skip
    written = read_logits(result.folder / "test.csv").select(parts[0].ids)
    assert np.allclose(trained.predict_parts(parts), written.values, atol=1e-8)

"""Training on frames that are restated per speaker, and pooled models, from train to export."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from synthetic_frames import TINY, make_project, make_set, make_utterances

from serctl.cache.pooled import pool_utterance
from serctl.cli.steps import describe_step
from serctl.cli.train import describe
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.pooled import cross_validate, fit_pooled
from serctl.ensemble.systems import System
from serctl.errors import CheckpointError, ManifestError
from serctl.models.config import ModelConfig
from serctl.models.pooled import PooledModel, pool_batch
from serctl.options import ExportLogitsOptions
from serctl.stages.export_logits import export_logits
from serctl.stages.train import train
from serctl.training.changes import find_reencoded
from serctl.training.checkpoint import load_run
from serctl.training.pooled import set_classifier
from serctl.training.speakers import choose_by_speaker


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    return make_project(root, make_utterances(folder=root / "audio"))


def make_vectors(num_rows: int = 90, size: int = 6, num_classes: int = 3):
    rng = np.random.default_rng(0)
    targets = rng.integers(num_classes, size=num_rows)
    vectors = rng.normal(size=(num_rows, size)) + 2 * np.eye(num_classes, size)[targets]
    return vectors, targets, [f"s{i % 6}" for i in range(num_rows)]


def test_the_classifier_is_that_of_scikit_learn():
    vectors, targets, groups = make_vectors()
    fitted = fit_pooled(vectors, targets, groups, 3, strength=0.1)
    scaled = StandardScaler().fit_transform(vectors)
    expected = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
    expected.fit(scaled, targets)
    found = fitted.logits(vectors)
    np.testing.assert_allclose(found, expected.decision_function(scaled), atol=1e-2)


def test_more_features_than_rows_give_the_model_of_scikit_learn():
    vectors, targets, groups = make_vectors(num_rows=30, size=200)
    fitted = fit_pooled(vectors, targets, groups, 3, strength=0.01)
    scaled = StandardScaler().fit_transform(vectors)
    expected = LogisticRegression(C=0.01, class_weight="balanced", max_iter=500, tol=1e-8)
    expected.fit(scaled, targets)
    found = fitted.logits(vectors)
    np.testing.assert_allclose(found, expected.decision_function(scaled), atol=1e-2)


def test_two_classes_and_an_absent_one():
    vectors, targets, groups = make_vectors(num_classes=2)
    fitted = fit_pooled(vectors, targets, groups, 4, strength=0.1)
    logits = fitted.logits(vectors)
    scaled = StandardScaler().fit_transform(vectors)
    expected = LogisticRegression(C=0.1, class_weight="balanced").fit(scaled, targets)
    found = np.exp(logits[:, :2]) / np.exp(logits[:, :2]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected.predict_proba(scaled), atol=1e-4)
    assert (logits[:, 2:] < logits[:, :2].max(axis=1, keepdims=True) - 10).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_the_module_pools_as_the_cache_does_whatever_the_padding_holds(layers):
    rng = np.random.default_rng(0)
    lengths = [5, 1, 0]
    frames = torch.full((3, layers, 7, 4), torch.nan)
    for row, length in enumerate(lengths):
        frames[row, :, :length] = torch.from_numpy(rng.normal(size=(layers, length, 4)))
    found = pool_batch(frames if layers > 1 else frames[:, 0], torch.tensor(lengths))
    for row, length in enumerate(lengths):
        parts = [pool_utterance(frames[row, k, :length].numpy()) for k in range(layers)]
        np.testing.assert_allclose(found[row].numpy(), np.concatenate(parts), atol=1e-5)


def test_a_fold_model_of_one_class_predicts_that_class_in_cross_validation():
    vectors = make_vectors(num_rows=20)[0]
    targets, groups = np.repeat([1, 0, 1], [10, 5, 5]), ["one"] * 10 + ["both"] * 10
    first = targets[10:], np.ones(10, dtype=int)  # predicted by a model of class 1 alone
    model = fit_pooled(vectors[10:], targets[10:], groups[10:], 2, strength=0.1)
    second = targets[:10], model.logits(vectors[:10]).argmax(axis=1)
    true, predicted = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    [found] = cross_validate(vectors, targets, groups, 2, [0.1])
    assert found == pytest.approx(f1_score(true, predicted, average="macro"))


def test_parts_of_a_recording_of_an_unknown_speaker_are_one_group():
    rows = [
        replace(row, speaker="", path=Path(f"{i // 4}.wav"), start=i % 4)
        for i, row in enumerate(make_utterances(12))
    ]
    assert len(set(make_set(rows).groups)) == 3
    assert len(set(make_set(make_utterances(12)).groups)) == 2


@pytest.mark.parametrize(("strength", "same"), [(0.1, True), (0.0, False)])
def test_other_speakers_are_other_training_data_where_they_select_the_strength(
    tmp_path, strength, same
):
    rows = make_utterances(folder=tmp_path / "audio")
    workspace = make_project(tmp_path, rows)
    options = replace(
        TINY, name="pooled", kind="pooled", standardise_by="corpus", pooled_c=strength
    )
    train(workspace, options)
    write_manifest(
        workspace.manifest, [replace(r, speaker=f"{r.speaker}-{i % 2}") for i, r in enumerate(rows)]
    )
    if same:
        assert train(workspace, options).runs[0].present
    else:
        with pytest.raises(CheckpointError, match="--overwrite"):
            train(workspace, options)


def test_votes_of_files_do_not_change_a_pooled_model(tmp_path):
    tie = {"votes_angry": "2", "votes_happy": "2"}
    rows = [
        replace(row, emotion="", extra=tie) if i % 9 == 0 else row
        for i, row in enumerate(make_utterances(folder=tmp_path / "audio"))
    ]
    workspace = make_project(tmp_path, rows)
    options = replace(TINY, kind="pooled", standardise_by="corpus", folds=2)
    train(workspace, replace(options, name="labels"))
    told = train(workspace, replace(options, name="votes", soft_targets=True))
    assert not any("votes" in note for note in told.notes)
    cpu = torch.device("cpu")
    found = [load_run(workspace.runs / name, cpu, "folds") for name in ("labels", "votes")]
    states = [run.model.state_dict() for run in found]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    labelled = sum(row.split == "train" and bool(row.emotion) for row in rows)
    assert told.runs[0].summary.utterances == labelled  # each is in a fold


def test_the_module_predicts_as_the_fitted_classifier():
    vectors, targets, groups = make_vectors()
    fitted = fit_pooled(vectors, targets, groups, 3)
    model = PooledModel([3], ModelConfig(num_classes=3, kind="pooled"))
    set_classifier(model, fitted)
    frames = torch.randn(4, 9, 3)
    lengths = torch.tensor([9, 4, 2, 7])
    pooled = pool_batch(frames, lengths).numpy()
    np.testing.assert_allclose(
        model([frames], [lengths]).logits.detach().numpy(), fitted.logits(pooled), atol=1e-4
    )


def test_a_pooled_model_has_folds_and_logits_as_a_network_has(project):
    options = replace(TINY, kind="pooled", folds=3, name="pooled")
    run = train(project, options).runs[0]
    assert "cross-validation" in run.summary.chosen_because
    assert (run.summary.epochs, run.summary.best_epoch) == (0, 0)
    result = export_logits(project, ExportLogitsOptions(run="pooled", device="cpu"))
    sources = {part.split: part.source for part in result.splits}
    assert sources["train"] == "oof"
    assert sources["dev"] == "folds"
    again = train(project, options)
    assert again.runs[0].present
    table = describe(again).plain.splitlines()
    assert table[0].split() == ["run", "fits", "dev", "macro-F1", "seconds"]
    assert [line.split()[:3] for line in table[1:3]] == [
        ["pooled", "3", f"{run.summary.metrics['dev_macro_f1']:.3f}"],
        ["fold", "1", "1"],
    ]
    fresh = replace(again, runs=[replace(again.runs[0], present=False)])
    step = SimpleNamespace(stage="train", what="pooled")
    line = describe_step(step, fresh)
    assert "3 fits, dev macro-F1" in line
    assert "epoch" not in line


def test_a_given_c_replaces_the_cross_validation(project):
    sizes = []
    for strength in (0.001, 1.0):
        name = f"pooled-{strength}"
        options = replace(TINY, kind="pooled", pooled_c=strength, name=name, folds=0)
        run = train(project, options).runs[0]
        assert run.summary.chosen_because == f"C = {strength:g} of pooled_c"
        sizes.append(load_run(run.folder).model.classifier.weight.norm().item())
    assert sizes[0] < sizes[1]  # a smaller C shrinks the weights


def test_a_model_that_restates_frames_says_so_in_its_notes_and_logits(project):
    options = replace(TINY, standardise_by="speaker", name="restated", epochs=1)
    run = train(project, options).runs[0]
    assert load_run(run.folder).config.model.by_speaker
    notes = [note for note in run.summary.notes if "standardised" in note]
    assert len(notes) == 1
    assert "including unlabelled ones of dev and test" in notes[0]
    result = export_logits(project, ExportLogitsOptions(run="restated", device="cpu"))
    written = {part.split: read_logits(part.path) for part in result.splits}
    assert all(logits.provenance.by_speaker for logits in written.values())
    plain = train(project, replace(TINY, name="plain", epochs=1)).runs[0]
    assert plain.summary.metrics != run.summary.metrics


def test_logits_depend_on_the_speakers_of_their_utterances_alone(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    workspace = make_project(tmp_path, rows)
    train(workspace, replace(TINY, standardise_by="speaker", name="restated", epochs=1))
    export_logits(workspace, ExportLogitsOptions(run="restated", device="cpu"))
    run = [System("restated", "run", workspace.runs / "restated" / "logits")]
    [test] = {row.speaker for row in rows if row.split == "test"} - {"s9"}
    for speaker, splits in (("s0", "train"), (test, "test")):
        first = next(i for i, row in enumerate(rows) if row.speaker == speaker)
        other = [replace(r, speaker="new") if i == first else r for i, r in enumerate(rows)]
        [told] = find_reencoded(workspace, other, run, ("train", "dev", "test"))
        assert told.startswith(f"The logits of restated on {splits} are of other frames")


def test_auto_gives_one_note_with_both_scores():
    vectors, targets, groups = make_vectors()
    offsets = {f"s{i}": 30.0 * np.eye(6)[i] for i in range(6)}
    shifted = vectors + np.array([offsets[name] for name in groups])
    rows = [Utterance(f"u{i}", Path("a"), "train", "x", name) for i, name in enumerate(groups)]
    better, note = choose_by_speaker(rows, shifted, vectors, targets, 3)
    assert better
    assert note.startswith("Frames are standardised per speaker with all utterances")
    worse, other = choose_by_speaker(rows, vectors, shifted, targets, 3)
    assert not worse
    assert other.startswith("Frames are standardised over the corpus. Logistic regression")
    assert note.count(" per speaker") == 2
    assert other.count("over the corpus") == 2


def test_speakers_with_one_emotion_are_refused_and_auto_says_why(project, tmp_path):
    rows = [
        replace(row, speaker=f"{row.split}-{row.emotion}")
        for row in read_manifest(project.manifest)
    ]
    other = replace(project, paths={"manifest": tmp_path / "m.csv"})
    write_manifest(other.manifest, rows)
    with pytest.raises(ManifestError, match="few emotions"):
        train(other, replace(TINY, standardise_by="speaker", name="refused"))
    run = train(other, replace(TINY, standardise_by="auto", name="auto", epochs=1)).runs[0]
    assert not load_run(run.folder).config.model.by_speaker
    assert any("over the corpus" in note for note in run.summary.notes)

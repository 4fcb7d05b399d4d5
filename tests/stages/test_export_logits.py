"""`serctl export-logits`: joined on ids, marked in-sample, independent of batches."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_frames import TINY, make_project, make_utterances

from serctl.config import Workspace
from serctl.data.labels import LabelSet
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.encoding.features import reopen_branches
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.systems import find_systems
from serctl.errors import CheckpointError, LogitsError, UnknownNameError
from serctl.options import ExportLogitsOptions, StackOptions
from serctl.stages.export_logits import export_logits
from serctl.stages.stack import stack
from serctl.stages.train import train
from serctl.training.checkpoint import load_run
from serctl.training.dataset import build_set
from serctl.training.inference import infer
from serctl.training.run_folder import read_train_ids

EXPORT = ExportLogitsOptions(device="cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    rows = make_utterances(folder=root / "audio")
    rows = [replace(row, emotion="") if row.split == "test" else row for row in rows]
    project = make_project(root, rows)
    train(project, replace(TINY, name="plain"))
    train(project, replace(TINY, name="folded", folds=3, main=True))
    train(project, replace(TINY, name="mean", folds=3))
    train(project, replace(TINY, name="held", heldout=True))
    return project


def exported(project, run, split, **more):
    result = export_logits(project, replace(EXPORT, run=run, **more))
    part = next(part for part in result.splits if part.split == split)
    return part, read_logits(part.path)


@pytest.fixture(scope="module")
def one_angry_speaker(tmp_path_factory):
    """All angry utterances of train are of one speaker."""
    root = tmp_path_factory.mktemp("angry")
    rows = [
        replace(row, speaker="a" if row.emotion == "angry" else row.speaker)
        if row.split == "train"
        else row
        for row in make_utterances(folder=root / "audio")
    ]
    project = make_project(root, rows)
    for name, seed in (("first", 0), ("second", 1)):
        train(project, replace(TINY, name=name, folds=3, seed=seed))
        export_logits(project, replace(EXPORT, run=name))
    return project


def test_a_main_model_that_was_trained_before_predicts_if_a_fold_lacks_an_emotion(
    one_angry_speaker, tmp_path
):
    project = Workspace(shutil.copytree(one_angry_speaker.root, tmp_path / "copy"))
    options = replace(TINY, kind="pooled", speech=("whisper-tiny",), text=(), name="later")
    train(project, options)
    train(project, replace(options, folds=3, main=True))
    export_logits(project, replace(EXPORT, run="later"))
    folder = project.runs / "later" / "logits"
    assert read_logits(folder / "test.csv").provenance.predicted_by == "main"
    train_logits = read_logits(folder / "train.csv").provenance
    assert (train_logits.stack_on, train_logits.lost_emotions) == ("oof", ("angry",))


def test_a_held_out_part_with_all_of_an_emotion_is_reported(tmp_path):
    """Of two speakers of train, one is never happy and the other never angry."""
    rows = make_utterances(folder=tmp_path / "audio")
    first = {"s0", "s1", "s2"}
    for i, row in enumerate(rows):
        if row.split == "train":
            speaker, absent = ("a", "happy") if row.speaker in first else ("b", "angry")
            emotion = "neutral" if row.emotion == absent else row.emotion
            rows[i] = replace(row, speaker=speaker, emotion=emotion)
    project = make_project(tmp_path, rows)
    lines = []
    options = replace(TINY, name="held", heldout=True, epochs=1)
    result = train(project, options, log=lines.append)
    emotion_of = {row.utterance_id: row.emotion for row in rows}
    learned = {emotion_of[one] for one in read_train_ids(result.runs[0].folder)}
    (lost,) = {"angry", "happy"} - learned
    told = f"The held-out part has all utterances of {lost}"
    assert any(told in note for note in result.notes)
    assert any(told in line for line in lines)


def test_the_main_model_predicts_if_a_fold_lacks_an_emotion(one_angry_speaker):
    folder = one_angry_speaker.runs / "first"
    assert load_run(folder).config.lost_emotions == ("angry",)
    assert (folder / "model.safetensors").is_file()
    part, logits = exported(one_angry_speaker, "first", "test")
    assert part.source == logits.provenance.predicted_by == "main"
    assert read_logits(folder / "logits" / "train.csv").provenance.stack_on == "oof"
    with pytest.raises(LogitsError, match="without angry"):
        stack(one_angry_speaker, StackOptions(compare=True))
    result = stack(one_angry_speaker, StackOptions(stacker="greedy"))
    assert result.kind == "mean-probabilities"
    assert any("without angry" in note for note in result.notes)
    stacked = read_logits(result.folder / "test.csv").values
    members = [
        read_logits(one_angry_speaker.runs / name / "logits" / "test.csv").probabilities()
        for name in ("first", "second")
    ]
    np.testing.assert_allclose(stacked, np.mean(members, axis=0), atol=1e-6)


def test_logits_say_what_made_them(project):
    part, logits = exported(project, "plain", "dev")
    assert set(logits.ids) == {
        r.utterance_id for r in read_manifest(project.manifest).select("dev")
    }
    assert logits.labels == ("angry", "happy", "neutral")
    document = json.loads(part.path.with_suffix(".json").read_text())
    assert document["split"] == "dev"
    assert {"run_hash", "options", "seed", "environment", "labels"} <= set(document)


@pytest.mark.parametrize(
    ("run", "source", "rows", "in_sample"),
    [("plain", "in-sample", 48, 48), ("folded", "oof", 48, 0), ("held", "heldout", 8, 0)],
)
def test_train_is_predicted_by_who_may(project, run, source, rows, in_sample):
    part, logits = exported(project, run, "train")
    assert (part.source, part.rows, part.in_sample) == (source, rows, in_sample)
    assert logits.in_sample.sum() == in_sample
    assert logits.provenance.stack_on == source
    learned = set((project.runs / run / "train_ids.txt").read_text().split())
    if source == "heldout":
        assert learned.isdisjoint(logits.ids)


def test_out_of_fold_logits_are_those_of_the_fold_that_did_not_learn_the_utterance(project):
    _, oof = exported(project, "folded", "train")
    for fold in range(3):
        folder = project.runs / "folded" / "folds" / str(fold)
        learned = set((folder / "train_ids.txt").read_text().split())
        left = [name for name in oof.ids if name not in learned]
        other = replace(project, paths={"runs": project.runs / "folded" / "folds"})
        _, alone = exported(other, str(fold), "train", train_logits="in-sample")
        np.testing.assert_allclose(
            oof.select(left).values, alone.select(left).values, atol=1e-5, rtol=1e-5
        )


def test_an_utterance_that_every_fold_model_was_trained_on_is_refused(project, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(project.runs / "folded", runs / "folded")
    copy = replace(project, paths={**project.paths, "runs": runs})
    everything = (runs / "folded" / "train_ids.txt").read_text()
    lost = everything.split()[0]
    for ids in runs.glob("folded/folds/*/train_ids.txt"):
        ids.write_text(ids.read_text() + f"{lost}\n")
        summary = json.loads(ids.with_name("summary.json").read_text())
        del summary["files"], summary["document_hash"]  # a run of an earlier version
        ids.with_name("summary.json").write_text(json.dumps(summary))
    with pytest.raises(CheckpointError, match=f"every fold model was trained on {lost}"):
        export_logits(copy, replace(EXPORT, run="folded", overwrite=True))


def test_batch_size_and_order_change_nothing(project, tmp_path):
    _, first = exported(project, "plain", "train")
    _, second = exported(project, "plain", "train", batch_size=1, overwrite=True)
    np.testing.assert_allclose(first.values, second.values, atol=1e-5)
    rows = list(read_manifest(project.manifest))
    other = replace(project, paths={"manifest": tmp_path / "m.csv"})
    write_manifest(other.manifest, rows[::-1])
    _, third = exported(other, "plain", "train", overwrite=True)
    assert third.ids == first.ids[::-1]
    np.testing.assert_allclose(third.select(first.ids).values, first.values, atol=1e-5)


def test_unlabelled_test_utterances_get_logits(project):
    part, logits = exported(project, "plain", "test")
    assert part.rows == len(logits) == 16
    assert part.source == "main"


def test_what_is_exported_is_not_exported_again(project):
    exported(project, "folded", "dev", overwrite=True)
    part, _ = exported(project, "folded", "dev")
    assert part.present
    part.path.write_text(part.path.read_text().replace("u", "v"))  # not what its sidecar says
    assert not exported(project, "folded", "dev")[0].present


def test_in_sample_logits_of_a_folded_run_are_marked(project):
    part, _ = exported(project, "folded", "train", train_logits="in-sample")
    assert part.in_sample == 48
    assert not exported(project, "folded", "train")[0].present


def test_what_a_run_does_not_have_is_refused(project):
    with pytest.raises(LogitsError, match="--folds 5"):
        export_logits(project, replace(EXPORT, run="plain", train_logits="oof"))
    with pytest.raises(UnknownNameError, match="Did you mean 'plain'"):
        export_logits(project, replace(EXPORT, run="plein"))
    (project.runs / "held" / "summary.json").rename(project.runs / "held" / "away")
    with pytest.raises(CheckpointError, match="Repeat its command"):
        export_logits(project, replace(EXPORT, run="held"))
    (project.runs / "held" / "away").rename(project.runs / "held" / "summary.json")


@pytest.mark.parametrize("gone", ["1/summary.json", ""])
def test_only_train_waits_for_the_fold_models(project, gone):
    folds = project.runs / "folded" / "folds"
    (folds / gone).rename(project.root / "away")
    others = replace(EXPORT, run="folded", splits=("dev", "test"), predicted_by="main")
    result = export_logits(project, others)
    assert [part.source for part in result.splits] == ["main", "main"]
    assert any("needed for the logits of train" in note for note in result.notes)
    with pytest.raises(CheckpointError, match=r"fold model .*1.* is not finished.*--split dev"):
        export_logits(project, replace(EXPORT, run="folded", predicted_by="main"))
    (project.root / "away").rename(folds / gone)


def test_new_utterances_are_predicted_by_the_mean_of_the_fold_models(project):
    part, logits = exported(project, "mean", "dev")
    assert part.source == logits.provenance.predicted_by == "folds"
    assert len(logits.provenance.fold_hashes) == 3
    run = project.runs / "mean"
    parts = [exported_by(project, run / "folds" / str(fold), "dev") for fold in range(3)]
    np.testing.assert_allclose(logits.values, np.mean(parts, axis=0), atol=1e-6)


def test_a_run_with_both_kinds_is_predicted_by_its_folds_unless_main_is_named(project):
    folds, by_folds = exported(project, "folded", "dev")
    main, by_main = exported(project, "folded", "dev", predicted_by="main")
    assert (folds.source, main.source) == ("folds", "main")
    assert np.abs(by_main.values - by_folds.values).max() > 1e-4
    in_sample, _ = exported(project, "folded", "train", train_logits="in-sample")
    assert read_logits(in_sample.path).provenance.predicted_by == "main"


def test_a_run_with_both_kinds_is_stacked_as_it_is_exported(project):
    export_logits(project, replace(EXPORT, run="folded", overwrite=True))
    result = stack(project, StackOptions(models=("folded",), stacker="mean-logits", name="both"))
    assert set(result.splits) == {"dev", "test"}


def exported_by(project, folder, split):
    """Return the logits of one fold model, without the export."""
    run = load_run(folder)
    rows = read_manifest(project.manifest).select(split)
    stores = [branch.stores[0] for branch in reopen_branches(project, run.branches)]
    unlabelled = [replace(row, emotion="") for row in rows]
    data = build_set(unlabelled, stores, LabelSet(run.labels))
    found = dict(zip(data.ids, infer(run.model, data, torch.device("cpu")).logits, strict=True))
    return [found[name] for name in rows.ids]


def test_evaluating_what_a_run_has_no_logits_for_is_reported_what_gives_them(project):
    train(project, replace(TINY, name="few", limit=24, epochs=1))
    for run, split, remedy in (("held", "train", "--folds 5"), ("few", "test", "--limit 24")):
        exported(project, run, split)
        ids = read_manifest(project.manifest).select(split).ids
        with pytest.raises(LogitsError, match=f"no logits for .* of {len(ids)} .*{remedy}"):
            find_systems(project, [run])[0].load_all(split, ids)


def test_a_split_of_which_nothing_is_held_out_is_left_out_and_noted(project):
    train(project, replace(TINY, name="both", heldout=True, fit_on="train+dev", epochs=1))
    stale, _ = exported(project, "both", "dev", train_logits="in-sample")
    result = export_logits(project, replace(EXPORT, run="both"))
    assert not stale.path.exists()
    assert [(part.split, part.source) for part in result.splits] == [
        ("train", "heldout"), ("test", "main"),
    ]  # fmt: skip
    assert any("No logits of dev" in note for note in result.notes)

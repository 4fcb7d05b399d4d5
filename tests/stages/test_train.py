"""`serctl train`, from a project on disk to a run on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic_frames import TINY, make_frames, make_project, make_utterances
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import resolve_options
from serctl.data.labels import LabelSet
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, write_transcripts
from serctl.ensemble.logits_file import read_logits
from serctl.errors import (
    CacheError,
    CheckpointError,
    ConfigError,
    ManifestError,
    MissingFeaturesError,
    SerctlError,
    UsageError,
)
from serctl.locks import hold
from serctl.options import ExportLogitsOptions, TrainOptions
from serctl.stages.export_logits import export_logits
from serctl.stages.train import train
from serctl.training.checkpoint import load_run
from serctl.training.dataset import make_target
from serctl.training.fit import plan_phases


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def test_a_training_leaves_a_run_that_says_what_made_it(project):
    lines, notes = [], []
    result = train(project, TINY, log=notes.append, log_epoch=lines.append)
    run = result.runs[0]
    assert run.name == "whisper-tiny+minilm"
    assert run.summary.metrics["dev_macro_f1"] > 0.6
    assert len(lines) == 3
    assert all(note.startswith("Note: ") for note in notes)
    assert "epoch 3/3" in lines[-1]
    metrics = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    assert [record["epoch"] for record in metrics] == [1, 2, 3]
    best = max(metrics, key=lambda record: record["dev_macro_f1"])
    assert run.summary.best_epoch == best["epoch"]
    loaded = load_run(run.folder)
    assert loaded.labels == ("angry", "happy", "neutral")
    assert [branch.encoder for branch in loaded.branches] == ["whisper-tiny", "minilm"]
    assert loaded.config.hash
    assert loaded.config.environment["torch"]
    assert (run.folder / "train_ids.txt").read_text().split() == sorted(
        row.utterance_id for row in make_utterances() if row.split == "train"
    )
    assert not (run.folder / "state.safetensors").exists()


def test_audio_in_two_splits_is_a_note(project, tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    test = next(i for i, row in enumerate(rows) if row.split == "test")
    rows[test] = replace(rows[test], path=rows[0].path)
    copied = make_project(tmp_path, rows, ("whisper-tiny",))
    options = replace(TINY, text=(), epochs=1)
    told = f"The same audio is in several splits 1 time ({rows[0].utterance_id} = "
    notes = train(copied, options).notes
    assert any(note.startswith(told) for note in notes)
    assert any(note.startswith("1 pair of utterances of different splits") for note in notes)
    assert not any("same audio" in note for note in train(project, options).notes)


def test_what_is_trained_is_not_trained_again(project):
    first = train(project, replace(TINY, name="again"))
    state = first.runs[0].folder / "state.safetensors"
    state.touch()  # killed after its last file was written, before its first was removed
    second = train(project, replace(TINY, name="again", speech=("Whisper-Tiny",)))
    assert not first.runs[0].present
    assert second.runs[0].present
    assert second.runs[0].summary == first.runs[0].summary
    assert not state.exists()


def test_a_run_repeats_from_its_own_config(project):
    first = train(project, replace(TINY, name="first", loss="wce+sml", dropout=0.3)).runs[0]
    config = first.folder / "config.json"
    options = resolve_options(TrainOptions, "train", project, config, name="second")
    second = train(project, options).runs[0]
    one, two = (load_file(run.folder / "model.safetensors") for run in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_order_of_the_manifest_changes_nothing(project, tmp_path):
    first = train(project, replace(TINY, name="ordered")).runs[0]
    rows = list(read_manifest(project.manifest))
    other = replace(project, paths={"manifest": tmp_path / "shuffled.csv", "runs": tmp_path})
    write_manifest(other.manifest, [rows[i] for i in np.random.default_rng(0).permutation(80)])
    second = train(other, replace(TINY, name="ordered")).runs[0]
    one, two = (load_file(run.folder / "model.safetensors") for run in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert load_run(first.folder).config.hash == load_run(second.folder).config.hash


def test_a_run_of_other_options_or_data_is_not_replaced_unasked(project, tmp_path):
    train(project, replace(TINY, name="kept", epochs=1))
    with pytest.raises(CheckpointError, match=r"epochs 1, now 2.*--name.*--overwrite"):
        train(project, replace(TINY, name="kept", epochs=2))
    fewer = list(read_manifest(project.manifest))[8:]
    other = replace(project, paths={"manifest": tmp_path / "m.csv"})
    write_manifest(other.manifest, fewer)
    with pytest.raises(CheckpointError, match="of other data"):
        train(other, replace(TINY, name="kept", epochs=1))
    run = train(project, replace(TINY, name="kept", epochs=2, overwrite=True)).runs[0]
    assert (run.present, run.summary.epochs) == (False, 2)


def stop_after(monkeypatch, epochs):
    """Let trainings save their state at every epoch and be interrupted after some."""
    from serctl.training import loop

    real, done = loop.Trainer._save, []

    def save(self, optimizer):
        real(self, optimizer)
        done.append(1)
        if len(done) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "_save", save)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".safetensors", ".txt") and path.is_file()
    }


OTHER = replace(TINY, hidden=6, overwrite=True)


def test_a_run_is_replaced_when_its_successor_is_finished(project, monkeypatch):
    old = train(project, replace(TINY, name="replaced", epochs=1)).runs[0]
    before = contents(old.folder)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(project, replace(OTHER, name="replaced"))
    assert contents(old.folder) == before
    assert load_run(old.folder).config.options.epochs == 1
    lines = []
    train(project, replace(OTHER, name="replaced"), log_epoch=lines.append)
    assert len([line for line in lines if "epoch" in line]) == 1  # the third: it went on
    plain = train(project, replace(OTHER, name="undisturbed")).runs[0]
    assert contents(old.folder) == contents(plain.folder)
    hidden = [path.name for path in project.runs.iterdir() if path.name.startswith(".")]
    assert not hidden


@pytest.mark.posix("Windows: links need a privilege")
def test_a_run_behind_a_link_is_replaced_where_it_is(project, tmp_path):
    folder = train(project, replace(TINY, name="linked", epochs=1)).runs[0].folder
    place = folder.rename(tmp_path / "linked")
    folder.symlink_to(place)
    train(project, replace(OTHER, name="linked", epochs=1))
    assert folder.is_symlink()
    assert load_run(place).config.options.hidden == 6
    assert [path.name for path in tmp_path.iterdir()] == ["linked"]


def test_what_is_finished_is_not_trained_again_for_overwrite(project, monkeypatch):
    train(project, replace(TINY, name="seeds", epochs=1, seeds=2))
    with monkeypatch.context() as patch:
        stop_after(patch, 3 + 2)  # the first seed's three epochs and two of the second
        with pytest.raises(KeyboardInterrupt):
            train(project, replace(OTHER, name="seeds", seeds=2))
    done = train(project, replace(OTHER, name="seeds", seeds=2))
    assert [run.present for run in done.runs] == [True, False]
    again = train(project, replace(OTHER, name="seeds", seeds=2))
    assert [run.present for run in again.runs] == [True, True]


def test_overwrite_that_is_refused_leaves_the_old_run(project):
    old = train(project, replace(TINY, name="safe")).runs[0]
    before = contents(old.folder)
    with pytest.raises(SerctlError):
        train(project, replace(TINY, name="safe", overwrite=True, loss="wce+sml", batch_size=15))
    assert contents(old.folder) == before


@pytest.mark.parametrize("kept", [True, False])
def test_other_folds_replace_the_old_ones_together(project, monkeypatch, kept):
    three = replace(TINY, name=f"refolded-{kept}", epochs=1, folds=3, main=kept)
    main = train(project, three).runs[0]
    before = contents(main.folder)
    two = replace(three, folds=2, overwrite=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(project, two)
    still = {name: data for name, data in contents(main.folder).items() if ".new" not in name}
    assert still == before
    done = train(project, two)
    assert done.runs[0].present == kept  # a main model does not depend on the folds
    assert sorted(path.name for path in (main.folder / "folds").iterdir()) == ["0", "1"]
    assert [fold.folder for fold in done.folds] == [main.folder / "folds" / k for k in "01"]
    assert not (main.folder / ".folds.new").exists()


def test_two_trainings_of_one_run_do_not_meet(project):
    with hold(project.runs / "alone"), pytest.raises(SerctlError, match="Another process"):
        train(project, replace(TINY, name="alone"))
    train(project, replace(TINY, name="alone", epochs=1))


def test_fold_models_leave_their_speakers_out_and_are_added_to_a_finished_run(project):
    train(project, replace(TINY, name="folded"))
    result = train(project, replace(TINY, name="folded", folds=3, main=True))
    assert result.runs[0].present
    speaker_of = {row.utterance_id: row.speaker for row in read_manifest(project.manifest)}
    learned = (result.runs[0].folder / "train_ids.txt").read_text().split()
    out: list[str] = []
    for fold in result.folds:
        kept = (fold.folder / "train_ids.txt").read_text().split()
        left = set(learned) - set(kept)
        assert {speaker_of[name] for name in left}.isdisjoint(speaker_of[name] for name in kept)
        out += left
    assert sorted(out) == learned
    with pytest.raises(CheckpointError, match=r"folds 3, now 2.*--overwrite"):
        train(project, replace(TINY, name="folded", folds=2, main=True))


def test_a_run_of_folds_is_their_mean_and_has_no_main_model(project):
    result = train(project, replace(TINY, name="mean", folds=2))
    (run,) = result.runs
    assert not (run.folder / "model.safetensors").exists()
    model = load_run(run.folder).model
    parts = [load_run(fold.folder).model for fold in result.folds]
    frames = [torch.randn(3, 9, branch.dim) for branch in load_run(run.folder).branches]
    lengths = [torch.tensor([9, 4, 1]) for _ in frames]
    with torch.inference_mode():
        found = model(frames, lengths).logits
        expected = torch.stack([part(frames, lengths).logits for part in parts]).mean(dim=0)
    torch.testing.assert_close(found, expected)
    assert run.summary.parameters == sum(fold.summary.parameters for fold in result.folds)
    assert train(project, replace(TINY, name="mean", folds=2)).runs[0].present
    with pytest.raises(CheckpointError, match="has fold models and no main model"):
        load_run(run.folder, predicted_by="main")
    with pytest.raises(CheckpointError, match=r"folds 2, now 3.*--overwrite"):
        train(project, replace(TINY, name="mean", folds=3))


@pytest.mark.parametrize("main", [True, False])
def test_processes_train_the_networks_of_a_run_and_the_last_one_finishes_it(project, main):
    options = replace(TINY, epochs=1, folds=2, main=main)
    whole = train(project, replace(options, name=f"at-once-{main}"))
    parts = replace(options, name=f"in-parts-{main}")
    folder = project.runs / parts.name
    size = 2 + main
    beside = folder.with_name(f"{folder.name}.{1 - main}")
    # Another part is under way, and so is a run whose name ends like a fold model's lock.
    with hold(folder, shared=True), hold(beside):
        first = train(project, replace(parts, shard=f"2/{size}"))
        assert [run.name for run in first.runs] == [f"{parts.name} fold {2 - main}/2"]
        assert not (folder / "summary.json").exists()
        with pytest.raises(SerctlError, match="Another process is writing"):
            train(project, parts)
        network = hold(beside.with_name(f".{beside.name}"))
        with network, pytest.raises(SerctlError, match="Another process is writing"):
            train(project, replace(parts, shard=f"2/{size}"))
    for i in range(3, size + 1):
        train(project, replace(parts, shard=f"{i}/{size}"))
    last = train(project, replace(parts, shard=f"1/{size}"))
    assert [run.name for run in last.runs] == [parts.name]
    assert len(last.folds) == 2
    again = train(project, parts)
    assert all(run.present for run in (*again.runs, *again.folds))
    for one, other in zip((*whole.runs, *whole.folds), (*again.runs, *again.folds), strict=True):
        assert one.summary.metrics == other.summary.metrics
        assert other.folder.joinpath("train_ids.txt").exists()
        found = sorted(path.name for path in other.folder.iterdir())
        assert sorted(path.name for path in one.folder.iterdir()) == found
        if "model.safetensors" in found:
            weights = (load_file(run.folder / "model.safetensors") for run in (one, other))
            torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_run_without_its_configuration_is_trained_again(project):
    options = replace(TINY, name="bare", epochs=1, folds=2)
    folder = train(project, options).runs[0].folder
    (folder / "config.json").unlink()
    again = train(project, options)
    assert [run.present for run in (*again.runs, *again.folds)] == [False, True, True]
    load_run(folder)


def test_a_part_beyond_the_networks_trains_nothing(project):
    result = train(project, replace(TINY, name="beyond", epochs=1, folds=2, shard="3/3"))
    assert (result.runs, result.folds) == ((), ())
    with pytest.raises(UsageError, match="--shard and --overwrite exclude each other"):
        train(project, replace(TINY, name="beyond", shard="1/3", overwrite=True))


def test_folds_of_the_manifest_are_the_fold_models(project, tmp_path):
    rows = [
        replace(row, extra={"fold": "AB"[int(row.speaker[-1]) % 2]})
        for row in read_manifest(project.manifest)
    ]
    other = replace(project, paths={"manifest": tmp_path / "m.csv"})
    write_manifest(other.manifest, rows)
    result = train(other, replace(TINY, name="sessions", epochs=1, folds=2))
    fold_of = {row.utterance_id: row.extra["fold"] for row in rows}
    kept = [(fold.folder / "train_ids.txt").read_text().split() for fold in result.folds]
    assert [{fold_of[name] for name in ids} for ids in kept] == [{"B"}, {"A"}]


def test_the_held_out_part_is_not_learned_from(project):
    run = train(project, replace(TINY, name="held", heldout=True)).runs[0]
    speaker_of = {row.utterance_id: row.speaker for row in read_manifest(project.manifest)}
    learned = set((run.folder / "train_ids.txt").read_text().split())
    held = {row.utterance_id for row in read_manifest(project.manifest) if row.split == "train"}
    held -= learned
    assert len(held) == 8  # one speaker of six
    assert {speaker_of[i] for i in held}.isdisjoint(speaker_of[i] for i in learned)


def test_seeds_give_mean_and_deviation(project):
    result = train(project, replace(TINY, seeds=3, epochs=1, limit=None, name="many"))
    values = [run.summary.metrics["dev_macro_f1"] for run in result.runs]
    assert [run.name for run in result.runs] == ["many-s0", "many-s1", "many-s2"]
    assert result.mean["dev_macro_f1"] == pytest.approx(np.mean(values))
    assert result.deviation["dev_macro_f1"] == pytest.approx(np.std(values, ddof=1))


def test_fit_on_train_and_dev_keeps_the_last_epoch(project):
    run = train(project, replace(TINY, name="both", fit_on="train+dev")).runs[0]
    assert run.summary.best_epoch == 3
    assert run.summary.metrics == {}
    assert run.summary.utterances == 64


def test_unlabelled_utterances_are_skipped_and_counted_or_learned_from_their_votes(tmp_path):
    votes = {"votes_angry": "2", "votes_happy": "2", "votes_neutral": "1"}
    rows = [
        replace(row, emotion="" if i % 10 == 0 else row.emotion, extra=votes)
        for i, row in enumerate(make_utterances(folder=tmp_path / "audio"))
    ]
    project = make_project(tmp_path, rows)
    hard = train(project, replace(TINY, name="hard", epochs=1)).runs[0].summary
    soft = train(project, replace(TINY, name="soft", epochs=1, soft_targets=True)).runs[0].summary
    unlabelled = sum(row.split == "train" and not row.emotion for row in rows)
    assert unlabelled > 0
    assert (hard.skipped, soft.skipped) == (unlabelled, 0)
    assert soft.utterances == hard.utterances + unlabelled


def test_every_option_of_other_systems_runs_together(tmp_path):
    extra = {"arousal": "3", "dominance": "5", "votes_angry": "1"}
    rows = [
        replace(row, extra=extra | {"valence": str(i % 5), f"votes_{row.emotion}": "3"})
        for i, row in enumerate(make_utterances(folder=tmp_path / "audio"))
    ]
    project = make_project(tmp_path, rows)
    options = replace(
        TINY,
        paralinguistic=("egemaps",),
        loss="wce+sml",
        soft_targets=True,
        balanced_epochs=2,
        logit_adjustment=1.0,
        logit_scaling=0.3,
        mixup=0.5,
        attribute_weight=0.5,
        pooling="statistics",
        select_by="bs_f1",
    )
    run = train(project, options).runs[0]
    assert run.summary.epochs == 5
    model = load_run(run.folder).model
    assert model.branches[2].deviation.min() > 0
    assert not torch.equal(model.branches[2].mean, torch.zeros(5))
    logits = export_logits(project, ExportLogitsOptions(run=run.name, device="cpu")).splits[0]
    found = read_logits(logits.path).attributes
    assert found is not None
    assert abs(found[:, 0].mean() - 3) < 1  # in the manifest's own scale


def test_descriptors_are_standardised_over_real_training_frames(project):
    run = train(project, replace(TINY, text=(), speech=(), paralinguistic=("egemaps",))).runs[0]
    rows = [row for row in read_manifest(project.manifest) if row.split == "train"]
    frames = make_frames(make_utterances(), 5, seed=2)
    real = np.concatenate([frames[row.utterance_id] for row in rows]).astype(np.float64)
    branch = load_run(run.folder).model.branches[0]
    np.testing.assert_allclose(branch.mean, real.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(branch.deviation, real.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (replace(TINY, speech=(), text=()), UsageError, "No encoder given"),
        (replace(TINY, speech=("wavlm",)), MissingFeaturesError, "serctl extract --encoder wavlm"),
        (replace(TINY, speech=("minilm",)), UsageError, "--text minilm"),
        (replace(TINY, folds=3, heldout=True), UsageError, "exclude each other"),
        (replace(TINY, fit_on="train+dev", patience=2), UsageError, "--patience"),
        (replace(TINY, attribute_weight=1.0, name="x"), ManifestError, "arousal"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(project, options, error, message):
    with pytest.raises(error, match=message):
        train(project, options)
    assert not (project.runs / (options.name or "-")).exists()  # nothing was trained before


def test_missing_and_stale_features_name_the_extraction(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    project = make_project(tmp_path, rows, ["whisper-tiny", "minilm"])
    late = replace(rows[0], utterance_id="late", path=tmp_path / "audio" / "late.wav")
    late.path.write_bytes(b"late")
    write_manifest(project.manifest, [*rows, late])
    with pytest.raises(MissingFeaturesError, match=r"late.*serctl extract --encoder whisper-tiny"):
        train(project, TINY)
    write_manifest(project.manifest, rows)
    rows[1].path.write_bytes(b"another recording")
    with pytest.raises(CacheError, match=r"Audio of 1 .*u0001.*serctl extract --encoder whisper"):
        train(project, TINY)
    rows[1].path.unlink()
    assert "audio of 1 utterances is missing" in " ".join(train(project, TINY).notes)


def test_changed_words_make_text_features_stale(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    project = make_project(tmp_path, rows, ["minilm"])
    words = [Transcript(row.utterance_id, f" words of {i} ") for i, row in enumerate(rows)]
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    train(project, replace(TINY, speech=(), epochs=1))
    words[2] = Transcript("u0002", "other words")
    write_transcripts(project.transcripts, words, {"source": "manifest"})
    with pytest.raises(CacheError, match=r"Transcript of 1 .*u0002.*--encoder minilm"):
        train(project, replace(TINY, speech=(), epochs=1))


def test_no_dev_split_is_an_error_unless_the_last_epoch_is_kept(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio", splits=("train", "test"))
    project = make_project(tmp_path, rows, ["whisper-tiny", "minilm"])
    with pytest.raises(ManifestError, match="--select-by last"):
        train(project, TINY)
    assert train(project, replace(TINY, select_by="last")).runs[0].summary.best_epoch == 3


def test_what_was_refused_at_its_first_step_does_not_stand_in_the_way(project):
    options = replace(TINY, name="refused", epochs=1, loss="wce+sml")
    with pytest.raises(ConfigError, match="--batch-size"):
        train(project, replace(options, batch_size=15))
    assert not train(project, options).runs[0].present


def test_changed_ratings_are_other_data(tmp_path):
    rows = [
        replace(row, extra={"arousal": f"{1 + i % 5}", "valence": "3", "dominance": f"{i % 7}"})
        for i, row in enumerate(make_utterances(folder=tmp_path / "audio"))
    ]
    project = make_project(tmp_path, rows)
    options = replace(TINY, name="rated", epochs=1, attribute_weight=1.0)
    train(project, options)
    assert train(project, options).runs[0].present
    rows[0] = replace(rows[0], extra=rows[0].extra | {"arousal": "5"})
    write_manifest(project.manifest, rows)
    with pytest.raises(CheckpointError, match="other data"):
        train(project, options)


def test_folds_without_speakers_are_noted(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    project = make_project(tmp_path, [replace(row, speaker="") for row in rows])
    [note] = [n for n in train(project, replace(TINY, epochs=1, folds=2)).notes if "speaker" in n]
    assert "48 of 48 utterances have no speaker" in note


def test_what_a_small_corpus_needs_is_reported_once_and_before_the_training(project):
    lines = []
    options = replace(TINY, name="slow", epochs=1, learning_rate=1e-5)
    notes = train(project, options, log=lines.append).notes
    assert lines == [f"Note: {note}" for note in notes]
    assert "--recipe small" in lines[-1]
    (project.root / "serctl.toml").touch()
    config = project.runs / "slow" / "config.json"
    told = CliRunner().invoke(app, ["train", "-C", str(project.root), "--config", str(config)])
    assert told.stderr.count("--recipe small") == 1, told.stderr
    few = replace(options, name="few", recipe="small", hidden=8)
    assert train(project, few).notes[-1].endswith("Raise --epochs or --learning-rate.")


def test_votes_in_another_spelling_count_and_no_votes_are_noted(tmp_path):
    rows = make_utterances(folder=tmp_path / "audio")
    project = make_project(tmp_path, rows)
    options = replace(TINY, name="none", epochs=1, soft_targets=True)
    assert any("'soft_targets' has no effect" in note for note in train(project, options).notes)
    spelled = [replace(row, extra={"votes_Anger": "2", "votes_happy": "1"}) for row in rows]
    write_manifest(project.manifest, spelled)
    notes = train(project, replace(options, name="voted")).notes
    assert not any("soft_targets" in note for note in notes)
    labels = LabelSet.of(row.emotion for row in rows)
    shares = dict(zip(labels.names, make_target(spelled[0], labels, soft=True), strict=True))
    assert shares["angry"] == pytest.approx(2 / 3)


def test_a_pooled_model_needs_no_dev(tmp_path):
    rows = [row for row in make_utterances(folder=tmp_path / "audio") if row.split != "dev"]
    project = make_project(tmp_path, rows)
    options = TrainOptions(speech=TINY.speech, kind="pooled", device="cpu")
    [run] = train(project, options).runs
    assert run.summary.metrics == {}
    with pytest.raises(ManifestError, match="--select-by last"):
        train(project, TINY)
    write_manifest(project.manifest, [replace(row, speaker="x") for row in rows])
    [run] = train(project, replace(options, name="one")).runs
    assert run.summary.chosen_because.endswith("because the training has one speaker")


def test_a_limit_that_leaves_too_little_is_named(project):
    for limit, kind in ((1, "pooled"), (3, "fusion")):
        options = TrainOptions(speech=TINY.speech, kind=kind, limit=limit, device="cpu")
        with pytest.raises(ManifestError, match=f"Use a larger --limit than {limit}"):
            train(project, options)


def test_no_label_is_taken_for_neutral_without_being_named():
    options, labels = TrainOptions(speech=("x",), loss="wce+sml"), LabelSet.of(["calm", "angry"])
    with pytest.raises(ConfigError, match="--neutral LABEL"):
        plan_phases(options, data=None, labels=labels)
    assert LabelSet.of(["calm", "angry"], neutral="calm").neutral == "calm"


@pytest.mark.parametrize("kind", ["fusion", "pooled"])
def test_train_with_one_emotion_is_refused(tmp_path, kind):
    workspace = make_project(tmp_path)
    rows = read_manifest(workspace.manifest)
    left = [row for row in rows if row.split != "train" or row.emotion == "happy"]
    write_manifest(workspace.manifest, left)
    options = TrainOptions(speech=("whisper-tiny",), kind=kind)
    with pytest.raises(ManifestError, match="of train have the emotion 'happy', expected at least"):
        train(workspace, options)


def test_a_pooled_fold_of_one_emotion_predicts_it(tmp_path):
    workspace = make_project(tmp_path)
    rows = read_manifest(workspace.manifest)
    speakers = {"happy": "a", "angry": "b"}
    left = [
        replace(row, speaker=speakers[row.emotion])
        for row in rows
        if row.split == "train" and row.emotion in speakers
    ]
    write_manifest(workspace.manifest, left)
    options = TrainOptions(speech=("whisper-tiny",), kind="pooled", folds=2, select_by="last")
    (run,) = train(workspace, options).runs
    export_logits(workspace, ExportLogitsOptions(run=run.name))
    logits = read_logits(run.folder / "logits" / "train.csv")
    emotions = {row.utterance_id: row.emotion for row in left}
    other = {"happy": "angry", "angry": "happy"}
    predicted = [logits.labels[label] for label in logits.values.argmax(axis=1)]
    assert predicted == [other[emotions[name]] for name in logits.ids]


def test_seeds_of_a_pooled_model_without_folds_are_a_note(project, tmp_path):
    options = TrainOptions(speech=("whisper-tiny",), kind="pooled", seeds=2, name="same")
    notes = train(project, options).notes
    assert any("2 seeds give the same pooled model" in note for note in notes)
    other = train(project, replace(options, name="other", folds=2)).notes
    assert not any("the same pooled model" in note for note in other)

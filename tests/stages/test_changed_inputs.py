"""Outputs of which an input changed later: made again, refused, or reported with a command."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from trained_project import BOTH, SPEECH, TRAIN
from typer.testing import CliRunner

from serctl.cache.sources import SourceHasher
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, read_rows, write_transcripts
from serctl.documents.run import RunConfig, RunSummary
from serctl.encoders.weights import Weights
from serctl.errors import CheckpointError, LogitsError
from serctl.evaluation import submission
from serctl.options import (
    BundleOptions,
    EvaluateOptions,
    ExportLogitsOptions,
    ExtractOptions,
    LayersOptions,
    ReportOptions,
    StackOptions,
    TrainOptions,
    TranscribeOptions,
)
from serctl.pipeline import plan_recipe, read_plan
from serctl.pipeline.estimate import estimate_steps
from serctl.pipeline.run import run as run_recipe
from serctl.stages.bundle import make_bundle
from serctl.stages.doctor import examine
from serctl.stages.evaluate import evaluate
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.layers import layers
from serctl.stages.report import report
from serctl.stages.stack import stack
from serctl.stages.train import train
from serctl.stages.transcribe import transcribe
from serctl.system import bundle_facts
from serctl.system.load import load
from serctl.system.parts import EncoderKey

CHANGED = "have changed in the manifest: other emotions, or some are missing"
EXPORT = ExportLogitsOptions(run=SPEECH, device="cpu")


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(trained, tmp_path / "project")))


def mix_speakers(project: Workspace) -> None:
    """Give the utterances of train other speakers, so that train has other folds."""
    rows = read_manifest(project.manifest)
    write_manifest(
        project.manifest,
        [
            replace(row, speaker=f"x{int(row.utterance_id[1:]) // 6}")
            if row.split == "train"
            else row
            for row in rows
        ],
    )


def test_logits_and_stackers_of_replaced_fold_models_are_not_used(project: Workspace) -> None:
    """The configuration of the run itself is the same for other folds."""
    evaluated(project, systems=(SPEECH,))
    before = {run: (project.runs / run / "config.json").read_bytes() for run in (BOTH, SPEECH)}
    mix_speakers(project)
    for name, text in ((BOTH, ("roberta-large",)), (SPEECH, ())):
        train(project, replace(TRAIN, name=name, text=text, overwrite=True))
        config = json.loads((project.runs / name / "config.json").read_text())
        assert config["hash"] == json.loads(before[name])["hash"]
    told = f"{SPEECH} was trained again since the evaluation, so its curve belongs to another"
    assert [note.startswith(told) for note in notes_of_report(project)].count(True) == 1
    with pytest.raises(LogitsError, match=f"expected the logits of '{SPEECH}'. Run: serctl export"):
        evaluate(project, EvaluateOptions(systems=(SPEECH,)))
    again = f"linear was fitted before {SPEECH} was trained again"
    for run in ("", BOTH, SPEECH):  # first with the old logits
        if run:
            export_logits(project, ExportLogitsOptions(run=run, device="cpu"))
        found = evaluate(project, EvaluateOptions(systems=("linear",), baselines=False)).warnings
        assert [text.startswith(again) for text in found].count(True) == 1
    with pytest.raises(CheckpointError, match="was trained again since stacker 'linear' was fit"):
        make_bundle(project, BundleOptions(stacker="linear", output=str(project.root / "b")))
    stack(project, StackOptions(stacker="linear", balance="weights", name="linear"))
    make_bundle(project, BundleOptions(stacker="linear", output=str(project.root / "b")))


def test_the_summary_of_a_run_belongs_to_its_fold_models(project: Workspace) -> None:
    def read(place: str) -> RunSummary:
        return RunSummary.read(project.runs / SPEECH / place / "summary.json")

    mix_speakers(project)
    train(project, replace(TRAIN, name=SPEECH, overwrite=True))
    assert read(".").loss == (read("folds/0").loss + read("folds/1").loss) / 2
    kept = read(".")
    train(project, replace(TRAIN, name=SPEECH, overwrite=True))  # nothing to do
    assert read(".") == kept


def test_runs_of_other_folds_are_no_copies(project: Workspace) -> None:
    mix_speakers(project)
    train(project, replace(TRAIN, name="other"))
    export_logits(project, ExportLogitsOptions(run="other", device="cpu"))
    found = stack(project, StackOptions(stacker="mean-probabilities", name="new"))
    assert found.models == (BOTH, "other", SPEECH)


def change_emotions(project: Workspace, ids: set[str]) -> None:
    wrong = {"angry": "bored", "bored": "neutral", "neutral": "angry"}
    rows = read_manifest(project.manifest)
    write_manifest(
        project.manifest,
        [
            replace(row, emotion=wrong[row.emotion]) if row.utterance_id in ids else row
            for row in rows
        ],
    )


def change_audio(project: Workspace, name: str) -> None:
    """Give an utterance other audio, and make its frames and all logits again."""
    shutil.copy(project.root / "u02.wav", project.root / f"{name}.wav")
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    for folder in project.runs.glob("[!.]*"):
        export_logits(project, replace(EXPORT, run=folder.name))


def warn(project: Workspace, system: str) -> list[str]:
    """Return the warnings of an evaluation that name the system."""
    found = evaluate(project, EvaluateOptions(systems=(system,), baselines=False)).warnings
    return [text for text in found if text.startswith(system)]


HELD_OUT = {"u06", "u07", "u08", "u18", "u19", "u20"}


def stack_heldout(project: Workspace) -> None:
    train(project, replace(TRAIN, name="part", folds=0, heldout=True))
    export_logits(project, replace(EXPORT, run="part"))
    stack(
        project,
        StackOptions(("part",), stack_on="heldout", stacker="log-pool", name="held"),
    )
    assert {line.split(",")[0] for line in read_lines(project, "part/logits/train.csv")} == HELD_OUT


def read_lines(project: Workspace, name: str) -> list[str]:
    return (project.runs / name).read_text().splitlines()[1:]


def test_a_stacker_that_was_fitted_on_other_emotions_is_reported(project: Workspace) -> None:
    stack_heldout(project)
    assert not warn(project, "held")
    change_emotions(project, {"u00", "u30"})  # of train and test, not of the fit
    assert not warn(project, "held")
    change_emotions(project, {"u06"})
    told = (
        "held was fitted before its utterances of train were changed in the manifest: other "
        "emotions, or some are missing. Run: serctl stack part --stacker log-pool "
        "--stack-on heldout --name held"
    )
    assert warn(project, "held") == [told]
    bundle = BundleOptions(stacker="held", output=str(project.root / "bundle"))
    assert told in make_bundle(project, bundle).notes
    stack(project, StackOptions(("part",), stack_on="heldout", stacker="log-pool", name="held"))
    assert not warn(project, "held")


def test_a_cross_fitted_stacker_of_other_speakers_is_reported(project: Workspace) -> None:
    options = StackOptions(stack_on="dev", stacker="mean-logits", folds=2, name="cross")
    stack(project, options)
    rows = read_manifest(project.manifest)
    write_manifest(project.manifest, [replace(row, speaker=f"x-{row.speaker}") for row in rows])
    assert not warn(project, "cross")
    mixed = [replace(row, speaker="x") if row.utterance_id == "u25" else row for row in rows]
    write_manifest(project.manifest, mixed)
    (warning,) = warn(project, "cross")
    assert "of dev were changed in the manifest: other emotions or speakers, or" in warning


def test_a_stacker_that_was_fitted_on_other_logits_is_reported(project: Workspace) -> None:
    stack_heldout(project)
    shutil.copy(project.root / "u02.wav", project.root / "u06.wav")
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    found = evaluate(project, EvaluateOptions(systems=("held",), baselines=False)).warnings
    assert any(text.startswith("The logits of part on train are of other frames") for text in found)
    change_audio(project, "u06")
    (warning,) = warn(project, "held")
    assert warning.startswith("held was fitted before the logits of part were exported again. Run")


def test_a_bundle_of_a_stacker_with_predictions_of_old_logits_is_reported(
    project: Workspace,
) -> None:
    bundle = BundleOptions(stacker="linear", output=str(project.root / "bundle"), overwrite=True)
    assert not any("exported again" in note for note in make_bundle(project, bundle).notes)
    change_audio(project, "u25")  # of dev, on which the bundle fits its calibration
    told = [f"linear predicted dev before the logits of {run} were" for run in (BOTH, SPEECH)]
    for text in told:
        assert any(note.startswith(text) for note in make_bundle(project, bundle).notes)
    stack(project, StackOptions(stacker="linear", balance="weights", name="linear"))
    assert not any("exported again" in note for note in make_bundle(project, bundle).notes)


def test_a_stacker_of_a_changed_table_is_reported(project: Workspace, monkeypatch) -> None:
    monkeypatch.chdir(project.root)
    table = project.root / "theirs.csv"
    ids = read_manifest(project.manifest).ids
    lines = ["utterance_id,in_sample,angry,neutral,bored", *(f"{i},0,0.2,0.3,0.5" for i in ids)]
    table.write_text("\n".join(lines))
    stack(project, StackOptions((SPEECH, "theirs.csv"), stacker="mean-logits", name="mix"))
    assert not warn(project, "mix")
    table.write_text(table.read_text().replace("0.2,0.3,0.5", "0.9,0.05,0.05"))
    (warning,) = warn(project, "mix")
    assert warning.startswith("mix was fitted before the logits of theirs were exported again.")
    table.unlink()
    assert not warn(project, "mix")


def test_predictions_of_another_stacker_are_not_taken_for_those_of_a_stacker(
    project: Workspace,
) -> None:
    options = StackOptions(stacker="linear", balance="none", name="other")
    stack(project, options)
    shutil.move(project.stackers / "linear", project.stackers / "renamed")
    assert not warn(project, "renamed")
    for path in (project.stackers / "other").glob("test.*"):
        shutil.copy(path, project.stackers / "renamed")
    with pytest.raises(LogitsError, match="another stacker or an earlier fit, expected the predic"):
        evaluate(project, EvaluateOptions(systems=("renamed",)))


def evaluated(project: Workspace, **options) -> None:
    evaluate(project, EvaluateOptions(baselines=False, **options))
    assert not notes_of_report(project)


def notes_of_report(project: Workspace) -> list[str]:
    return list(report(project, ReportOptions(format="csv")).notes)


def test_a_report_of_predictions_that_were_replaced_says_so(
    project: Workspace, monkeypatch
) -> None:
    evaluated(project)
    stack(project, StackOptions(stacker="mean-logits", name="linear"))
    told = "The evaluation is of earlier predictions of {} for test than there are now. Run: serctl"
    assert [one[: len(told.format("linear"))] for one in notes_of_report(project)] == [
        told.format("linear")
    ]
    shutil.rmtree(project.stackers / "linear")
    assert not notes_of_report(project)  # nothing to compare
    evaluated(project, systems=(SPEECH,))
    change_audio(project, "u31")
    assert any(one.startswith(told.format(SPEECH)) for one in notes_of_report(project))
    monkeypatch.chdir(project.root)
    table = project.root / "theirs.csv"
    rows = read_manifest(project.manifest).select("test")
    table.write_text("utterance_id,label\n" + "".join(f"{i},angry\n" for i in rows.ids))
    evaluated(project, systems=("theirs.csv",))
    table.write_text(table.read_text().replace("u31,angry", "u31,bored"))
    assert any(one.startswith(told.format("theirs")) for one in notes_of_report(project))


@pytest.mark.parametrize(
    "change",
    [
        {"emotion": "neutral"},
        {"emotion": ""},
        {"speaker": "x"},
        {"split": "test2"},
        {"extra": {"gender": "f"}},
    ],
)
def test_a_report_of_utterances_that_were_changed_says_so(project: Workspace, change) -> None:
    evaluated(project)
    rows = read_manifest(project.manifest).utterances
    told = "Since the evaluation, 2 utterances of test (u30, u33) changed in the manifest: added"

    def put(**values) -> None:
        some = ("u30", "u33")
        changed = [replace(row, **values) if row.utterance_id in some else row for row in rows]
        write_manifest(project.manifest, changed)

    put(**change)
    assert [note.startswith(told) for note in notes_of_report(project)].count(True) == 1
    put()
    assert not notes_of_report(project)


def test_a_report_without_new_utterances_says_so_unless_it_is_a_dry_run(
    project: Workspace,
) -> None:
    rows = read_manifest(project.manifest).utterances
    write_manifest(project.manifest, rows[:-1])
    evaluated(project)
    write_manifest(project.manifest, rows)
    assert any("1 utterance of test (u35) changed" in one for one in notes_of_report(project))
    evaluated(project, limit=9)


def test_a_submission_of_old_predictions_is_reported(project: Workspace, monkeypatch) -> None:
    monkeypatch.setitem(submission.CODES, "bored", "B")
    path = project.root / "codes.csv"
    options = EvaluateOptions(systems=("linear",), split="test", submission=str(path))
    told = f"linear predicted test before the logits of {SPEECH} were exported again"
    assert not any(text.startswith(told) for text in evaluate(project, options).warnings)
    change_audio(project, "u31")
    result = evaluate(project, options)
    assert any(text.startswith(told) for text in result.warnings)
    assert result.num_utterances == 6
    monkeypatch.chdir(project.root)
    command = ["evaluate", "linear", "--split", "test", "--submission", str(path)]
    assert f"Warning: {told}" in " ".join(CliRunner().invoke(app, command).output.split())


def test_dev_utterances_that_changed_after_they_selected_the_epoch_are_reported(
    project: Workspace,
) -> None:
    def warn(what: str) -> str:
        command = f"serctl train --config {project.runs / BOTH / 'config.json'} --overwrite"
        return (
            f"Since {BOTH}, {SPEECH} was trained, the dev utterances that selected its epoch "
            f"{what}. Run: {command} (and likewise for the others)"
        )

    labels = warn(CHANGED)
    options = EvaluateOptions(systems=("linear",), baselines=False)
    change_emotions(project, {"u30"})  # of test
    assert labels not in evaluate(project, options).warnings
    change_emotions(project, {"u25"})
    assert labels in evaluate(project, options).warnings
    train(project, replace(TRAIN, name="last", select_by="last"))
    export_logits(project, replace(EXPORT, run="last"))
    change_emotions(project, {"u26"})
    for own in (options, replace(options, systems=("last",))):
        found = [text for text in evaluate(project, own).warnings if "last" in text]
        assert not found
    shutil.copy(project.root / "u02.wav", project.root / "u25.wav")
    os.utime(project.root / "u25.wav", (1e9, 1e9))
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    for run in (BOTH, SPEECH):
        export_logits(project, replace(EXPORT, run=run))
    audio = warn("were encoded again from other audio or transcripts")
    assert audio in evaluate(project, options).warnings


def test_the_command_that_a_warning_names_trains_the_run_again(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EvaluateOptions(systems=(BOTH,), baselines=False)
    change_emotions(project, {"u25"})
    found = [
        text.partition("Run: serctl train ")[2] for text in evaluate(project, options).warnings
    ]
    (words,) = filter(None, found)
    monkeypatch.chdir(project.root)
    assert CliRunner().invoke(app, ["train", *shlex.split(words)]).exit_code == 0
    export_logits(project, replace(EXPORT, run=BOTH))
    assert not any("serctl train" in text for text in evaluate(project, options).warnings)
    os.utime(project.root / "u25.wav", (2e9, 2e9))
    own = evaluate(project, replace(options, systems=(SPEECH,))).warnings
    assert any(f"(u25) have changed since they were encoded for {SPEECH}" in text for text in own)


def rate(project: Workspace, name: str, column: str, value: str) -> None:
    rows = read_manifest(project.manifest)
    write_manifest(
        project.manifest,
        [
            replace(row, extra={**row.extra, column: value}) if row.utterance_id == name else row
            for row in rows
        ],
    )


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"attribute_weight": 0.5}, ("arousal", "valence", "dominance")),
        ({"soft_targets": True}, ("votes_angry", "votes_bored")),
    ],
)
def test_ratings_that_changed_after_the_training_are_reported(
    project: Workspace, options, columns: tuple[str, ...]
) -> None:
    rows = read_manifest(project.manifest)
    rated = [
        replace(row, extra={column: str(i % 5 + 1) for column in columns})
        for i, row in enumerate(rows)
    ]
    write_manifest(project.manifest, rated)
    train(project, replace(TRAIN, name="rated", **options))
    export_logits(project, replace(EXPORT, run="rated"))
    told = "Since rated was trained, its training utterances have other votes, attributes or spea"

    def is_told(run: str) -> bool:
        own = EvaluateOptions(systems=(run,), baselines=False)
        return any(text.startswith(told) for text in evaluate(project, own).warnings)

    rate(project, "u30", columns[0], "4.5")  # of test
    assert not is_told("rated")
    rate(project, "u01", columns[0], "4.5")
    assert is_told("rated")
    assert not is_told(SPEECH)  # reads no ratings


def test_speakers_that_changed_after_a_pooled_model_was_trained_are_reported(
    project: Workspace,
) -> None:
    pooled = TrainOptions(kind="pooled", speech=("wavlm-large",), name="pooled", device="cpu")
    train(project, pooled)
    train(project, replace(pooled, pooled_c=0.1, name="fixed"))
    for run in ("pooled", "fixed"):
        export_logits(project, replace(EXPORT, run=run))
    mix_speakers(project)
    found = evaluate(project, EvaluateOptions(systems=("pooled", "fixed"), baselines=False))
    told = [text for text in found.warnings if "other votes, attributes or speakers" in text]
    assert [text.split(" was trained")[0] for text in told] == ["Since pooled"]


def change_words(project: Workspace, text: str) -> None:
    """Write the transcript of u01 and u31 into the manifest."""
    rows = read_manifest(project.manifest)
    some = ("u01", "u31")
    words = [
        replace(row, transcript=text if row.utterance_id in some else "good morning")
        for row in rows
    ]
    write_manifest(project.manifest, words)


def list_notes_of_text(project: Workspace, run: str) -> list[tuple[str, ...]]:
    """Return what each command that reads transcripts, or is made of them, tells."""
    systems = EvaluateOptions(systems=(run,), baselines=False)
    bundle = BundleOptions(run=run, output=str(project.root / "bundle"), overwrite=True)
    return [
        extract(project, ExtractOptions(encoder="roberta-large", device="cpu")).notes,
        export_logits(project, replace(EXPORT, run=run)).notes,
        train(project, replace(TRAIN, speech=(), text=("roberta-large",), name="new")).notes,
        evaluate(project, systems).warnings,
        make_bundle(project, bundle).notes,
    ]


def test_transcripts_that_were_changed_in_the_manifest_are_reported(project: Workspace) -> None:
    change_words(project, "good evening")
    transcribe(project, TranscribeOptions(from_manifest=True))
    extract(project, ExtractOptions(encoder="roberta-large", device="cpu"))
    train(project, replace(TRAIN, speech=(), text=("roberta-large",), name="words"))
    export_logits(project, replace(EXPORT, run="words"))
    words = read_rows(project.transcripts)
    corrected = [replace(one, text="good night") if one == words[0] else one for one in words]
    write_transcripts(project.transcripts, corrected, {"source": "manifest"})
    extract(project, ExtractOptions(encoder="roberta-large", device="cpu"))
    for found in list_notes_of_text(project, "words"):
        assert not any("other transcripts" in text for text in found)
    change_words(project, "good bye")
    told = re.compile(
        r"The manifest has other transcripts of .* \(u01(, u31)?\) now\. Run: serctl t"
    )
    for found in list_notes_of_text(project, "words"):
        assert [bool(told.match(text)) for text in found].count(True) == 1
    assert any(told.match(check.found) for check in examine(project.root))
    speech = evaluate(project, EvaluateOptions(systems=(SPEECH,), baselines=False)).warnings
    assert not any("other transcripts" in text for text in speech)


def test_transcripts_of_audio_that_was_changed_are_reported(project: Workspace) -> None:
    for path in project.root.glob("*.wav"):
        os.utime(path, (1e9, 1e9))
    rows = read_manifest(project.manifest)
    with SourceHasher(project.cache) as hasher:
        words = [Transcript(r.utterance_id, "words", audio=hasher.hash_file(r.path)) for r in rows]
    write_transcripts(project.transcripts, words, {"source": "whisper-tiny"})
    extract(project, ExtractOptions(encoder="roberta-large", device="cpu"))
    train(project, replace(TRAIN, speech=(), text=("roberta-large",), name="words"))
    export_logits(project, replace(EXPORT, run="words"))
    told = "The audio of 1 utterance (u01) has changed since it was transcribed. Run: serctl transc"
    for found in list_notes_of_text(project, "words"):
        assert not any("transcribed" in text for text in found)
    os.utime(project.root / "u02.wav", (2e9, 2e9))
    shutil.copy2(project.root / "u02.wav", project.root / "u01.wav")
    os.utime(project.root / "u02.wav", (1e9, 1e9))
    for found in list_notes_of_text(project, "words"):
        assert [text.startswith(told) for text in found].count(True) == 1


def test_a_page_with_a_comparison_of_layers_on_other_data_says_so(project: Workspace) -> None:
    layers(project, LayersOptions(encoder="wavlm-large", device="cpu", folds=2, limit=30))
    evaluated(project)
    told = "The layers of wavlm-large were compared on other emotions, speakers, folds or audio th"

    def is_told() -> bool:
        return any(note.startswith(told) for note in report(project, ReportOptions()).notes)

    assert not is_told()
    change_emotions(project, {"u30"})  # of test
    assert not is_told()
    change_emotions(project, {"u01", "u02", "u03"})
    assert is_told()
    layers(project, LayersOptions(encoder="wavlm-large", device="cpu", folds=2, limit=30))
    assert not is_told()


def test_a_loaded_stacker_with_predictions_of_old_logits_says_so(project: Workspace) -> None:
    def list_notes() -> list[str]:
        found = load("linear", project=project.root, device="cpu", transcribe=False).notes
        return [note for note in found if note.startswith("linear predicted dev before the logits")]

    assert not list_notes()
    change_audio(project, "u25")
    assert len(list_notes()) == 2


RECIPE = """
[train]
hidden = 4
epochs = 1
folds = 2
[stack]
stacker = "mean-logits"
[evaluate]
baselines = false
[[models]]
speech = ["wavlm-large"]
name = "a"
[[models]]
speech = ["wavlm-large"]
name = "b"
"""


def test_a_stacker_of_another_recipe_is_not_evaluated_for_that_of_now(project: Workspace) -> None:
    path = project.root / "mine.toml"
    path.write_text(RECIPE)
    run_recipe(project, path)
    run_recipe(project, path, only=("evaluate",))
    path.write_text(RECIPE.replace("mean-logits", "majority-vote"))
    with pytest.raises(CheckpointError, match=r"other options \(stacker mean-logits, now major"):
        run_recipe(project, path, only=("evaluate",))
    plan = plan_recipe(project, read_plan(str(path), project), only=("stack",))
    assert [one.state for one in estimate_steps(project, plan)] == [
        "majority-vote on out-of-fold logits"
    ]
    run_recipe(project, path, only=("stack", "evaluate"))
    assert [one.state for one in estimate_steps(project, plan)] == ["done"]
    path.write_text(RECIPE + '[[models]]\nspeech = ["wavlm-large"]\nname = "c"\n')
    with pytest.raises(CheckpointError, match=r"\['a', 'b', 'c'\],.*--only stack"):
        run_recipe(project, path, only=("evaluate",))
    path.write_text(RECIPE.replace("mean-logits", "auto"))
    run_recipe(project, path, only=("evaluate",))


@pytest.mark.parametrize("newest", ["a", "b"])
def test_a_bundle_records_the_hash_of_the_weights_that_encoded(
    project: Workspace, newest: str, monkeypatch
) -> None:
    """The cache of the hub may hold a newer commit than the frames are of."""
    (branch,) = RunConfig.read(project.runs / SPEECH / "config.json").branches
    key = replace(branch.key, revision="a", weights="microsoft/wavlm-large")
    here = Weights(project.weights["wavlm-large"], "microsoft/wavlm-large", newest)
    monkeypatch.setattr(bundle_facts, "have_weights", lambda spec: "here")
    monkeypatch.setattr(bundle_facts, "resolve_weights", lambda spec: here)
    found = bundle_facts.describe_encoder(EncoderKey(key, "wavlm-large"), project)
    assert found.content.startswith("sha256:") == (newest == "a")


def test_utterances_of_the_training_under_other_ids_are_not_predicted(project: Workspace) -> None:
    """`manifest merge` with a prefix renames all of them."""
    rows = read_manifest(project.manifest).utterances
    renamed = [replace(row, utterance_id=f"a-{row.utterance_id}") for row in rows]
    write_manifest(project.manifest, renamed)
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    told = r"was trained on 24 utterances under other ids \(now a-u00, .*--overwrite"
    for run in (BOTH, SPEECH):
        with pytest.raises(CheckpointError, match=told):
            export_logits(project, replace(EXPORT, run=run))
    export_logits(project, replace(EXPORT, splits=("test",)))
    write_manifest(project.manifest, [row for row in renamed if row.split != "train"])
    export_logits(project, EXPORT)

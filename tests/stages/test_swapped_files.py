"""Files of a project that were swapped, edited or made again between two commands."""

import contextlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
from trained_project import BOTH, EMOTIONS, SPEECH, TRAIN
from typer.testing import CliRunner

from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.outputs import check_output_file
from serctl.data.transcripts import Transcript, read_transcripts, write_transcripts
from serctl.errors import CheckpointError, LogitsError, ManifestError, ReportError, UsageError
from serctl.options import (
    BundleOptions,
    EvaluateOptions,
    ExportLogitsOptions,
    ExtractOptions,
    ReportOptions,
    StackOptions,
    TranscribeOptions,
)
from serctl.stages.bundle import make_bundle
from serctl.stages.cache import cache_pack
from serctl.stages.doctor import examine
from serctl.stages.evaluate import evaluate
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.manifest import split_manifest
from serctl.stages.report import report
from serctl.stages.stack import stack
from serctl.stages.train import train
from serctl.stages.transcribe import transcribe
from serctl.system.load import load
from serctl.training.run_folder import read_train_ids

EXPORT = ExportLogitsOptions(run=SPEECH, device="cpu", overwrite=True)


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(trained, tmp_path / "project")))


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def reverse_labels(path: Path) -> None:
    document = json.loads(path.read_text())
    document["labels"].reverse()
    path.write_text(json.dumps(document))


def drop_ids(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[3:]))


CHANGES = [
    ("folds/0/model.safetensors", flip_bit),
    ("config.json", reverse_labels),
    ("folds/1/config.json", reverse_labels),
    ("train_ids.txt", drop_ids),
    ("dev_ids.txt", drop_ids),
    ("folds/1/train_ids.txt", drop_ids),
    ("folds/1/train_ids.txt", Path.unlink),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_run_that_was_changed_since_its_training_is_refused(
    project: Workspace, name: str, change
) -> None:
    change(project.runs / SPEECH / name)
    with pytest.raises(CheckpointError, match=f"{name}' is missing or was changed"):
        export_logits(project, EXPORT)
    with pytest.raises(CheckpointError, match="changed since the training"):
        load(SPEECH, project=project.root, device="cpu")
    with pytest.raises(CheckpointError, match="changed since the training"):
        make_bundle(project, BundleOptions(run=SPEECH, output=str(project.root / "bundle")))
    broken = [check for check in examine(project.root) if check.status == "broken"]
    assert [check.name for check in broken] == ["runs"]
    assert name in broken[0].found


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_overwrite_replaces_a_changed_run(project: Workspace, name: str, change) -> None:
    network = project.runs / SPEECH / "folds" / "0" / "model.safetensors"
    content = network.read_bytes()
    change(project.runs / SPEECH / name)
    train(project, replace(TRAIN, name=SPEECH, overwrite=True))
    assert network.read_bytes() == content
    assert load(SPEECH, project=project.root, device="cpu").labels == EMOTIONS


def test_a_number_of_a_summary_or_sidecar_that_was_changed_is_refused(project: Workspace) -> None:
    summary, sidecar = (
        project.runs / SPEECH / name for name in ("summary.json", "logits/test.json")
    )
    for path, field in ((summary, "best_epoch"), (sidecar, "seed")):
        before = path.read_text()
        document = json.loads(before)
        path.write_text(json.dumps(document | {field: 77}))
        with pytest.raises(
            (CheckpointError, LogitsError), match="its values differ from its docum"
        ):
            evaluate(project, EvaluateOptions(systems=(SPEECH,)))
        del document["document_hash"]  # as an earlier version wrote it
        path.write_text(json.dumps(document))
        assert evaluate(project, EvaluateOptions(systems=(SPEECH,))).num_utterances == 6
        path.write_text(json.dumps(document | {"document_hash": "x"}))
        assert any("differ from its" in check.found for check in examine(project.root)) == (
            path == summary
        )
        train(project, replace(TRAIN, name=SPEECH, overwrite=True))
        export_logits(project, EXPORT)
        assert evaluate(project, EvaluateOptions(systems=(SPEECH,))).num_utterances == 6


def test_a_run_with_a_damaged_configuration_is_left_out_of_a_stacker(project: Workspace) -> None:
    (project.runs / SPEECH / "config.json").write_text("{")
    left = stack(project, StackOptions(stacker="mean-probabilities", name="new"))
    assert left.models == (BOTH,)
    assert any("config.json' is not JSON" in note for note in left.notes)


def test_a_stacker_without_sidecars_is_evaluated(project: Workspace) -> None:
    (project.stackers / "linear" / "test.json").unlink()
    assert evaluate(project, EvaluateOptions(systems=("linear",))).num_utterances == 6


def test_a_base_model_that_was_trained_again_is_warned_of_once(project: Workspace) -> None:
    train(project, replace(TRAIN, name=SPEECH, overwrite=True, learning_rate=0.02))
    export_logits(project, EXPORT)
    warnings = evaluate(project, EvaluateOptions(systems=("linear",))).warnings
    assert [text for text in warnings if "again" in text] == [
        f"linear was fitted before {SPEECH} was trained again. "
        "Run: serctl stack --stacker linear --balance weights --name linear"
    ]


def test_emotions_that_changed_after_the_training_are_reported(project: Workspace) -> None:
    rows = read_manifest(project.manifest).utterances
    wrong = {"angry": "bored", "bored": "angry"}
    changed = [
        replace(row, emotion=wrong.get(row.emotion, row.emotion)) if row.split == "train" else row
        for row in rows
    ]
    write_manifest(project.manifest, changed)
    told = f"Since {BOTH}, {SPEECH} was trained, its training utterances have changed in the manif"
    dry = evaluate(project, EvaluateOptions(limit=9)).warnings
    for found in (dry, *list_warnings_of_all(project)):
        assert any(text.startswith(told) for text in found)
    notes = export_logits(project, EXPORT).notes
    assert any(text.startswith(f"Since {SPEECH} was trained") for text in notes)
    write_manifest(project.manifest, rows)
    assert not any("Since" in text for text in export_logits(project, EXPORT).notes)


def test_utterances_of_dev_that_are_tested_are_reported(project: Workspace) -> None:
    """dev selected the epoch, and was then moved to a test split."""
    assert not any("in dev when" in text for text in evaluate(project, EvaluateOptions()).warnings)
    rows = read_manifest(project.manifest)
    moved = [replace(row, split="test2") if row.split == "dev" else row for row in rows]
    write_manifest(project.manifest, moved)
    export_logits(project, EXPORT)
    options = EvaluateOptions(systems=(SPEECH,), split="test2", baselines=False)
    (warning,) = (text for text in evaluate(project, options).warnings if "in dev" in text)
    assert warning.startswith("6 of these utterances (u24, u25, u26 and 3 more) were in dev when")


def test_speakers_that_were_removed_are_reported(project: Workspace) -> None:
    rows = read_manifest(project.manifest)
    write_manifest(project.manifest, [replace(row, speaker="") for row in rows])
    warnings = evaluate(project, EvaluateOptions(systems=(SPEECH,), baselines=False)).warnings
    assert any(text.startswith("6 of 6 utterances of test have no speaker") for text in warnings)


def test_logits_that_are_older_than_the_frames_are_reported(project: Workspace) -> None:
    shutil.copy(project.root / "u01.wav", project.root / "u30.wav")
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    told = f"The logits of {SPEECH} on test are of other frames than the cache holds now."
    for found in (
        evaluate(project, EvaluateOptions(systems=("linear",))).warnings,
        evaluate(project, EvaluateOptions(systems=(SPEECH,), limit=30)).warnings,
        stack(project, StackOptions(stacker="mean-probabilities", name="new")).notes,
    ):
        assert any(text.startswith(told) for text in found)
    export_logits(project, EXPORT)
    rows = read_manifest(project.manifest).utterances
    write_manifest(project.manifest, rows[6:])  # fewer rows are not other frames
    warnings = evaluate(project, EvaluateOptions(systems=(SPEECH,))).warnings
    assert not any("other frames" in text for text in warnings)
    shutil.rmtree(project.cache)
    assert evaluate(project, EvaluateOptions(systems=(SPEECH,), baselines=False)).num_utterances


def test_training_audio_that_was_encoded_again_is_reported_after_every_export(
    project: Workspace,
) -> None:
    told = f"Since {SPEECH} was trained, its training utterances were encoded again from other"
    assert not any(told in text for text in export_logits(project, EXPORT).notes)
    shutil.copy(project.root / "u02.wav", project.root / "u01.wav")
    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    assert any(told in text for text in export_logits(project, EXPORT).notes)
    warnings = evaluate(project, EvaluateOptions(systems=(SPEECH,), baselines=False)).warnings
    assert any(told in text for text in warnings)


def list_warnings_of_all(project: Workspace) -> list[list[str]]:
    """Return what each command that reads logits tells about changes since they were made."""
    bundle = BundleOptions(stacker="linear", output=str(project.root / "bundle"), overwrite=True)
    return [
        list(evaluate(project, EvaluateOptions(systems=("linear",), baselines=False)).warnings),
        list(stack(project, StackOptions(stacker="mean-probabilities", name="new")).notes),
        list(make_bundle(project, bundle).notes),
    ]


def test_audio_and_transcripts_that_were_not_encoded_again_are_reported(project: Workspace) -> None:
    for path in project.root.glob("*.wav"):
        os.utime(path, (1e9, 1e9))  # the hash of a very new file is not saved
    export_logits(project, EXPORT)
    evaluate(project, EvaluateOptions(baselines=False))
    assert not report(project, ReportOptions(format="csv")).notes
    told = "of 1 utterance (u30) have changed since they were encoded for both, speech."
    assert not any(
        "since they were enc" in text for one in list_warnings_of_all(project) for text in one
    )
    os.utime(project.root / "u30.wav", (2e9, 2e9))
    paged = report(project, ReportOptions(format="csv")).notes  # of the evaluation before
    for found in (paged, *list_warnings_of_all(project)):
        assert [told in text for text in found].count(True) == 1
    os.utime(project.root / "u30.wav", (1e9 + 1, 1e9 + 1))
    export_logits(project, EXPORT)  # compares the bytes, which are the same
    assert not any(
        "since they were enc" in text for one in list_warnings_of_all(project) for text in one
    )
    words = read_transcripts(project.transcripts).texts | {"u31": "another one"}
    texts = [Transcript(name, text) for name, text in words.items()]
    write_transcripts(project.transcripts, texts, {"source": "manifest"})
    for found in list_warnings_of_all(project):
        assert any("(u31) have changed since they were encoded for both." in one for one in found)
    project.transcripts.write_text("damaged")
    assert evaluate(project, EvaluateOptions(baselines=False)).num_utterances == 6


def test_changed_training_audio_and_transcripts_are_reported(project: Workspace) -> None:
    for path in project.root.glob("*.wav"):
        os.utime(path, (1e9, 1e9))
    export_logits(project, EXPORT)
    os.utime(project.root / "u01.wav", (2e9, 2e9))
    told = "of 1 utterance (u01) have changed since both, speech was trained on them."
    for found in list_warnings_of_all(project):
        assert [told in text for text in found].count(True) == 1
    os.utime(project.root / "u01.wav", (1e9, 1e9))
    words = read_transcripts(project.transcripts).texts | {"u02": "another one"}
    texts = [Transcript(name, text) for name, text in words.items()]
    write_transcripts(project.transcripts, texts, {"source": "manifest"})
    for found in list_warnings_of_all(project):
        assert any("(u02) have changed since both was trained" in one for one in found)


def test_audio_that_was_never_hashed_in_a_copied_project_is_reported(project: Workspace) -> None:
    for path in project.root.glob("*.wav"):
        os.utime(path, (1e9, 1e9))
    told = "It is not known whether the audio of {} utterances (u00, u01, u02 and"
    # evaluate reads no logits of dev
    for found, number in zip(list_warnings_of_all(project), (30, 36, 36), strict=True):
        assert [text.startswith(told.format(number)) for text in found].count(True) == 1
    for run in ("both", SPEECH):
        export_logits(project, ExportLogitsOptions(run=run, device="cpu"))
    assert not any("not known" in text for one in list_warnings_of_all(project) for text in one)
    (project.root / "u30.wav").unlink()  # audio that is not here cannot be compared
    assert not any("not known" in text for one in list_warnings_of_all(project) for text in one)


def test_folds_that_share_a_speaker_since_the_manifest_was_changed_are_reported(
    project: Workspace,
) -> None:
    told = "By the manifest of now, 1 speaker (train-0) of the held-out parts of both, speech were"
    assert not any(
        "held-out parts" in one for found in list_warnings_of_all(project) for one in found
    )
    rows = read_manifest(project.manifest)
    one = [replace(row, speaker="train-0") if row.split == "train" else row for row in rows]
    write_manifest(project.manifest, one)
    for found in list_warnings_of_all(project):
        assert [text.startswith(told) for text in found].count(True) == 1
    assert any("train-0) of the held-out" in text for text in export_logits(project, EXPORT).notes)


def test_a_held_out_part_that_shares_a_speaker_with_the_training_is_reported(
    project: Workspace,
) -> None:
    train(project, replace(TRAIN, name="part", folds=0, heldout=True))
    export_logits(project, ExportLogitsOptions(run="part", device="cpu"))
    rows = read_manifest(project.manifest)
    one = [replace(row, speaker="train-0") if row.split == "train" else row for row in rows]
    write_manifest(project.manifest, one)
    options = StackOptions(models=("part",), stack_on="heldout", stacker="linear", name="new")
    assert any(
        "(train-0) of the held-out parts of part" in note for note in stack(project, options).notes
    )


def test_logits_of_another_run_are_not_taken_for_those_of_a_run(project: Workspace) -> None:
    for path in (project.runs / BOTH / "logits").glob("*"):
        shutil.copy(path, project.runs / SPEECH / "logits")
    with pytest.raises(LogitsError, match=f"expected the logits of '{SPEECH}'. Run: serctl export"):
        evaluate(project, EvaluateOptions(systems=(SPEECH,)))
    left = stack(project, StackOptions(stacker="mean-probabilities", name="new"))
    assert left.models == (BOTH,)
    assert any("another run or an earlier training" in note for note in left.notes)
    export_logits(project, replace(EXPORT, overwrite=False))
    assert evaluate(project, EvaluateOptions(systems=(SPEECH,))).num_utterances == 6


def test_a_stacker_is_stale_once_a_base_model_is_exported_again_with_other_values(
    project: Workspace,
) -> None:
    options = EvaluateOptions(systems=("linear",))
    export_logits(project, EXPORT)  # the same values
    assert not [text for text in evaluate(project, options).warnings if "again" in text]
    manifest = read_manifest(project.manifest)
    shutil.copy(project.root / "u01.wav", project.root / "u30.wav")  # of test

    extract(project, ExtractOptions(encoder="wavlm-large", device="cpu"))
    export_logits(project, EXPORT)
    assert "u30" in manifest.select("test").ids
    (warning,) = (text for text in evaluate(project, options).warnings if "linear" in text)
    assert warning.startswith(f"linear predicted test before the logits of {SPEECH} were exported")


def test_an_id_with_a_line_separator_counts_as_trained_on(tmp_path: Path) -> None:
    (tmp_path / "train_ids.txt").write_text("a\u2028b\nc\n", encoding="utf-8")
    assert read_train_ids(tmp_path) == {"a\u2028b", "c"}


@pytest.mark.parametrize("split", ["test/a", "test/../../x", "test:1", "test" + "x" * 300])
def test_a_split_that_is_no_file_name_is_refused(project: Workspace, split: str) -> None:
    rows = [replace(row, split=split) for row in read_manifest(project.manifest)]
    write_manifest(project.manifest, rows)
    with pytest.raises(ManifestError, match="split that is no valid file name"):
        export_logits(project, EXPORT)


def test_empty_transcripts_of_a_manifest_are_named(project: Workspace) -> None:
    """A corpus without transcripts, merged with one that has them, has empty ones."""
    rows = read_manifest(project.manifest)
    merged = [replace(row, transcript="hello" if row.split == "train" else None) for row in rows]
    write_manifest(project.manifest, merged)
    *_, note = transcribe(project, TranscribeOptions(from_manifest=True)).notes
    assert note.startswith("12 of 36 transcripts of the manifest are empty (u24, u25, u26 and 9")


def test_a_copy_of_a_run_does_not_count_twice_in_a_stacker(project: Workspace) -> None:
    shutil.copytree(project.runs / SPEECH, project.runs / "copy")
    options = StackOptions(stacker="mean-probabilities", name="new")
    found = stack(project, options)
    assert found.models == (BOTH, "copy")
    assert any(f"'{SPEECH}' is the same training as 'copy'" in note for note in found.notes)
    named = stack(project, replace(options, models=(SPEECH, "copy")))
    assert named.models == ("copy", SPEECH)


def test_speakers_are_the_same_in_both_forms_of_their_accents(project: Workspace) -> None:
    rows = [
        replace(row, speaker=normalize("NFD" if row.split == "test" else "NFC", "José"))
        for row in read_manifest(project.manifest)
    ]
    write_manifest(project.manifest, rows)
    assert list(read_manifest(project.manifest).leaking_speakers()) == ["Jos\u00e9"]


KEPT = ("manifest.csv", "serctl.toml", "transcripts.csv", "transcripts.json", "u02.wav")
STACKER = "stackers/linear/stacker.json"


@pytest.mark.parametrize("name", [*KEPT, STACKER, f"runs/{SPEECH}/config.json"])
def test_a_result_does_not_replace_a_file_of_the_project(project: Workspace, name: str) -> None:
    path = project.root / name
    content = path.read_bytes()
    with pytest.raises(UsageError, match="would replace a"):
        check_output_file(project, path)
    with pytest.raises(UsageError, match="would replace a"):
        cache_pack(project, "wavlm-large", path)
    if name.endswith(("csv", "json")):
        evaluate(project, EvaluateOptions(systems=(SPEECH,)))
        with pytest.raises(UsageError, match="would replace a file of the project"):
            report(project, ReportOptions(output=str(path)))
    arguments = ["predict", str(project.root / "u01.wav"), "--model", SPEECH, "-o", str(path)]
    with contextlib.chdir(project.root):
        ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2
    assert "would replace a" in ended.output
    if name != "manifest.csv":
        with pytest.raises(UsageError, match="is not a manifest"):
            split_manifest(project.manifest, path, overwrite=True)
    assert path.read_bytes() == content


def test_a_result_in_a_cache_that_is_the_project_is_replaced(project: Workspace) -> None:
    path = project.root / "out.csv"
    path.touch()
    here = replace(project, paths={**project.paths, "cache": project.root})
    check_output_file(here, path)
    with pytest.raises(UsageError, match="would replace a file of the project"):
        check_output_file(here, project.runs / SPEECH / "config.json")


def test_a_report_does_not_replace_another_evaluation(project: Workspace) -> None:
    first = evaluate(project, EvaluateOptions(systems=(SPEECH,))).report
    second = evaluate(project, EvaluateOptions(systems=(BOTH,))).report
    with pytest.raises(ReportError, match="is another evaluation"):
        report(project, ReportOptions(name=first.stem, output=str(second)))


def test_long_names_give_reports_of_their_own(project: Workspace) -> None:
    names = ["x" * 100 + "a", "x" * 100 + "b", "\u60c5" * 70]
    for name in names:
        shutil.copytree(project.runs / SPEECH, project.runs / name)
    written = {evaluate(project, EvaluateOptions(systems=(name,))).report for name in names}
    assert len(written) == 3
    split = "test" + "\u60c5" * 56
    rows = [
        replace(row, split=split if row.split == "test" else row.split)
        for row in read_manifest(project.manifest)
    ]
    write_manifest(project.manifest, rows)
    export_logits(project, replace(EXPORT, splits=(split,)))
    assert evaluate(project, EvaluateOptions(split=split)).report.stem.startswith(split[:30])
    with pytest.raises(UsageError, match="has 300 bytes, expected at most 150"):
        evaluate(project, EvaluateOptions(systems=(SPEECH,), name="n" * 300))


def test_a_finished_run_without_logits_is_named_in_an_evaluation(project: Workspace) -> None:
    shutil.rmtree(project.runs / BOTH / "logits")
    told = f"Left out: '{BOTH}' has no logits. Run: serctl export-logits {BOTH}"
    assert told in evaluate(project, EvaluateOptions(baselines=False)).notes
    assert told not in evaluate(project, EvaluateOptions(systems=(SPEECH,))).notes


def test_runs_of_other_emotions_than_the_manifest_are_left_out_by_name(project: Workspace) -> None:
    """An emotion was dropped from the manifest, and a new run was trained on the others."""
    rows = [row for row in read_manifest(project.manifest) if row.emotion != "bored"]
    write_manifest(project.manifest, rows)
    train(project, replace(TRAIN, name="new", learning_rate=0.02))
    export_logits(project, replace(EXPORT, run="new"))
    told = evaluate(project, EvaluateOptions(baselines=False))
    assert [system.name for system in told.table] == ["new"]
    left = f"Left out: '{SPEECH}' has the labels angry, neutral, bored, but the manifest has"
    assert any(left in note for note in told.notes)
    found = stack(project, StackOptions(stacker="mean-probabilities", name="mean"))
    assert found.models == ("new",)
    assert any(left in note for note in found.notes)


def test_a_stacker_on_the_split_that_it_was_fitted_on_has_advice_that_works(
    project: Workspace,
) -> None:
    with pytest.raises(LogitsError, match="does not predict the split that it was fitted on"):
        evaluate(project, EvaluateOptions(systems=("linear",), split="train", baselines=False))
    runs = EvaluateOptions(systems=("both", SPEECH), split="train", baselines=False)
    assert evaluate(project, runs).num_utterances == 24

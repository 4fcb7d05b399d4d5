"""Utterances that could not be read: left out of every step after it, and counted in each."""

import csv
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_frames import TINY, fill_store, make_key, make_project, make_utterances

from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.encoding.failures import check_failures, list_failures, read_failures
from serctl.encoding.inputs import AudioInputs
from serctl.ensemble.logits_file import read_logits
from serctl.errors import AudioError, LogitsError, MissingFeaturesError
from serctl.options import EvaluateOptions, ExportLogitsOptions, StackOptions, TrainOptions
from serctl.stages.evaluate import evaluate
from serctl.stages.export_logits import export_logits
from serctl.stages.stack import stack
from serctl.stages.train import train

BAD = ("u0001", "u0026", "u0034")  # of train, dev and test
SPEECH = replace(TINY, text=(), folds=2, epochs=1)


def list_bad(project: Workspace, rows: list[Utterance], bad: tuple[str, ...] = BAD) -> Path | None:
    """Write failures.csv as `serctl extract --skip-bad` does."""
    hash_of = AudioInputs(SourceHasher(project.cache)).hash_of
    failures = {name: AudioError(f"'{name}' is silent.") for name in bad}
    key = make_key("whisper-tiny")
    path = project.root / "failures.csv"
    ids = [row.utterance_id for row in rows]
    return list_failures(path, key.encoder, key.digest, rows, failures, hash_of, ids)


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    return make_utterances(folder=tmp_path / "audio")


@pytest.fixture
def project(tmp_path: Path, rows: list[Utterance]) -> Workspace:
    project = make_project(tmp_path, rows, [])
    fill_store(project, "whisper-tiny", [row for row in rows if row.utterance_id not in BAD])
    return project


def test_what_was_skipped_is_left_out_and_counted_up_to_the_report(
    project: Workspace, rows: list[Utterance]
) -> None:
    splits = {row.utterance_id: row.split for row in rows}
    assert [splits[name] for name in BAD] == ["train", "dev", "test"]
    with pytest.raises(MissingFeaturesError, match=r"2 of 64 .*no frames of whisper-tiny"):
        train(project, SPEECH)
    list_bad(project, rows)
    run = train(project, SPEECH).runs[0]
    assert run.summary.skipped == 1
    assert "2 utterances that whisper-tiny could not read (u0001, u0026)" in run.summary.notes[0]
    exported = export_logits(project, ExportLogitsOptions(run=run.name, device="cpu"))
    assert "3 utterances that whisper-tiny could not read" in exported.notes[0]
    test = read_logits(run.folder / "logits" / "test.csv")
    assert test.unread == {"u0034"}
    assert "u0034" not in test.ids
    fitted = stack(project, StackOptions(stacker="linear", balance="weights", name="two"))
    assert "1 of 48 utterances are excluded from the fit" in fitted.notes[0]
    recorded = (fitted.folder / "stacker.json").read_text()  # goes into bundles, without ids
    assert "1 of 48 utterances are excluded from the fit" in recorded
    assert "u0026" not in recorded
    result = evaluate(project, EvaluateOptions(split="test", resamples=40, subsets=5))
    assert result.num_utterances == 15
    assert "1 of 16 utterances of test are left out" in result.warnings[0]
    assert "is not fitted on 1 of 48 utterances of train" in " ".join(result.notes)
    assert {row.name for row in result.table} >= {run.name, "two", "pooled-logistic-regression"}
    options = EvaluateOptions(systems=(run.name,), split="test", submission=str(project.root / "s"))
    with pytest.raises(LogitsError, match=r"no prediction for 1 of 16 utterances \(u0034\)"):
        evaluate(project, options)
    assert not (project.root / "s").exists()


def test_an_unreadable_utterance_that_is_new_in_the_manifest_is_left_out_too(
    project: Workspace, rows: list[Utterance]
) -> None:
    list_bad(project, rows)
    run = train(project, replace(SPEECH, folds=0)).runs[0]
    export_logits(project, ExportLogitsOptions(run=run.name, device="cpu"))
    new = replace(rows[34], utterance_id="u9999")
    write_manifest(project.manifest, [*rows, new])
    list_bad(project, [*rows, new], bad=(*BAD, "u9999"))
    export_logits(project, ExportLogitsOptions(run=run.name, device="cpu"))
    assert read_logits(run.folder / "logits" / "test.csv").unread == {"u0034", "u9999"}


def test_a_repaired_file_is_not_left_out_any_more(
    project: Workspace, rows: list[Utterance]
) -> None:
    list_bad(project, rows)
    rows[1].path.write_bytes(b"mended")
    with pytest.raises(MissingFeaturesError, match=r"1 of 64 .*\(u0001\).*serctl extract"):
        train(project, SPEECH)


@pytest.mark.parametrize("options", [SPEECH, replace(SPEECH, folds=0, heldout=True)])
def test_what_is_repaired_after_a_training_is_not_evaluated_by_who_knows_its_speaker(
    project: Workspace, rows: list[Utterance], options: TrainOptions
) -> None:
    list_bad(project, rows)
    run = train(project, options).runs[0]
    fill_store(project, "whisper-tiny", [row for row in rows if row.utterance_id in BAD])
    list_bad(project, rows, bad=())
    export_logits(project, ExportLogitsOptions(run=run.name, device="cpu"))
    logits = read_logits(run.folder / "logits" / "train.csv")
    if options.heldout:
        assert "u0001" not in logits.ids
        return
    folds = run.folder / "folds"
    learned = [set((folds / str(i) / "train_ids.txt").read_text().split()) for i in range(2)]
    right = next(i for i in range(2) if "u0000" not in learned[i])  # of the same speaker
    alone = replace(project, paths={"runs": folds})
    wanted = ExportLogitsOptions(run=str(right), train_logits="in-sample", device="cpu")
    export_logits(alone, wanted)
    found = read_logits(folds / str(right) / "logits" / "train.csv").select(["u0001"])
    np.testing.assert_allclose(logits.select(["u0001"]).values, found.values, atol=1e-5)


def test_what_was_not_looked_at_stays_listed(project: Workspace, rows: list[Utterance]) -> None:
    path, key = list_bad(project, rows), make_key("whisper-tiny")
    assert path is not None
    ids = [row.utterance_id for row in rows]
    assert list_failures(path, key.encoder, key.digest, rows[:1], {}, str, ids) is None
    assert set(read_failures(path, key.digest)) == set(BAD)
    assert list_failures(path, key.encoder, "another key", rows, {}, str, ids) is None
    assert set(read_failures(path, key.digest)) == set(BAD)
    list_bad(project, rows, bad=())
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        "encoder;key;utterance_id;path;source;error\ntiny;k;u1;ä.wav;;silent\n".encode("cp1252"),
        b"encoder;key;utterance_id;path;source;error\ntiny;k;u1;a.wav;;silent\n",
    ],
)
def test_a_list_that_a_spreadsheet_saved_is_written_again(
    project: Workspace, rows: list[Utterance], content: bytes
) -> None:
    path, key = project.root / "failures.csv", make_key("whisper-tiny")
    path.write_bytes(content)
    assert read_failures(path, key.digest) == {}
    assert list_bad(project, rows) == path
    with path.open(encoding="utf-8") as file:
        assert all(row["key"] for row in csv.DictReader(file))
    assert set(read_failures(path, key.digest)) == set(BAD)


def test_the_advice_for_a_moved_corpus_is_for_tables_too(tmp_path: Path) -> None:
    rows = [Utterance(name, tmp_path / f"{name}.wav", "train") for name in "ab"]
    failures = {row.utterance_id: AudioError(f"'{row.path}' does not exist.") for row in rows}
    for command in ("--corpus NAME --root DIR", "--manifest CSV --root DIR"):
        with pytest.raises(AudioError, match=f"serctl init --overwrite {command}"):
            check_failures(failures, skip_bad=False, whole=rows)


def list_one(path: Path, number: int) -> None:
    row = Utterance(f"u{number}", path, "train")
    failures = {row.utterance_id: AudioError("bad")}
    list_failures(path, f"encoder{number}", f"key{number}", [row], failures, lambda _: "hash", [])


def test_processes_that_list_failures_at_once_lose_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    path = tmp_path / "failures.csv"
    writers = [context.Process(target=list_one, args=(path, i)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with path.open() as file:
        assert {row["key"] for row in csv.DictReader(file)} == {f"key{i}" for i in range(8)}

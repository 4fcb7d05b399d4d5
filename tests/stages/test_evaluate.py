"""`evaluate`: figures equal independent ones, baselines, refusals, caveats, submission."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frames as frames
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic_logits import COUNTS, LABELS, make_project, make_run, make_utterances
from synthetic_run import record_branch, write_run

from serctl.cache.key import FeatureKey
from serctl.cache.store import FeatureStore
from serctl.cache.writer import StoreWriter
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.ensemble.pooled import STRENGTHS
from serctl.errors import LogitsError, ManifestError, UnknownNameError, UsageError
from serctl.evaluation.baselines import MAJORITY, POOLED
from serctl.options import (
    EvaluateOptions,
    ExportLogitsOptions,
    ReportOptions,
    StackOptions,
    TrainOptions,
)
from serctl.stages.evaluate import EvaluateResult, evaluate
from serctl.stages.export_logits import export_logits
from serctl.stages.report import report
from serctl.stages.stack import stack
from serctl.stages.train import train

BARE = EvaluateOptions(baselines=False)


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    """Two runs, one clearly better, and a stacker of both."""
    rows = make_utterances()
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows, seed=1, signal=2.5)
    make_run(workspace, "poor", rows, seed=2, signal=0.5)
    stack(workspace, StackOptions(stacker="mean-logits", name="mean"))
    return workspace


def report_of(result: EvaluateResult) -> dict:
    assert result.report is not None
    return json.loads(result.report.read_text())


def test_without_arguments_everything_is_evaluated_on_test(project: Workspace) -> None:
    result = evaluate(project, EvaluateOptions())
    assert result.split == "test"
    assert [row.name for row in result.table] == ["good", "poor", "mean", MAJORITY]
    assert [row.kind for row in result.table] == ["run", "run", "stacker", "baseline"]
    assert result.report == project.reports / "test.json"
    assert any(POOLED in note for note in result.notes)  # no run here says which frames it read
    assert "mean was fitted on out-of-fold logits." in result.notes
    text = result.markdown.read_text()
    assert "| good | " in text
    assert result.verdicts[0] in text


def test_every_figure_of_the_report_equals_an_independent_one(project: Workspace) -> None:
    report = report_of(evaluate(project, replace(BARE, systems=("poor",), split="dev")))
    rows = [row for row in read_manifest(project.manifest) if row.split == "dev"]
    logits = read_logits(project.runs / "poor" / "logits" / "dev.csv").select(
        row.utterance_id for row in rows
    )
    true = np.array([LABELS.index(row.emotion) for row in rows])
    predicted = logits.values.argmax(axis=1)
    [system] = report["systems"]
    assert system["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert system["uar"] == pytest.approx(balanced_accuracy_score(true, predicted))
    assert system["confusion"] == confusion_matrix(true, predicted).tolist()
    assert [row["support"] for row in system["per_class"]] == list(COUNTS["dev"])
    assert system["predictions"] == predicted.tolist()
    assert np.allclose(np.array(system["probabilities"]).argmax(axis=1), predicted)
    assert report["utterances"]["utterance_id"] == [row.utterance_id for row in rows]

    frame = pd.DataFrame({"true": true, "predicted": predicted})  # as the authors' notebooks do it
    figures = []
    for seed in range(100):
        parts = [frame[frame["true"] == c].sample(12, random_state=seed) for c in range(4)]
        drawn = pd.concat(parts)
        figures.append(f1_score(drawn["true"], drawn["predicted"], average="macro"))
    assert system["bs_f1"]["values"] == pytest.approx(figures)
    assert system["bs_f1"]["mean"] == pytest.approx(np.mean(figures))
    assert (system["bs_f1"]["per_class"], len(figures)) == (12, 100)

    by_gender = {row["name"]: row for row in system["groups"]["gender"]}
    women = np.array([row.extra["gender"] == "f" for row in rows])
    assert by_gender["female"]["count"] == women.sum()
    assert by_gender["female"]["accuracy"] == pytest.approx((true == predicted)[women].mean())
    durations = [row["name"] for row in system["groups"]["duration"]]
    assert durations == ["< 2 s", "2-4 s", "4-6 s"]
    assert len(system["groups"]["speaker"]) == report["num_speakers"] == 8
    low, high = system["intervals"]["macro_f1"]
    assert low < system["macro_f1"] < high


def test_the_order_of_files_changes_nothing_but_the_subsets(
    project: Workspace, tmp_path: Path
) -> None:
    rows = make_utterances()[::-1]
    other = make_project(tmp_path / "other", rows)
    make_run(other, "good", rows[::2] + rows[1::2], seed=1, signal=2.5)
    options = replace(BARE, systems=("good",))
    a, b = (report_of(evaluate(place, options))["systems"][0] for place in (project, other))
    for name in ("macro_f1", "uar", "intervals", "per_class", "confusion", "groups"):
        assert a[name] == b[name]


def test_two_named_systems_get_a_verdict(project: Workspace) -> None:
    found = evaluate(project, replace(BARE, systems=("poor", "good")))
    assert len(found.verdicts) == 1
    assert found.verdicts[0].startswith("good is better than poor by")
    assert found.report == project.reports / "test-poor-vs-good.json"
    [pair] = report_of(found)["paired"]
    assert (pair["first"], pair["second"], pair["is_real"]) == ("poor", "good", True)
    assert pair["difference"] < 0


def test_the_best_is_tested_against_every_other_with_correction(project: Workspace) -> None:
    pairs = report_of(evaluate(project, EvaluateOptions()))["paired"]
    assert len(pairs) == 3
    assert len({pair["first"] for pair in pairs}) == 1
    assert all(pair["corrected_p"] >= pair["p_value"] for pair in pairs)
    assert pairs[-1]["second"] == MAJORITY


def test_dev_is_the_default_where_test_has_no_labels(tmp_path: Path) -> None:
    rows = [replace(r, emotion="") if r.split == "test" else r for r in make_utterances()]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    result = evaluate(workspace, BARE)
    assert result.split == "dev"
    assert any("was selected on dev" in warning for warning in result.warnings)
    with pytest.raises(ManifestError, match=r"72 of 72 .*test have no emotion \(test-angry-000"):
        evaluate(workspace, replace(BARE, split="test"))


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"good": {"fit_on": "train", "select_by": "bs_f1"}}, "every run was selected on dev"),
        ({"good": {"fit_on": "train+dev", "select_by": "macro_f1"}}, "poor was selected on dev"),
        ({"good": {"select_by": "last"}, "poor": {"select_by": "last"}}, None),
        ({"good": {"kind": "pooled"}, "poor": {"kind": "pooled"}}, None),
    ],
)
def test_runs_whose_epoch_dev_chose_are_named(project: Workspace, options, warning) -> None:
    for name, chosen in options.items():
        write_run(project.runs / name, TrainOptions(**chosen))
    found = [w for w in evaluate(project, replace(BARE, split="dev")).warnings if "epoch" in w]
    assert len(found) == (warning is not None)
    assert not found or f"The epoch of {warning}" in found[0]


def test_single_unlabelled_utterances_are_left_out_by_name(tmp_path: Path) -> None:
    rows = make_utterances()
    rows[-1] = replace(rows[-1], emotion="")
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    result = evaluate(workspace, BARE)
    assert result.num_utterances == 71
    assert any("1 of 72 utterances of test have no emotion" in note for note in result.notes)
    assert any(rows[-1].utterance_id in note for note in result.notes)


def test_parts_of_a_recording_in_train_and_test_are_a_warning(tmp_path: Path) -> None:
    rows = make_utterances()
    rows[-1] = replace(rows[-1], path=rows[0].path)
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    [warning] = [text for text in evaluate(workspace, BARE).warnings if "share audio" in text]
    assert warning.startswith("1 pair of utterances of different splits")
    assert f"{rows[-1].utterance_id} (test) and {rows[0].utterance_id} (train)" in warning


def test_a_speaker_leak_is_repeated_in_every_report(tmp_path: Path) -> None:
    rows = [replace(r, speaker=r.speaker.split("-")[1]) for r in make_utterances()]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    result = evaluate(workspace, BARE)
    assert "8 speakers of test (s0, s1, s2 and 5 more) are also in dev, train" in result.warnings[0]
    assert result.warnings[0] in result.markdown.read_text()
    assert result.warnings[0] in report_of(result)["warnings"]


def test_in_sample_figures_say_so(tmp_path: Path) -> None:
    rows = make_utterances()
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "memoriser", rows, stack_on="in-sample")
    on_train = evaluate(workspace, replace(BARE, split="train"))
    assert "memoriser was trained on 180 of these utterances." in on_train.warnings
    stack(workspace, StackOptions(stacker="linear", stack_on="in-sample"))
    on_test = evaluate(workspace, BARE)
    assert any("linear-in-sample was fitted on in-sample" in text for text in on_test.warnings)


@pytest.mark.parametrize(
    ("size", "effect"),
    [(5, "no confidence intervals"), (6, "confidence intervals are imprecise")],
)
def test_intervals_of_few_speakers_are_left_out_or_qualified(
    tmp_path: Path, size: int, effect: str
) -> None:
    rows = [replace(row, speaker=f"s{i % size}") for i, row in enumerate(make_utterances())]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "one", rows)
    result = evaluate(workspace, BARE)
    assert f"Only {size} speakers: {effect}." in result.warnings
    text = result.markdown.read_text()
    assert ("95 % interval" in text) == (size == 6)
    assert [system.intervals is None for system in result.table] == [size == 5] * len(result.table)
    lines = report(workspace, ReportOptions(format="csv")).output.read_text().splitlines()
    assert all((row["macro_f1_low"] == "") == (size == 5) for row in csv.DictReader(lines))
    assert text.count(f"Only {size} speakers") == 1


def test_a_stacker_of_models_trained_again_since_is_called_stale(project: Workspace) -> None:
    write_run(project.runs / "good", run_hash="hash-of-good")
    assert not any("trained again" in text for text in evaluate(project, BARE).warnings)
    write_run(project.runs / "good", run_hash="another")
    warnings = evaluate(project, BARE).warnings
    assert any(
        "mean was fitted before good was trained again. Run: serctl stack " in text
        for text in warnings
    )
    for path in (project.runs / "good" / "logits").iterdir():  # as train --overwrite does
        path.unlink()
    warnings = evaluate(project, BARE).warnings
    command = "Run: serctl export-logits good, then: serctl stack --stacker mean-logits --name mean"
    assert f"mean was fitted before good was trained again. {command}" in warnings


def test_a_class_without_utterances_is_named_and_counts_as_zero(tmp_path: Path) -> None:
    rows = [r for r in make_utterances() if r.split != "test" or r.emotion != "sad"]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows, signal=50)
    result = evaluate(workspace, BARE)
    assert result.table[0].macro_f1 == pytest.approx(0.75)
    assert result.table[0].uar == pytest.approx(1)
    assert "No utterance of sad: their F1 counts as 0." in result.notes


def test_concordance_is_there_where_corpus_and_model_have_attributes(tmp_path: Path) -> None:
    fixed = {"valence": "2", "dominance": "3.25"}
    utterances = make_utterances()
    rows = [replace(r, extra=fixed | {"arousal": str(i % 7)}) for i, r in enumerate(utterances)]
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    assert report_of(evaluate(workspace, BARE))["systems"][0]["ccc"] is None
    path = workspace.runs / "good" / "logits" / "test.csv"
    logits = read_logits(path)
    known = {r.utterance_id: r for r in rows}
    attributes = np.array([known[name].attributes() for name in logits.ids])
    attributes[:, 2] += 1
    write_logits(path, replace(logits, attributes=attributes))
    ccc = report_of(evaluate(workspace, BARE))["systems"][0]["ccc"]
    assert ccc == pytest.approx({"arousal": 1.0, "valence": 0.0, "dominance": 0.0})
    # Each attribute is measured on the utterances that have a rating of it.
    rows = [replace(row, extra=row.extra | {"valence": ""}) for row in rows]
    rows[-1] = replace(rows[-1], extra=rows[-1].extra | {"arousal": ""})
    write_manifest(workspace.manifest, rows)
    attributes[logits.ids.index(rows[-1].utterance_id), 0] = 99
    write_logits(path, replace(logits, attributes=attributes))
    ccc = report_of(evaluate(workspace, BARE))["systems"][0]["ccc"]
    assert ccc == pytest.approx({"arousal": 1.0, "dominance": 0.0})


def add_store(workspace: Workspace, rows: list[Utterance], runs: list[str]) -> FeatureStore:
    """Frames that separate a part of the emotions, and runs that read them."""
    key = FeatureKey("tiny", "speech", "w", "r", -1, "float32", "none", "audio-16k-mono")
    rng = np.random.default_rng(0)
    with StoreWriter(workspace.cache / key.store_name, key, 4, 50.0) as writer:
        for row in rows:
            frames = rng.normal(size=(rng.integers(3, 9), 4)) + np.eye(4)[LABELS.index(row.emotion)]
            writer.append([row.utterance_id], [frames.astype(np.float32)], ["source"])
    for name in runs:
        write_run(workspace.runs / name, branches=[record_branch(key, 4)])
    return FeatureStore.open(workspace.cache / key.store_name)


def make_classifier(x: np.ndarray, y: np.ndarray, speakers: list[str]) -> Pipeline:
    """Fit scikit-learn's classifier with the C that a search over its speakers' folds chooses."""
    model = LogisticRegression(max_iter=500, class_weight="balanced")
    pipeline = make_pipeline(StandardScaler(), model)
    folds = list(GroupKFold(4).split(x, y, speakers))
    scores = []
    for strength in STRENGTHS:
        predicted = cross_val_predict(
            clone(pipeline).set_params(logisticregression__C=strength), x, y, cv=folds
        )
        scores.append(f1_score(y, predicted, average="macro"))
    best = STRENGTHS[int(np.argmax(scores))]
    return pipeline.set_params(logisticregression__C=best).fit(x, y)


def test_the_pooled_baseline_is_logistic_regression_on_mean_and_deviation(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(read_manifest(project.manifest))
    store = add_store(project, rows, ["good"])
    system = report_of(evaluate(project, EvaluateOptions()))["systems"][-1]
    assert (system["name"], system["kind"]) == (POOLED, "baseline")

    def features(split: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = [row for row in rows if row.split == split]
        frames = [store.read(row.utterance_id).astype(np.float64) for row in chosen]
        pooled = [np.r_[f.mean(axis=0), f.std(axis=0)] for f in frames]
        return np.array(pooled), np.array([LABELS.index(row.emotion) for row in chosen])

    speakers = [row.speaker for row in rows if row.split == "train"]
    classifier = make_classifier(*features("train"), speakers)
    x, y = features("test")
    assert np.allclose(system["probabilities"], classifier.predict_proba(x), atol=1e-3)
    assert system["accuracy"] == pytest.approx((classifier.predict(x) == y).mean())

    def fail(*_: object) -> None:
        raise AssertionError("frames were read again")

    monkeypatch.setattr(FeatureStore, "read", fail)
    again = report_of(evaluate(project, EvaluateOptions()))["systems"][-1]
    assert again["probabilities"] == system["probabilities"]
    report_of(evaluate(project, EvaluateOptions(systems=("mean",))))  # through its base models
    monkeypatch.undo()
    halves = [replace(row, speaker=f"s{i % 5}-{row.split}") for i, row in enumerate(rows)]
    write_manifest(project.manifest, halves)
    moved = report_of(evaluate(project, EvaluateOptions()))["systems"][-1]
    speakers = [row.speaker for row in halves if row.split == "train"]
    classifier = make_classifier(*features("train"), speakers)
    assert np.allclose(moved["probabilities"], classifier.predict_proba(x), atol=1e-3)
    assert moved["probabilities"] != system["probabilities"]


def test_baselines_of_train_are_predicted_by_the_other_sessions(project: Workspace) -> None:
    speakers = sorted({row.speaker for row in read_manifest(project.manifest)})
    rows = [
        replace(row, extra={"fold": "AB"[speakers.index(row.speaker) % 2]})
        for row in read_manifest(project.manifest)
    ]
    write_manifest(project.manifest, rows)
    store = add_store(project, rows, ["good"])
    chosen = [row for row in rows if row.split == "train"]
    pooled = [
        np.r_[f.mean(axis=0), f.std(axis=0)]
        for f in (store.read(r.utterance_id).astype(float) for r in chosen)
    ]
    x, y = np.array(pooled), np.array([LABELS.index(row.emotion) for row in chosen])
    first = np.array([row.extra["fold"] == "A" for row in chosen])
    expected = np.empty((len(y), len(LABELS)))
    for inside in (first, ~first):
        others = [row.speaker for row, out in zip(chosen, inside, strict=True) if not out]
        classifier = make_classifier(x[~inside], y[~inside], others)
        expected[inside] = classifier.predict_proba(x[inside])
    report = report_of(evaluate(project, EvaluateOptions(split="train")))
    assert np.allclose(report["systems"][-1]["probabilities"], expected, atol=1e-3)


def test_pooled_frames_of_changed_audio_are_computed_again(project: Workspace) -> None:
    rows = list(read_manifest(project.manifest))
    store = add_store(project, rows, ["good"])
    before = report_of(evaluate(project, EvaluateOptions()))["systems"][-1]["probabilities"]
    changed = [row.utterance_id for row in rows if row.split == "test"]
    with StoreWriter(Path(store.path), store.key, 4, 50.0) as writer:
        for name in changed:
            writer.append([name], [np.full((3, 4), 9, dtype=np.float32)], ["new"])
    after = report_of(evaluate(project, EvaluateOptions()))["systems"][-1]["probabilities"]
    assert after != before
    assert all(row == after[0] for row in after)


def test_baselines_fitted_on_more_than_a_run_was_trained_on_are_noted(tmp_path: Path) -> None:
    rows = frames.make_utterances(folder=tmp_path / "audio")
    project = frames.make_project(tmp_path, rows, ["whisper-tiny"])
    new = next(row.utterance_id for row in rows if row.split == "train")
    write_manifest(project.manifest, [row for row in rows if row.utterance_id != new])
    options = TrainOptions(speech=("whisper-tiny",), kind="pooled", name="old", device="cpu")
    train(project, options)
    export_logits(project, ExportLogitsOptions(run="old", device="cpu"))
    told = f"1 utterance of train ({new}) that old was not trained on: added since"
    assert not any(told in note for note in evaluate(project, EvaluateOptions()).notes)
    write_manifest(project.manifest, rows)
    assert sum(told in note for note in evaluate(project, EvaluateOptions()).notes) == 1
    assert not any(told in note for note in evaluate(project, BARE).notes)


@pytest.mark.parametrize("sizes", [(20, 9, 20, 20), (20, 9, 20, 21), (20, 20, 20, 20)])
def test_a_tie_of_the_majority_class_is_noted(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    rows = make_utterances({"train": sizes, "test": (6, 6, 6, 6)})
    workspace = make_project(tmp_path, rows)
    make_run(workspace, "good", rows)
    notes = [one for one in evaluate(workspace, EvaluateOptions()).notes if MAJORITY in one]
    tied = [name for name, size in zip(LABELS, sizes, strict=True) if size == max(sizes)]
    assert len(notes) == (len(tied) > 1)
    assert all("predicts angry, the first of" in note for note in notes)
    told = f"with 20 utterances of train each: {', '.join(tied)}."
    assert all(note.endswith(told) for note in notes)


def test_a_lost_store_leaves_the_baseline_out_with_the_command(project: Workspace) -> None:
    store = add_store(project, list(read_manifest(project.manifest)), ["good"])
    Path(store.path).rename(project.cache / "elsewhere")
    notes = evaluate(project, EvaluateOptions()).notes
    assert any("serctl extract --encoder tiny" in note for note in notes)


def test_systems_that_cannot_be_evaluated_are_refused_or_noted(project: Workspace) -> None:
    make_run(project, "unfinished", [r for r in make_utterances() if r.split == "dev"])
    result = evaluate(project, BARE)
    assert any("'unfinished' has no logits for split 'test'" in note for note in result.notes)
    with pytest.raises(LogitsError, match="serctl export-logits unfinished"):
        evaluate(project, replace(BARE, systems=("unfinished",)))
    with pytest.raises(UnknownNameError, match="Did you mean 'good'"):
        evaluate(project, replace(BARE, systems=("goood",)))
    with pytest.raises(UnknownNameError, match=r"'nobody'.*Make a run with: serctl train$"):
        evaluate(project, replace(BARE, systems=("nobody",)))
    with pytest.raises(UsageError, match=r"'theirs.csv' does not exist or holds no CSV"):
        evaluate(project, replace(BARE, systems=("theirs.csv",)))
    with pytest.raises(ManifestError, match="not 'test9'"):
        evaluate(project, replace(BARE, split="test9"))


def test_other_labels_are_refused(project: Workspace) -> None:
    ids = tuple(r.utterance_id for r in make_utterances() if r.split == "test")
    other = Logits(ids, np.ones((len(ids), 2)), ("angry", "sad"), np.zeros(len(ids), bool))
    write_logits(project.root / "odd.csv", other)
    with pytest.raises(
        LogitsError, match=r"have the emotions happy, neutral, expected those of 'odd'"
    ):
        evaluate(project, replace(BARE, systems=(str(project.root / "odd.csv"),)))
    with pytest.raises(LogitsError, match="'odd' has the labels angry, sad"):
        evaluate(project, replace(BARE, systems=("good", str(project.root / "odd.csv"))))


def test_labels_that_never_name_an_emotion_are_evaluated(project: Workspace) -> None:
    ids = read_manifest(project.manifest).select("test").ids
    path = project.root / "theirs.csv"
    path.write_text("utterance_id,prediction\n" + "".join(f"{name},{LABELS[0]}\n" for name in ids))
    (score,) = evaluate(project, replace(BARE, systems=(str(path),))).table
    assert score.uar == pytest.approx(1 / len(LABELS))


@pytest.mark.parametrize("column", ["", "duration"])
def test_a_column_of_outside_scores_that_is_no_emotion_is_refused(
    project: Workspace, column: str
) -> None:
    source = pd.read_csv(project.runs / "good" / "logits" / "test.csv").drop(columns="in_sample")
    path = project.root / "theirs.csv"
    source.insert(0, column, range(len(source)))
    source.to_csv(path, index=False)
    with pytest.raises(LogitsError, match=f"has a column '{column or 'unnamed_1'}', expected emo"):
        evaluate(project, replace(BARE, systems=(str(path),)))
    source.rename(columns={column: "contempt"}).to_csv(path, index=False)
    evaluate(project, replace(BARE, systems=(str(path),)))  # a known emotion that nobody has here


def test_outside_systems_of_one_name_are_refused(project: Workspace, tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "mine.csv", tmp_path / "mine.csv"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("utterance_id,angry,sad\n")
    with pytest.raises(UsageError, match=r"a/mine\.csv, .*mine\.csv have the same name"):
        evaluate(project, EvaluateOptions(systems=tuple(map(str, paths))))


def test_the_report_of_a_file_with_blanks_in_its_name_has_a_valid_name(project: Workspace) -> None:
    source = read_logits(project.runs / "good" / "logits" / "test.csv")
    made = []
    for name in ("my scores (1).csv", "my-scores--1-.csv"):
        write_logits(project.root / name, source)
        result = evaluate(project, replace(BARE, systems=(str(project.root / name),)))
        assert result.table[0].name == name.removesuffix(".csv")
        assert result.report is not None
        made.append(result.report.stem)
    assert made[0].startswith("test-my-scores--1--")
    assert made[1] == "test-my-scores--1-"


def test_a_wrong_name_is_refused_before_the_baselines(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr("serctl.stages.evaluate.make_baselines", lambda *_: called.append(1))
    with pytest.raises(UsageError, match="--name 'a/b' is not a valid file name"):
        evaluate(project, EvaluateOptions(name="a/b"))
    assert not called


def test_an_outside_csv_is_evaluated_like_any_other(project: Workspace) -> None:
    source = read_logits(project.runs / "good" / "logits" / "test.csv")
    write_logits(project.root / "theirs.csv", replace(source, labels=source.labels))
    names = ("good", str(project.root / "theirs.csv"))
    ours, theirs = evaluate(project, replace(BARE, systems=names)).table
    assert (theirs.name, theirs.kind) == ("theirs", "outside")
    assert theirs.macro_f1 == ours.macro_f1


def test_a_submission_has_the_layout_of_the_challenge(test_data: Path, tmp_path: Path) -> None:
    layout = test_data / "msp_podcast_layout"
    with (layout / "test3_categorical_submission.csv").open() as file:
        expected = list(csv.DictReader(file))
    rows = [
        Utterance(
            row["FileName"].removesuffix(".wav"), layout / "Audios" / row["FileName"], "test3"
        )
        for row in expected
    ]
    codes = "ASHUFDCN"
    labels = ("neutral", "angry", "sad", "happy", "surprise", "fear", "disgust", "contempt")
    column = {label: i for i, label in enumerate(labels)}
    names = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
    values = np.eye(8)[[column[names[codes.index(row["EmoClass"])]] for row in expected]]
    workspace = make_project(tmp_path, [])
    write_manifest(workspace.manifest, rows)
    ids = tuple(row.utterance_id for row in rows)[::-1]
    answers = Logits(ids, values[::-1], labels, np.zeros(len(ids), bool))
    write_logits(workspace.runs / "a" / "logits" / "test3.csv", answers)
    with pytest.raises(ManifestError, match="4 of 4 utterances of test3 have no emotion"):
        evaluate(workspace, replace(BARE, split="test3"))
    path = tmp_path / "mine.csv"
    result = evaluate(workspace, replace(BARE, submission=str(path)))
    assert (result.split, result.num_utterances, result.submission) == ("test3", 4, path)
    assert path.read_bytes() == (layout / "test3_categorical_submission.csv").read_bytes()


def test_a_submission_is_of_one_system_and_one_split(project: Workspace) -> None:
    for systems, split, message in (
        (("good", "poor"), "test", "expected one for a submission"),
        (("good",), "", "No split given"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate(project, EvaluateOptions(systems=systems, split=split, submission="x.csv"))


def test_a_submission_has_a_file_name_once(project: Workspace) -> None:
    rows = list(read_manifest(project.manifest))
    path = next(row.path for row in rows if row.split == "test")
    write_manifest(
        project.manifest, [replace(r, path=path) if r.split == "test" else r for r in rows]
    )
    options = EvaluateOptions(
        systems=("good",), split="test", submission=str(project.root / "x.csv")
    )
    with pytest.raises(UsageError, match=rf"1 files of 'test' .*\({path.name}\), expected a FileN"):
        evaluate(project, options)


def test_a_duration_that_is_no_number_is_measured(project: Workspace) -> None:
    rows = list(read_manifest(project.manifest))
    rows = [replace(row, extra=row.extra | {"duration": "3.2s"}) for row in rows]
    write_manifest(project.manifest, rows)
    report = report_of(evaluate(project, BARE))
    assert set(report["utterances"]["duration"]) == {0.0}  # there is no audio here to measure


def test_a_word_for_a_missing_gender_is_no_group(project: Workspace) -> None:
    rows = read_manifest(project.manifest)
    write_manifest(project.manifest, [replace(r, extra=r.extra | {"gender": "NaN"}) for r in rows])
    assert set(report_of(evaluate(project, BARE))["utterances"]["gender"]) == {""}


def test_spellings_of_a_gender_are_one_group(project: Workspace) -> None:
    rows = read_manifest(project.manifest)
    words = ("F", "female", "Female", "m", "male", "nonbinary")
    write_manifest(
        project.manifest,
        [replace(r, extra=r.extra | {"gender": words[i % 6]}) for i, r in enumerate(rows)],
    )
    groups = report_of(evaluate(project, BARE))["systems"][0]["groups"]["gender"]
    assert {row["name"] for row in groups} == {"female", "male", "nonbinary"}


def test_predicted_labels_that_are_no_emotions_are_refused(project: Workspace) -> None:
    ids = [row.utterance_id for row in read_manifest(project.manifest).select("test")]
    table = project.root / "numbers.csv"
    table.write_text("id,prediction\n" + "".join(f"{n},{i % 3}\n" for i, n in enumerate(ids)))
    with pytest.raises(LogitsError, match="predicts 0, 1, 2, and none of them is an emotion"):
        evaluate(project, replace(BARE, systems=(str(table),), split="test"))


def test_a_limit_without_an_utterance_of_the_split_is_named(project: Workspace) -> None:
    with pytest.raises(UsageError, match="--limit is 1, which leaves no utterance of test"):
        evaluate(project, replace(BARE, limit=1))


def test_emotions_of_the_manifest_that_no_system_has_are_named(project: Workspace) -> None:
    rows = read_manifest(project.manifest)
    assert not any("The manifest also has" in note for note in evaluate(project, BARE).notes)
    new = replace(rows.utterances[0], emotion="calm", split="train")
    write_manifest(project.manifest, [new, *rows.utterances[1:]])
    told = evaluate(project, replace(BARE, systems=("good",))).notes
    assert any("The manifest also has calm: no utterance of test, and no" in note for note in told)


def test_limit_takes_the_rows_that_the_steps_before_took(project: Workspace) -> None:
    limited = read_manifest(project.manifest).limit(60)
    result = evaluate(project, replace(BARE, limit=60))
    report = report_of(result)
    assert report["utterances"]["utterance_id"] == list(limited.select("test").ids)
    assert result.report == project.reports / "test-limit60.json"  # that of all of test stays
    assert report["title"].endswith("utterances, dry run")
    assert report["warnings"][0] == "Dry run: 60 utterances, not all of test."


def test_an_emotion_that_train_alone_has_got_since_harms_no_baseline(tmp_path: Path) -> None:
    rows = frames.make_utterances(folder=tmp_path / "audio")
    workspace = frames.make_project(tmp_path, rows)
    train(workspace, replace(frames.TINY, epochs=1, name="a"))
    export_logits(workspace, ExportLogitsOptions(run="a", device="cpu"))
    write_manifest(workspace.manifest, [replace(rows[0], emotion="sad"), *rows[1:]])
    names = [row.name for row in evaluate(workspace, EvaluateOptions()).table]
    assert names == ["a", MAJORITY, POOLED]


def test_a_run_without_logits_is_told_the_command(project: Workspace) -> None:
    write_run(project.runs / "fresh", TrainOptions())
    with pytest.raises(
        LogitsError, match=r"^Run 'fresh' has no logits yet\. Run: serctl export-log"
    ):
        evaluate(project, replace(BARE, systems=("fresh",)))

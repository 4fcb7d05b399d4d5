"""`serctl train`, from a project on disk to a run on disk."""

import json
from dataclasses import replace

import pytest
from synthetic_frames import TINY, make_project, make_utterances

from serctl.stages.train import train
from serctl.training.checkpoint import load_run


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def test_a_training_leaves_a_run_that_says_what_made_it(project):
    lines = []
    result = train(project, TINY, log=lines.append)
    run = result.runs[0]
    assert run.name == "whisper-tiny+minilm-wce-s0"
    assert run.summary["metrics"]["dev_macro_f1"] > 0.6
    assert len(lines) == 3
    assert "epoch 3/3" in lines[-1]
    metrics = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    assert [record["epoch"] for record in metrics] == [1, 2, 3]
    best = max(metrics, key=lambda record: record["dev_macro_f1"])
    assert run.summary["best_epoch"] == best["epoch"]
    loaded = load_run(run.folder)
    assert loaded.labels == ("angry", "happy", "neutral")
    assert [branch["encoder"] for branch in loaded.branches] == ["whisper-tiny", "minilm"]
    assert {"options", "seed", "environment", "hash"} <= set(loaded.config)
    assert (run.folder / "train_ids.txt").read_text().split() == sorted(
        row.utterance_id for row in make_utterances() if row.split == "train"
    )
    assert not (run.folder / "state.safetensors").exists()


def test_what_is_trained_is_not_trained_again(project):
    first = train(project, replace(TINY, name="again"))
    second = train(project, replace(TINY, name="again"))
    assert not first.runs[0].present
    assert second.runs[0].present
    assert second.runs[0].summary == first.runs[0].summary

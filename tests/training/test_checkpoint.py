"""Runs on disk: named, whole, and refused when damaged."""

import json
from dataclasses import replace

import pytest
import torch
from synthetic_frames import TINY, make_project
from synthetic_run import write_run

from serctl.errors import CheckpointError
from serctl.options import TrainOptions
from serctl.stages.train import train
from serctl.training.checkpoint import load_run, load_tensors, save_tensors
from serctl.training.run_folder import choose_run_name, run_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("project"), encoders=["whisper-tiny", "minilm"])
    return train(project, replace(TINY, epochs=1)).runs[0].folder


@pytest.fixture
def unhashed(folder):
    """The run as an earlier version left it: without hashes in its summary."""
    path = folder / "summary.json"
    text = path.read_text()
    summary = json.loads(text)
    del summary["files"], summary["document_hash"]
    path.write_text(json.dumps(summary))
    yield folder
    path.write_text(text)


def test_tensors_and_counters_come_back_as_they_were(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7.0), "c": torch.arange(5).view(5, 1).T}
    save_tensors(tmp_path / "x", tensors, {"loss": 0.1 + 0.2, "best": float("-inf")})
    found, state = load_tensors(tmp_path / "x")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert state == {"loss": 0.1 + 0.2, "best": float("-inf")}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_damaged_network_is_one_line(unhashed):
    folder = unhashed
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_run(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="serctl train"):
        load_run(folder)
    path.write_bytes(whole)


def test_a_config_that_does_not_fit_its_network_is_refused(unhashed):
    folder = unhashed
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"model": config["model"] | {"hidden": 9}}))
    with pytest.raises(CheckpointError, match="Train it again"):
        load_run(folder)
    path.write_text(json.dumps(config | {"serctl_run": 99}))
    with pytest.raises(CheckpointError, match="run format 99"):
        load_run(folder)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (
            TrainOptions(speech=("whisper",), text=("roberta",)),
            "whisper-large-v3+roberta-large",
        ),
        (TrainOptions(speech=("openai/whisper-large-v3",), seed=3), "whisper-large-v3-s3"),
        (TrainOptions(speech=("a/b c",), loss="wce+sml", limit=9), "a-b-c-sml-limit9"),
        (TrainOptions(speech=("wavlm@0a1b",)), "wavlm-large@0a1b"),
        (TrainOptions(speech=("wavlm",), name="mine"), "mine"),
    ],
)
def test_a_run_is_named_after_encoders_loss_and_seed(options, name):
    assert run_name(options) == name


def test_a_run_of_an_earlier_version_keeps_its_name(tmp_path):
    options = TrainOptions(speech=("wavlm-large",), hidden=8)
    assert choose_run_name(tmp_path, options) == "wavlm-large"
    write_run(tmp_path / "wavlm-large-wce-s0", options)
    assert choose_run_name(tmp_path, options) == "wavlm-large-wce-s0"
    assert choose_run_name(tmp_path, replace(options, hidden=9)) == "wavlm-large"
    write_run(tmp_path / "wavlm-large", options)
    assert choose_run_name(tmp_path, options) == "wavlm-large"

"""Five minutes on a card: `make test-gpu`. Prints what it measures; nothing here ran on ours."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ranks import read_losses, run_ranks
from synthetic_frames import TINY, make_project, make_set, make_utterances

from serctl.data.labels import LabelSet
from serctl.models.fusion import FusionModel
from serctl.options import TrainOptions
from serctl.stages.train import train
from serctl.training.fit import fit, shape_model
from serctl.training.inference import infer
from serctl.training.loader import load_batches

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
ROWS = [replace(row, split="train") for row in make_utterances(512)]
LABELS = LabelSet.of(row.emotion for row in ROWS)
OPTIONS = TrainOptions(loss="wce+sml", epochs=2, select_by="last", profile=True)
SHAPE = shape_model(OPTIONS, [("speech", ""), ("text", "")], len(LABELS))


@pytest.fixture(scope="module")
def data():
    return make_set(ROWS, (1280, 1024))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_autocast_is_close_to_float32(data, precision):
    model = FusionModel((1280, 1024), SHAPE).to(CUDA)
    exact = infer(model, data, CUDA).logits
    half = infer(model, data, CUDA, precision=precision).logits
    np.testing.assert_allclose(half, exact, atol=0.05)


def test_pinned_copies_bring_the_right_frames(data):
    plan = [np.random.default_rng(i).integers(0, 512, 64) for i in range(50)]
    for batch, rows in zip(load_batches(data, plan, CUDA), plan, strict=True):
        want = data.readers[0].frames[data.ids[rows[0]]]
        np.testing.assert_array_equal(batch.frames[0][0, : len(want)].cpu(), want)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_runs_and_says_how_long_it_waits_for_data(data, precision, tmp_path):
    options = replace(OPTIONS, precision=precision)
    started = time.perf_counter()
    summary = fit(data, None, LABELS, SHAPE, options, tmp_path, device=CUDA)
    seconds, parts = time.perf_counter() - started, summary.profile
    assert np.isfinite(summary.loss)
    shares = {name: f"{value / sum(parts.values()):.1%}" for name, value in parts.items()}
    print(f"\n{precision}: {1024 / seconds:,.0f} utterances/s, {shares}")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_ranks_on_two_cards_train_what_one_trains(tmp_path):
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    (tmp_path / "serctl.toml").touch()
    options = replace(TINY, device="cuda", dropout=0.0)
    one = train(project, replace(options, name="one")).runs[0]
    flags = [f"--{name}={getattr(options, name)}" for name in ("hidden", "epochs", "device")]
    flags += ["--speech=whisper-tiny", "--text=minilm", "--dropout=0", "--name=two"]
    done = run_ranks(project, *flags, "--learning-rate=2e-2", "--batch-size=16")
    assert done.returncode == 0, done.stderr
    both = read_losses(tmp_path / "runs" / "two")
    assert both == pytest.approx(read_losses(one.folder), rel=1e-2)

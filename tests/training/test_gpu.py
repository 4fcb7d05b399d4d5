"""Five minutes on a card: `make test-gpu`. Prints what it measures; nothing here ran on ours."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_frames import make_set, make_utterances

from serctl.data.labels import LabelSet
from serctl.models.fusion import FusionModel
from serctl.options import TrainOptions
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

"""The loop learns, is reproducible bit for bit, stops and resumes, and sums parts correctly."""

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from synthetic_frames import TINY, make_set, make_utterances

from serctl.data.labels import LabelSet
from serctl.errors import ConfigError, SerctlError
from serctl.models.fusion import FusionModel, FusionOutput
from serctl.models.mixup import draw_mixup
from serctl.training import loop
from serctl.training.checkpoint import save_tensors
from serctl.training.fit import fit, plan_phases, shape_model
from serctl.training.inference import infer
from serctl.training.loader import load_batches
from serctl.training.loop import Trainer, cosine
from serctl.training.objective import Objective, Targets
from serctl.training.run_folder import STATE
from serctl.training.sampler import split_batch

CPU = torch.device("cpu")
ROWS = make_utterances(64)
LABELS = LabelSet.of(row.emotion for row in ROWS)
ENCODERS = [("speech", "whisper-tiny"), ("text", "minilm"), ("paralinguistic", "egemaps")]


def run(folder: Path, options=TINY, rows=ROWS, dims=(12, 8), **more):
    train = make_set([row for row in rows if row.split == "train"], dims, LABELS)
    dev = make_set([row for row in rows if row.split == "dev"], dims, LABELS)
    folder.mkdir(exist_ok=True)
    shape = shape_model(options, ENCODERS[: len(dims)], len(LABELS))
    return fit(train, dev, LABELS, shape, options, folder, device=CPU, **more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return all(torch.equal(a[name], b[name]) for name in a)


VARIANTS = {
    "wce": TINY,
    "wce+sml": replace(TINY, loss="wce+sml"),
    "mixup": replace(TINY, mixup=0.7),
    "second phase": replace(TINY, balanced_epochs=2, balanced_learning_rate=1e-3),
    "bfloat16": replace(TINY, precision="bfloat16"),
    "accumulate": replace(TINY, accumulate=3, weight_decay=0.1),
}


def test_two_trainings_of_one_seed_are_equal(tmp_path):
    """Those of every variant are, if the second is stopped and continued: see below."""
    run(tmp_path / "one")
    run(tmp_path / "two")
    assert same(tmp_path / "one", tmp_path / "two")


def test_mixup_mixes_with_the_alpha_of_the_options(tmp_path, monkeypatch):
    draws = []

    def draw(*arguments):
        draws.append(draw_mixup(*arguments))
        return draws[-1]

    monkeypatch.setattr(loop, "draw_mixup", draw)
    run(tmp_path, replace(TINY, epochs=1, mixup=1.0, mixup_alpha=1e6))
    # Beta(α, α) is narrow around one half for a large α, and at 0 and 1 for the default of 0.2.
    assert {round(mix.share, 2) for mix in draws} == {0.5}


def test_two_trainings_of_two_seeds_are_not(tmp_path):
    run(tmp_path / "one")
    run(tmp_path / "other", replace(TINY, seed=1))
    assert not same(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "after"),
    list(zip(VARIANTS.values(), [1, 4, 6, 17, 9, 13], strict=True)),
    ids=VARIANTS,
)
def test_a_training_stopped_by_ctrl_c_and_continued_equals_an_uninterrupted_one(
    tmp_path, options, after
):
    options = replace(options, batch_size=8)
    run(tmp_path / "whole", options)
    steps = 0

    def interrupt(n: int = 1, note: str = "") -> None:
        nonlocal steps
        steps += n > 0  # the bar begins with a report of no utterance
        if steps == after:
            os.kill(os.getpid(), signal.SIGINT)

    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", options, advance=interrupt)
    assert steps <= after + 1  # the request is answered after the step that was under way
    run(tmp_path / "parts", options, report=lambda history, line: seen.append(len(history)))
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert seen[0] == after // 6 + 1  # six steps an epoch, and no epoch is repeated


def test_the_state_of_another_serctl_is_refused_in_one_line(tmp_path):
    save_tensors(tmp_path / STATE, {"x": torch.zeros(1)}, {"stage": 0, "epoch": 1})
    with pytest.raises(SerctlError, match=r"another version of serctl.*--overwrite"):
        run(tmp_path)


def test_a_float16_training_begun_without_a_gradient_scaler_continues_with_one(
    tmp_path, monkeypatch
):
    def die(history, line):
        if len(history) == 2:
            raise SerctlError("the disk is full")

    with pytest.raises(SerctlError, match="full"):  # on a CPU: its state holds no scaler
        run(tmp_path, report=die)
    on_card = partial(torch.amp.GradScaler, "cpu", init_scale=2.0**4)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *device, enabled: on_card())
    assert run(tmp_path).epochs == TINY.epochs


def test_an_epoch_that_nobody_heard_of_is_done_again(tmp_path):
    def die(history, line):
        if len(history) == TINY.epochs:
            raise SerctlError("the disk is full")

    with pytest.raises(SerctlError, match="full"):
        run(tmp_path, report=die)
    seen = []
    run(tmp_path, report=lambda history, line: seen.append(len(history)))
    assert seen == [TINY.epochs]


def test_killed_in_its_first_epoch_a_second_stage_begins_again_with_the_same_network(tmp_path):
    options = replace(VARIANTS["second phase"], epochs=2, learning_rate=5e-3)
    run(tmp_path / "whole", options)

    def die(history, line):
        if history[-1].phase == 1:  # the network of this epoch is kept, the state is not
            raise SerctlError("the disk is full")

    with pytest.raises(SerctlError, match="full"):
        run(tmp_path / "parts", options, report=die)
    run(tmp_path / "parts", options)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_a_resumed_training_reports_the_same_losses(tmp_path):
    def losses(summary_folder, **more):
        found, done = [], []
        run(
            summary_folder,
            report=lambda history, line: found.append(history),
            advance=lambda n=1, note="": done.append(n),
            **more,
        )
        size = sum(row.split == "train" for row in ROWS)
        assert sum(done) == TINY.epochs * size  # the bar begins where the training does
        return [(r.loss, r.dev_macro_f1, r.learning_rate) for r in found[-1]]

    def stop(n: int = 1, note: str = "") -> None:
        if "dev macro-F1 0" in note:  # from the second epoch on
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", advance=stop)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("named", "standardised"),
    [(("egemaps",), (False, False, True)), (("*",), (True, True, True)), ((), (False,) * 3)],
)
def test_a_star_standardises_every_branch(named, standardised):
    options = replace(TINY, standardise=named)
    assert shape_model(options, ENCODERS, len(LABELS)).standardise == standardised


@pytest.mark.parametrize(
    ("dims", "loss"), [((12,), "wce"), ((12, 8), "wce+sml"), ((12, 8, 5), "wce+sml")]
)
def test_eight_utterances_can_be_overfitted(tmp_path, dims, loss):
    rows = [replace(row, split="train") for row in ROWS[:8]]
    options = replace(TINY, loss=loss, epochs=40, batch_size=8, dropout=0.0, select_by="last")
    options = replace(options, balance="off")
    data = make_set(rows, dims, LABELS)
    shape = shape_model(options, ENCODERS[: len(dims)], len(LABELS))
    fit(data, None, LABELS, shape, options, tmp_path, device=CPU)
    model = FusionModel(dims, shape)
    model.load_state_dict(weights(tmp_path))
    assert (infer(model, data, CPU).logits.argmax(axis=1) == data.label_ids).all()


def gradients(parts: int, ranks: int = 1, *, soft: bool = False, loss: str = "wce+sml") -> list:
    """Gradients of one batch computed in parts, as by several processes."""
    torch.manual_seed(0)
    options = replace(TINY, loss=loss, dropout=0.0, attribute_weight=0.5)
    votes = {"votes_angry": "2", "votes_happy": "1", "votes_neutral": "1"}
    extra = {"arousal": "1.5", "valence": "2", "dominance": "-1"}
    rows = [
        replace(row, extra=(votes if i % 3 else {}) | (extra if i % 2 else {}))
        for i, row in enumerate(ROWS[:24])
    ]
    data = make_set(rows, soft_targets=soft)
    model = FusionModel((12, 8), shape_model(options, ENCODERS[:2], len(LABELS)))
    objective = Objective.of(options, data.targets, options.class_weights)
    batch = np.arange(20)
    whole = objective.denominators(Targets.of(data, batch, CPU))
    for rank in range(ranks):
        split = split_batch(batch, data.costs, parts * ranks)[rank::ranks]
        for found in load_batches(data, split, CPU):
            output = model(found.frames, found.lengths)
            objective(output, Targets.of(data, found.rows, CPU), whole).backward()
    return [parameter.grad for parameter in model.parameters()]


@given(parts=st.integers(1, 20), ranks=st.integers(1, 3), soft=st.booleans())
@settings(max_examples=12)
def test_parts_and_processes_add_up_to_the_batch(parts, ranks, soft):
    for part, whole in zip(
        gradients(parts, ranks, soft=soft), gradients(1, soft=soft), strict=True
    ):
        torch.testing.assert_close(part, whole, atol=2e-6, rtol=1e-4)


def test_the_scale_of_class_weights_changes_nothing_even_for_soft_targets():
    uneven = make_set(ROWS[:4]).targets
    random = torch.Generator().manual_seed(0)
    output = FusionOutput(torch.randn(24, 3, generator=random), None, None)
    soft = torch.randn(24, 3, generator=random).softmax(dim=1)
    targets = Targets(soft, torch.zeros(24), torch.full((24, 3), torch.nan))

    def value(scheme):
        objective = Objective.of(TINY, uneven, scheme)
        return objective(output, targets, objective.denominators(targets))

    torch.testing.assert_close(value("N/N_j"), value("N/(E*N_j)"))
    assert not torch.isclose(value("N/N_j"), value("none"))


def test_a_class_absent_from_training_has_weight_zero_and_training_continues(tmp_path):
    rows = [row for row in ROWS if row.split != "train" or row.emotion != "angry"]
    assert np.isfinite(run(tmp_path, rows=rows).loss)
    train = make_set([row for row in rows if row.split == "train"], labels=LABELS)
    assert Objective.of(TINY, train.targets, "N/N_j").weights[0] == 0
    assert LABELS.names[0] == "angry"


def test_a_split_with_one_class_can_be_trained_on_but_not_balanced(tmp_path):
    data = make_set([replace(row, emotion="happy") for row in ROWS[:24]], labels=LABELS)
    for options in (TINY, replace(TINY, loss="wce+sml", balance="off")):
        shape = shape_model(options, ENCODERS[:2], 3)
        options = replace(options, select_by="last")
        folder = tmp_path / options.loss
        folder.mkdir()
        summary = fit(data, None, LABELS, shape, options, folder, device=CPU)
        assert np.isfinite(summary.loss)
    phase = plan_phases(replace(TINY, loss="wce+sml"), data, LABELS)[0]
    with pytest.raises(ConfigError, match="--balance off"):
        phase.sampler.batches(0)


def test_features_that_are_not_finite_stop_with_the_utterance(tmp_path):
    data = make_set([row for row in ROWS if row.split == "train"])
    bad = data.ids[5]
    data.readers[1].frames[bad][0, 0] = np.nan
    options = replace(TINY, select_by="last")
    with pytest.raises(SerctlError, match=f"features of 1 utterances .*{bad}"):
        fit(
            data, None, LABELS, shape_model(options, ENCODERS[:2], 3), options, tmp_path, device=CPU
        )


def test_a_loss_that_overflows_stops_with_a_remedy(tmp_path):
    options = replace(TINY, learning_rate=1e30, final_learning_rate=1e30)
    with pytest.raises(SerctlError, match="lower --learning-rate"):
        run(tmp_path, options)


@pytest.mark.parametrize("select_by", ["macro_f1", "bs_f1"])
def test_the_best_epoch_is_kept_and_patience_ends_a_training(tmp_path, select_by):
    values = iter([0.2, 0.5, 0.4, 0.5, 0.3, 0.9])
    data = make_set([row for row in ROWS if row.split == "train"])
    model = FusionModel((12, 8), shape_model(TINY, ENCODERS[:2], 3))
    options = replace(TINY, epochs=6, patience=3, select_by=select_by)
    kept = {}

    def score(model):
        kept[len(kept) + 1] = {k: v.clone() for k, v in model.state_dict().items()}
        return {"dev_macro_f1": 0.1, "dev_bs_f1": 0.1, f"dev_{select_by}": next(values)}

    state = Trainer(model, data, plan_phases(options, data, LABELS), score, options, tmp_path).run()
    assert (state.best_epoch, len(state.history)) == (2, 5)
    assert all(torch.equal(v, kept[2][k]) for k, v in weights(tmp_path).items())


def test_the_learning_rate_is_torchs_cosine():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-6)
    for epoch in range(20):
        assert cosine(epoch, 20, 1e-4, 1e-6) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert cosine(0, 5, 1e-7, 1e-6) == 1e-7  # never raised


def test_a_full_size_network_trains_two_steps(tmp_path):
    rows = [replace(row, split="train") for row in ROWS[:4]]
    data = make_set(rows, (1280, 1024))
    options = replace(TINY, hidden=512, epochs=1, batch_size=2, select_by="last", loss="wce+sml")
    options = replace(options, balance="off", learning_rate=1e-5)
    shape = shape_model(options, ENCODERS[:2], 3)
    summary = fit(data, None, LABELS, shape, options, tmp_path, device=CPU)
    assert np.isfinite(summary.loss)


def test_balancing_leaves_the_class_weights_natural():
    data = make_set(ROWS[:4], labels=LABELS)
    for balance in ("off", "on", "replacement"):
        options = replace(TINY, loss="wce+sml", balance=balance, batch_size=2)
        weights = plan_phases(options, data, LABELS)[0].objective.weights
        counts = np.bincount(data.label_ids, minlength=3)
        np.testing.assert_allclose(weights, 4 / counts)


def test_the_second_stage_draws_classes_alike_and_does_not_weigh_them():
    data = make_set(ROWS[:40], labels=LABELS)
    options = replace(TINY, balanced_epochs=2, balanced_learning_rate=1e-6)
    second = plan_phases(options, data, LABELS)[1]
    drawn = np.concatenate([np.concatenate(second.sampler.batches(epoch)) for epoch in range(50)])
    shares = np.bincount(data.label_ids[drawn]) / len(drawn)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    assert second.objective.weights.tolist() == [1, 1, 1]
    assert second.learning_rate == 1e-6

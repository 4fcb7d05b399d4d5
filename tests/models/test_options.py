"""The optional parts, each against its formula: statistics, heads, MixUp, logit adjustment."""

import numpy as np
import pytest
import torch

from serctl.models.adjustment import logit_adjustment
from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.layers import StatisticsPooling, make_mask
from serctl.models.mixup import draw_mixup

FRAMES = [torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))]
LENGTHS = [torch.tensor([6, 1, 3, 4])]


def make_model(**options: object) -> FusionModel:
    torch.manual_seed(0)
    return FusionModel([5], ModelConfig(num_classes=3, hidden=8, **options)).eval()  # type: ignore[arg-type]


def test_the_default_has_no_optional_part() -> None:
    output = make_model()(FRAMES, LENGTHS)
    assert output.neutral is None
    assert output.attributes is None
    assert not dict(make_model().named_buffers())


def test_heads_have_the_shapes_they_promise() -> None:
    output = make_model(neutral_head=True, num_attributes=3)(FRAMES, LENGTHS)
    assert (output.logits.shape, output.neutral.shape) == ((4, 3), (4,))
    assert output.attributes.shape == (4, 3)


def test_heads_read_the_same_normalised_vector() -> None:
    model = make_model(neutral_head=True, num_attributes=2)
    seen: list[torch.Tensor] = []
    for head in (model.emotion_head, model.neutral_head, model.attribute_head):
        head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(FRAMES, LENGTHS)
    assert all(torch.equal(vector, seen[0]) for vector in seen)
    torch.testing.assert_close(seen[0].mean(-1), torch.zeros(4), atol=1e-6, rtol=0)


def test_statistics_pooling_is_the_weighted_mean_and_deviation() -> None:
    torch.manual_seed(0)
    pooling = StatisticsPooling(5)
    pooled = pooling(FRAMES[0], make_mask(LENGTHS[0], 6))
    first, _, last = pooling.score
    for row, length in enumerate(LENGTHS[0].tolist()):
        r = FRAMES[0][row, :length].double()
        e = torch.tanh(r @ first.weight.double().T + first.bias) @ last.weight[0].double()
        w = np.exp(e.detach().numpy())
        w = w / w.sum()
        mean = (w[:, None] * r.numpy()).sum(0)
        variance = (w[:, None] * r.numpy() ** 2).sum(0) - mean**2
        deviation = np.sqrt(np.maximum(variance, 1e-5))
        np.testing.assert_allclose(
            pooled[row].detach(), np.concatenate([mean, deviation]), atol=1e-5
        )


def test_standardised_frames_have_the_given_mean_and_deviation() -> None:
    model, plain = make_model(standardise=(True,)), make_model()
    plain.load_state_dict(model.state_dict(), strict=False)
    mean, deviation = torch.arange(5.0), torch.tensor([1.0, 2.0, 0.0, 4.0, 0.5])
    model.set_standardisation(0, mean, deviation)
    scaled = (FRAMES[0] - mean) / torch.tensor([1.0, 2.0, 1.0, 4.0, 0.5])
    torch.testing.assert_close(model(FRAMES, LENGTHS).logits, plain([scaled], LENGTHS).logits)
    assert {"branches.0.mean", "branches.0.deviation"} <= set(model.state_dict())


def test_mixup_mixes_vectors_in_front_of_the_heads_and_targets_alike() -> None:
    model = make_model()
    mix = draw_mixup(4, 0.2, 1.0, np.random.default_rng(1))
    vectors: list[torch.Tensor] = []
    model.norm.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0]))
    plain, mixed = model(FRAMES, LENGTHS), model(FRAMES, LENGTHS, mix)
    share, other = mix.share, mix.permutation
    torch.testing.assert_close(
        vectors[1], share * vectors[0] + (1 - share) * vectors[0][other], atol=1e-6, rtol=1e-5
    )
    assert not torch.equal(plain.logits, mixed.logits)
    targets = mix(torch.eye(4))
    assert targets[0, 0] == pytest.approx(share if other[0] != 0 else 1.0)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_mixup_draws_from_its_beta_in_its_share_of_the_batches() -> None:
    generator = np.random.default_rng(0)
    draws = [draw_mixup(4, 0.2, 0.3, generator) for _ in range(4000)]
    shares = np.array([draw.share for draw in draws if draw])
    assert len(shares) / 4000 == pytest.approx(0.3, abs=0.03)
    # Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / 5.6, abs=0.02)
    repeated = draw_mixup(4, 0.2, 1.0, np.random.default_rng(5))
    assert repeated.share == draw_mixup(4, 0.2, 1.0, np.random.default_rng(5)).share
    assert draw_mixup(4, 0.2, 0.0, generator) is None


COUNTS = torch.tensor([60.0, 30.0, 10.0])


def test_logit_adjustment_adds_the_log_prior() -> None:
    logits = torch.randn(7, 3)
    expected = logits + 1.5 * torch.tensor([0.6, 0.3, 0.1]).log()
    torch.testing.assert_close(logit_adjustment(COUNTS, tau=1.5)(logits), expected)


def test_vector_scaling_is_abhinayas_formula() -> None:
    logits = torch.randn(7, 3)
    scale = torch.tensor([1.0, 0.5**0.3, (1 / 6) ** 0.3])
    expected = scale * logits + torch.tensor([0.6, 0.3, 0.1]).log()
    torch.testing.assert_close(logit_adjustment(COUNTS, gamma=0.3)(logits), expected)


def test_an_absent_class_stays_finite() -> None:
    counts = torch.tensor([90.0, 0.0, 10.0])
    logits = torch.zeros(1, 3)
    assert logit_adjustment(counts, gamma=0.3)(logits).isfinite().all()

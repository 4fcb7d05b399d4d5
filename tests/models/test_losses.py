"""Losses against PyTorch's, and the promise that the parts of a batch add up to the whole."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from serctl.models.losses import (
    attribute_mse,
    class_weights,
    soft_margin_loss,
    soft_targets,
    total_class_weight,
    weighted_cross_entropy,
)

COUNTS = torch.tensor([40, 10, 0, 5])
WEIGHTS = class_weights(COUNTS)
CUTS = st.lists(st.integers(0, 12), max_size=3).map(lambda cuts: [0, *sorted(cuts), 12])


def make_batch(*, soft: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(12, 4, generator=generator)
    if soft:
        return logits, torch.rand(12, 4, generator=generator).softmax(-1)
    return logits, torch.tensor([0, 1, 3] * 4)


def test_class_weights_follow_equation_3_and_an_absent_class_weighs_nothing() -> None:
    assert WEIGHTS.tolist() == pytest.approx([55 / 40, 55 / 10, 0, 55 / 5])
    released = class_weights(COUNTS, "N/(E*N_j)")
    assert released.tolist() == pytest.approx([55 / 160, 55 / 40, 0, 55 / 20])
    assert class_weights(COUNTS, "none").tolist() == [1, 1, 0, 1]


def test_cross_entropy_of_label_ids_is_pytorchs() -> None:
    logits, ids = make_batch(soft=False)
    expected = nn.CrossEntropyLoss(WEIGHTS)(logits, ids)
    torch.testing.assert_close(weighted_cross_entropy(logits, ids, WEIGHTS), expected)


def test_cross_entropy_of_soft_targets_is_pytorchs_with_the_weight_as_denominator() -> None:
    logits, shares = make_batch(soft=True)
    summed = nn.CrossEntropyLoss(WEIGHTS, reduction="sum")(logits, shares)
    expected = summed / (shares @ WEIGHTS).sum()
    torch.testing.assert_close(weighted_cross_entropy(logits, shares, WEIGHTS), expected)


@pytest.mark.parametrize("soft", [False, True])
def test_the_scale_of_the_class_weights_cancels(soft: bool) -> None:
    logits, targets = make_batch(soft=soft)
    released = class_weights(COUNTS, "N/(E*N_j)")
    torch.testing.assert_close(
        weighted_cross_entropy(logits, targets, WEIGHTS),
        weighted_cross_entropy(logits, targets, released),
    )


def test_label_ids_are_the_soft_targets_that_name_one_class() -> None:
    logits, ids = make_batch(soft=False)
    torch.testing.assert_close(
        weighted_cross_entropy(logits, soft_targets(ids, 4), WEIGHTS),
        weighted_cross_entropy(logits, ids, WEIGHTS),
    )


@settings(max_examples=25, deadline=None)
@given(cuts=CUTS, soft=st.booleans())
def test_parts_of_a_batch_add_up_to_the_gradient_of_the_whole(cuts: list[int], soft: bool) -> None:
    logits, targets = make_batch(soft=soft)
    is_neutral = targets[:, 0] if soft else targets == 0
    ratings = torch.where(logits > 1, float("nan"), logits.flip(0))
    total, rated = total_class_weight(targets, WEIGHTS), (~ratings.isnan()).sum()

    def loss(x: torch.Tensor, part: slice, whole: bool) -> torch.Tensor:
        return (
            weighted_cross_entropy(x, targets[part], WEIGHTS, None if whole else total)
            + soft_margin_loss(x[:, 0], is_neutral[part], None if whole else 12)
            + attribute_mse(x, ratings[part], None if whole else rated)
        )

    whole, parts = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss(whole, slice(None), True).backward()
    for start, stop in pairwise(cuts):
        loss(parts[start:stop], slice(start, stop), False).backward()
    torch.testing.assert_close(parts.grad, whole.grad)


def test_a_batch_of_absent_classes_only_costs_nothing() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.tensor([2, 2, 2]), WEIGHTS)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_soft_margin_is_pytorchs_and_mixes_linearly() -> None:
    x, share = torch.randn(9), torch.rand(9)
    margin = nn.SoftMarginLoss(reduction="none")
    neutral, expressive = margin(x, torch.ones(9)), margin(x, -torch.ones(9))
    is_neutral = torch.arange(9) % 2 == 0
    expected = torch.where(is_neutral, neutral, expressive).mean()
    torch.testing.assert_close(soft_margin_loss(x, is_neutral), expected)
    expected = (share * neutral + (1 - share) * expressive).mean()
    torch.testing.assert_close(soft_margin_loss(x, share), expected)


@pytest.mark.parametrize("soft", [False, True])
def test_autocast_changes_no_loss(soft: bool) -> None:
    logits, targets = make_batch(soft=soft)
    expected = weighted_cross_entropy(logits, targets, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        assert weighted_cross_entropy(logits, targets, WEIGHTS) == expected


def test_losses_of_bfloat16_outputs_are_float32() -> None:
    logits, ids = make_batch(soft=False)
    low = logits.bfloat16()
    assert weighted_cross_entropy(low, ids, WEIGHTS).dtype == torch.float32
    assert soft_margin_loss(low[:, 0], ids == 0).dtype == torch.float32
    assert attribute_mse(low, logits).dtype == torch.float32


def test_the_attribute_loss_is_the_mean_over_the_ratings_that_exist() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=generator)
    y = x + torch.randn(20, 3, generator=generator) + 0.5
    y[::4, 1] = float("nan")
    squares = [(x[:, a] - y[:, a])[~y[:, a].isnan()].double() ** 2 for a in range(3)]
    assert attribute_mse(x, y).item() == pytest.approx(torch.cat(squares).mean().item())


def test_missing_ratings_leave_gradients_finite() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    y = torch.randn(4, 3)
    y[0], y[:, 2] = float("nan"), float("nan")
    attribute_mse(x, y).backward()
    assert x.grad.isfinite().all()
    assert (x.grad[0] == 0).all()
    assert (x.grad[:, 2] == 0).all()

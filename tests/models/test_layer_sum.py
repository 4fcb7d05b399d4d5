"""A branch of several layers: against one layer, against NumPy, and under padding."""

import numpy as np
import pytest
import torch
from torch import Tensor

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.layers import LayerSum

DIM, LENGTHS = 6, (7, 3)


def make_models(layers: int, **more: object) -> tuple[FusionModel, FusionModel]:
    """Return a network over summed layers and the network over one, of the same weights."""
    summing = ModelConfig(num_classes=4, hidden=8, layers=(layers, 1), **more)  # type: ignore[arg-type]
    single = ModelConfig(num_classes=4, hidden=8)
    torch.manual_seed(0)
    both = FusionModel([DIM, 5], summing)
    torch.manual_seed(0)
    one = FusionModel([DIM, 5], single)
    return both.eval(), one.eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(model: FusionModel, first: Tensor, second: Tensor) -> Tensor:
    return model([first, second], [torch.tensor(LENGTHS), torch.tensor(LENGTHS)]).logits


def test_the_sum_draws_no_random_numbers_so_all_other_weights_are_the_same() -> None:
    both, one = make_models(3)
    state = both.state_dict()
    assert state.pop("branches.0.layer_sum.scores").tolist() == [0.0] * 3
    assert state.keys() == one.state_dict().keys()
    for name, value in one.state_dict().items():
        assert torch.equal(state[name], value)


def test_a_sum_over_one_layer_is_that_layer() -> None:
    rows = draw(1, 9, DIM)
    assert torch.equal(LayerSum(1)(rows), rows[0])
    both, one = make_models(1)
    assert both.branches[0].layer_sum is None
    other = draw(2, 7, 5, seed=1)
    assert torch.equal(run(both, draw(2, 7, DIM), other), run(one, draw(2, 7, DIM), other))


def test_all_the_weight_on_one_layer_is_the_network_of_that_layer() -> None:
    both, one = make_models(3)
    with torch.no_grad():
        both.branches[0].layer_sum.scores.copy_(torch.tensor([-1e9, 0.0, -1e9]))  # type: ignore[union-attr]
    frames, other = draw(2, 3, 7, DIM), draw(2, 7, 5, seed=1)
    assert torch.equal(run(both, frames, other), run(one, frames[:, 1], other))
    assert both.layer_shares() == {0: [0.0, 1.0, 0.0]}


@pytest.mark.parametrize("normalise", [False, True])
def test_three_layers_are_summed_as_numpy_sums_them(normalise: bool) -> None:
    both, one = make_models(3, normalise_layers=normalise)
    scores = np.array([0.5, -1.0, 0.2])
    with torch.no_grad():
        both.branches[0].layer_sum.scores.copy_(torch.from_numpy(scores))  # type: ignore[union-attr]
    frames, other = draw(2, 3, 7, DIM), draw(2, 7, 5, seed=1)
    layers = frames.double().numpy()
    if normalise:
        centred = layers - layers.mean(axis=-1, keepdims=True)
        layers = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    shares = np.exp(scores) / np.exp(scores).sum()
    summed = torch.from_numpy(np.tensordot(shares, layers, axes=(0, 1))).float()
    torch.testing.assert_close(run(both, frames, other), run(one, summed, other))


def test_the_statistics_of_each_layer_standardise_it() -> None:
    both, one = make_models(2, standardise=(True, False))
    mean, deviation = draw(2, DIM, seed=3), draw(2, DIM, seed=4).abs() + 0.5
    both.set_standardisation(0, mean, deviation)
    frames, other = draw(2, 2, 7, DIM), draw(2, 7, 5, seed=1)
    scaled = (frames - mean[:, None]) / deviation[:, None]
    torch.testing.assert_close(run(both, frames, other), run(one, scaled.mean(dim=1), other))


def test_layers_side_by_side_are_one_layer_of_all_their_features() -> None:
    config = ModelConfig(num_classes=4, hidden=8, layers=(3, 1), layer_fusion="concat")
    torch.manual_seed(0)
    both = FusionModel([DIM, 5], config).eval()
    torch.manual_seed(0)
    wide = FusionModel([3 * DIM, 5], ModelConfig(num_classes=4, hidden=8)).eval()
    frames, other = draw(2, 3, 7, DIM), draw(2, 7, 5, seed=1)
    joined = frames.transpose(1, 2).flatten(start_dim=2)  # (B, T, L·D)
    assert torch.equal(run(both, frames, other), run(wide, joined, other))
    assert both.layer_shares() == {}


@pytest.mark.parametrize("fusion", ["sum", "concat"])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("garbage", [0.0, 1e30, float("nan")])
def test_padding_and_companions_do_not_matter(garbage: float, factor: int, fusion: str) -> None:
    shape = {"normalise_layers": True, "downsample": (factor, 1), "layer_fusion": fusion}
    both, _ = make_models(3, **shape)
    frames, other = draw(2, 3, 7, DIM), draw(2, 7, 5, seed=1)
    together = run(both, frames, other)
    padded, others = torch.full((2, 3, 12, DIM), garbage), torch.full((2, 12, 5), garbage)
    for b, length in enumerate(LENGTHS):
        padded[b, :, :length], others[b, :length] = frames[b, :, :length], other[b, :length]
        lengths = [torch.tensor([length])] * 2
        alone = both([padded[b : b + 1], others[b : b + 1]], lengths).logits
        torch.testing.assert_close(alone[0], together[b])
    torch.testing.assert_close(run(both, padded, others), together)


def test_the_weights_are_learned_towards_the_informative_layer() -> None:
    layer = LayerSum(3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    rows = draw(3, 200, 4)
    for _ in range(200):
        optimizer.zero_grad()
        (layer(rows) - rows[2]).square().mean().backward()
        optimizer.step()
    assert layer.shares[2] > 0.95

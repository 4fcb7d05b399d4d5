"""The network against a slow forward pass written from the paper, one utterance at a time.

The reference uses NumPy alone: its own GRU, attention and pooling, every matrix product in the
order of the equations, no batch and therefore no masks.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel

Array = NDArray[np.float64]
DIMS = (6, 5, 4)
LENGTHS = (7, 3, 9)
SMALL = ModelConfig(num_classes=4, hidden=8)
RELEASED = ModelConfig(num_classes=4, hidden=8, pooling="linear", attention="query")


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Paper:
    """Section 3.1 for one utterance; ``p`` holds the parameters by name."""

    def __init__(self, model: FusionModel, heads: tuple[int, ...], *, released: bool) -> None:
        state: Mapping[str, torch.Tensor] = model.state_dict()
        self.p = {name: value.double().numpy() for name, value in state.items()}
        self.heads = heads
        self.released = released

    def linear(self, name: str, x: Array) -> Array:
        bias = self.p.get(f"{name}.bias")
        return x @ self.p[f"{name}.weight"].T + (0.0 if bias is None else bias)

    def layer_norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return x * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def gru(self, name: str, x: Array, suffix: str) -> Array:
        w, u, b, c = (
            self.p[f"{name}.{kind}_l0{suffix}"]
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = np.zeros(u.shape[1])
        states = []
        for frame in x:
            (w_r, w_z, w_n), (u_r, u_z, u_n) = np.split(w @ frame + b, 3), np.split(u @ h + c, 3)
            r, z = sigmoid(w_r + u_r), sigmoid(w_z + u_z)
            h = (1 - z) * np.tanh(w_n + r * u_n) + z * h
            states.append(h)
        return np.array(states)

    def branch(self, i: int, x: Array) -> Array:
        x = self.layer_norm(f"branches.{i}.norm", self.linear(f"branches.{i}.projection", x))
        name = f"branches.{i}.gru"
        forward, backward = self.gru(name, x, ""), self.gru(name, x[::-1], "_reverse")[::-1]
        return np.concatenate([forward, backward], axis=1)

    def attention(self, name: str, query: Array, key: Array, heads: int) -> Array:
        w_q, w_k, w_v = np.split(self.p[f"{name}.in_proj_weight"], 3)
        b_q, b_k, b_v = np.split(self.p[f"{name}.in_proj_bias"], 3)
        q, k, v = query @ w_q.T + b_q, key @ w_k.T + b_k, key @ w_v.T + b_v
        outputs = [
            softmax(qh @ kh.T / sqrt(qh.shape[1])) @ vh
            for qh, kh, vh in zip(*(np.split(x, heads, axis=1) for x in (q, k, v)), strict=True)
        ]
        return self.linear(f"{name}.out_proj", np.concatenate(outputs, axis=1))

    def pooling(self, i: int, r: Array) -> Array:
        scale = 1.0 if self.released else 1 / sqrt(r.shape[1])
        w = softmax(self.linear(f"branches.{i}.pooling.score", r)[:, 0] * scale)
        return w @ r

    def logits(self, frames: list[Array]) -> Array:
        read = [self.branch(i, x) for i, x in enumerate(frames)]
        pooled = []
        for i, own in enumerate(read):
            fused = own.copy()
            for j, other in enumerate(partner for k, partner in enumerate(read) if k != i):
                name = f"branches.{i}.attentions.{0 if self.released else j}"
                fused += self.attention(name, own, other, self.heads[i])
            pooled.append(self.pooling(i, fused))
        x = self.layer_norm("norm", np.concatenate(pooled))
        return self.linear("emotion_head.3", np.maximum(self.linear("emotion_head.0", x), 0))


def make_inputs(num_branches: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = zip(LENGTHS[:num_branches], DIMS[:num_branches], strict=True)
    return [torch.randn(1, length, dim, generator=generator) for length, dim in sizes]


def run(model: FusionModel, frames: list[torch.Tensor]) -> torch.Tensor:
    return model(frames, [torch.tensor([x.shape[1]]) for x in frames]).logits


def make_model(num_branches: int, config: ModelConfig = SMALL, seed: int = 0) -> FusionModel:
    """A model whose biases are not the zeros that some of them start from."""
    torch.manual_seed(seed)
    model = FusionModel(DIMS[:num_branches], config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("num_branches", [1, 2, 3])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("released", [False, True])
def test_logits_are_those_of_the_equations(num_branches: int, heads: int, released: bool) -> None:
    by_branch = (1, 1, heads)[:num_branches] if released else (heads,) * num_branches
    shape = {"num_classes": 4, "hidden": 8, "heads": by_branch}
    variant = {"pooling": "linear", "attention": "query"} if released else {}
    model = make_model(num_branches, ModelConfig(**shape, **variant))
    for seed in range(3):
        frames = make_inputs(num_branches, seed)
        expected = Paper(model, by_branch, released=released).logits(
            [x[0].double().numpy() for x in frames]
        )
        np.testing.assert_allclose(run(model, frames)[0].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("num_branches", [1, 2, 3])
@pytest.mark.parametrize("config", [SMALL, RELEASED], ids=["paper", "released"])
def test_every_part_of_every_branch_changes_the_logits(
    num_branches: int, config: ModelConfig
) -> None:
    model, frames = make_model(num_branches, config), make_inputs(num_branches)
    whole = run(model, frames)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            continue
        kept = parameter.data.clone()
        parameter.data.zero_()
        assert (run(model, frames) - whole).abs().max() > 1e-4, name
        parameter.data.copy_(kept)
    torch.testing.assert_close(run(model, frames), whole)


@pytest.mark.parametrize("num_branches", [1, 2, 3])
@pytest.mark.parametrize("config", [SMALL, RELEASED], ids=["paper", "released"])
def test_every_parameter_gets_a_gradient(num_branches: int, config: ModelConfig) -> None:
    model = make_model(num_branches, config)
    run(model, make_inputs(num_branches)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("score.bias"):  # the softmax of the released pooling cancels its bias
            assert parameter.grad.abs().max() < 1e-5, name
        else:
            assert parameter.grad.abs().max() > 1e-7, name


def test_parameter_counts_are_the_released_networks() -> None:
    with torch.device("meta"):
        two, three = FusionModel([1280, 1024]), FusionModel([1280, 1024, 512])
    assert sum(parameter.numel() for parameter in two.parameters()) == 16_942_600
    assert sum(parameter.numel() for parameter in three.parameters()) == 37_679_112


def test_pairs_have_weights_of_their_own_unless_a_query_shares_them() -> None:
    pair, query = make_model(3, SMALL), make_model(3, RELEASED)
    assert [len(branch.attentions) for branch in pair.branches] == [2, 2, 2]
    assert [len(branch.attentions) for branch in query.branches] == [1, 1, 1]
    assert [len(branch.attentions) for branch in make_model(1).branches] == [0]


def test_a_list_that_does_not_fit_the_branches_is_refused() -> None:
    with pytest.raises(ValueError, match="2 branches"):
        FusionModel([4, 4], ModelConfig(heads=(1, 1, 2)))

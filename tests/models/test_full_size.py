"""The paper's network at its real size, and in reduced precision."""

import pytest
import torch

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.losses import class_weights, soft_margin_loss, weighted_cross_entropy

LENGTHS = [torch.tensor([40, 23, 1, 31]), torch.tensor([9, 3, 12, 5])]
LABELS = torch.tensor([0, 7, 2, 7])


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(4, 40, 1280, generator=generator),
        torch.randn(4, 12, 1024, generator=generator),
    ]


def make_model() -> FusionModel:
    torch.manual_seed(0)
    return FusionModel([1280, 1024], ModelConfig(neutral_head=True))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_full_size_network_trains_two_steps(frames: list[torch.Tensor], bfloat16: bool) -> None:
    model = make_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    weights = class_weights(torch.tensor([1, 0, 1, 0, 0, 0, 0, 2]))
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = model(frames, LENGTHS)
            loss = weighted_cross_entropy(output.logits, LABELS, weights)
            loss = loss + soft_margin_loss(output.neutral, LABELS == 7)
        assert loss.isfinite()
        assert loss.dtype == torch.float32
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
        assert not torch.equal(value, before[name]), name


def test_bfloat16_logits_are_close_to_float32_and_ignore_companions(
    frames: list[torch.Tensor],
) -> None:
    model = make_model().eval()
    with torch.no_grad():
        expected = model(frames, LENGTHS).logits
        with torch.autocast("cpu", torch.bfloat16):
            together = model(frames, LENGTHS).logits
            alone = model([x[1:2] for x in frames], [x[1:2] for x in LENGTHS]).logits
    spread = expected.std()
    assert together.dtype == torch.float32
    assert not torch.equal(together, expected)
    assert (together - expected).abs().max() < 0.05 * spread
    assert (together[1] - alone[0]).abs().max() < 0.05 * spread

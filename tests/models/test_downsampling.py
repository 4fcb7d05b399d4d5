"""Averages of consecutive frames: against NumPy, and a network against one on averaged frames."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.layers import average_frames


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    factor=st.integers(1, 5),
    layers=st.integers(0, 2),
)
def test_frames_are_averaged_as_numpy_averages_them(
    lengths: list[int], factor: int, layers: int
) -> None:
    shape = (len(lengths), *([layers] if layers else []), 10, 3)
    frames = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    averaged, kept = average_frames(torch.from_numpy(frames), torch.tensor(lengths), factor)
    assert kept.tolist() == [-(-length // factor) for length in lengths]
    for b, length in enumerate(lengths):
        for k, start in enumerate(range(0, length, factor)):
            group = frames[b, ..., start : min(start + factor, length), :].astype(np.float64)
            np.testing.assert_allclose(
                averaged[b, ..., k, :].numpy(), group.mean(axis=-2), rtol=1e-3, atol=1e-3
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_network_that_downsamples_is_the_network_on_averaged_frames(dtype: torch.dtype) -> None:
    shape = {"num_classes": 4, "hidden": 8, "standardise": (True, False)}
    models = []
    for downsample in ((3, 1), ()):
        torch.manual_seed(0)
        models.append(FusionModel([6, 5], ModelConfig(**shape, downsample=downsample)).eval())
    for model in models:
        model.set_standardisation(0, torch.arange(6.0), torch.full((6,), 2.0))
    generator = torch.Generator().manual_seed(1)
    speech = torch.randn(2, 9, 6, generator=generator).to(dtype)
    text = torch.randn(2, 4, 5, generator=generator)
    lengths, words = torch.tensor([9, 7]), torch.tensor([4, 2])
    averaged, fewer = average_frames(speech, lengths, 3)
    torch.testing.assert_close(
        models[0]([speech, text], [lengths, words]).logits,
        models[1]([averaged, text], [fewer, words]).logits,
    )

"""FACodec on random tiny checkpoints: batches, lengths, variants, precision."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tiny_facodec import TINY, lowpass, write_facodec

from serctl.encoders.base import EncoderIdentity
from serctl.encoders.facodec.encoder import FacodecEncoder
from serctl.encoders.facodec.layers import Activation
from serctl.encoders.load import identify_encoder, load_encoder
from serctl.errors import AudioError, UsageError


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("facodec")
    return {version: write_facodec(root / version, version) for version in ("v1", "v2")}


def load(folder: Path, name: str = "facodec", dtype: str = "float32") -> FacodecEncoder:
    identity = EncoderIdentity(name, "paralinguistic", "local", "", -1, dtype, "whole")
    return FacodecEncoder.load(folder, identity)


@pytest.fixture(scope="module")
def encoder(folders: dict[str, Path]) -> FacodecEncoder:
    return load(folders["v2"])


def test_frames_do_not_depend_on_the_batch(encoder: FacodecEncoder) -> None:
    waves = [noise(size, size) for size in (4000, 431, 9999, 4000)]
    for wave, frames in zip(waves, encoder.encode(waves), strict=True):
        assert np.array_equal(frames, encoder.encode([wave])[0])


@given(size=st.integers(400, 3000))
def test_every_200_samples_and_the_rest_make_a_frame(encoder: FacodecEncoder, size: int) -> None:
    (frames,) = encoder.encode([noise(size)])
    assert frames.shape == (size // 200 + 1, encoder.dim)
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()


def test_v2_says_why_it_cannot_take_less_than_25_ms(encoder: FacodecEncoder) -> None:
    reason = "399 samples is too short.*at least 400 samples .25 ms"
    with pytest.raises(AudioError, match=reason):
        encoder.encode([noise(399)])
    with pytest.raises(AudioError, match=reason):
        encoder.cost(399)


def test_v1_takes_a_single_sample(folders: dict[str, Path]) -> None:
    assert load(folders["v1"]).encode([noise(1)])[0].shape == (1, 32)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_prosody_alone_is_the_first_half_of_both(folders: dict[str, Path], version: str) -> None:
    wave = noise(5000)
    (both,) = load(folders[version]).encode([wave])
    prosody = load(folders[version], "facodec-prosody")
    assert prosody.dim == both.shape[1] // 2
    assert np.array_equal(prosody.encode([wave])[0], both[:, : prosody.dim])


def test_prosody_of_v2_runs_without_the_convolutional_encoder(folders: dict[str, Path]) -> None:
    encoder = load(folders["v2"], "facodec-prosody")
    del encoder._network.block, encoder._network.timbre_encoder
    assert encoder.encode([noise(1000)])[0].shape == (6, 16)


def test_prosody_takes_few_values_and_timbre_changes_every_frame(encoder: FacodecEncoder) -> None:
    (frames,) = encoder.encode([noise(40_000)])
    assert len(np.unique(frames[:, :16], axis=0)) <= 64
    assert len(np.unique(frames[:, 16:], axis=0)) == len(frames)


def test_lower_precision_stays_close(tmp_path: Path) -> None:
    # 8, not 4: torch 2.13 convolves 8 bfloat16 channels at stride 4 wrongly on CPUs with AMX.
    folder = write_facodec(tmp_path, sizes=TINY | {"channels": 8})
    wave = noise(8000)
    (exact,) = load(folder).encode([wave])
    (rough,) = load(folder, dtype="bfloat16").encode([wave])
    assert rough.dtype == np.float32
    assert not np.array_equal(rough, exact)
    assert np.abs(rough - exact)[:, 16:].mean() < 0.1


@given(length=st.integers(1, 70), channels=st.integers(1, 5), seed=st.integers(0, 9))
def test_the_activation_is_two_depthwise_convolutions_around_a_snake(
    length: int, channels: int, seed: int
) -> None:
    torch.manual_seed(seed)
    taps = torch.from_numpy(lowpass(())).float()
    x, alpha, beta = torch.randn(1, channels, length), torch.randn(channels), torch.randn(channels)
    activation = Activation(channels).requires_grad_(False)
    activation.load_state_dict(
        {
            "act.alpha": alpha,
            "act.beta": beta,
            "upsample.filter": taps.view(1, 1, 12),
            "downsample.lowpass.filter": taps.view(1, 1, 12),
        }
    )
    kernel = taps.expand(channels, 1, 12)
    padded = F.pad(x, (5, 5), mode="replicate")
    up = 2 * F.conv_transpose1d(padded, kernel, stride=2, groups=channels)[..., 15:-15]
    up = up + (up * alpha[:, None].exp()).sin() ** 2 / (beta[:, None].exp() + 1e-9)
    down = F.conv1d(F.pad(up, (5, 6), mode="replicate"), kernel, stride=2, groups=channels)
    torch.testing.assert_close(activation(x), down, atol=2e-5, rtol=1e-5)


def test_the_catalogue_leads_to_it(folders: dict[str, Path]) -> None:
    mapping = {"ns3": folders["v2"]}
    encoder = load_encoder("facodec", mapping=mapping)
    assert encoder.identity == identify_encoder("ns3", mapping=mapping)
    assert encoder.frame_rate == 80
    assert encoder.cost(16_000) == pytest.approx(81 / 80)
    assert encoder.encode([noise(1000)])[0].shape == (6, 32)
    with pytest.raises(UsageError, match="no layers"):
        identify_encoder("facodec", mapping=mapping, layer=3)

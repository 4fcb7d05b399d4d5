"""eGeMAPS low-level descriptors against openSMILE used directly."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serctl.data.audio import read_audio
from serctl.encoders.base import Encoder
from serctl.encoders.load import load_encoder

opensmile = pytest.importorskip("opensmile", reason="the demo extra is not installed")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("egemaps")


def test_descriptors_are_those_of_opensmile_reading_the_file_itself(
    encoder: Encoder, test_data: Path
) -> None:
    files = sorted((test_data / "emodb").rglob("*.flac"))[:3]
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
    for frames, file in zip(encoder.encode([read_audio(f) for f in files]), files, strict=True):
        np.testing.assert_array_equal(frames, smile.process_file(file).to_numpy())


def test_frames_come_a_hundred_a_second_and_even_a_click_has_one(encoder: Encoder) -> None:
    generator = np.random.default_rng(0)
    sizes = (1, 959, 960, 16_000, 48_001)
    waves = [generator.standard_normal(size).astype(np.float32) * 0.1 for size in sizes]
    made = encoder.encode(waves)
    assert [frames.shape for frames in made] == [(2, 25), (2, 25), (2, 25), (96, 25), (296, 25)]
    assert all(np.isfinite(frames).all() for frames in made)
    assert (encoder.dim, encoder.frame_rate) == (25, 100.0)


def test_several_threads_may_encode_at_once(encoder: Encoder) -> None:
    generator = np.random.default_rng(2)
    waves = [generator.standard_normal(n).astype(np.float32) * 0.1 for n in range(3000, 9000, 500)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda wave: encoder.encode([wave])[0], waves))
    for frames, wave in zip(together, waves, strict=True):
        np.testing.assert_array_equal(frames, encoder.encode([wave])[0])


def test_descriptors_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    generator = np.random.default_rng(1)
    waves = [generator.standard_normal(n).astype(np.float32) * 0.1 for n in (9000, 4000)]
    for frames, wave in zip(encoder.encode(waves), waves, strict=True):
        np.testing.assert_array_equal(frames, encoder.encode([wave])[0])

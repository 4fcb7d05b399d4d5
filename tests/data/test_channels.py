"""Channels are taken apart as they were recorded."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.data import audio
from serctl.data.audio import read_audio
from serctl.data.channels import read_channels
from serctl.errors import AudioError


def write(path: Path, *channels: np.ndarray, rate: int = 16_000) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), rate, subtype="FLOAT")
    return path


TONES = [np.sin(np.arange(16_000) * step).astype(np.float32) / 2 for step in (0.1, 0.2, 0.3)]


def test_two_channels_are_left_and_right_and_their_mean_is_the_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", *TONES[:2])
    found = read_channels(path, "split")
    assert list(found) == ["left", "right"]
    np.testing.assert_allclose(found["left"], TONES[0])
    np.testing.assert_allclose(read_channels(path, "right")["right"], TONES[1])
    mix = read_channels(path, "mix")
    np.testing.assert_array_equal(mix[""], read_audio(path))
    np.testing.assert_allclose(mix[""], (TONES[0] + TONES[1]) / 2, atol=1e-6)


def test_more_channels_have_numbers_and_every_one_is_resampled(tmp_path: Path) -> None:
    found = read_channels(write(tmp_path / "a.wav", *TONES, rate=8_000), "split")
    assert list(found) == ["1", "2", "3"]
    assert {len(wave) for wave in found.values()} == {32_000}


def test_a_silent_channel_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", TONES[0], np.zeros_like(TONES[0]))
    assert list(read_channels(path, "split")) == ["left"]
    with pytest.raises(AudioError, match="right channel is digitally silent"):
        read_channels(path, "right")


@pytest.mark.parametrize("choice", ["split", "left", "right"])
def test_one_channel_cannot_be_split(tmp_path: Path, choice: str) -> None:
    path = write(tmp_path / "a.wav", TONES[0])
    with pytest.raises(AudioError, match=f"one channel, expected two for --channels {choice}"):
        read_channels(path, choice)


def test_channels_that_cancel_out_are_there_one_by_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", TONES[0], -TONES[0])
    found = read_channels(path, "split")
    np.testing.assert_allclose(found["left"], TONES[0])
    np.testing.assert_allclose(found["right"], -TONES[0])


def test_a_channel_is_the_mono_file_of_it_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "BLOCK", 1000)
    both = write(tmp_path / "both.wav", *TONES[:2], rate=44_100)
    alone = write(tmp_path / "alone.wav", TONES[1], rate=44_100)
    np.testing.assert_array_equal(read_channels(both, "right")["right"], read_audio(alone))


def test_a_long_recording_is_split_block_by_block(tmp_path: Path) -> None:
    """Five minutes at 96 kHz are 230 MB at once; the two channels are 38 MB at 16 kHz."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 96_000, 2, subtype="PCM_U8") as file:
        block = np.tile(np.stack(TONES[:2], axis=1), (6, 1))
        for _ in range(300):
            file.write(block)
    tracemalloc.start()
    found = read_channels(path, "split")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = sum(wave.nbytes for wave in found.values())
    assert kept == 2 * 4 * 300 * 16_000
    assert most < 2 * kept + 40_000_000


def test_many_long_channels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", *TONES)
    monkeypatch.setattr(audio, "LONGEST_OF_ALL", 2)
    with pytest.raises(AudioError, match="3 channels last longer than"):
        read_channels(path, "split")
    assert len(read_channels(path, "2")) == 1  # type: ignore[arg-type]

"""Arrays, bytes and files in Python: the right waveform, or a refusal that names the mend."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from serctl.errors import AudioError, UsageError
from serctl.system.sound import load_sound, name_sound

RATE = 16_000
WAVE = (0.5 * np.sin(np.arange(RATE) / 20)).astype(np.float32)


def test_the_two_layouts_of_channels_give_the_same_waveform() -> None:
    stereo = np.stack([WAVE, 0.5 * WAVE], axis=1)  # soundfile's layout; its transpose: torchaudio's
    expected = 0.75 * WAVE
    for samples in (stereo, stereo.T, np.ascontiguousarray(stereo.T)):
        np.testing.assert_allclose(load_sound(samples, RATE), expected, atol=1e-6)
    assert load_sound(WAVE[None], RATE) == pytest.approx(WAVE)


@pytest.mark.parametrize("audio", [None, 3, ["a.wav"], [Path("a.wav")], {"a": 1}])
def test_what_is_no_recording_is_named(audio: Any) -> None:
    with pytest.raises(AudioError, match=r"audio is .*, expected a path, .*: predict_batch\(\)"):
        load_sound(audio, None)


@pytest.mark.parametrize(
    ("kind", "scale", "shift"), [("int16", 32767, 0), ("int32", 2**31 - 1, 0), ("uint8", 127, 128)]
)
def test_integers_are_scaled_by_their_type(kind: str, scale: int, shift: int) -> None:
    samples = np.round(WAVE.astype(np.float64) * scale + shift).astype(kind)
    np.testing.assert_allclose(load_sound(samples, RATE), WAVE, atol=1.1 / scale)


def test_a_wav_of_scipy_is_that_of_soundfile(tmp_path: Path) -> None:
    from scipy.io import wavfile

    soundfile.write(tmp_path / "a.wav", WAVE, RATE, subtype="PCM_16")
    rate, samples = wavfile.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(load_sound(samples, rate), load_sound(tmp_path / "a.wav", None))


def test_paths_bytes_and_open_files_are_the_same_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, WAVE, RATE)
    content, expected = path.read_bytes(), load_sound(path, None)
    with path.open("rb") as file:
        for audio in (str(path), content, bytearray(content), io.BytesIO(content), file):
            np.testing.assert_array_equal(load_sound(audio, None), expected)
        assert name_sound(file) == name_sound(str(path)) == str(path)
    assert name_sound(content) == name_sound(io.BytesIO(content)) == name_sound(WAVE) == ""
    for encoding in ("latin-1", "utf-8"):  # the bytes of a recording are no UTF-8
        refused = pytest.raises(AudioError, match="mode 'rb'")
        with path.open("r", encoding=encoding) as text, refused:
            load_sound(text, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rate", [None, 0, -1, True, 16, 44.1, 10**9, math.nan, math.inf, "16000", [16_000]]
)
def test_an_array_without_a_rate_in_hertz_is_refused(rate: Any) -> None:
    with pytest.raises(UsageError, match="sample_rate=48000"):
        load_sound(WAVE, rate)


def test_an_array_may_be_as_long_as_a_file() -> None:
    samples = np.zeros((3 * 3600 * 1_000 + 1, 1), np.float16)
    with pytest.raises(AudioError, match="more than 3 h"):
        load_sound(samples, 1_000)


def test_a_file_that_was_read_before_is_not_called_empty() -> None:
    file = io.BytesIO(b"RIFF")
    file.read()
    with pytest.raises(AudioError, match=r"Call seek\(0\)"):
        load_sound(file, None)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (WAVE * 20_000, "Divide 16-bit samples by 32768"),
        (np.zeros((100, 200)), r"shape \(100, 200\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.float32(1.0), "expected a path"),
        ([1, 2, 3], "type int64"),
        (["a", "b"], r"\['a', 'b'\] \(list\), expected a path, .*: predict_batch\(\)"),
        (np.full(9, np.nan), "not finite"),
        ([], "no samples"),
        ([[0.1, 0.2], [0.3]], "A list is no array"),
        ((WAVE, RATE), "A tuple is no array"),
        ([WAVE, WAVE], r"may hold recordings or channels.* predict_batch\(\)"),
        ((WAVE.tolist(), WAVE.tolist()), "A tuple of 2 arrays"),
        (np.ma.masked_greater(WAVE, 0), r"samples\.filled\(0\)"),
        (torch.zeros(9, requires_grad=True), r"Use tensor.detach\(\)"),
    ],
)
def test_what_is_no_sound_is_refused(samples: object, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        load_sound(samples, RATE)  # type: ignore[arg-type]


@given(
    shape=st.lists(st.integers(0, 40), max_size=3),
    kind=st.sampled_from(["f4", "f8", "i2", "i4", "i8", "u1", "c8", "U2", "O", "?"]),
    rate=st.sampled_from([None, -5, 8_000, 16_000, 44_100]),
)
def test_no_array_ends_in_a_traceback(shape: list[int], kind: str, rate: int | None) -> None:
    samples = np.ones(shape, dtype=kind)
    try:
        wave = load_sound(samples, rate)
    except (AudioError, UsageError):
        return
    assert wave.ndim == 1
    assert np.abs(wave).max() <= 1.5

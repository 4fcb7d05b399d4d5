"""Arrays, bytes and files in Python: the right waveform, or a refusal that names the mend."""

import io
import math
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from serctl.errors import AudioError, UsageError
from serctl.system.loading import load_each
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


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, lambda it: it.astype(">i4")])
def test_int32_of_values_that_may_have_fewer_bits_is_refused(bits: int, form: Any) -> None:
    samples = np.round(WAVE.astype(np.float64) * 2 ** (bits - 1)).astype(np.int32)
    with pytest.raises(AudioError, match=rf"up to {np.abs(samples).max():,}: .* / 2\*\*{bits - 1}"):
        load_sound(form(samples), RATE)
    scaled = np.asarray(form(samples)) / 2 ** (bits - 1)  # as the message says
    np.testing.assert_allclose(load_sound(scaled, RATE), WAVE, atol=1.1 / 2 ** (bits - 1))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_bound_of_int32_is_the_largest_value_of_24_bits(channels: int) -> None:
    samples = np.zeros((100, channels), np.int32)
    with pytest.raises(AudioError, match="every sample is zero"):
        load_sound(samples, RATE)
    samples[7, -1] = -(2**23)
    with pytest.raises(AudioError, match="int32 samples of up to 8,388,608: "):
        load_sound(samples, RATE)
    samples[7, -1] -= 1
    assert load_sound(samples, RATE).min() == pytest.approx(-(2.0**-8) / channels)
    samples[7, -1] = -(2**31)
    assert load_sound(samples, RATE).min() == -1 / channels


def test_a_32_bit_wav_of_scipy_is_that_of_soundfile(tmp_path: Path) -> None:
    from scipy.io import wavfile

    for subtype in ("PCM_24", "PCM_32"):
        soundfile.write(tmp_path / "a.wav", WAVE, RATE, subtype=subtype)
        rate, samples = wavfile.read(tmp_path / "a.wav")
        assert samples.dtype == np.int32
        np.testing.assert_array_equal(
            load_sound(samples, rate), load_sound(tmp_path / "a.wav", None)
        )


def test_types_of_numbers_that_keep_the_scale_are_the_same_sound() -> None:
    pcm = np.round(WAVE * 32767).astype(np.int16)
    expected = load_sound(pcm, RATE)
    for same in (pcm.astype(">i2"), array("h", pcm.tolist()), torch.from_numpy(pcm), pcm[None]):
        np.testing.assert_array_equal(load_sound(same, RATE), expected)
    for kind in ("f2", "<f4", ">f4", "f8", "g"):
        np.testing.assert_allclose(
            load_sound((pcm / 32768).astype(kind), RATE), expected, atol=2e-4
        )


@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_the_bytes_of_a_file_as_an_array_are_refused(tmp_path: Path, kind: type) -> None:
    for ending in ("wav", "flac", "ogg"):
        soundfile.write(path := tmp_path / f"a.{ending}", WAVE, RATE)
        content = path.read_bytes()
        samples = np.frombuffer(content[: len(content) // 2 * 2], kind)
        with pytest.raises(AudioError, match=r"begin like an audio file.*samples\.tobytes\(\)"):
            load_sound(samples, RATE)


@pytest.mark.parametrize("shape", [(RATE, 2), (RATE, 1), (3, 0)])
def test_an_array_of_one_recording_is_no_batch(shape: tuple[int, int]) -> None:
    for samples in (np.zeros(shape, np.float32), torch.zeros(shape)):
        with pytest.raises(UsageError, match=r"of shape .* For one recording: predict\(\)"):
            next(load_each(samples, RATE, None, None, lambda name, problem: None))


def test_rows_of_an_array_are_a_batch() -> None:
    rows = load_each(np.stack([WAVE, WAVE / 2]), RATE, None, None, lambda name, problem: None)
    for one, expected in zip(rows, (WAVE, WAVE / 2), strict=True):
        np.testing.assert_array_equal(one.waveform, expected)


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
        ([1, 2, 3], r"type int64, .*: numpy\.asarray\(samples\) / 2\*\*7 for 8 bits"),
        (np.zeros(9, np.uint16), r"type uint16, .* Then subtract 1"),
        (np.ones(9, bool), "type bool, .* Pass the decoded waveform"),
        (np.ones(9, complex), "type complex128, .* Pass the decoded waveform"),
        (np.full(9, np.inf), "not finite"),
        (np.zeros((0, 2), np.int32), "no samples"),
        (torch.zeros(9, dtype=torch.bfloat16), r"BFloat16\. .* tensor\.detach\(\)\.cpu\(\)\.float"),
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


def test_a_missing_speaker_of_pandas_is_one_line() -> None:
    pandas = pytest.importorskip("pandas")
    speakers = [pandas.NA]
    with pytest.raises(UsageError, match=r"The speaker of 'array' is .* expected a str"):
        list(load_each([WAVE], RATE, None, speakers, lambda name, problem: None))

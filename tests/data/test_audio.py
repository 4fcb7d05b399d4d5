"""Audio of any kind in, 16 kHz mono float32 out."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from serctl.data.audio import (
    SAMPLE_RATE,
    decode_audio,
    measure_samples,
    read_audio,
    to_mono_16k,
)
from serctl.errors import AudioError


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_keeps_its_pitch_length_and_level(
    tmp_path: Path, rate: int, subtype: str, channels: int
) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone] * channels, 1), rate, subtype=subtype)
    samples = read_audio(tmp_path / "tone.wav")
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert len(samples) == measure_samples(tmp_path / "tone.wav") == SAMPLE_RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    inner = slice(1000, -1000)
    assert np.abs(samples[inner] - expected[inner]).max() < 2e-3


def test_channels_are_averaged() -> None:
    pair = np.array([[0.2, 0.4], [-0.6, 0.2]], np.float32)
    np.testing.assert_allclose(to_mono_16k(pair, SAMPLE_RATE, "x"), [0.3, -0.2], atol=1e-7)


@given(level=st.floats(2.0**-31, 2.0**-10, width=32))
def test_quiet_is_not_silent(level: float) -> None:
    samples = np.full((100, 1), level, np.float32)
    assert to_mono_16k(samples, SAMPLE_RATE, "x").any()
    with pytest.raises(AudioError, match="silent"):
        to_mono_16k(samples * 0, SAMPLE_RATE, "x")


def test_real_whispers_are_not_silent(test_data: Path) -> None:
    quiet = sorted((test_data / "ravdess" / "audio").glob("03-01-02-01-*.flac"))[:20]
    assert min(np.abs(read_audio(path)).max() for path in quiet) > 0


def test_the_length_in_the_header_is_the_length_of_the_samples(test_data: Path) -> None:
    for path in sorted((test_data / "msp_podcast_layout" / "Audios").glob("*.wav")):
        assert measure_samples(path) == len(read_audio(path))


def make_mp3(seconds: tuple[float, float], mode: str) -> tuple[bytes, bytes]:
    """Return an MP3 file of noise and near silence, and the same without the frame of its tag."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds[0] * 16_000))
    file = io.BytesIO()
    sound = np.concatenate([noise, np.full(int(seconds[1] * 16_000), 1e-4)])
    soundfile.write(file, sound, 16_000, "MPEG_LAYER_III", format="MP3", bitrate_mode=mode)
    whole = file.getvalue()
    return whole, whole[whole.index(whole[:2], 4) :]


def test_mp3_files_that_libsndfile_reads_in_part_are_refused(tmp_path: Path) -> None:
    tagged, bare = make_mp3((2, 3), "VARIABLE")
    assert len(decode_audio(tagged, "a.mp3")) == 5 * 16_000
    id3 = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 2]) + bytes(130)
    with pytest.raises(AudioError, match=r"variable bit rate and no length.* ffmpeg -i a.mp3 "):
        decode_audio(bare, "a.mp3")
    with pytest.raises(AudioError, match="variable bit rate"):
        decode_audio(id3 + bare, "a.mp3")
    for chain in (tagged + bare, tagged + id3 + bare, id3 + tagged + bare):
        with pytest.raises(AudioError, match="several streams"):
            decode_audio(chain, "a.mp3")


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_files_of_more_frames_than_their_tag_says_are_refused(mode: str) -> None:
    tagged = bytearray(make_mp3((2, 3), mode)[0])
    place = max(tagged.find(b"Xing"), tagged.find(b"Info")) + 8
    frames = int.from_bytes(tagged[place : place + 4], "big")
    tagged[place : place + 4] = (frames // 2).to_bytes(4, "big")
    with pytest.raises(AudioError, match=f"more frames than its length of {frames // 2}"):
        decode_audio(bytes(tagged), "a.mp3")


def test_mp3_files_that_libsndfile_reads_whole_are_accepted() -> None:
    tagged, _ = make_mp3((2, 3), "VARIABLE")
    id3 = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 2]) + bytes(130)
    trailer = b"TAG" + bytes(125)
    checked = bytearray(tagged)  # LAME's option -p: a checksum behind the header of each frame
    checked[1] &= 0xFE
    checked[4:6] = b"\x12\x34"
    padded = tagged + bytes(20_000)
    for file in (tagged, bytes(checked), id3 + tagged + trailer, tagged + trailer, padded):
        assert len(decode_audio(file, "a.mp3")) == 5 * 16_000


@pytest.mark.parametrize(
    ("form", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
)
@pytest.mark.parametrize("same", [True, False])
def test_a_chain_of_streams_is_refused(tmp_path: Path, form: str, subtype: str, same: bool) -> None:
    rng, parts = np.random.default_rng(0), []
    for seconds in (0.8, 0.9):
        path = tmp_path / f"{seconds}.ogg"
        noise = rng.normal(0, 0.1, int(seconds * 16_000))
        soundfile.write(path, noise, 16_000, format=form, subtype=subtype)
        assert len(read_audio(path)) == len(noise)
        parts.append(path.read_bytes())
    chain = parts[0] + parts[not same]
    (tmp_path / "chain.ogg").write_bytes(chain)
    for read in (read_audio, measure_samples, lambda path: decode_audio(chain, path)):
        with pytest.raises(AudioError, match=r"several streams .* ffmpeg -i .*chain.flac"):
            read(tmp_path / "chain.ogg")
    read_audio(tmp_path / "0.8.ogg", 0.2, 0.4)


@pytest.mark.parametrize(("ending", "subtype"), [("wav", "GSM610"), ("au", "G721_32")])
def test_a_stretch_is_that_of_the_whole_where_the_codec_cannot_seek(
    tmp_path: Path, ending: str, subtype: str
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 3)
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise, 16_000, subtype=subtype)
    whole = read_audio(path)
    np.testing.assert_array_equal(read_audio(path, 1.0, 1.5), whole[16_000:24_000])


def write_wav(path: Path, listed: int, samples: np.ndarray, behind: bytes = b"") -> Path:
    """Write a WAV file whose header lists ``listed`` samples, and bytes behind all samples."""
    soundfile.write(path, samples, 8000, "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = (2 * listed).to_bytes(4, "little")
    path.write_bytes(bytes(content) + behind)
    return path


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)


def test_a_header_without_its_sound_is_not_advised_to_be_used(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 8000, NOISE)
    path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(AudioError, match=r"is only a header: .* states 1\.00 s\. Copy it again"):
        read_audio(path)


@pytest.mark.parametrize("listed", [0, 1000, 4000])
def test_sound_behind_the_length_of_the_header_is_refused(tmp_path: Path, listed: int) -> None:
    path = write_wav(tmp_path / "a.wav", listed, NOISE)
    seconds = 1 - listed / 8000
    with pytest.raises(AudioError, match=f"holds {seconds:.1f} s behind the length in its header"):
        read_audio(path)
    with pytest.raises(AudioError, match="-ignore_length 1 -i"):
        read_audio(path)


@pytest.mark.parametrize(
    ("listed", "behind"),
    [
        (8000, b""),
        (8700, b""),  # 88 ms more than the file holds
        (8022, b""),  # the size of the file: llfbandit/record#96
        (8000, b"\x01"),
        (8000, bytes(40_000)),  # blocks of a recorder
        (8000, b"\xff" * 40_000),  # erased flash memory
        (8000, b"\r\n" * 20_000),  # of a transfer
        (8000, b"ID3\x03" + bytes(range(256)) * 40),
        (8000, b"TAG" + bytes(range(256)) * 40),
        (8000, b"LIST\x05\x00\x00\x00INFOx" + b"bext\x04\x00\x00\x00abcd"),  # without pad
        (
            8000,
            b"LIST\x05\x00\x00\x00INFOx\x80" + b"LIST" + (4000).to_bytes(4, "little") + bytes(4000),
        ),
        (8000, b"LIST" + (9001).to_bytes(4, "little") + b"INFO" * 2250 + b"x\x00"),
    ],
)
def test_what_follows_the_samples_of_a_wav_file_changes_none(
    tmp_path: Path, listed: int, behind: bytes
) -> None:
    path = write_wav(tmp_path / "a.wav", listed, NOISE, behind)
    soundfile.write(tmp_path / "b.wav", NOISE, 8000, "PCM_16")
    np.testing.assert_array_equal(read_audio(path), read_audio(tmp_path / "b.wav"))


@pytest.mark.parametrize(
    "how", [{"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"subtype": "IMA_ADPCM"}]
)
def test_a_wav_file_shorter_than_its_header_is_refused(tmp_path: Path, how: dict[str, str]) -> None:
    soundfile.write(tmp_path / "whole.wav", np.tile(NOISE, 4), 8000, **how)
    content = (tmp_path / "whole.wav").read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(content[: len(content) // 2])
    for read in (read_audio, measure_samples, lambda path: decode_audio(path.read_bytes(), "a")):
        with pytest.raises(AudioError, match=r"holds [12]\.\d\d s, .* states 4\.\d\d s, .* copied"):
            read(path)
    with pytest.raises(AudioError, match=r"Copy it again, or use the part: ffmpeg .*cut\.flac$"):
        read_audio(path, 0.1, 0.2)


def test_a_wav_file_that_libsndfile_has_not_closed_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 0, NOISE)
    content = bytearray(path.read_bytes())
    content[4:8] = (8).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    assert len(read_audio(path)) == 16_000

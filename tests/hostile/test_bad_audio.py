"""Any audio file gives the right samples or one line; never a hang, never unbounded memory."""

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
from audio_kinds import BAD, LOSSY, ODD, SAME, plain_sound

from serctl.data import audio
from serctl.data.audio import decode_audio, measure_samples, read_audio
from serctl.errors import AudioError


def test_there_are_many_kinds() -> None:
    assert len(SAME) + len(LOSSY) + len(BAD) + len(ODD) >= 100


@pytest.mark.parametrize("kind", SAME)
def test_the_same_sound_in_another_form_gives_the_same_samples(kind: str, tmp_path: Path) -> None:
    path = SAME[kind](tmp_path)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    length = len(plain_sound())
    assert length <= len(samples) <= length + 20  # a block format may end in padding
    inner = slice(400, length - 400)  # a resampler rings at the ends
    np.testing.assert_allclose(samples[inner], plain_sound()[inner], atol=1e-3)
    np.testing.assert_array_equal(samples, decode_audio(path.read_bytes(), path))
    assert abs(measure_samples(path) - len(samples)) <= 20


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_codec_keeps_the_sound(kind: str, tmp_path: Path) -> None:
    samples = read_audio(LOSSY[kind](tmp_path))
    length = len(plain_sound())
    assert abs(len(samples) - length) < 0.1 * 16000
    shifts = range(0, 1200, 1) if kind in ("mp3", "ogg OPUS") else range(1)
    window = plain_sound()[8000:20000]
    best = max(np.corrcoef(window, samples[8000 + s : 20000 + s])[0, 1] for s in shifts)
    assert best > 0.98


NO_PIPES = pytest.mark.posix("Windows: a file system holds no pipes")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=NO_PIPES if kind == "pipe" else ()) for kind in BAD]
)
def test_bad_audio_is_one_line(kind: str, tmp_path: Path) -> None:
    write, reason = BAD[kind]
    path = write(tmp_path)
    with pytest.raises(AudioError) as error:
        read_audio(path)
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ODD)
def test_odd_audio_is_read(kind: str, tmp_path: Path) -> None:
    samples = read_audio(ODD[kind](tmp_path))
    assert 0 < len(samples) <= len(plain_sound()) + 20
    assert np.isfinite(samples).all()


def test_a_long_recording_is_refused_by_its_samples_not_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "LONGEST", 1)
    soundfile.write(tmp_path / "long.flac", plain_sound(), 16000)
    with pytest.raises(AudioError, match="longer than"):
        read_audio(tmp_path / "long.flac")
    assert len(read_audio(tmp_path / "long.flac", 0.5, 1.25)) == 12000


BOMB = """
    import resource, sys
    from pathlib import Path
    from serctl.data.audio import read_audio
    from serctl.errors import AudioError
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_audio(Path(sys.argv[1]))
    except AudioError as error:
        print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_bomb_of_silence_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 8000, 8, subtype="PCM_16") as file:
        for _ in range(6 * 60):  # six hours of eight channels: 2.8 GB of samples
            file.write(np.zeros((60 * 8000, 8), np.int16))
    assert path.stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BOMB), str(path)],
        capture_output=True, text=True, check=True, env=dict(os.environ), timeout=300,
    )  # fmt: skip
    message, megabytes = done.stdout.splitlines()
    assert "longer than 3 h" in message
    assert int(megabytes) < 1000


def test_a_lying_header_fills_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = bytearray(SAME["flac 16"](tmp_path).read_bytes())
    content[21] |= 0x0F  # 2**36 - 1 samples
    content[22:26] = b"\xff" * 4
    (tmp_path / "lying.flac").write_bytes(content)
    try:
        samples = read_audio(tmp_path / "lying.flac")
    except AudioError as error:
        assert "longer than" in str(error) or "cannot be decoded" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(samples, plain_sound(), atol=1e-3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB

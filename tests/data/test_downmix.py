"""What the mean of channels loses or mixes is reported, and ordinary stereo is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.data.audio import read_audio, to_mono_16k
from serctl.data.downmix import (
    PHASE,
    PREDICT_CHANNELS,
    SCALE,
    TALKERS,
    WIDTH,
    Downmix,
    DownmixReport,
)

RATE = 16_000
Pair = tuple[np.ndarray, np.ndarray]


def find(*channels: np.ndarray) -> str:
    measured = Downmix(RATE, len(channels))
    measured.measure(np.stack(channels, axis=1).astype(np.float32))
    return measured.find_problem()


@pytest.fixture(scope="module")
def speech(test_data: Path) -> list[np.ndarray]:
    """Utterances of RAVDESS: each emotion of two actors, strong where there is a choice."""
    files = sorted((test_data / "ravdess" / "audio").glob("03-01-0[2-8]-02-01-01-0[12].flac"))
    assert len(files) == 14
    return [read_audio(path) for path in files]


@pytest.mark.parametrize(("level", "found"), [(8.0, []), (90.0, [SCALE])])
@pytest.mark.parametrize("channels", [1, 2])
def test_floats_far_above_one_are_reported(
    tmp_path: Path, level: float, channels: int, found: list[str]
) -> None:
    path, problems, report = tmp_path / "a b.wav", [], DownmixReport()
    tone = level * np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    soundfile.write(path, np.stack([tone] * channels, axis=1), RATE, "FLOAT")
    samples = read_audio(path, report=lambda name, problem: problems.append(problem))
    assert problems == found
    np.testing.assert_allclose(samples, tone)
    report(str(path), SCALE)
    (note,) = report.list_notes(PREDICT_CHANNELS)
    assert str(path) in note
    assert "If they are at another scale, divide them by it" in note


@pytest.mark.parametrize(
    ("subtype", "level", "found"),
    [
        ("PCM_32", 2.0**-8, [WIDTH]),
        ("PCM_32", 2.0**-16, [WIDTH]),
        ("PCM_32", 2.0**-7, []),
        ("PCM_24", 2.0**-8, []),
        ("FLOAT", 2.0**-16, []),
    ],
)
@pytest.mark.parametrize("phase", [[1], [1, 1], [1, -0.9]])
def test_quiet_integers_of_32_bits_are_reported(
    tmp_path: Path, subtype: str, level: float, phase: list[float], found: list[str]
) -> None:
    path, problems, report = tmp_path / "a b.wav", [], DownmixReport()
    tone = level * np.sin(np.arange(RATE) * np.pi / 8)
    soundfile.write(path, np.outer(tone, phase), RATE, subtype)
    read_audio(path, report=lambda name, problem: problems.append(problem))
    assert [one for one in problems if one != PHASE] == found
    report(str(path), WIDTH)
    (note,) = report.list_notes(PREDICT_CHANNELS)
    assert str(path) in note
    assert "If their values have 16 or 24 bits, write them in files of that width" in note


def take_turns(turns: list[np.ndarray], level: float = 1.0, leak: float = 0.0) -> Pair:
    """Return a call: turns on one channel and on the other, and some of each on the other one."""
    sides = np.zeros((2, sum(map(len, turns))))
    start = 0
    for i, turn in enumerate(turns):
        sides[i % 2, start : start + len(turn)] = turn / turn.std() / 10
        start += len(turn)
    sides[1] *= level
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(sides.shape)
    left, right = sides + leak * sides[::-1] + hiss
    return left, right


@pytest.mark.parametrize("level", [1.0, 0.1])
@pytest.mark.parametrize("leak", [0.0, 0.03])
def test_two_talkers_of_a_call_are_reported(
    speech: list[np.ndarray], level: float, leak: float
) -> None:
    for i in range(0, 12, 2):
        assert find(*take_turns(speech[i : i + 2], level, leak * level)) == TALKERS
    assert find(*take_turns(speech, level, leak * level)) == TALKERS


def test_a_talker_among_more_channels_is_reported(speech: list[np.ndarray]) -> None:
    left, right = take_turns(speech[:4])
    assert find(left, right, 0.005 * right[::-1], np.zeros_like(left)) == TALKERS


def delay(speech: np.ndarray, seconds: float) -> Pair:
    return speech, np.pad(speech, (round(seconds * RATE), 0))[: len(speech)]


def reverberate(speech: np.ndarray, seconds: float, level: float, seed: int) -> np.ndarray:
    """Add what a room of this reverberation time adds, ``level`` times as loud as the talker."""
    tail = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    tail *= 10 ** (-3 * np.arange(len(tail)) / len(tail))
    size = len(speech) + len(tail)
    added = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)
    return speech + level * (added / np.linalg.norm(tail))[: len(speech)]


def add_hiss(speech: np.ndarray, level: float) -> Pair:
    hiss = 1e-3 * np.random.default_rng(0).standard_normal((2, len(speech)))
    return speech + hiss[0], level * speech + hiss[1]


FAIR: dict[str, Callable[[np.ndarray], Pair]] = {
    "equal": lambda it: (it, it),
    "panned": lambda it: (it, 0.05 * it),
    "panned, with hiss": lambda it: add_hiss(it, 0.03),
    "hiss on the right": lambda it: add_hiss(it, 0.0),
    "silent right": lambda it: (it, 0 * it),
    **{f"delayed by {s} s": lambda it, s=s: delay(it, s) for s in (2e-4, 5e-4, 2e-3, 0.02, 0.04)},
    **{
        f"a room of {s} s": lambda it, s=s: (reverberate(it, s, 1, 1), reverberate(it, s, 4, 2))
        for s in (0.2, 0.5, 1.0)
    },
    "a room on the right": lambda it: (it, reverberate(it, 1.0, 4, 3)),
}


@pytest.mark.parametrize("kind", FAIR)
def test_one_talker_on_two_channels_is_no_alarm(speech: list[np.ndarray], kind: str) -> None:
    assert {find(*FAIR[kind](one)) for one in speech} == {""}


def test_stereo_music_is_no_alarm() -> None:
    """Four voices from left to right, each with notes of its own."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        song = np.zeros((2, 10 * RATE))
        for place in (0.2, 0.4, 0.6, 0.8):
            start = 0
            while start < song.shape[1] - RATE:
                times = np.arange(int(rng.choice([4000, 8000, 16000]))) / RATE
                note = np.sin(2 * np.pi * 110 * 2 ** (rng.integers(30) / 12) * times)
                note *= np.exp(-3 * times)
                song[:, start : start + len(note)] += np.outer([1 - place, place], note)
                start += len(note)
        assert find(*song) == ""


OPPOSITE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all of it": lambda it: -0.9 * it,
    "weaker": lambda it: -0.6 * it,
    "its second half": lambda it: it * np.where(np.arange(len(it)) < len(it) / 2, 1, -1),
    "all of it, with hiss": lambda it: -it + 1e-4 * np.random.default_rng(0).normal(size=len(it)),
}


@pytest.mark.parametrize("kind", OPPOSITE)
def test_opposite_phase_is_reported(speech: list[np.ndarray], kind: str) -> None:
    loud = [one / one.std() / 10 for one in speech]
    assert {find(one, OPPOSITE[kind](one)) for one in loud} == {PHASE}


@pytest.mark.parametrize("rate", [8000, 44100])
def test_files_and_arrays_are_measured_alike(
    speech: list[np.ndarray], tmp_path: Path, rate: int
) -> None:
    """Also where blocks end within a frame: a file is decoded in several of them."""
    sides = np.stack(take_turns(speech * 3), axis=1).astype(np.float32)
    path = tmp_path / "call.wav"
    soundfile.write(path, sides, rate)
    report, of_array = DownmixReport(), DownmixReport()
    read_audio(path, report=report)
    to_mono_16k(sides, rate, path, of_array)
    (line,) = report.list_notes(PREDICT_CHANNELS)
    assert line == of_array.list_notes(PREDICT_CHANNELS)[0]
    assert str(path) in line
    assert TALKERS in line
    assert "--channels split" in line


def test_a_run_has_one_line_for_many_recordings() -> None:
    report = DownmixReport()
    for i in range(9):
        report(f"call {i}.wav", TALKERS)
        report(f"call {i}.wav", TALKERS)
    (line,) = report.list_notes(PREDICT_CHANNELS)
    assert "call 0.wav, call 1.wav, call 2.wav and 6 more" in line
    assert line.endswith("serctl predict 'call 0.wav' --every 1 --channels split")


def test_what_is_too_short_or_silent_or_not_finite_has_no_problem() -> None:
    tone = np.sin(np.arange(100.0))
    assert find(tone, -tone) == ""
    assert find(np.zeros(RATE), np.zeros(RATE)) == ""
    assert find(np.full(RATE, np.nan), np.ones(RATE)) == ""

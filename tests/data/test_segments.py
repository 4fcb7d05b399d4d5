"""Cutting at pauses, on real speech with silences put between; and TextGrids of it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.segments import cut_at_pauses
from serctl.data.textgrid import format_textgrid

SLACK = 0.25
"""Seconds by which an edge may be off: frames of 32 ms, margins, breath before the first word."""


def noise(seconds: float) -> np.ndarray:
    made = np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE))
    return (1e-4 * made).astype(np.float32)


@pytest.fixture(scope="module")
def utterances(test_data: Path) -> list[np.ndarray]:
    pytest.importorskip("faster_whisper")
    files = sorted((test_data / "emodb" / "audio").glob("*.flac"))[:6]
    return [read_audio(path) for path in files]


def test_utterances_with_pauses_between_are_found_again(utterances: list[np.ndarray]) -> None:
    parts, marks, position = [], [], 0.0
    for wave in utterances:
        parts += [noise(1.5), wave]
        position += 1.5
        marks.append((position, position + len(wave) / SAMPLE_RATE))
        position = marks[-1][1]
    found = cut_at_pauses(np.concatenate(parts), 11.0)
    assert len(found) == len(marks)
    for segment, (start, end) in zip(found, marks, strict=True):
        assert segment.start / SAMPLE_RATE == pytest.approx(start, abs=SLACK)
        assert segment.stop / SAMPLE_RATE == pytest.approx(end, abs=SLACK)


@pytest.mark.parametrize("longest", [1.0, 2.0, 5.0])
def test_speech_without_pauses_is_cut_to_the_limit(
    utterances: list[np.ndarray], longest: float
) -> None:
    wave = np.concatenate(utterances)
    found = cut_at_pauses(wave, longest)
    assert len(found) >= len(wave) / SAMPLE_RATE / longest * 0.8
    assert all(0 < s.stop - s.start <= longest * SAMPLE_RATE for s in found)
    assert all(a.stop <= b.start for a, b in pairwise(found))
    assert found[-1].stop <= len(wave)


def test_nobody_speaks_in_noise() -> None:
    pytest.importorskip("faster_whisper")
    assert cut_at_pauses(noise(5.0), 11.0) == []


@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0.01, 3), st.text(max_size=9)), max_size=5))
def test_a_tier_covers_the_recording_without_gaps(steps: list[tuple[float, float, str]]) -> None:
    intervals, position = [], 0.0
    for pause, length, label in steps:
        intervals.append((position + pause, position + pause + length, label))
        position += pause + length
    text = format_textgrid({'say "it"': intervals}, position + 1)
    assert 'name = "say ""it"""' in text
    lines = [line.strip() for line in text.splitlines()]
    begin = lines.index(f"intervals: size = {2 * len(steps) + 1}") + 1
    edges = [float(line.split("= ")[1]) for line in lines[begin:] if line.startswith("xm")]
    assert edges[0] == 0
    assert edges[-1] == pytest.approx(position + 1, abs=1e-5)
    assert edges[1:-1:2] == edges[2::2]  # every interval begins where the one before ended
    labels = [line for line in lines[begin:] if line.startswith("text = ")]
    assert len(labels) == 2 * len(steps) + 1

"""Smoothing and segments, compared with brute force."""

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.timeline.course import find_segments, name_emotions, settle_course, smooth

LABELS = ("angry", "happy", "sad")
seeds = st.integers(0, 10_000)


def draw(seed: int, steps: int, silent: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    made = generator.dirichlet(np.full(3, 0.5), steps)
    made[generator.random(steps) < silent] = np.nan
    return made


def score(course, probabilities) -> float:
    return sum(np.log(max(row[i], 1e-6)) for row, i in zip(probabilities, course, strict=True))


def measure_shortest(course, lengths) -> int:
    runs = groupby(range(len(course)), key=lambda i: course[i])
    return min(sum(lengths[i] for i in run) for _, run in runs)


@given(seeds, st.integers(1, 7), st.integers(0, 9), st.sampled_from([0.0, 0.3]))
def test_no_other_course_with_long_enough_segments_is_more_probable(seed, steps, least, silent):
    probabilities = draw(seed, steps, silent)
    lengths = np.random.default_rng(seed).integers(1, 4, steps)
    course = settle_course(probabilities, least, lengths)
    spoken = ~np.isnan(probabilities).any(axis=1)
    for speech, run in groupby(range(steps), key=lambda i: spoken[i]):
        if not speech:
            continue
        of_run = list(run)
        rows, sizes = probabilities[of_run], lengths[of_run]
        bound = min(least, sizes.sum())
        assert measure_shortest(course[of_run], sizes) >= bound
        best = max(
            score(other, rows)
            for other in product(range(3), repeat=len(of_run))
            if measure_shortest(other, sizes) >= bound
        )
        assert score(course[of_run], rows) == pytest.approx(best)


def test_without_a_least_duration_every_step_has_its_own_best() -> None:
    probabilities = draw(1, 50)
    assert settle_course(probabilities, 1).tolist() == probabilities.argmax(axis=1).tolist()


def test_a_single_step_does_not_break_a_segment_but_a_pause_is_in_none() -> None:
    rows = [[0.8, 0.1, 0.1]] * 4 + [[0.3, 0.6, 0.1]] + [[0.8, 0.1, 0.1]] * 3
    probabilities = np.array(rows)
    course = settle_course(probabilities, 2)
    assert course.tolist() == [0] * 8
    probabilities[2:4] = np.nan
    emotions = name_emotions(settle_course(probabilities, 2), probabilities, LABELS)
    assert emotions == ("angry", "angry", None, None, *["angry"] * 4)
    starts = np.arange(8.0)
    segments = find_segments(emotions, probabilities, LABELS, starts, starts + 1)
    assert [(s.start, s.end, s.emotion) for s in segments] == [(0, 2, "angry"), (4, 8, "angry")]
    assert segments[1].confidence == pytest.approx((3 * 0.8 + 0.3) / 4)


def test_a_segment_that_is_not_probable_enough_has_no_emotion() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0]] * 3 + [[0.3, 0.3, 0.4]] * 3)
    emotions = name_emotions(settle_course(probabilities, 1), probabilities, LABELS, 0.5)
    assert emotions == ("angry",) * 3 + (None,) * 3
    starts = np.arange(6.0)
    segments = find_segments(emotions, probabilities, LABELS, starts, starts + 1)
    assert [(s.emotion, round(s.confidence, 6)) for s in segments] == [("angry", 0.9), (None, 0.4)]


@given(seeds, st.integers(1, 12), st.sampled_from([1, 3, 5, 7]), st.sampled_from([0.0, 0.4]))
def test_smoothing_is_the_mean_of_the_spoken_neighbours(seed, steps, width, silent) -> None:
    probabilities = draw(seed, steps, silent)
    found = smooth(probabilities, width)
    half = width // 2
    for i in range(steps):
        near = probabilities[max(0, i - half) : i + half + 1]
        expected = near[~np.isnan(near).any(axis=1)]
        if np.isnan(probabilities[i]).any():
            assert np.isnan(found[i]).all()
        else:
            np.testing.assert_allclose(found[i], expected.mean(axis=0), atol=1e-12)
            assert found[i].sum() == pytest.approx(1)

"""Frames restated per speaker."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.cache.pooled import pool_utterance
from serctl.cache.speakers import combine_moments, measure_speakers, restate_speaker


def make_frames(num_utterances: int, seed: int, dim: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    offset, scale = rng.normal(size=dim) * 3, rng.uniform(0.5, 2, size=dim)
    lengths = rng.integers(1, 12, size=num_utterances)
    return [(rng.normal(size=(n, dim)) * scale + offset).astype(np.float32) for n in lengths]


def moments_of(frames: list[np.ndarray]):
    return combine_moments(
        np.stack([pool_utterance(f) for f in frames]), np.array([len(f) for f in frames])
    )


@given(st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30)
def test_statistics_of_utterances_give_those_of_all_frames(num: int, seed: int) -> None:
    frames = make_frames(num, seed)
    found, everything = moments_of(frames), np.concatenate(frames).astype(np.float64)
    np.testing.assert_allclose(found.mean, everything.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.variance, everything.var(axis=0), atol=1e-3)


def test_restated_frames_have_the_statistics_of_the_corpus() -> None:
    speaker, corpus = make_frames(8, seed=1), moments_of(make_frames(40, seed=2))
    restatement = restate_speaker(moments_of(speaker), corpus, shrinkage=0)
    restated = np.concatenate([restatement.frames(frames) for frames in speaker])
    np.testing.assert_allclose(restated.mean(axis=0), corpus.mean, atol=1e-3)
    np.testing.assert_allclose(restated.var(axis=0), corpus.variance, rtol=1e-3)


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_pooling_restated_frames_is_restating_what_was_pooled(seed: int) -> None:
    speaker, corpus = make_frames(4, seed), moments_of(make_frames(10, seed + 1))
    restatement = restate_speaker(moments_of(speaker), corpus)
    for frames in speaker:
        expected = pool_utterance(restatement.frames(frames))
        np.testing.assert_allclose(restatement.pooled(pool_utterance(frames)), expected, atol=1e-3)


def test_few_utterances_move_little_and_none_nothing() -> None:
    corpus = moments_of(make_frames(40, seed=2))
    shifts = []
    for count in (1, 5, 50):
        speaker = moments_of(make_frames(60, seed=3)[:count])
        shifts.append(np.abs(restate_speaker(speaker, corpus).shift).sum())
    same = restate_speaker(corpus, corpus)
    np.testing.assert_allclose(same.scale, 1)
    np.testing.assert_allclose(same.shift, 0, atol=1e-9)
    assert shifts[0] < shifts[2]


def test_an_unknown_speaker_has_no_statistics() -> None:
    pooled = np.stack([pool_utterance(frames) for frames in make_frames(3, seed=0)])
    found = measure_speakers(pooled, np.array([4, 4, 4]), ["a", "", "a"])
    assert list(found) == ["a"]
    assert found["a"].num_utterances == 2


def test_a_feature_that_never_varies_is_only_shifted() -> None:
    flat = [np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)]
    restatement = restate_speaker(moments_of(flat), moments_of(flat))
    assert np.isfinite(restatement.scale).all()
    np.testing.assert_allclose(restatement.frames(flat[0]), 1)

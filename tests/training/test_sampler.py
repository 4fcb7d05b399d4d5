"""Batches: every utterance, exact halves, like lengths, and the same ones for the same seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serctl.errors import ConfigError
from serctl.training.sampler import Sampler, split_batch

RNG = np.random.default_rng(0)


@st.composite
def samplers(draw, balance="off"):
    size = draw(st.integers(2, 300))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    groups = rng.integers(0, 2, size)
    groups[:2] = 0, 1
    return Sampler(
        lengths=rng.integers(1, 600, size),
        groups=groups,
        batch_size=2 * draw(st.integers(1, 20)),
        balance=balance,
        window=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 9)),
    )


THREE_WINDOWS = Sampler(np.arange(1, 122), np.arange(121) % 2, batch_size=20, window=3)


@given(sampler=samplers(), epoch=st.integers(0, 5))
@example(sampler=THREE_WINDOWS, epoch=0)
def test_unbalanced_batches_hold_every_utterance_once(sampler, epoch):
    batches = sampler.batches(epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(sampler.lengths)))
    assert max(map(len, batches)) <= sampler.batch_size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


@given(sampler=samplers(balance="exact"), epoch=st.integers(0, 5))
def test_balanced_batches_are_exactly_half_neutral_and_an_epoch_is_n_draws(sampler, epoch):
    batches = sampler.batches(epoch)
    for batch in batches:
        assert 2 * (sampler.groups[batch] == 0).sum() == len(batch) <= sampler.batch_size
    drawn = Counter(np.concatenate(batches).tolist())
    assert drawn.total() == 2 * (len(sampler.lengths) // 2)
    for group in (0, 1):  # no utterance is drawn twice before every other was drawn once
        counts = [drawn[i] for i in np.flatnonzero(sampler.groups == group)]
        assert max(counts) - min(counts) <= 1


@given(sampler=samplers(balance="sqrt"), epoch=st.integers(0, 5))
def test_square_root_shares_lie_between_their_own_and_equal_ones(sampler, epoch):
    size = len(sampler.groups)
    draws = np.concatenate(sampler.batches(epoch))
    assert len(draws) == size
    own = np.bincount(sampler.groups, minlength=2)
    found = np.bincount(sampler.groups[draws], minlength=2)
    roots = np.sqrt(own)
    assert np.abs(found - roots / roots.sum() * size).max() <= 1
    for group in np.unique(sampler.groups):  # each is drawn once before any is repeated
        times = np.bincount(draws, minlength=size)[sampler.groups == group]
        assert times.max() - times.min() <= 1


def test_with_replacement_the_halves_hold_in_expectation_only():
    groups = (np.arange(20_000) % 10 > 0).astype(int)
    sampler = Sampler(np.ones(20_000, int), groups, 64, "replacement")
    batches = sampler.batches(0)
    assert sum(map(len, batches)) == 20_000
    assert np.mean(groups[np.concatenate(batches)]) == pytest.approx(0.5, abs=0.02)
    assert len({groups[batch].sum() for batch in batches}) > 5


@given(sampler=samplers(balance="exact") | samplers(balance="sqrt"))
def test_seed_and_epoch_decide_the_batches(sampler):
    def flat(epoch):
        return [batch.tolist() for batch in sampler.batches(epoch)]

    assert flat(3) == flat(3)
    if len(sampler.lengths) > 60:
        assert flat(3) != flat(4)


@pytest.mark.parametrize("balance", ["off", "exact"])
def test_bucketing_wastes_little_and_still_mixes_companions(balance):
    lengths = RNG.integers(140, 550, 6400)
    groups = (RNG.random(6400) < 0.4).astype(int)

    def waste(window):
        batches = Sampler(lengths, groups, 64, balance, window).batches(0)
        padded = sum(len(batch) * lengths[batch].max() for batch in batches)
        return padded / sum(lengths[batch].sum() for batch in batches)

    assert waste(1) > 1.5
    assert waste(64) < 1.1
    sampler = Sampler(lengths, groups, 64, balance)
    companions = [
        next(set(batch) for batch in sampler.batches(epoch) if 7 in batch)
        for epoch in range(8)
        if 7 in np.concatenate(sampler.batches(epoch))
    ]
    assert len(companions[0] & companions[1]) < 40


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(ConfigError, match="--balance off"):
        Sampler(np.ones(8, int), np.zeros(8, int), 4, "exact").batches(0)
    with pytest.raises(ConfigError, match="multiple of 2"):
        Sampler(np.ones(8, int), np.arange(8) % 2, 5, "exact").batches(0)


@given(size=st.integers(1, 70), parts=st.integers(1, 8))
def test_the_parts_of_a_batch_are_the_batch_sorted_by_length(size, parts):
    lengths = RNG.integers(1, 99, 100)
    batch = RNG.permutation(100)[:size]
    split = split_batch(batch, lengths, parts)
    assert sorted(np.concatenate(split)) == sorted(batch)
    assert (np.diff(lengths[np.concatenate(split)]) >= 0).all()
    assert len(split) == min(parts, size)

"""Batches as they reach the network."""

import threading
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic_frames import MemoryReader, make_frames, make_set, make_utterances

from serctl.data.labels import LabelSet
from serctl.errors import CacheError
from serctl.training.dataset import build_set
from serctl.training.loader import LoadTimes, load_batches

CPU = torch.device("cpu")
ROWS = make_utterances(40)
DATA = make_set(ROWS, (6, 3))
LABELS = LabelSet.of(row.emotion for row in ROWS)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_batches_are_the_frames_of_the_store(sizes, seed):
    rng = np.random.default_rng(seed)
    plan = [rng.integers(0, len(DATA), size) for size in sizes]  # buffers shrink and grow
    for rows, batch in zip(plan, load_batches(DATA, plan, CPU), strict=True):
        assert (batch.rows == rows).all()
        for branch, reader in enumerate(DATA.readers):
            frames = batch.frames[branch]
            assert frames.dtype == torch.float16
            assert frames.shape[1] == batch.lengths[branch].max()
            for row, length, found in zip(rows, batch.lengths[branch], frames, strict=True):
                want = reader.frames[DATA.ids[row]]
                assert len(want) == length
                np.testing.assert_array_equal(found[:length], want)


def test_an_error_of_the_store_reaches_the_training_and_the_thread_ends():
    class Broken(MemoryReader):
        def read_batch(self, ids, out):
            if "u0009" in ids:
                raise CacheError("damaged")
            super().read_batch(ids, out)

    data = build_set(ROWS, [Broken(make_frames(ROWS, 4))], LABELS)
    batches = load_batches(data, [np.array([i]) for i in range(12)], CPU)
    assert len(list(islice(batches, 9))) == 9
    with pytest.raises(CacheError, match="damaged"):
        next(batches)
    assert not loaders()


def test_the_store_hears_of_each_batch_while_the_one_before_is_read():
    heard = []

    class Listening(MemoryReader):
        def prefetch(self, ids):
            heard.append(("ahead", *ids))

        def read_batch(self, ids, out):
            heard.append(("read", *ids))
            super().read_batch(ids, out)

    data = build_set(ROWS, [Listening(make_frames(ROWS, 4))], LABELS)
    for _ in load_batches(data, [np.array([2]), np.array([0])], CPU):
        pass
    assert heard == [("ahead", "u0000"), ("read", "u0002"), ("ahead",), ("read", "u0000")]


def test_an_iterator_left_early_leaves_no_thread():
    times = LoadTimes()
    batches = load_batches(DATA, [np.arange(8)] * 50, CPU, times)
    next(batches)
    batches.close()
    assert not loaders()
    assert times.reading > 0


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "serctl-loader"]


def test_rows_are_sorted_by_id_whatever_the_manifest_says():
    shuffled = make_set(ROWS[::-1], (6, 3))
    assert shuffled.ids == DATA.ids == tuple(sorted(DATA.ids))
    np.testing.assert_array_equal(shuffled.targets, DATA.targets)
    np.testing.assert_array_equal(shuffled.lengths, DATA.lengths)

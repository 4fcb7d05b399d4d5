"""Whatever happens to a writer, no committed utterance is lost and the next run completes it."""

import errno
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cache_faults import KEY, Writer, make_plan, write_plan

from serctl.cache.check import check_store
from serctl.cache.store import FeatureStore

PRELOAD = ("numpy.random", "zarr", "serctl.cache.store")


def assert_whole(store: Path, seed: int, *, complete: bool) -> FeatureStore:
    """Check that a store holds exactly what an undisturbed run would hold of its utterances."""
    read = FeatureStore.open(store, verify="always")
    expected = {name: (x, source) for batch in make_plan(seed) for name, x, source in batch}
    assert set(read.ids) <= set(expected)
    if complete:
        assert set(read.ids) == set(expected)
    for name in read.ids:
        np.testing.assert_array_equal(read.read(name), expected[name][0].astype(np.float16))
        assert read.source_of(name) == expected[name][1]
    assert not check_store(store).damages
    return read


def assert_recovers(store: Path, seed: int) -> None:
    """Check the store as the fault left it, finish the run, check that nothing else is left."""
    if store.exists():
        assert_whole(store, seed, complete=False)
    write_plan(store, seed)
    assert_whole(store, seed, complete=True)
    assert sorted(path.name for path in store.parent.iterdir()) == [
        f".{store.name}.lock",
        store.name,
    ]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The number of the first disk-changing call that an undisturbed run does not make."""
    store = tmp_path_factory.mktemp("count") / KEY.store_name
    code, words = Writer(store, 1, "kill", sys.maxsize).end()
    assert code == 0
    return int(words.split()[-1])


@pytest.mark.parametrize("trial", range(20))
def test_a_kill_before_a_change_of_the_disk_loses_nothing_committed(
    tmp_path: Path, calls: int, trial: int
) -> None:
    store = tmp_path / "cache" / KEY.store_name
    at = 1 + trial * (calls - 2) // 19
    assert Writer(store, 1, "kill", at).end()[0] == -signal.SIGKILL
    assert_recovers(store, 1)


@pytest.mark.slow
def test_a_kill_at_any_change_of_the_disk_loses_nothing_committed(
    tmp_path: Path, calls: int
) -> None:
    for at in range(1, calls):
        store = tmp_path / f"{at}" / KEY.store_name
        assert Writer(store, 1, "kill", at).end()[0] == -signal.SIGKILL
        assert_recovers(store, 1)


def kill_at_random(store: Path, seed: int, rng: random.Random) -> None:
    """Start a writer and kill it at a random moment of its writing."""
    writer = Writer(store, seed, pause=0.005)
    writer.hear()
    time.sleep(rng.uniform(0, 0.06))
    writer.process.kill()
    writer.end()


@pytest.mark.slow
def test_two_hundred_kills_at_random_moments_lose_nothing_committed(tmp_path: Path) -> None:
    rng = random.Random(4)
    for trial in range(200):
        store = tmp_path / f"{trial}" / KEY.store_name
        for _ in range(rng.randint(1, 2)):  # a run may be killed again while it completes another
            kill_at_random(store, trial, rng)
        assert_recovers(store, trial)


@pytest.mark.parametrize("trial", range(6))
def test_a_kill_at_a_random_moment_loses_nothing_committed(tmp_path: Path, trial: int) -> None:
    store = tmp_path / "cache" / KEY.store_name
    kill_at_random(store, trial, random.Random(trial))
    assert_recovers(store, trial)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_disk_that_fails_is_reported_and_loses_nothing_committed(
    tmp_path: Path, calls: int, code: int, share: float
) -> None:
    store = tmp_path / "cache" / KEY.store_name
    exit_code, words = Writer(store, 1, str(code), 1 + int(share * (calls - 2))).end()
    assert exit_code == 1
    assert os.strerror(code) in words
    assert_recovers(store, 1)


def test_a_full_disk_names_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    store = tmp_path / "cache" / KEY.store_name
    code, words = Writer(store, 2, "limit", 9_000).end()
    assert code == 1
    assert "File too large" in words
    assert "bytes needed" in words
    assert "free" in words
    assert_recovers(store, 2)


def test_what_was_appended_before_the_disk_was_full_is_committed(tmp_path: Path) -> None:
    sizes = {
        seed: [sum(2 * x.size for _, x, _ in b) for b in make_plan(seed)] for seed in range(99)
    }
    seed = next(seed for seed, (one, two, *_) in sizes.items() if one < 20_000 < 2 * two)
    store = tmp_path / "cache" / KEY.store_name
    assert Writer(store, seed, "limit", sizes[seed][0] + 9_000).end()[0] == 1
    assert set(FeatureStore.open(store).ids) == {name for name, _, _ in make_plan(seed)[0]}


def test_a_reader_during_a_write_sees_whole_commits_only(tmp_path: Path) -> None:
    store = tmp_path / "cache" / KEY.store_name
    writer, seen = Writer(store, 3, pause=0.1), set()
    writer.hear()
    while writer.process.is_alive():
        seen.add(len(assert_whole(store, 3, complete=False)))
    assert writer.end()[0] == 0
    seen.add(len(assert_whole(store, 3, complete=True)))
    assert len(seen) > 1


def test_a_second_writer_process_is_refused_with_who_holds_the_store(tmp_path: Path) -> None:
    store = tmp_path / "cache" / KEY.store_name
    first = Writer(store, 3, pause=100)
    first.hear()
    code, words = Writer(store, 3).end()
    assert code == 1
    assert f"process {first.process.pid} on " in words
    first.process.kill()
    first.end()
    assert_recovers(store, 3)

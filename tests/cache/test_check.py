"""A flipped bit anywhere in a store is found, named, and repaired without losing other frames."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serctl.cache.check import check_store
from serctl.cache.compact import prune_store, repair_store
from serctl.cache.key import FeatureKey
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.errors import CacheError

DIM = 8
FRAMES = {
    f"utterance {i}": np.random.default_rng(i).normal(size=(37 * (i + 1), DIM)).astype(np.float16)
    for i in range(6)
}
STORAGES = ("float16", "float16-zstd")


def write(path: Path, frames: Mapping[str, np.ndarray], storage: str = "float16") -> Path:
    """Write a store with a segment per three utterances."""
    key = FeatureKey(
        "tiny", "speech", "hub", "abc", -1, "float32", "whole", "audio-16k-mono", storage
    )
    with StoreWriter(path / key.store_name, key, DIM, 50.0) as writer:
        for i, (name, values) in enumerate(frames.items()):
            writer.append([name], [values], [f"source of {name}"])
            if i % 3 == 2:
                writer.flush()
    return path / key.store_name


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {s: write(tmp_path_factory.mktemp("original"), FRAMES, s) for s in STORAGES}


def files_of(store: Path) -> list[str]:
    return sorted(str(p.relative_to(store)) for p in store.rglob("*") if p.is_file())


def flip(path: Path, position: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def assert_mended(store: Path, lost: tuple[str, ...]) -> None:
    """Check that a repaired store lacks exactly ``lost`` and is complete once they are written."""
    read = FeatureStore.open(store, verify="always")
    assert set(FRAMES) - set(read.ids) == set(lost)
    assert not check_store(store).damages
    write(store.parent, {name: FRAMES[name] for name in lost}, read.key.storage)
    read = FeatureStore.open(store, verify="always")
    for name, values in FRAMES.items():
        np.testing.assert_array_equal(read.read(name), values)


@settings(max_examples=120, deadline=None)
@given(storage=st.sampled_from(STORAGES), where=st.data())
def test_a_flipped_bit_in_any_file_is_found_named_and_repaired(
    originals: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    storage: str,
    where: st.DataObject,
) -> None:
    original = originals[storage]
    file = where.draw(st.sampled_from(files_of(original)))
    size = (original / file).stat().st_size
    # Ends of files hold the seals and the shard index: as likely as all the rest together.
    positions = st.integers(0, size - 1) | st.integers(max(0, size - 40), size - 1)
    position, bit = where.draw(positions), where.draw(st.integers(0, 7))
    store = tmp_path_factory.mktemp("flipped") / original.name
    shutil.copytree(original, store)
    flip(store / file, position, bit)

    result = check_store(store)

    assert [damage.file for damage in result.damages] == [file]
    damage = result.damages[0]
    segment = {f"utterance {i}" for i in range(6) if file.startswith(f"00000{i // 3}/")}
    assert set(damage.lost + damage.touched) <= segment
    if segment:
        assert damage.lost or damage.touched
    if file.endswith(".json"):
        assert not damage.lost
        with pytest.raises(CacheError, match=r"damaged|format"):
            FeatureStore.open(store)
    elif storage == "float16":
        start, hit = 0, []
        for name in sorted(segment):
            if start <= position < start + FRAMES[name].nbytes:
                hit = [name]
            start += FRAMES[name].nbytes
        assert list(damage.lost) == hit
        read = FeatureStore.open(store)
        for name in hit or segment:
            with pytest.raises(CacheError, match="verify"):
                read.read(name)
    else:
        assert damage.lost
    repair_store(store, result)
    assert_mended(store, result.lost)
    shutil.rmtree(store.parent)


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_a_flipped_bit_in_any_byte_of_a_store_is_found(
    originals: dict[str, Path], tmp_path: Path, storage: str
) -> None:
    store = tmp_path / originals[storage].name
    shutil.copytree(originals[storage], store)
    for file in files_of(store):
        for position in range((store / file).stat().st_size):
            flip(store / file, position, position % 8)
            assert [damage.file for damage in check_store(store).damages] == [file], position
            flip(store / file, position, position % 8)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "file", ["000000/c/0/0", "000001/zarr.json", "000001/index.json", "zarr.json"]
)
def test_a_missing_file_is_found_and_repaired(tmp_path: Path, file: str, storage: str) -> None:
    store = write(tmp_path, FRAMES, storage)
    (store / file).unlink()
    result = check_store(store)
    assert [damage.file for damage in result.damages] == [file]
    assert result.lost == (("utterance 0", "utterance 1", "utterance 2") if "c/" in file else ())
    repair_store(store, result)
    assert_mended(store, result.lost)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_missing_chunk_is_an_error_and_no_zeros(tmp_path: Path, storage: str) -> None:
    store = write(tmp_path, FRAMES, storage)
    (store / "000001/c/0/0").unlink()
    read = FeatureStore.open(store)
    np.testing.assert_array_equal(read.read("utterance 0"), FRAMES["utterance 0"])
    with pytest.raises(CacheError, match="verify"):
        read.read("utterance 4")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("size", [0, 30, 100, 5000])
def test_a_file_cut_short_is_found_and_repaired(tmp_path: Path, size: int, storage: str) -> None:
    store = write(tmp_path, FRAMES, storage)
    shard = store / "000001/c/0/0"
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(CacheError, match="verify"):
        FeatureStore.open(store).read("utterance 5")
    result = check_store(store)
    assert {damage.file for damage in result.damages} == {"000001/c/0/0"}
    assert "utterance 5" in result.lost
    repair_store(store, result)
    assert_mended(store, result.lost)


def test_a_segment_without_any_index_is_dropped_whole(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    for name in ("zarr.json", "index.json"):
        flip(store / "000000" / name, 300, 1)
    result = check_store(store)
    assert len(result.damages) == 2
    repair_store(store, result)
    assert_mended(store, ("utterance 0", "utterance 1", "utterance 2"))


def test_damage_in_frames_that_are_dead_costs_no_utterance(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    write(tmp_path, {"utterance 0": FRAMES["utterance 0"]})
    flip(store / "000000/c/0/0", 10, 3)
    result = check_store(store)
    assert [damage.file for damage in result.damages] == ["000000/c/0/0"]
    repair_store(store, result)
    assert_mended(store, ())


@pytest.mark.parametrize("verify", ["always", "first"])
def test_a_flipped_bit_is_found_at_an_utterances_first_read(tmp_path: Path, verify: str) -> None:
    store = write(tmp_path, FRAMES)
    flip(store / "000000/c/0/0", 10, 3)
    read = FeatureStore.open(store, verify=verify)  # type: ignore[arg-type]
    with pytest.raises(CacheError, match=r"'utterance 0'.*damaged.*verify --repair"):
        read.read("utterance 0")


def test_only_always_reads_a_checksum_twice(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    readers = {verify: FeatureStore.open(store, verify=verify) for verify in ("always", "first")}
    never = FeatureStore.open(store, verify="never")
    for read in readers.values():
        read.read("utterance 0")
    flip(store / "000000/c/0/0", 10, 3)
    readers["first"].read("utterance 0")
    never.read("utterance 0")
    with pytest.raises(CacheError, match="damaged"):
        readers["always"].read("utterance 0")


def test_pruning_gives_back_dead_frames_and_merges_small_segments(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    write(tmp_path, {"utterance 1": FRAMES["utterance 2"]})
    told = prune_store(store, dry_run=True)
    assert len(FeatureStore.open(store)) == 6
    assert told == prune_store(store)
    assert told.dead_bytes == FRAMES["utterance 1"].nbytes
    read = FeatureStore.open(store, verify="always")
    assert {path.name for path in store.iterdir()} == {"zarr.json", "000003"}
    for name, values in {**FRAMES, "utterance 1": FRAMES["utterance 2"]}.items():
        np.testing.assert_array_equal(read.read(name), values)
    assert prune_store(store).segments == ()


def test_pruning_drops_named_utterances(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    assert prune_store(store, drop=["utterance 3", "no such"]).dropped == ("utterance 3",)
    assert set(FeatureStore.open(store).ids) == set(FRAMES) - {"utterance 3"}


def test_a_reader_that_was_open_before_pruning_is_reported(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES)
    read = FeatureStore.open(store)
    prune_store(store)
    with pytest.raises(CacheError, match="missing"):
        read.read("utterance 0")


def test_rewriting_int8_changes_no_number(tmp_path: Path) -> None:
    store = write(tmp_path, FRAMES, "int8")
    before = {name: FeatureStore.open(store).read(name) for name in FRAMES}
    assert prune_store(store, drop=["utterance 2"]).segments == ("000000", "000001")
    read = FeatureStore.open(store, verify="always")
    assert len(read) == 5
    for name in read.ids:
        np.testing.assert_array_equal(read.read(name), before[name])

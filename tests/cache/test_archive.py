"""A packed store comes back bit for bit, and an archive can write nowhere else."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serctl.cache.archive import pack_store, unpack_store
from serctl.cache.key import FeatureKey
from serctl.cache.store import StoreWriter
from serctl.errors import CacheError

KEY = FeatureKey("tiny", "speech", "hub", "abc", -1, "float32", "whole", "audio-16k-mono")
FRAMES = {f"u{i}": np.full((300 + i, 4), i, np.float16) for i in range(5)}


def write(cache: Path, **fields: Any) -> Path:
    key = replace(KEY, **fields)
    with StoreWriter(cache / key.store_name, key, 4, None) as writer:
        writer.append(list(FRAMES), list(FRAMES.values()), ["s"] * len(FRAMES))
    return cache / key.store_name


def contents(store: Path) -> dict[str, bytes]:
    files = (path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def make_archive(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if link:
                member.type, member.linkname, member.size = tarfile.SYMTYPE, link, 0
            tar.addfile(member, io.BytesIO(data))
    return path


def test_a_packed_store_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = write(tmp_path / "here")
    size = pack_store(store, tmp_path / "a.tar")
    assert size == (tmp_path / "a.tar").stat().st_size
    unpacked = unpack_store(tmp_path / "a.tar", tmp_path / "there")
    assert unpacked.name == store.name
    assert contents(unpacked) == contents(store)
    pack_store(unpacked, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "s.zarr/../../evil",
        "s.zarr/a/../../../evil",
        "s.zarr\\..\\evil",
        "evil",
    ],
)
def test_a_path_that_leaves_the_store_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_archive(tmp_path / "a.tar", {"s.zarr/zarr.json": b"{}", name: b"evil"})
    with pytest.raises(CacheError, match="expected a path inside"):
        unpack_store(archive, tmp_path / "in" / "cache")
    assert not list((tmp_path / "in").rglob("*"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "in"] == ["a.tar"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
def test_a_link_is_refused(tmp_path: Path, target: str) -> None:
    archive = make_archive(tmp_path / "a.tar", {"s.zarr/zarr.json": b""}, link=target)
    with pytest.raises(CacheError, match="expected plain files"):
        unpack_store(archive, tmp_path / "cache")


@pytest.mark.parametrize(
    "members", [{}, {"a.zarr/x": b"", "b.zarr/x": b""}, {"notes/x": b""}, {".a.zarr/x": b""}]
)
def test_what_is_not_one_store_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(CacheError, match="does not hold exactly one feature store"):
        unpack_store(make_archive(tmp_path / "a.tar", members), tmp_path / "cache")


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    pack_store(write(tmp_path / "here"), tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    position = data.index(FRAMES["u3"].tobytes()) + 7
    (tmp_path / "a.tar").write_bytes(data[:position] + b"!" + data[position + 1 :])
    (tmp_path / "there").mkdir()
    with pytest.raises(CacheError, match=r"damaged.*u3"):
        unpack_store(tmp_path / "a.tar", tmp_path / "there")
    (tmp_path / "a.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(CacheError):
        unpack_store(tmp_path / "a.tar", tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())


def test_a_store_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    store = write(tmp_path)
    pack_store(store, tmp_path / "a.tar")
    with pytest.raises(CacheError, match="serctl cache rm"):
        unpack_store(tmp_path / "a.tar", tmp_path)


def test_what_is_no_archive_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"does not exist\. Make one with: serctl cache pack"):
        unpack_store(tmp_path / "a.tar", tmp_path)
    (tmp_path / "b.tar").write_text("utterance_id,path\n" * 99)
    with pytest.raises(CacheError, match=r"not a complete archive of a store: .*serctl cache pack"):
        unpack_store(tmp_path / "b.tar", tmp_path)

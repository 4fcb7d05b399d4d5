"""Names, keys and sources."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serctl.cache.key import FeatureKey
from serctl.cache.locate import find_store, list_stores
from serctl.cache.sources import SourceHasher, hash_bytes
from serctl.cache.store import StoreWriter
from serctl.errors import CacheError, MissingFeaturesError
from serctl.hashes import FileHashes

KEY = FeatureKey("wavlm-large", "speech", "hub", "abc", -1, "float32", "whole", "audio-16k-mono")


def make_empty(cache: Path, **fields: Any) -> FeatureKey:
    key = replace(KEY, **fields)
    with StoreWriter(cache / key.store_name, key, 4, 50.0):
        return key


@pytest.mark.parametrize("field", list(KEY.to_dict()))
def test_every_field_of_the_key_changes_the_store(field: str) -> None:
    other = 3 if field == "layer" else "other"
    assert replace(KEY, **{field: other}).digest != KEY.digest


def test_a_digest_is_twelve_hex_digits_that_stay_the_same() -> None:
    assert KEY.digest == FeatureKey(**KEY.to_dict()).digest == "5d62f5d4be20"
    assert KEY.store_name == f"wavlm-large-{KEY.digest}.zarr"


@pytest.mark.parametrize("encoder", ["../../evil", "/home/me/My Model", "микрофон", "a/b"])
def test_a_store_name_is_one_plain_folder_name(encoder: str) -> None:
    name = replace(KEY, encoder=encoder).store_name
    assert Path(name).name == name
    assert not name.startswith(".")


def test_a_name_finds_its_only_store(tmp_path: Path) -> None:
    key = make_empty(tmp_path)
    make_empty(tmp_path, encoder="hubert-xlarge")
    assert find_store(tmp_path, "wavlm-large") == tmp_path / key.store_name
    assert len(list_stores(tmp_path)) == 2


def test_several_stores_are_distinguished_by_what_differs(tmp_path: Path) -> None:
    first, second = make_empty(tmp_path), make_empty(tmp_path, layer=12)
    with pytest.raises(CacheError, match=r"2 stores.*wavlm-large@.*layer"):
        find_store(tmp_path, "wavlm-large")
    assert find_store(tmp_path, f"wavlm-large@{second.digest[:6]}").name == second.store_name
    assert find_store(tmp_path, "wavlm-large", prefer=first).name == first.store_name


def test_no_store_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingFeaturesError, match="serctl extract --encoder wavlm-large"):
        find_store(tmp_path, "wavlm-large")


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path: Path) -> None:
    audio, read = tmp_path / "a.wav", list[bytes]()

    def hash_all(path: Path) -> str:
        read.append(path.read_bytes())
        return hash_bytes(read[-1])

    for content, time in ((b"one", 1e9), (b"two", 1e9 + 1)):
        audio.write_bytes(content)
        os.utime(audio, (time, time))
        for _ in range(2):
            hashes = FileHashes(tmp_path / "hashes.json", hash_all)
            assert hashes.hash(audio) == hash_bytes(content)
            hashes.save()
            assert hashes.recall(audio) == hash_bytes(content)
    assert read == [b"one", b"two"]
    os.utime(audio, (1e9, 1e9))
    assert hashes.recall(audio) == "changed"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not keep the time of the entry")
def test_a_file_that_changed_with_its_size_and_time_kept_is_hashed_again(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    audio.write_bytes(b"one")
    os.utime(audio, (1e9, 1e9))
    with SourceHasher(tmp_path) as hasher:
        hasher.hash_file(audio)
    audio.write_bytes(b"two")
    os.utime(audio, (1e9, 1e9))
    with SourceHasher(tmp_path) as hasher:
        with pytest.raises(CacheError, match="no saved hash"):
            hasher.recall(audio)
        assert hasher.hash_file(audio) == hash_bytes(b"two")
    assert SourceHasher(tmp_path).recall(audio) == hash_bytes(b"two")


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    audio.write_bytes(b"one")
    with SourceHasher(tmp_path) as hasher:
        hasher.hash_file(audio)
    stat = audio.stat()
    audio.write_bytes(b"two")
    os.utime(audio, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert SourceHasher(tmp_path).hash_file(audio) == hash_bytes(b"two")


def test_a_damaged_memory_of_hashes_is_forgotten(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    audio.write_bytes(b"one")
    os.utime(audio, (1e9, 1e9))
    with SourceHasher(tmp_path) as hasher:
        hasher.hash_file(audio)
    memory = tmp_path / ".sources.json"
    memory.write_bytes(memory.read_bytes().replace(hash_bytes(b"one").encode(), b"0" * 16))
    assert SourceHasher(tmp_path).hash_file(audio) == hash_bytes(b"one")

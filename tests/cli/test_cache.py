"""`serctl cache`, through the code a user runs, on a tiny encoder's frames."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

from serctl.cache.key import FeatureKey
from serctl.cache.pooled import pool_frames
from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.cli import app
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_wavlm(tmp_path_factory.mktemp("checkpoint") / "wavlm")


@pytest.fixture
def project(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "serctl.toml").write_text(f'[weights]\nwavlm = "{checkpoint}"\n')
    rows = []
    for i in range(4):
        path = tmp_path / f"u{i}.wav"
        soundfile.write(path, np.random.default_rng(i).normal(size=8000 + i * 999) * 0.1, 16_000)
        rows.append(Utterance(f"u{i}", path, "train" if i else "dev", "happy"))
    write_manifest(tmp_path / "manifest.csv", rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(project: Path) -> Path:
    run("extract", "--encoder", "wavlm", "--device", "cpu")
    (path,) = (project / "cache").glob("*.zarr")
    return path


def run(*words: str, code: int = 0, answer: str | None = None) -> Any:
    result = CliRunner().invoke(app, words, input=answer)
    assert result.exit_code == code, result.output
    return result


def run_json(*words: str, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


def damage(store: Path, position: int = 5) -> None:
    shard = store / "000000/c/0/0"
    data = bytearray(shard.read_bytes())
    data[position] ^= 4
    shard.write_bytes(data)


def test_ls_and_info_show_size_coverage_and_how_to_open(store: Path) -> None:
    (row,) = run_json("cache", "ls")
    assert row["coverage"] == {"dev": [1, 1], "train": [3, 3]}
    assert row["bytes"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    assert row["utterances"] == 4
    assert "100.0%" in run("cache", "ls").stdout
    told = run("cache", "info", "wavlm").stdout
    lines = told[told.index("from serctl") :]
    found: dict[str, np.ndarray] = {}
    exec(lines, found)
    assert found["frames"].shape[1] == row["dim"]
    assert "revision" in told


def test_verify_repairs_exactly_what_is_damaged(store: Path) -> None:
    # Copies: the views of a mapped file would show the damage.
    store_before = FeatureStore.open(store)
    before = {name: store_before.read(name).copy() for name in store_before.ids}
    assert "whole" in run("cache", "verify").stdout
    lost = FeatureStore.open(store).ids[0]
    damage(store)
    (found,) = run_json("cache", "verify", code=3)
    assert found["found"]["damages"][0]["lost"] == [lost]
    (mended,) = run_json("cache", "verify", "--repair", "--device", "cpu")
    assert mended["extracted"] == [lost]
    assert run_json("cache", "verify")[0]["found"]["damages"] == []
    for name, frames in before.items():
        again = FeatureStore.open(store, verify="always").read(name)
        if name == lost:
            np.testing.assert_allclose(again, frames, rtol=2**-10, atol=2**-14)
        else:
            np.testing.assert_array_equal(again, frames)


def test_verify_restores_the_head_of_a_store(store: Path) -> None:
    whole = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(whole.replace(b"wavlm", b"wavln", 1))
    run("cache", "verify", code=3)
    assert "restored" in run("cache", "verify", "--repair").stdout
    assert (store / "zarr.json").read_bytes() == whole


def test_repair_without_the_weights_changes_nothing(store: Path, project: Path) -> None:
    damage(store)
    other = tiny.write_wavlm(project / "other")
    with (other / "pytorch_model.bin").open("ab") as weights:
        weights.write(b"other")
    (project / "serctl.toml").write_text('[weights]\nwavlm = "other"\n')
    result = run("cache", "verify", "--repair", code=1)
    assert "weights or transcripts of" in result.stderr
    assert len(FeatureStore.open(store)) == 4


def test_prune_drops_what_the_manifest_no_longer_lists_after_asking(store: Path) -> None:
    manifest = Path("manifest.csv")
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    (told,) = run_json("cache", "prune", "--unlisted", "--dry-run")
    assert told["dropped"] == ["u3"]
    run("cache", "prune", "--unlisted", answer="n\n", code=1)
    assert len(FeatureStore.open(store)) == 4
    run("cache", "prune", "--unlisted", answer="y\n")
    assert set(FeatureStore.open(store).ids) == {"u0", "u1", "u2"}


def test_rm_asks_first(store: Path) -> None:
    run("cache", "rm", "wavlm", "--dry-run")
    run("cache", "rm", "wavlm", answer="n\n", code=1)
    assert store.exists()
    run("cache", "rm", "wavlm", "--yes")
    assert not list(store.parent.glob("*.zarr"))
    assert not list(store.parent.glob(".*.zarr*"))


def test_frames_that_are_made_again_after_rm_are_pooled_again(store: Path) -> None:
    opened = FeatureStore.open(store)
    pool_frames(opened, opened.ids)
    run("cache", "rm", "wavlm", "--yes")
    with StoreWriter(store, opened.key, opened.dim, opened.frame_rate) as writer:
        source = SourceHasher(store.parent).hash_file(store.parents[1] / "u0.wav")
        writer.append(["u0"], [np.ones((3, opened.dim), np.float32)], [source])
    assert (pool_frames(FeatureStore.open(store), ["u0"])[0, : opened.dim] == 1).all()


def test_rm_removes_a_store_that_nothing_can_read(store: Path) -> None:
    for path in store.rglob("*.json"):
        path.write_bytes(b"{}")
    result = run("cache", "ls", code=1)
    command = result.stderr.split("serctl cache rm ")[1].split()[0]
    run("cache", "rm", command, "--yes")
    assert run_json("cache", "ls") == []


def test_pack_and_unpack_bring_a_store_to_another_project(store: Path, project: Path) -> None:
    packed = run_json("cache", "pack", "wavlm", "-o", "frames.tar")
    assert packed["bytes"] == Path("frames.tar").stat().st_size
    other = project / "other"
    other.mkdir()
    (other / "serctl.toml").write_text("")
    run("cache", "unpack", "frames.tar", "--project", str(other))
    for path in store.rglob("*"):
        if path.is_file():
            copy = other / "cache" / store.name / path.relative_to(store)
            assert copy.read_bytes() == path.read_bytes()


def test_two_stores_of_an_encoder_are_chosen_by_digest(store: Path) -> None:
    key = FeatureStore.open(store).key
    other = replace(key, layer=3)
    with StoreWriter(store.parent / other.store_name, other, 4, 50.0):
        pass
    assert "2 stores" in run("cache", "info", "wavlm", code=1).stderr
    (row,) = [item for item in run_json("cache", "ls") if item["key"]["layer"] == 3]
    run("cache", "info", row["name"])
    run("cache", "rm", row["name"], "--yes")
    run("cache", "info", "wavlm")


def test_a_store_that_is_not_there_is_reported_with_those_that_are(project: Path) -> None:
    listed = run("cache", "ls")
    assert listed.stdout == run("cache", "verify").stdout == "The cache holds no store.\n"
    assert "serctl extract --encoder NAME" in listed.stderr
    assert "There are none yet. Make one" in run("cache", "info", "wavlm", code=2).stderr
    key = FeatureKey("whisper-tiny", "speech", "hub", "a", -1, "float32", "whole", "audio-16k-mono")
    with StoreWriter(project / "cache" / key.store_name, key, 4, 50.0):
        pass
    assert "Did you mean 'whisper-tiny'?" in run("cache", "info", "whispr", code=2).stderr

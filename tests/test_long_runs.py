"""What runs for days holds no more memory, files and temporary files at its end than at its start.

A stub encoder and tiny frames make a long run short: what grows by utterance or by epoch shows.
"""

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from synthetic_frames import TINY, make_key, make_project

from serctl.cache.store import FeatureStore, StoreWriter
from serctl.config import Workspace
from serctl.data.labels import LabelSet
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.encoders.base import EncoderIdentity
from serctl.options import ExtractOptions
from serctl.stages.extract import extract
from serctl.stages.train import train
from serctl.training.dataset import build_set
from serctl.training.loader import load_batches

LINUX = Path("/proc/self/status").exists()
pytestmark = pytest.mark.skipif(not LINUX, reason="reads /proc")
MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def _only_new_objects_are_collected() -> Iterator[None]:
    """A collection then takes no time for what the imports made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass(frozen=True)
class Resources:
    """What this process holds."""

    memory: int
    files: int
    temporary: int

    @classmethod
    def measure(cls, *folders: Path) -> "Resources":
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
        names = [path.name for folder in folders for path in folder.rglob("*")]
        temporary = sum(name.endswith((".tmp", ".new", ".old")) for name in names)
        return cls(memory, len(list(Path("/proc/self/fd").iterdir())), temporary)


def check_flat(measured: list[Resources], megabytes: float) -> None:
    """Compare all later moments with one after the start, when everything has been used once."""
    first, *later = measured[len(measured) // 5 :]
    memory = max(one.memory for one in later)
    files = max(one.files for one in later)
    print(f"\nRssAnon {first.memory / MEGABYTE:.1f} MB, then at most {memory / MEGABYTE:.1f} MB")
    print(f"files {first.files}, then at most {files}; temporary at the end {later[-1].temporary}")
    assert memory - first.memory < megabytes * MEGABYTE
    assert files <= first.files + 2  # one segment may be open just then
    assert later[-1].temporary == 0


def read_epochs(root: Path, utterances: int, epochs: int) -> list[Resources]:
    """Read a store epoch by epoch as a training does; return what was held after each."""
    key = make_key("whisper-tiny")
    path = root / key.store_name
    frames = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    ids = [f"u{i:06}" for i in range(utterances)]
    with StoreWriter(path, key, 8, 50.0) as writer:
        for start in range(0, utterances, 1000):
            part = ids[start : start + 1000]
            writer.append(part, [frames[: 1 + i % 3] for i in range(len(part))], ["s"] * len(part))
            if start % 10_000 == 0:
                writer.flush()
    store = FeatureStore.open(path)
    rows = [Utterance(name, Path(), "train", "happy") for name in ids]
    data = build_set(rows, [store], LabelSet(("happy",)))
    measured = []
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(utterances)
        for _ in load_batches(data, np.array_split(order, utterances // 64), torch.device("cpu")):
            pass
        measured.append(Resources.measure(root))
    return measured


class StubEncoder:
    """Frames that cost nothing."""

    dim, frame_rate, windowed, notes = 4, 50.0, 0, ()

    def __init__(self, identity: EncoderIdentity) -> None:
        self.identity = identity

    def cost(self, size: int) -> float:
        return size / 16_000

    def encode_layers(self, batch: Any, layers: Any) -> list[list[np.ndarray]]:
        return [[np.full((1, 4), waveform[0], np.float32) for _ in layers] for waveform in batch]


def extract_many(
    root: Path, utterances: int, monkeypatch: pytest.MonkeyPatch, every: int
) -> list[Resources]:
    """Extract the same short file many times; return what was held now and then."""
    root.mkdir()
    soundfile.write(root / "a.wav", np.full(400, 0.5), 16_000)
    os.utime(root / "a.wav", (1e9, 1e9))  # the hash of a file this minute is not remembered
    workspace = Workspace(root)
    write_manifest(
        workspace.manifest,
        [Utterance(f"u{i:06}", root / "a.wav", "train", "happy") for i in range(utterances)],
    )
    identity = EncoderIdentity("stub", "speech", "none", "0", -1, "float32", "whole")
    monkeypatch.setattr("serctl.encoding.keys.identify_encoder", lambda *a, **b: identity)
    monkeypatch.setattr(
        "serctl.encoding.extraction.load_encoder", lambda *a, **b: StubEncoder(identity)
    )
    measured: list[Resources] = []
    real = StoreWriter.append

    def append(self: StoreWriter, *given: Any) -> None:
        real(self, *given)
        append.calls += 1  # type: ignore[attr-defined]
        if append.calls % every == 0:  # type: ignore[attr-defined]
            measured.append(Resources.measure(root))

    append.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(StoreWriter, "append", append)
    done = extract(workspace, ExtractOptions(encoder="stub", device="cpu"))
    assert done.encoded == utterances
    measured.append(Resources.measure(root))
    return measured


def train_epochs(root: Path, epochs: int, monkeypatch: pytest.MonkeyPatch) -> list[Resources]:
    """Train a small network; return what was held after each epoch."""
    from serctl.training.loop import Trainer

    workspace, measured, real = make_project(root), [], Trainer._save

    def save(self: Trainer, optimizer: torch.optim.Optimizer) -> None:
        real(self, optimizer)
        measured.append(Resources.measure(root))

    monkeypatch.setattr(Trainer, "_save", save)
    train(workspace, replace(TINY, epochs=epochs))
    return measured


def test_four_epochs_of_reading_are_flat(tmp_path: Path) -> None:
    check_flat(read_epochs(tmp_path, 3000, 4), 4)


@pytest.mark.slow
def test_twenty_epochs_of_a_hundred_thousand_utterances_are_flat(tmp_path: Path) -> None:
    check_flat(read_epochs(tmp_path, 100_000, 20), 4)


def test_an_extraction_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_flat(extract_many(tmp_path / "p", 2000, monkeypatch, 2), 8)


@pytest.mark.slow
def test_an_extraction_of_a_hundred_thousand_utterances_is_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The writer remembers id and source of every utterance, 200 to 300 bytes each.
    check_flat(extract_many(tmp_path / "p", 100_000, monkeypatch, 50), 30)


@pytest.mark.slow
def test_a_training_of_twenty_epochs_is_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_flat(train_epochs(tmp_path / "p", 20, monkeypatch), 8)

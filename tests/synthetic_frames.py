"""Projects with made-up features: classes that a small network can learn in seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serctl.cache.key import FeatureKey
from serctl.cache.sources import hash_bytes
from serctl.cache.store import StoreWriter
from serctl.config import Workspace
from serctl.data.labels import EMOTIONS, LabelSet
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.options import TrainOptions
from serctl.training.dataset import UtteranceSet, build_set

DIMS = {"whisper-tiny": 12, "minilm": 8, "egemaps": 5}
MODALITIES = {"whisper-tiny": "speech", "minilm": "text", "egemaps": "paralinguistic"}
TINY = TrainOptions(
    speech=("whisper-tiny",),
    text=("minilm",),
    hidden=8,
    epochs=3,
    learning_rate=2e-2,
    batch_size=16,
    device="cpu",
)


class MemoryReader:
    """Frames in memory, with the methods of a store."""

    num_layers = 1

    def __init__(self, frames: dict[str, np.ndarray]) -> None:
        self.frames = frames
        self.dim = next(iter(frames.values())).shape[1]
        self.dtype = np.dtype("float16")

    def num_frames(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([len(self.frames[name]) for name in ids], dtype=np.int64)

    def prefetch(self, ids: Sequence[str]) -> None:
        pass

    def read_batch(self, ids: Sequence[str], out: np.ndarray) -> None:
        for row, name in zip(out, ids, strict=True):
            row[: len(self.frames[name])] = self.frames[name]


def make_utterances(
    size: int = 80,
    emotions: Sequence[str] = ("angry", "happy", "neutral"),
    splits: Sequence[str] = ("train", "train", "train", "dev", "test"),
    folder: Path = Path(),
) -> list[Utterance]:
    """Speakers do not cross splits, and every speaker has every emotion."""
    return [
        Utterance(
            utterance_id=f"u{i:04}",
            path=folder / f"u{i:04}.wav",
            split=splits[i // 8 % len(splits)],
            emotion=emotions[i % len(emotions)],
            speaker=f"s{i // 8}",
            transcript=f"words of {i}",
        )
        for i in range(size)
    ]


def make_frames(
    utterances: Sequence[Utterance], dim: int, longest: int = 12, seed: int = 0
) -> dict[str, np.ndarray]:
    """Frames of one encoder: noise around a mean of the emotion."""
    rng = np.random.default_rng(seed)
    means = {name: rng.normal(size=dim) for name in (*EMOTIONS, "")}
    return {
        row.utterance_id: (
            means[row.emotion] + rng.normal(size=(rng.integers(1, longest + 1), dim))
        ).astype(np.float16)
        for row in sorted(utterances, key=lambda row: row.utterance_id)
    }


def make_set(
    utterances: Sequence[Utterance],
    dims: Sequence[int] = (12, 8),
    labels: LabelSet | None = None,
    **more: bool,
) -> UtteranceSet:
    """The utterances as the network sees them, with frames in memory."""
    readers = [MemoryReader(make_frames(utterances, dim, seed=i)) for i, dim in enumerate(dims)]
    labels = labels or LabelSet.of(row.emotion for row in utterances if row.emotion)
    return build_set(utterances, readers, labels, **more)


def make_key(encoder: str) -> FeatureKey:
    source = "text:manifest;strip" if MODALITIES[encoder] == "text" else "audio-16k-mono"
    return FeatureKey(encoder, MODALITIES[encoder], "made-up", "0", -1, "float32", "whole", source)


def make_project(
    root: Path, utterances: Sequence[Utterance] | None = None, encoders: Sequence[str] = tuple(DIMS)
) -> Workspace:
    """A workspace with manifest, files in place of audio, and a store per encoder."""
    rows = make_utterances(folder=root / "audio") if utterances is None else list(utterances)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    for row in rows:
        row.path.write_bytes(row.utterance_id.encode())
    workspace = Workspace(root)
    write_manifest(workspace.manifest, rows)
    for encoder in encoders:
        fill_store(workspace, encoder, rows)
    return workspace


def fill_store(workspace: Workspace, encoder: str, rows: Sequence[Utterance]) -> None:
    key = make_key(encoder)
    frames = make_frames(rows, DIMS[encoder], seed=list(DIMS).index(encoder))
    text = MODALITIES[encoder] == "text"
    sources = [
        hash_bytes((row.transcript or "").encode() if text else row.path.read_bytes())
        for row in rows
    ]
    rate = None if text else 50.0
    workspace.cache.mkdir(parents=True, exist_ok=True)
    with StoreWriter(workspace.cache / key.store_name, key, DIMS[encoder], rate) as writer:
        ids = [row.utterance_id for row in rows]
        writer.append(ids, [frames[name].astype(np.float32) for name in ids], sources)

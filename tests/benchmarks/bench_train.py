"""One epoch of the paper's Whisper + RoBERTa network, against what the released code does.

Both train on the same made-up features of MSP-Podcast-like lengths, on the same machine with the
same threads. The reference is written after docs/paper.md (rows 4, 11-14): shuffled batches of 64
padded to the longest, text padded to 80 tokens, no masks, one float32 file per utterance read in
the loop. Each side runs in a process of its own, in turn. Last line: one JSON object.

Run: make bench-train, or python tests/benchmarks/bench_train.py --utterances 128 --epochs 1
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from serctl.cache.key import FeatureKey
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.data.labels import LabelSet
from serctl.data.manifest import Utterance
from serctl.documents.run import EpochRecord
from serctl.options import TrainOptions
from serctl.training.dataset import build_set
from serctl.training.fit import fit, shape_model
from serctl.training.loader import load_batches
from serctl.training.sampler import Sampler

DIMS, BATCH, TOKENS, CLASSES = (1280, 1024), 64, 80, 8
EMOTIONS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")


def draw_lengths(count: int) -> np.ndarray:
    """Frames and tokens (N, 2): 2.75-11 s at 50 Hz, mean 5.8 s; about 18 tokens, at most 80."""
    rng = np.random.default_rng(0)
    seconds = 2.75 + 8.25 * rng.beta(1.1, 1.9, count)
    tokens = seconds * rng.lognormal(np.log(2.8), 0.35, count) + 2
    return np.stack([np.ceil(50 * seconds), np.clip(tokens, 3, TOKENS)], axis=1).astype(np.int64)


def make_features(folder: Path, count: int) -> None:
    """The same frames twice: float16 stores, and a float32 file per utterance and encoder."""
    rng, lengths = np.random.default_rng(1), draw_lengths(count)
    for branch, dim in enumerate(DIMS):
        key = FeatureKey(f"made-up-{branch}", "speech", "", "", -1, "float32", "whole", "made-up")
        with StoreWriter(folder / f"{branch}.zarr", key, dim, 50.0) as writer:
            for i, length in enumerate(lengths[:, branch]):
                frames = rng.standard_normal((length, dim), dtype=np.float32)
                writer.append([f"u{i:05}"], [frames], ["-"])
                torch.save(torch.from_numpy(frames), folder / f"{i}.{branch}.pt")


class Reference(nn.Module):
    """The released network: no masks anywhere."""

    def __init__(self, dims: Sequence[int] = DIMS, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 512), nn.LayerNorm(512)) for dim in dims
        )
        self.gru = nn.ModuleList(
            nn.GRU(512, 512, batch_first=True, bidirectional=True) for _ in dims
        )
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(1024, 1, 0.5, batch_first=True) for _ in dims
        )
        self.pool = nn.ModuleList(nn.Linear(1024, 1) for _ in dims)
        layers = nn.Linear(1024 * len(dims), 512), nn.ReLU(), nn.Dropout(0.5)
        self.head = nn.Sequential(
            nn.LayerNorm(1024 * len(dims)), *layers, nn.Linear(512, num_classes)
        )

    def forward(self, frames: list[torch.Tensor]) -> torch.Tensor:
        read = [
            gru(project(x))[0]
            for gru, project, x in zip(self.gru, self.project, frames, strict=True)
        ]
        pooled = []
        for i, own in enumerate(read):
            other = read[1 - i]
            fused = own + self.attend[i](own, other, other)[0]
            pooled.append((self.pool[i](fused).softmax(dim=1) * fused).sum(dim=1))
        return self.head(torch.cat(pooled, dim=1))


def run_reference(folder: Path, count: int, epochs: int) -> dict:
    torch.manual_seed(0)
    model = Reference()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, weight_decay=1e-6)
    labels = torch.arange(count) % CLASSES
    times, padded = [], 0
    for epoch in range(epochs):
        loading, started, cpu = 0.0, time.perf_counter(), -time.process_time()
        for rows in torch.randperm(count).split(BATCH):
            begun, cpu = time.perf_counter(), cpu + time.process_time()
            files = [
                [torch.load(folder / f"{i}.{b}.pt", weights_only=True) for i in rows]
                for b in (0, 1)
            ]
            frames = [nn.utils.rnn.pad_sequence(part, batch_first=True) for part in files]
            frames[1] = nn.functional.pad(frames[1], (0, 0, 0, TOKENS - frames[1].shape[1]))
            loading, cpu = loading + time.perf_counter() - begun, cpu - time.process_time()
            padded += sum(part.shape[0] * part.shape[1] for part in frames)
            loss = nn.functional.cross_entropy(model(frames), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total = time.perf_counter() - started
        cpu += time.process_time()
        times.append({"total": total, "waiting": loading, "cpu": cpu})
        print(
            f"  reference epoch {epoch + 1}: {total:.1f} s, {loading:.1f} s loading",
            file=sys.stderr,
        )
    return {"epochs": times, "padded": padded / epochs}


def run_serctl(folder: Path, count: int, epochs: int) -> dict:
    labels = LabelSet(EMOTIONS)
    rows = [Utterance(f"u{i:05}", Path(), "train", EMOTIONS[i % CLASSES]) for i in range(count)]
    stores = [FeatureStore.open(folder / f"{branch}.zarr") for branch in (0, 1)]
    data = build_set(rows, stores, labels)
    options = TrainOptions(epochs=epochs, batch_size=BATCH)
    shape = shape_model(options, [("speech", ""), ("text", "")], CLASSES)
    times, clock = [], [time.process_time()]
    with tempfile.TemporaryDirectory() as run:

        def note(history: list[EpochRecord], line: str) -> None:
            record = history[-1]
            times.append({"total": record.seconds, "waiting": record.loading_seconds})
            clock.append(time.process_time())
            times[-1]["cpu"] = clock[-1] - clock[-2]
            print(f"  serctl {line}", file=sys.stderr)

        fit(data, None, labels, shape, options, Path(run), device=torch.device("cpu"), report=note)
    plan = Sampler(data.costs, data.label_ids, BATCH).batches(0)
    started = time.perf_counter()
    for _ in load_batches(data, plan, torch.device("cpu")):
        pass
    alone = (time.perf_counter() - started) / len(plan)
    return {"epochs": times, "real": int(data.lengths.sum()), "alone": alone}


def measure(side: str, folder: Path, count: int, epochs: int) -> dict:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    command += ["--utterances", str(count), "--epochs", str(epochs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--side", choices=["reference", "serctl"])
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.side:
        run = run_reference if args.side == "reference" else run_serctl
        found = run(args.folder, args.utterances, args.epochs)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_features(Path(folder), args.utterances)
        sides = {
            side: measure(side, Path(folder), args.utterances, args.epochs)
            for side in ("reference", "serctl")
        }
    report(sides, args.utterances)


def report(sides: dict[str, dict], count: int) -> None:
    print(f"{count} utterances, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':12}{'epoch s':>10}{'compute s':>11}{'waiting s':>11}{'CPU s':>8}{'peak MB':>9}")
    median = {}
    for side, found in sides.items():
        median[side] = one = {
            name: statistics.median(epoch[name] for epoch in found["epochs"])
            for name in ("total", "waiting", "cpu")
        }
        one["compute"] = statistics.median(e["total"] - e["waiting"] for e in found["epochs"])
        print(
            f"{side:12}{one['total']:10.2f}{one['compute']:11.2f}{one['waiting']:11.2f}"
            f"{one['cpu']:8.2f}{found['peak'] / 1e6:9.0f}"
        )
    bound = sides["reference"]["padded"] / sides["serctl"]["real"]
    ratio = median["reference"]["compute"] / median["serctl"]["compute"]
    memory = sides["serctl"]["peak"] / sides["reference"]["peak"]
    cpu_ratio = median["reference"]["cpu"] / median["serctl"]["cpu"]
    batch = 1000 * sides["serctl"]["alone"]
    print(f"bound (padded frames of the reference / real frames): {bound:.3f}; reached {ratio:.3f}")
    print(f"in CPU seconds (loading left out of the reference's): {cpu_ratio:.3f}")
    print(f"the loader alone takes {batch:.1f} ms a batch: a faster step would wait for it")
    share = median["serctl"]["waiting"] / median["serctl"]["total"]
    figures = {"ratio": ratio, "bound": bound, "memory_ratio": memory, "load_share": share}
    figures |= {"cpu_ratio": cpu_ratio, "loader_ms_per_batch": batch}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

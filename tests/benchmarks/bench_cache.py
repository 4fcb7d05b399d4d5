"""Shuffled padded batches from the feature cache and from what others do, on the same frames.

2,000 utterances of 2.75-11 s, 50 frames/s, 1280-d float16, batches of 64, one process. Readers
take turns, so that a busy machine slows all of them; the table gives medians and the spread. Slow
readers get part of an epoch. Libraries that serctl does not need are measured where they are
installed (datasets, lhotse with lilcom, zarrs). Last line: one JSON object.

Run: make bench-cache, or python tests/benchmarks/bench_cache.py --utterances 500 --runs 3
"""

import argparse
import ctypes
import importlib.util
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import torch
import zarr
from torch.nn.utils.rnn import pad_sequence

from serctl.cache.key import FeatureKey
from serctl.cache.store import FeatureStore, StoreWriter
from serctl.data.labels import LabelSet
from serctl.data.manifest import Utterance
from serctl.training.dataset import build_set
from serctl.training.loader import load_batches

DIM, BATCH, LONGEST = 1280, 64, 550
KEY = FeatureKey("made-up", "speech", "", "", -1, "float32", "whole", "made-up")
Reader = Callable[[np.ndarray], None]
"""Reads one batch, given the numbers of its utterances."""


class Frames:
    """The utterances, made up again whenever they are asked for."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.lengths = rng.integers(138, LONGEST + 1, count)
        self.ids = [f"u{i:05}" for i in range(count)]
        self._pool = rng.standard_normal((4096, DIM), dtype=np.float32).astype(np.float16)

    def __getitem__(self, i: int) -> np.ndarray:
        start = i * 7 % (4096 - LONGEST)
        return self._pool[start : start + self.lengths[i]]

    def batches(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng(epoch).permutation(len(self.ids))
        return np.split(order, range(BATCH, len(order), BATCH))

    @property
    def bytes(self) -> int:
        return int(self.lengths.sum()) * DIM * 2


class Serctl:
    """The store, read straight and through the training's loader with its thread.

    The mapping is copied into one reused padded buffer, as the loader does.
    """

    def __init__(self, path: Path, frames: Frames) -> None:
        self.path, self.frames = path, frames
        self.out = np.ones((BATCH, LONGEST, DIM), np.float16)

    def straight(self, verify: str) -> Callable[[], Reader]:
        def make() -> Reader:
            store = FeatureStore.open(self.path, verify=verify)  # type: ignore[arg-type]
            return lambda rows: store.read_batch([self.frames.ids[i] for i in rows], self.out)

        return make

    def epochs(self, verify: str, count: int) -> float:
        """Seconds of ``count`` epochs of the training's loader, the store opened anew."""
        started = time.perf_counter()
        store = FeatureStore.open(self.path, verify=verify)  # type: ignore[arg-type]
        utterances = [Utterance(name, Path(), "train", "happy") for name in self.frames.ids]
        data = build_set(utterances, [store], LabelSet(("happy",)))
        plan = [rows for epoch in range(count) for rows in self.frames.batches(epoch)]
        for _ in load_batches(data, plan, torch.device("cpu")):
            pass
        return time.perf_counter() - started


def make_limit(path: Path, frames: Frames) -> Reader:
    """The limit: one preadv per utterance into a preallocated padded buffer, and nothing else."""
    store = FeatureStore.open(path)
    files = [os.open(path / name / "c/0/0", os.O_RDONLY) for name in store._names]
    where = [
        (files[store._segment[row]], int(store._start[row]) * DIM * 2, int(store._length[row]))
        for row in (store._row[name] for name in frames.ids)
    ]
    out = np.zeros((BATCH, LONGEST, DIM), np.float16)

    def read(rows: np.ndarray) -> None:
        for b, i in enumerate(rows.tolist()):
            file, offset, length = where[i]
            os.preadv(file, [out[b, :length]], offset)

    return read


def make_hinted(path: Path, frames: Frames) -> Reader:
    """The limit with read-ahead: the kernel hears of the whole batch, in the order of the disk."""
    where = find_rows(path, frames)
    files = {
        name: os.open(path / name / "c/0/0", os.O_RDONLY) for name in {name for name, _, _ in where}
    }
    out = np.zeros((BATCH, LONGEST, DIM), np.float16)

    def read(rows: np.ndarray) -> None:
        order = sorted(range(len(rows)), key=lambda b: where[rows[b]])
        for b in order:
            name, start, stop = where[rows[b]]
            offset, size = start * DIM * 2, (stop - start) * DIM * 2
            os.posix_fadvise(files[name], offset, size, os.POSIX_FADV_WILLNEED)
        for b in order:
            name, start, stop = where[rows[b]]
            os.preadv(files[name], [out[b, : stop - start]], start * DIM * 2)

    return read


def make_pt(folder: Path, frames: Frames) -> Reader:
    """The common practice: one float32 file per utterance, padded together."""
    for i, name in enumerate(frames.ids):
        torch.save(torch.from_numpy(frames[i].astype(np.float32)), folder / f"{name}.pt")

    def read(rows: np.ndarray) -> None:
        paths = [folder / f"{frames.ids[i]}.pt" for i in rows]
        pad_sequence([torch.load(path, weights_only=True) for path in paths], batch_first=True)

    return read


def find_rows(path: Path, frames: Frames) -> list[tuple[str, int, int]]:
    """Segment, first row and one past the last row of each utterance."""
    store = FeatureStore.open(path)
    rows = (store._row[name] for name in frames.ids)
    return [
        (
            store._names[store._segment[r]],
            int(store._start[r]),
            int(store._start[r] + store._length[r]),
        )
        for r in rows
    ]


def make_zarr(path: Path, frames: Frames) -> Reader:
    group, where = zarr.open_group(path, mode="r"), find_rows(path, frames)
    arrays = {name: group[name] for name, _, _ in where}
    out = np.zeros((BATCH, LONGEST, DIM), np.float16)

    def read(rows: np.ndarray) -> None:
        for b, i in enumerate(rows):
            name, start, stop = where[i]
            out[b, : stop - start] = arrays[name][start:stop]

    return read


def make_tensorstore(path: Path, frames: Frames, *, cached: int = 0) -> Reader:
    """All reads of a batch at once, straight into the padded buffer: the fastest way found.

    ``cached`` bytes of decoded chunks are kept in memory; with room for all, nothing is read twice.
    """
    where = find_rows(path, frames)
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": cached}})
    arrays = {
        name: tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / name)}},
            read=True,
            context=context,
        ).result()
        for name in {name for name, _, _ in where}
    }
    target = tensorstore.array(np.zeros((BATCH, LONGEST, DIM), np.float16))

    def read(rows: np.ndarray) -> None:
        copies = []
        for b, i in enumerate(rows):
            name, start, stop = where[i]
            source = arrays[name][start:stop].translate_to[0, 0]
            copies.append(target[b, : stop - start].write(source))
        for copy in copies:
            copy.result()

    return read


def make_datasets(folder: Path, frames: Frames) -> Reader:
    """Hugging Face datasets: frames as a 2-d column, numpy format, one query per batch."""
    import datasets

    datasets.disable_progress_bars()
    column = datasets.Features({"frames": datasets.Array2D(shape=(None, DIM), dtype="float16")})
    made = datasets.Dataset.from_generator(
        lambda: ({"frames": frames[i]} for i in range(len(frames.ids))),
        features=column,
        cache_dir=str(folder),
        writer_batch_size=64,
    ).with_format("numpy")
    out = np.zeros((BATCH, LONGEST, DIM), np.float16)

    def read(rows: np.ndarray) -> None:
        for b, found in enumerate(made[rows.tolist()]["frames"]):
            out[b, : len(found)] = found

    return read


def make_lhotse(folder: Path, frames: Frames, kind: str) -> Reader:
    """lhotse's storage and its own collation."""
    from lhotse.dataset.collation import collate_matrices
    from lhotse.features import io

    with getattr(io, f"{kind}Writer")(folder / kind) as writer:
        keys = [
            writer.write(name, frames[i].astype(np.float32 if "Lilcom" in kind else np.float16))
            for i, name in enumerate(frames.ids)
        ]
    reader = getattr(io, f"{kind}Reader")(writer.storage_path)

    def read(rows: np.ndarray) -> None:
        collate_matrices([torch.from_numpy(np.array(reader.read(keys[i]))) for i in rows])

    return read


def run_epoch(
    read: Reader, frames: Frames, epoch: int, part: int, announce: Reader | None = None
) -> tuple[float, float]:
    """Utterances and gigabytes of frames (float16) a second over the first batches of an epoch.

    ``announce`` hears of a batch before the one ahead of it is read, as the loader's thread tells.
    """
    batches = frames.batches(epoch)[:part]
    started = time.perf_counter()
    for rows, following in zip_longest(batches, batches[1:]):
        if announce and following is not None:
            announce(following)
        read(rows)
    seconds = time.perf_counter() - started
    rows = np.concatenate(batches)
    return len(rows) / seconds, frames.lengths[rows].sum() * DIM * 2 / seconds / 1e9


def drop_from_memory(folder: Path) -> float:
    """Ask the kernel to forget a folder's files; return the share that stayed (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    pages = resident = 0
    for path in (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, protection) as view:
                start = ctypes.addressof(ctypes.c_char.from_buffer(view))
                flags = (ctypes.c_ubyte * -(-len(view) // mmap.PAGESIZE))()
                libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(view)), flags)
        pages += len(flags)
        resident += int((np.frombuffer(flags, np.uint8) & 1).sum())
    return resident / max(pages, 1)


def anonymous_memory() -> int:
    """RssAnon of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measure_opening(folder: Path) -> dict[str, float]:
    """Open a store of 100,000 utterances in segments of 300, one frame each."""
    path = folder / "large.zarr"
    with StoreWriter(path, KEY, 2, 50.0, commit_seconds=1e9) as writer:
        for start in range(0, 100_000, 300):
            ids = [
                f"MSP-PODCAST_{i // 50:04}_{i:06}" for i in range(start, min(start + 300, 100_000))
            ]
            sources = [f"{hash(name) & (2**64 - 1):016x}" for name in ids]
            writer.append(ids, [np.zeros((1, 2))] * len(ids), sources)
            writer.flush()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        store = FeatureStore.open(path)
        seconds.append(time.perf_counter() - started)
    assert len(store) == 100_000
    size = sum(file.stat().st_size for file in path.rglob("*.json"))
    return {"open_100k_seconds": statistics.median(seconds), "index_megabytes": size / 1e6}


def measure_cold(
    frames: Frames, runs: int, path: Path, pt: Path, made: dict[str, Reader]
) -> dict[str, list[tuple[float, float]]]:
    """Eight batches, read once after the kernel was asked to forget the files; readers take turns.

    Pages that a process maps are not forgotten, so serctl lets go of its mappings before.
    """
    store = FeatureStore.open(path)
    out = np.ones((BATCH, LONGEST, DIM), np.float16)

    def name(rows: np.ndarray) -> list[str]:
        return [frames.ids[i] for i in rows]

    def read(rows: np.ndarray) -> None:
        store.read_batch(name(rows), out)

    readers: dict[str, tuple[Path, Reader, Reader | None]] = {
        "limit: preadv, nothing else": (path, made["limit"], None),
        "preadv, posix_fadvise ahead": (path, make_hinted(path, frames), None),
        "serctl store, verify first": (path, read, None),
        "serctl store, verify first, next batch told": (
            path,
            read,
            lambda rows: store.prefetch(name(rows)),
        ),
        "TensorStore": (path, made["ts"], None),
        "torch.load .pt float32": (pt, made["pt"], None),
    }
    cold: dict[str, list[tuple[float, float]]] = {}
    for epoch in range(100, 100 + runs):
        for title, (where, reader, announce) in readers.items():
            store.close()
            store = FeatureStore.open(path)
            stayed = drop_from_memory(where)
            speed, _ = run_epoch(reader, frames, epoch, 8, announce)
            cold.setdefault(title, []).append((speed, stayed))
    return cold


def measure(count: int, runs: int, folder: Path) -> dict[str, Any]:
    frames = Frames(count)
    path = folder / "store.zarr"
    started = time.perf_counter()
    with StoreWriter(path, KEY, DIM, 50.0) as writer:
        for first in range(0, count, 16):
            rows = range(first, min(first + 16, count))
            values = [frames[i].astype(np.float32) for i in rows]
            writer.append([frames.ids[i] for i in rows], values, ["-"] * len(rows))
    written = frames.bytes / (time.perf_counter() - started) / 1e6
    serctl = Serctl(path, frames)
    before = anonymous_memory()
    run_epoch(serctl.straight("first")(), frames, 0, 10**9)
    grown = anonymous_memory() - before
    (folder / "pt").mkdir()
    pt = make_pt(folder / "pt", frames)
    limit, ts = make_limit(path, frames), make_tensorstore(path, frames)
    readers: dict[str, tuple[Reader, int]] = {
        "limit: preadv, nothing else": (limit, 10**9),
        "serctl store, verify never": (serctl.straight("never")(), 10**9),
        "serctl store, verify always": (serctl.straight("always")(), 10**9),
        f"torch.load .pt float32 ({torch.__version__})": (pt, 16),
        f"TensorStore {version('tensorstore')}": (ts, 10**9),
        "TensorStore, all frames in its own memory": (
            make_tensorstore(path, frames, cached=2 * frames.bytes),
            10**9,
        ),
        f"zarr-python {zarr.__version__}": (make_zarr(path, frames), 2),
    }
    absent = []
    if importlib.util.find_spec("datasets"):
        (folder / "hf").mkdir()
        readers[f"datasets {version('datasets')}, numpy"] = make_datasets(folder / "hf", frames), 4
    else:
        absent.append("datasets")
    if importlib.util.find_spec("lhotse"):
        for kind in ["NumpyFiles"] + ["LilcomChunky"] * bool(importlib.util.find_spec("lilcom")):
            name = f"lhotse {version('lhotse')}, {kind}"
            readers[name] = make_lhotse(folder, frames, kind), 8
    else:
        absent.append("lhotse")

    speeds: dict[str, list[tuple[float, float]]] = {}
    for epoch in range(runs + 1):
        for name, (read, part) in readers.items():
            found = run_epoch(read, frames, epoch, part)
            if epoch:  # the first fills the page cache
                speeds.setdefault(name, []).append(found)
        # `first` over two epochs, opening included: the store's reader, then the training's loader.
        started = time.perf_counter()
        read = serctl.straight("first")()
        run_epoch(read, frames, 2 * epoch, 10**9)
        once = time.perf_counter() - started
        run_epoch(read, frames, 2 * epoch + 1, 10**9)
        twice = time.perf_counter() - started
        for name, epochs, seconds in (
            ("serctl store, verify first, 2 epochs", 2, twice),
            ("serctl store, verify first, later epochs", 1, twice - once),
            ("serctl loader, verify first, 2 epochs", 2, serctl.epochs("first", 2)),
        ):
            if epoch:
                found = epochs * count / seconds, epochs * frames.bytes / seconds / 1e9
                speeds.setdefault(name, []).append(found)

    readers.clear()
    del read  # what a process maps, the kernel does not forget
    cold = measure_cold(frames, runs, path, folder / "pt", {"pt": pt, "limit": limit, "ts": ts})
    return {
        "speeds": speeds,
        "cold": cold,
        "absent": absent,
        "write_megabytes_per_second": written,
        "anonymous_growth_megabytes": grown / 1e6,
        "gigabytes": frames.bytes / 1e9,
        **measure_opening(folder),
    }


def show(result: dict[str, Any], runs: int) -> Iterator[str]:
    median = {n: statistics.median(s for s, _ in found) for n, found in result["speeds"].items()}
    limit = median["limit: preadv, nothing else"]
    yield f"\nwarm page cache, {result['gigabytes']:.2f} GB of frames, median of {runs} runs\n"
    yield f"{'reader':44}{'utt/s':>9}{'GB/s':>7}{'of limit':>10}   lowest-highest"
    for name, value in sorted(median.items(), key=lambda item: -item[1]):
        found = result["speeds"][name]
        speed = statistics.median(size for _, size in found)
        low, high = min(s for s, _ in found), max(s for s, _ in found)
        yield f"{name:44}{value:9,.0f}{speed:7.2f}{value / limit:10.3f}   {low:,.0f}-{high:,.0f}"
    yield "\ncold page cache, 8 batches (share of pages still resident before, by mincore)\n"
    for name, found in result["cold"].items():
        value, stayed = statistics.median(s for s, _ in found), max(share for _, share in found)
        low, high = min(s for s, _ in found), max(s for s, _ in found)
        yield f"{name:44}{value:9,.0f}   {low:,.0f}-{high:,.0f}   resident {stayed:.1%}"
    yield (
        f"\nwriting {result['write_megabytes_per_second']:,.0f} MB/s; 100,000 utterances open in "
        f"{result['open_100k_seconds']:.3f} s, index {result['index_megabytes']:.1f} MB; anonymous "
        f"memory grew by {result['anonymous_growth_megabytes']:.1f} MB over serctl's first epoch"
    )
    for name in result["absent"]:
        yield f"not installed, not measured: {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write some GB (default: TMPDIR)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(arguments.utterances, arguments.runs, Path(folder))
    for line in show(result, arguments.runs):
        print(line, file=sys.stderr)
    rate = {
        name: statistics.median(s for s, _ in found) for name, found in result["speeds"].items()
    }
    of = lambda part: next(value for name, value in rate.items() if part in name)  # noqa: E731
    against = {
        "preadv": of("limit"),
        "pt": of(".pt"),
        "tensorstore": of(f"TensorStore {version('tensorstore')}"),
    }
    cold = {name: statistics.median(s for s, _ in found) for name, found in result["cold"].items()}
    best = max(value for name, value in cold.items() if "serctl" not in name)
    ahead = cold["serctl store, verify first, next batch told"]
    later, two = of("verify first, later"), of("store, verify first, 2")
    print(
        json.dumps(
            {
                "benchmark": "cache",
                "utterances": arguments.utterances,
                "runs": arguments.runs,
                "utterances_per_second": {name: round(value, 1) for name, value in rate.items()},
                **{f"vs_{name}": round(later / value, 3) for name, value in against.items()},
                **{
                    f"first_2_epochs_vs_{name}": round(two / value, 3)
                    for name, value in against.items()
                },
                "loader_2_epochs_vs_preadv": round(of("loader") / of("limit"), 3),
                "always_vs_preadv": round(of("verify always") / of("limit"), 3),
                "cold": {name: round(value, 1) for name, value in cold.items()},
                "cold_vs_best": round(ahead / best, 3),
                **{
                    name: round(result[name], 3)
                    for name in (
                        "write_megabytes_per_second",
                        "anonymous_growth_megabytes",
                        "open_100k_seconds",
                        "index_megabytes",
                    )
                },
                "not_installed": result["absent"],
            }
        )
    )


if __name__ == "__main__":
    main()

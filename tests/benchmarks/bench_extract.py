"""Extraction against a plain one-file-at-a-time transformers loop (`make bench-extract`).

Same files, same weights, same cores; both sides read, encode and write float16 frames to disk,
and on both loading the weights is left out. The WavLM and HuBERT have the shape of the base models
and random weights; Whisper-tiny and MiniLM are the real ones. One pass is
`serctl transcribe --keep-frames` against `serctl transcribe` and then `serctl extract`.
"""

import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, WhisperFeatureExtractor
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, write_transcripts
from serctl.encoders.catalog import get_spec
from serctl.encoders.load import load_encoder
from serctl.encoders.weights import resolve_weights
from serctl.encoding import extraction as engine
from serctl.options import ExtractOptions, TranscribeOptions
from serctl.runtime import environment
from serctl.stages import extract as stage
from serctl.stages.transcribe import transcribe

RUNS, CLIPS, TEXTS = 3, 12, 600
DATA = Path(os.environ.get("SERCTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
BASE = {
    **tiny.CONV_STACK,
    **tiny.STABLE,
    "conv_dim": [512] * 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}

Step = Callable[[Any], np.ndarray]


def make_project(root: Path) -> Workspace:
    """Return a project of real speech and real words; of noise and made-up words without them."""
    files = sorted((DATA / "ravdess").rglob("*.flac"))[::118][:CLIPS]
    if not files:
        rng = np.random.default_rng(0)
        files = [root / f"{i}.flac" for i in range(CLIPS)]
        for file in files:
            soundfile.write(file, rng.normal(0, 0.1, int(rng.uniform(1.2, 5) * 16_000)), 16_000)
    rows = [Utterance(f"u{i:04}", file, "train") for i, file in enumerate(files)]
    texts = read_texts()
    more = [Utterance(f"u{i:04}", files[0], "train") for i in range(len(rows), len(texts))]
    write_manifest(root / "manifest.csv", [*rows, *more])
    words = [Transcript(f"u{i:04}", text) for i, text in enumerate(texts)]
    write_transcripts(root / "transcripts.csv", words, {"source": "bench"})
    return Workspace(root)


def read_texts() -> list[str]:
    """Return real dialogue lines, or made-up ones of like lengths."""
    path = DATA / "meld_text" / "transcripts.csv"
    if path.exists():
        with path.open(encoding="utf-8") as file:
            return [row["transcript"].strip() for row in csv.DictReader(file)][:TEXTS]
    lengths = np.random.default_rng(0).geometric(0.12, TEXTS)
    return [" ".join((tiny.SENTENCES[i % 6] * 9).split()[:n]) for i, n in enumerate(lengths)]


def make_audio_step(network: Any, extractor: Any) -> Step:
    """Return what a script does with one file."""

    def step(file: Path) -> np.ndarray:
        samples, rate = soundfile.read(file, dtype="float32")
        given = extractor(samples, sampling_rate=rate, return_tensors="pt")
        frames = network(given[extractor.model_input_names[0]]).last_hidden_state[0]
        return frames[: -(-len(samples) // 320)].numpy()

    return step


def make_text_step(network: Any, tokenizer: Any) -> Step:
    """Return what a script does with one transcript."""

    def step(text: str) -> np.ndarray:
        return network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()

    return step


def time_loop(step: Step, items: Iterable[Any], out: Path) -> float:
    """Return the seconds of encoding items one by one, each into a file of its own."""
    out.mkdir()
    start = time.perf_counter()
    with torch.inference_mode():
        for i, item in enumerate(items):
            np.save(out / f"{i}.npy", step(item).astype(np.float16))
    return time.perf_counter() - start


def time_serctl(project: Workspace, options: ExtractOptions, cache: Path) -> float:
    """Return the seconds of `serctl extract` into an empty cache, planning and hashing counted."""
    start = time.perf_counter()
    stage.extract(replace(project, paths={"cache": cache}), options)
    return time.perf_counter() - start


def compare(
    title: str, project: Workspace, options: ExtractOptions, step: Step, items: list[Any]
) -> dict[str, float]:
    """Time both sides in turn and print them."""
    encoder = load_encoder(options.encoder, mapping=project.weights)
    engine.load_encoder = lambda *_, **__: encoder  # type: ignore[assignment]
    loop, ours = [], []
    with tempfile.TemporaryDirectory() as scratch:
        time_serctl(project, replace(options, limit=4), Path(scratch) / "warm")
        for run in range(RUNS):
            loop.append(time_loop(step, items, Path(scratch) / f"loop{run}"))
            ours.append(time_serctl(project, options, Path(scratch) / f"cache{run}"))
    return show(title, {"loop": loop, "serctl": ours})


def show(title: str, seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Print median and spread of each side, and return medians and their ratio."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    first, last = middle.values()
    told = ", ".join(
        f"{name} {middle[name]:.2f} s ({min(values):.2f}–{max(values):.2f})"
        for name, values in seconds.items()
    )
    print(f"{title}: {told}: {first / last:.2f} times as fast", flush=True)
    return {**middle, "ratio": first / last}


def count_operations(step: Step, items: list[Any]) -> float:
    """Return the floating-point operations of the matrix products in encoding the items."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        for item in items:
            step(item)
    return float(counter.get_total_flops())


def measure_peak() -> float:
    """Return the operations a second of a large matrix product on all cores: the ceiling."""
    left, right = torch.rand(2, 2048, 2048)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def bench_speech(project: Workspace, scratch: Path) -> dict[str, Any]:
    """Measure three speech encoders, and how near the ceiling each side runs."""
    files = [row.path for row in read_manifest(project.manifest).limit(CLIPS)]
    peak = measure_peak()
    figures: dict[str, Any] = {}
    for name, architecture in {"hubert": "HubertModel", "wavlm": "WavLMModel"}.items():
        path = scratch / name
        tiny.write_speech(path, architecture, name, BASE, std=0.03)
        step = make_audio_step(
            AutoModel.from_pretrained(path).eval(), AutoFeatureExtractor.from_pretrained(path)
        )
        options = ExtractOptions(encoder=str(path), device="cpu", limit=CLIPS)
        figures[name] = compare(f"{name} (base shape)", project, options, step, files)
        # Counted on serctl's copy: the counter does not know weight norm.
        folded = load_encoder(str(path)).network  # type: ignore[attr-defined]
        counted = make_audio_step(folded, AutoFeatureExtractor.from_pretrained(path))
        work = count_operations(counted, files) / peak
        shares = {side: work / figures[name][side] for side in ("loop", "serctl")}
        print(f"  of the {peak / 1e9:.0f} GFLOP/s of a matrix product: ", end="")
        print(", ".join(f"{side} {share:.0%}" for side, share in shares.items()), flush=True)
        figures[name]["share_of_peak"] = shares
    network = load_encoder("whisper-tiny").network  # type: ignore[attr-defined]
    step = make_audio_step(network, WhisperFeatureExtractor())
    options = ExtractOptions(encoder="whisper-tiny", device="cpu", limit=CLIPS)
    figures["whisper-tiny"] = compare("whisper-tiny", project, options, step, files)
    return figures


def bench_text(project: Workspace) -> dict[str, float]:
    """Measure MiniLM."""
    path = resolve_weights(get_spec("minilm")).path
    step = make_text_step(
        AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    )
    options = ExtractOptions(encoder="minilm", device="cpu")
    return compare(f"minilm, {TEXTS} texts", project, options, step, read_texts())


def bench_one_pass(project: Workspace, scratch: Path) -> dict[str, float]:
    """Measure words and frames in one pass against one pass for each."""
    both, one = [], []
    words = TranscribeOptions(model="whisper-tiny", device="cpu", limit=CLIPS)
    frames = ExtractOptions(encoder="whisper-tiny", device="cpu", limit=CLIPS)
    for run in range(RUNS):
        places = [
            {"transcripts": scratch / f"{n}{run}.csv", "cache": scratch / f"cache{n}{run}"}
            for n in range(2)
        ]
        two, single = (replace(project, paths=paths) for paths in places)
        start = time.perf_counter()
        transcribe(two, words)
        stage.extract(two, frames)
        both.append(time.perf_counter() - start)
        start = time.perf_counter()
        transcribe(single, replace(words, keep_frames=True))
        one.append(time.perf_counter() - start)
    return show("whisper-tiny, words and frames", {"two passes": both, "one pass": one})


def main() -> None:
    """Run all, print a table and one JSON line."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    versions = environment()
    print(f"{torch.get_num_threads()} threads, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        project = make_project(scratch)
        print(f"{CLIPS} clips, {RUNS} runs of each, median (least–most)")
        one_pass = bench_one_pass(project, scratch)
        speech = bench_speech(project, scratch)
        text = bench_text(project)
    figures = {
        "speech_ratio": statistics.median(row["ratio"] for row in speech.values()),
        "text_ratio": text["ratio"],
        "one_pass_ratio": one_pass["ratio"],
        "speech": speech,
        "text": text,
        "one_pass": one_pass,
        "versions": versions,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

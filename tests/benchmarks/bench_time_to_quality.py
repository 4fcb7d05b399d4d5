"""How long to the same dev macro-F1: the reference recipe, and serctl's for a small corpus.

The reference is the network and the settings of the released code (bench_train.py: hidden 512,
learning rate 1e-5, padded batches of 64, no masks, a file per utterance); serctl is
`--recipe small`. Both see the same frames of the project in the working directory, with the same
threads. CPU seconds of training alone are counted, and dev is scored after every epoch by both.
The reference keeps its state after every epoch: interrupted, it goes on.

Run, in a project with extracted whisper-tiny and minilm frames (docs/training.md):
    python tests/benchmarks/bench_time_to_quality.py --state /tmp/reference.pt
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from bench_train import BATCH, TOKENS, Reference
from torch import nn

from serctl.config import open_workspace, resolve_options
from serctl.documents.run import EpochRecord
from serctl.metrics.classification import score_predictions
from serctl.options import TrainOptions
from serctl.training.corpus import TrainingCorpus, prepare_corpus
from serctl.training.dataset import UtteranceSet
from serctl.training.fit import fit, shape_model

EPOCHS, START, END = 20, 1e-5, 1e-6


def write_files(corpus: TrainingCorpus, folder: Path) -> None:
    """Float32 files, one per utterance and encoder, as the released code keeps them."""
    for data in (corpus.train, corpus.dev):
        for branch, encoder in enumerate(corpus.branches):
            for name in data.ids:
                frames = torch.from_numpy(encoder.stores[0].read(name)).float()
                torch.save(frames, folder / f"{name}.{branch}.pt")


def read_batch(folder: Path, data: UtteranceSet, rows: list[int]) -> list[torch.Tensor]:
    parts = [
        nn.utils.rnn.pad_sequence(
            [torch.load(folder / f"{data.ids[i]}.{b}.pt", weights_only=True) for i in rows],
            batch_first=True,
        )
        for b in (0, 1)
    ]
    parts[1] = nn.functional.pad(parts[1], (0, 0, 0, TOKENS - parts[1].shape[1]))
    return parts


def run_reference(corpus: TrainingCorpus, folder: Path, state: Path) -> list[tuple[float, float]]:
    """Return CPU seconds so far and dev macro-F1 after each epoch."""
    torch.manual_seed(7)
    num_classes, train, dev = len(corpus.labels), corpus.train, corpus.dev
    model = Reference([branch.stores[0].dim for branch in corpus.branches], num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), START, weight_decay=1e-6)
    curve: list[tuple[float, float]] = []
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        curve = [tuple(point) for point in saved["curve"]]
    counts = torch.bincount(torch.from_numpy(train.label_ids), minlength=num_classes)
    loss_of = nn.CrossEntropyLoss(counts.sum() / (num_classes * counts))
    labels = torch.from_numpy(train.label_ids)
    for epoch in range(len(curve), EPOCHS):
        rate = END + (START - END) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        optimizer.param_groups[0]["lr"] = rate
        started = time.process_time()
        model.train()
        for rows in torch.randperm(len(train)).split(BATCH):
            loss = loss_of(model(read_batch(folder, train, rows.tolist())), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.process_time() - started + (curve[-1][0] if curve else 0.0)
        model.eval()
        with torch.inference_mode():
            parts = [list(range(i, min(i + BATCH, len(dev)))) for i in range(0, len(dev), BATCH)]
            logits = torch.cat([model(read_batch(folder, dev, part)) for part in parts])
        scores = score_predictions(dev.label_ids, logits.argmax(dim=1).numpy(), num_classes)
        curve.append((seconds, float(scores.macro_f1)))
        print(f"reference epoch {epoch + 1}: {seconds:.0f} CPU s, dev macro-F1 {curve[-1][1]:.3f}")
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(saved | {"random": torch.get_rng_state(), "curve": curve}, state)
    return curve


def run_serctl(corpus: TrainingCorpus, options: TrainOptions) -> list[tuple[float, float]]:
    encoders = [(branch.modality, branch.key.encoder) for branch in corpus.branches]
    shape = shape_model(options, encoders, len(corpus.labels))
    curve: list[tuple[float, float]] = []
    clock = {"start": time.process_time(), "scoring": 0.0}

    def note(history: list[EpochRecord], line: str) -> None:
        clock["scoring"] += history[-1].evaluation_seconds
        seconds = time.process_time() - clock["start"] - clock["scoring"]
        curve.append((seconds, history[-1].dev_macro_f1))
        print(f"serctl {line}  {seconds:.1f} CPU s")

    with tempfile.TemporaryDirectory() as folder:
        cpu = torch.device("cpu")
        fit(
            corpus.train,
            corpus.dev,
            corpus.labels,
            shape,
            options,
            Path(folder),
            device=cpu,
            report=note,
        )
    return curve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, default=Path("reference.pt"))
    state = parser.parse_args().state
    workspace = open_workspace()
    options = resolve_options(
        TrainOptions, "train", workspace, recipe="small", speech=("whisper-tiny",), text=("minilm",)
    )
    corpus = prepare_corpus(workspace, options)
    with tempfile.TemporaryDirectory() as folder:
        write_files(corpus, Path(folder))
        reference = run_reference(corpus, Path(folder), state)
    curve = run_serctl(corpus, replace(options, device="cpu"))
    slow, goal = next(p for p in reference if p[1] == max(value for _, value in reference))
    fast = next((seconds for seconds, value in curve if value >= goal), math.inf)
    best = max(value for _, value in curve)
    print(
        f"reference: best dev macro-F1 {goal:.3f} after {slow:.0f} CPU s; serctl: that after "
        f"{fast:.1f} CPU s, its own best {best:.3f}"
    )
    figures = {"goal": goal, "reference_seconds": slow, "serctl_seconds": fast, "best": best}
    print(
        json.dumps(
            {name: round(value, 4) for name, value in figures.items()} | {"share": fast / slow}
        )
    )


if __name__ == "__main__":
    main()

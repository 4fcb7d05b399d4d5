"""macro-F1 of the last layer, each other layer and a learned sum, over speaker-disjoint folds.

    python tests/benchmarks/bench_layers.py PROJECT ENCODER LAYER... [--window N]

The layers are those that the sum reads; the last one named counts as the last. A network of the
recipe ``small`` is trained for each of them and for their sum, five folds over all speakers, no
dev split and no choice of an epoch. Every utterance is predicted by the fold model that has not
seen its speaker. Frames are extracted first, in one pass.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from serctl import ExportLogitsOptions, ExtractOptions, TrainOptions, export_logits, extract, train
from serctl.config import Workspace, open_workspace, resolve_options
from serctl.data.labels import LabelSet
from serctl.data.manifest_file import read_manifest
from serctl.encoding.features import open_branches
from serctl.ensemble.logits_file import read_logits
from serctl.metrics.bootstrap import draw_resamples, interval, score_resamples
from serctl.metrics.classification import score_predictions
from serctl.metrics.paired import compare_paired
from serctl.training.dataset import build_set, make_reader
from serctl.training.loader import load_batches


def time_reading(workspace: Workspace, encoder: str, layers: list[int]) -> None:
    """Print the seconds that an epoch of batches takes to read, of one layer and of all."""
    rows = [row for row in read_manifest(workspace.manifest) if row.emotion]
    labels = LabelSet.of(row.emotion for row in rows)
    found = {}
    for name in (f"{encoder}@{layers[0]}", f"{encoder}@{'+'.join(map(str, layers))}"):
        [branch] = open_branches(workspace, {"speech": [name]})
        data = build_set(rows, [make_reader(branch.stores)], labels)
        plan = np.array_split(np.argsort(data.costs), -(-len(data) // 32))
        times = []
        for _ in range(5):
            started = time.perf_counter()
            for _ in load_batches(data, plan, torch.device("cpu")):
                pass
            times.append(time.perf_counter() - started)
        found[name] = min(times)
        print(f"{name:32} {found[name]:.3f} s an epoch, the best of five")
    one, several = found.values()
    print(f"{len(layers)} layers cost {several / one:.2f} times one")


def main() -> None:
    """Print a row for each network and the tests against the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("encoder")
    parser.add_argument("layers", type=int, nargs="+")
    parser.add_argument("--window", type=int)
    parser.add_argument("--single", type=int, nargs="*", help="layers trained alone")
    parser.add_argument("--reading", action="store_true", help="only time reading the layers")
    given = parser.parse_args()
    workspace = open_workspace(given.project)
    options = ExtractOptions(
        encoder=given.encoder, layer=tuple(given.layers), window=given.window, device="cpu"
    )
    extract(workspace, options)
    if given.reading:
        time_reading(workspace, given.encoder, given.layers)
        return
    base = resolve_options(
        TrainOptions,
        "train",
        workspace,
        recipe="small",
        layer_fusion="sum",
        downsample=1,
        folds=5,
        device="cpu",
    )
    joined = "+".join(map(str, given.layers))
    names = {f"layer {n}": f"{given.encoder}@{n}" for n in given.single or given.layers}
    names |= {"learned sum": f"{given.encoder}@{joined}"}
    names |= {"learned sum, layer norm": names["learned sum"]}
    rows = [row for row in read_manifest(workspace.manifest) if row.emotion]
    truth = {row.utterance_id: row.emotion for row in rows}
    speakers = {row.utterance_id: row.speaker for row in rows}
    found: dict[str, np.ndarray] = {}
    for title, branch in names.items():
        run = replace(
            base,
            speech=(branch,),
            normalise_layers=title.endswith("norm"),
            name=f"bench-{given.encoder}-{title.replace(' ', '-').replace(',', '')}",
        )
        [made] = train(workspace, run).runs
        export_logits(workspace, ExportLogitsOptions(run=made.name, device="cpu"))
        logits = read_logits(made.folder / "logits" / "train.csv")
        targets = np.array([logits.labels.index(truth[name]) for name in logits.ids])
        found[title] = logits.values.argmax(axis=1)
        resamples = draw_resamples([speakers[name] for name in logits.ids])
        size = len(logits.labels)
        score = score_predictions(targets, found[title], size)
        low, high = interval(score_resamples(resamples, targets, found[title], size).macro_f1)
        print(f"{title:24} {score.macro_f1:.3f} ({low:.3f} to {high:.3f}) UAR {score.uar:.3f}")
        if made.summary.layer_weights:
            print(f"  weights {made.summary.layer_weights}")
    last = f"layer {given.layers[-1]}"
    for title, predicted in found.items():
        if title != last:
            pair = (last, found[last]), (title, predicted)
            print(compare_paired(resamples, targets, *pair, size).verdict())


if __name__ == "__main__":
    main()

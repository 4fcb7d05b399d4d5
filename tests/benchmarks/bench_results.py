"""The tables of `docs/results.md` (`make results`): resumable, hours on two cores.

Every step is a command of serctl. EmoDB and RAVDESS are cross-validated over all their speakers:
each outer fold is a project whose test split is that fold and whose train split is the rest. The
demo corpus keeps its splits and repeats its trainings with other seeds. `challenge` adds the parts
of the recipe of that name, one by one and all together, to a network of the demo corpus. The last
line of the output is one JSON object.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from serctl.ensemble.logits_file import read_logits
from serctl.metrics.bootstrap import draw_resamples
from serctl.metrics.paired import compare_paired

ROOT = Path(__file__).resolve().parents[2]
CORPORA: dict[str, tuple[int, tuple[str, ...]]] = {
    "emodb": (5, ()),
    "ravdess": (3, ("--drop", "calm")),
}
"""Outer folds and the flags of `serctl init`."""

STACKERS = (
    "best-single",
    "mean-probabilities",
    "log-pool",
    "greedy",
    "linear",
    "logistic-regression",
    "auto",
)
FOREST = "random-forest"
"""A minute each, so only on the demo corpus."""

CHALLENGE: dict[str, dict[str, Any]] = {
    "raters' votes as targets": {"soft_targets": True},
    "attributes": {"attribute_weight": 0.4},
    "MixUp": {"mixup": 0.3},
    "statistics pooling": {"pooling": "statistics"},
    "a balanced second stage": {"balanced_epochs": 3, "balanced_learning_rate": 1e-4},
}
"""The parts of the recipe `challenge`, with a second stage of a tenth of the learning rate."""

NETWORKS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "3 folds": {"folds": 3},
    "8 folds": {"folds": 8},
    "learned sum of layers": {"layer_fusion": "sum"},
    "downsample 8": {"downsample": 8},
    "downsample 2": {"downsample": 2},
    "width 32": {"hidden": 32},
    "width 128": {"hidden": 128},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.7": {"dropout": 0.7},
    "weight decay 1e-4": {"weight_decay": 1e-4},
    "weight decay 0.1": {"weight_decay": 0.1},
    "10 epochs": {"epochs": 10},
    "40 epochs": {"epochs": 40},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "statistics pooling": {"pooling": "statistics"},
    "layer norm of each layer": {"normalise_layers": True},
    "MixUp in 30 %": {"mixup": 0.3},
    "MixUp in all, alpha 0.4": {"mixup": 1.0, "mixup_alpha": 0.4},
    "SML, half neutral": {"loss": "wce+sml"},
    "SML, square root": {"loss": "wce+sml", "balance": "sqrt"},
    "SML, natural shares": {"loss": "wce+sml", "balance": "off"},
}
"""Changes of the network of the recipe `small`."""

SEEDS = ("as shipped", "seed 1", "seed 2")
"""Their mean is a row of its own."""

SHIPPED = "shipped stack"
BASELINES = {
    "pooled-logistic-regression": "baseline: pooled logistic regression, all frames",
    "pooled-logistic-regression-by-speaker": "the same, per speaker",
}

Row = dict[str, Any]


def call(project: Path, *words: str) -> Any:
    """Run one serctl command in a project and return its JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "serctl", *words, "--json"],
        cwd=project,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


def list_utterances(corpus: str, data: Path, folder: Path) -> list[dict[str, str]]:
    """Return the manifest of a corpus, made by `serctl init`."""
    base = folder / "all"
    if not (base / "manifest.csv").exists():
        base.mkdir(parents=True, exist_ok=True)
        root = str((data / corpus).resolve())
        call(base, "init", "--corpus", corpus, "--root", root, *CORPORA[corpus][1], "-C", ".")
    with (base / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def make_fold(
    project: Path, rows: Sequence[Mapping[str, str]], test: set[int], weights: Mapping[str, str]
) -> None:
    """Write a project whose test split is ``test``; all folds of a corpus share one cache."""
    project.mkdir(parents=True, exist_ok=True)
    with (project / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for i, row in enumerate(rows):
            writer.writerow({**row, "split": "test" if i in test else "train"})
    lines = ["[paths]", 'cache = "../cache"', "", "[weights]"]
    lines += [f'{name} = "{path}"' for name, path in weights.items()]
    lines += ["", "[transcribe]", "from_manifest = true", ""]
    (project / "serctl.toml").write_text("\n".join(lines))


def measure_fold(project: Path, recipe: str) -> list[Row]:
    """Run a recipe in a project and every stacker beside it; return the systems of the report."""
    report = project / "reports" / "all.json"
    if not report.exists():
        begun = time.perf_counter()
        call(project, "run", recipe)
        seconds = project / "seconds.json"
        if not seconds.exists():  # a run that was interrupted counts from its last start
            seconds.write_text(json.dumps(time.perf_counter() - begun))
        for kind in STACKERS:
            call(project, "stack", "--stacker", kind, "--name", kind)
        call(project, "evaluate", "--name", "all")
    document = json.loads(report.read_text())
    cost = {p.parent.name: json.loads(p.read_text()) for p in project.glob("runs/*/summary.json")}
    own = Path(recipe).stem
    rows = []
    for system in document["systems"]:
        name = SHIPPED if system["name"] == own else system["name"]
        summary = cost.get(name, {})
        rows.append(
            {
                "name": BASELINES.get(name, name),
                "kind": system["kind"],
                "macro_f1": system["macro_f1"],
                "predicted": system["predictions"],
                "true": document["utterances"]["true"],
                "speaker": document["utterances"]["speaker"],
                "seconds": summary.get("seconds"),
            }
        )
    return rows


def cross_validate(
    corpus: str, encoder: str, weights: Mapping[str, str], data: Path, folder: Path
) -> dict[str, Any]:
    """Cross-validate the shipped recipe over all speakers of a corpus and print its table."""
    found: dict[str, list[Row]] = {}
    seconds = []
    for k, project in enumerate(open_folds(corpus, encoder, weights, data, folder)):
        for system in measure_fold(project, write_recipe(project, encoder)):
            found.setdefault(system["name"], []).append(system)
        seconds.append(json.loads((project / "seconds.json").read_text()))
        print(f"{corpus}, {encoder}: fold {k} done in {seconds[-1]:.0f} s", file=sys.stderr)
    true = sum(len(system["true"]) for system in found[SHIPPED])
    print(f"\n### {corpus}, {encoder}: {true} utterances\n")
    print("| System | mean over folds | lowest fold | all rows | shipped stack minus it | p |")
    print("|---|---:|---:|---:|---:|---:|")
    table = summarise(found)
    for name, entry in sorted(table.items(), key=lambda item: -item[1]["mean"]):
        test_cells = f"{entry['difference']:+.3f} | {entry['p']:.3f}" if "p" in entry else " | "
        print(
            f"| {name} | {entry['mean']:.3f} | {entry['lowest']:.3f} | {entry['joined']:.3f} "
            f"| {test_cells} |"
        )
    print(f"\nSeconds of `serctl run`, by fold: {', '.join(f'{s:.0f}' for s in seconds)}.")
    return {"table": table, "seconds": seconds}


def open_folds(
    corpus: str, encoder: str, weights: Mapping[str, str], data: Path, folder: Path
) -> list[Path]:
    """Return one project for each outer fold of a corpus."""
    base = folder / corpus
    rows = list_utterances(corpus, data, base)
    emotions, speakers = [row["emotion"] for row in rows], [row["speaker"] for row in rows]
    outer = StratifiedGroupKFold(CORPORA[corpus][0], shuffle=True, random_state=0)
    projects = []
    for k, (_, test) in enumerate(outer.split(emotions, emotions, speakers)):
        projects.append(base / f"{encoder}-{k}")
        if not (projects[-1] / "serctl.toml").exists():
            make_fold(projects[-1], rows, set(test.tolist()), weights)
    return projects


def write_recipe(project: Path, encoder: str) -> str:
    """Return the recipe's name, or a copy of it in the project that reads another encoder."""
    if encoder == "whisper-tiny":
        return "small"
    text = (ROOT / "serctl" / "recipes" / "small.toml").read_text()
    (project / "recipe.toml").write_text(text.replace("whisper-tiny", encoder))
    return "recipe.toml"


def summarise(found: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """Return the metrics of each system over the outer folds, and its paired test."""

    def join(name: str, column: str) -> list[Any]:
        return [value for system in found[name] for value in system[column]]

    true, speakers = join(SHIPPED, "true"), join(SHIPPED, "speaker")
    resamples = draw_resamples(speakers, 10_000)
    table: dict[str, dict[str, float]] = {}
    for name, systems in found.items():
        folds = [system["macro_f1"] for system in systems]
        joined = join(name, "predicted")
        table[name] = {
            "mean": mean(folds),
            "lowest": min(folds),
            "joined": float(f1_score(true, joined, average="macro")),
        }
        if name != SHIPPED:
            stack = (SHIPPED, join(SHIPPED, "predicted"))
            test = compare_paired(resamples, true, stack, (name, joined), int(np.max(true)) + 1)
            table[name] |= {"difference": test.difference, "p": test.p_value}
    return table


def open_demo(folder: Path, name: str) -> Path:
    """Return a project of the demo corpus; all share one manifest, transcript and cache."""
    base = folder / "demo"
    if not (base / "manifest.csv").exists():
        base.mkdir(parents=True, exist_ok=True)
        call(base, "init", "--corpus", "demo", "--root", "corpus", "-C", ".")
    project = base / name
    project.mkdir(exist_ok=True)
    shared = {"manifest": "manifest.csv", "transcripts": "transcripts.csv", "cache": "cache"}
    lines = ["[paths]", *(f'{key} = "../{file}"' for key, file in shared.items())]
    (project / "serctl.toml").write_text("\n".join(lines) + "\n")
    return project


def read_network(recipe: str) -> Row:
    """Return the options of the networks of a recipe."""
    path = ROOT / "serctl" / "recipes" / f"{recipe}.toml"
    table: Row = tomllib.loads(path.read_text())["train"]
    return table


def write_network(path: Path, network: Row) -> None:
    """Write the options of a network as a file for `serctl train --config`."""
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in network.items()]
    path.write_text("[train]\n" + "".join(lines))


def compare_networks(
    corpora: Sequence[str], encoder: str, weights: Mapping[str, str], data: Path, folder: Path
) -> dict[str, Any]:
    """Compare `NETWORKS` by out-of-fold macro-F1 on the train part of the first outer fold."""
    table: dict[str, dict[str, float]] = {}
    for corpus in corpora:
        project, speech = open_train_part(corpus, encoder, weights, data, folder)
        runs = {
            name: "network-" + re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
            for name in NETWORKS
        }
        for name, changes in NETWORKS.items():
            run = runs[name]
            file = project / "networks" / f"{run}.toml"
            file.parent.mkdir(exist_ok=True)
            write_network(file, {**read_network("small"), **changes})
            call(project, "train", *speech, "--config", str(file), "--name", run)
            call(project, "export-logits", run, "--split", "train")
            table.setdefault(name, {})[corpus] = score_out_of_fold(project, [run])
            print(f"{corpus}: {name} {table[name][corpus]:.3f}", file=sys.stderr, flush=True)
        averaged = score_out_of_fold(project, [runs[name] for name in SEEDS])
        table.setdefault("three seeds, mean logits", {})[corpus] = averaged
    print(f"\n### Networks, out of fold\n\n| Network | {' | '.join(corpora)} | mean |")
    print("|---|" + "---:|" * (len(corpora) + 1))
    for name, values in table.items():
        cells = [f"{value:.3f}" for value in (*values.values(), mean(values.values()))]
        print(f"| {name} | {' | '.join(cells)} |")
    return table


def open_train_part(
    corpus: str, encoder: str, weights: Mapping[str, str], data: Path, folder: Path
) -> tuple[Path, Sequence[str]]:
    """Return a project with the features of a network, and the flags of its branches."""
    layers = [f"--layer={n}" for n in range(1, 5)]
    speech = ("--speech", f"{encoder}@1+2+3+4")
    if corpus == "demo":
        project = open_demo(folder, "networks")
        call(project, "transcribe", "--model", "whisper-tiny")
        call(project, "extract", "--encoder", "minilm")
        speech += ("--text", "minilm")
    else:
        project = open_folds(corpus, encoder, weights, data, folder)[0]
    call(project, "extract", "--encoder", encoder, *layers)
    return project, speech


def score_out_of_fold(project: Path, runs: Sequence[str]) -> float:
    """Return the macro-F1 of the mean of runs on utterances that their fold models did not see."""
    read = [read_logits(project / "runs" / run / "logits" / "train.csv") for run in runs]
    logits = read[0]
    assert all(other.ids == logits.ids for other in read)
    values = np.mean([other.values for other in read], axis=0)
    with (project / "manifest.csv").open(newline="") as file:
        emotion = {row["utterance_id"]: row["emotion"] for row in csv.DictReader(file)}
    predicted = [logits.labels[i] for i in values.argmax(axis=1)]
    return float(f1_score([emotion[name] for name in logits.ids], predicted, average="macro"))


def ablate_challenge(seeds: int, folder: Path) -> dict[str, Any]:
    """Add the parts of the recipe `challenge` to a network of the demo corpus, print the table."""
    project = open_demo(folder, "challenge")
    speech, text = "whisper-tiny", "minilm"
    call(project, "transcribe", "--model", "whisper-tiny")
    call(project, "extract", "--encoder", speech, *(f"--layer={n}" for n in range(1, 5)))
    call(project, "extract", "--encoder", text)
    branches = ("--speech", f"{speech}@1+2+3+4", "--text", text)
    table: dict[str, list[float]] = {}
    network = {key: value for key, value in read_network("demo").items() if key != "folds"}
    together = {key: value for part in CHALLENGE.values() for key, value in part.items()}
    for variant, changes in {"nothing": {}, **CHALLENGE, "all": together}.items():
        write_network(project / "network.toml", {**network, **changes})
        table[variant] = []
        for seed in range(seeds):
            name = f"{re.sub('[^a-z]', '', variant.lower())}-{seed}"
            own = ("--config", "network.toml", "--seed", str(seed), "--name", name)
            call(project, "train", *branches, *own)
            call(project, "export-logits", name)
            document = call(project, "evaluate", name, "--name", name, "--no-baselines")
            table[variant].append(document["table"][0]["macro_f1"])
    print(f"\n### Parts of the recipe challenge on the demo corpus, {seeds} seeds\n")
    print("| Added to the network | mean macro-F1 | lowest | highest |\n|---|---:|---:|---:|")
    for name, values in table.items():
        print(f"| {name} | {mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return table


def repeat_demo(seeds: int, folder: Path) -> dict[str, Any]:
    """Repeat the trainings of `make demo` with several seeds and print the table."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        project = open_demo(folder, f"seed-{seed}")
        report = project / "reports" / "all.json"
        if not report.exists():
            call(project, "run", "demo", "--seed", str(seed))
            for kind in (*STACKERS, FOREST):
                call(project, "stack", "--stacker", kind, "--name", kind)
            call(project, "evaluate", "--name", "all")
        for system in json.loads(report.read_text())["systems"]:
            name = system["name"].replace(f"-s{seed}", "") if seed else system["name"]
            name = SHIPPED if name == "demo" else BASELINES.get(name, name)
            found.setdefault(name, []).append(system["macro_f1"])
        print(f"demo: seed {seed} done", file=sys.stderr)
    print(f"\n### The demo corpus, {seeds} seeds\n\n| System | mean | lowest | highest |")
    print("|---|---:|---:|---:|")
    for name, values in sorted(found.items(), key=lambda item: -mean(item[1])):
        print(f"| {name} | {mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return found


OWN = {"demo": repeat_demo, "challenge": ablate_challenge}
"""What is measured on the demo corpus."""


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="*", default=[*CORPORA, *OWN])
    parser.add_argument(
        "--networks", action="store_true", help="compare networks instead, out of fold"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=5, help="of the demo corpus")
    parser.add_argument("--encoder", default="whisper-tiny", help="in place of whisper-tiny")
    parser.add_argument("--weights", help="its checkpoint")
    options = parser.parse_args()
    folder = options.folder.resolve()
    commit = subprocess.check_output(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True
    ).strip()
    print(f"{date.today()}, commit {commit}, {' '.join(sys.argv)}", flush=True)
    weights = {options.encoder: options.weights} if options.weights else {}
    document: dict[str, Any] = {"commit": commit}
    if options.networks:
        corpora = [name for name in options.corpora if name != "challenge"]
        document["networks"] = compare_networks(
            corpora, options.encoder, weights, options.data, folder
        )
    for corpus in [] if options.networks else options.corpora:
        if corpus in OWN:
            document[corpus] = OWN[corpus](options.seeds, folder)
        else:
            document[corpus] = cross_validate(
                corpus, options.encoder, weights, options.data, folder
            )
        sys.stdout.flush()
    print(json.dumps(document))


if __name__ == "__main__":
    main()

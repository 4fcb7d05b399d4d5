"""The figures of `docs/results.md` on EmoDB and RAVDESS (`make results`): resumable, slow.

Every step is the command of the same name; trainings that exist are not done again. Prints the
table as Markdown with date, commit and command.
"""

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

SPEECH, WORDS = ("--speech", "whisper-tiny"), ("--text", "minilm")
ENCODERS = ("whisper-tiny", "minilm", "egemaps")
SYSTEMS = {
    "speech": SPEECH,
    "speech + text": (*SPEECH, *WORDS),
    "speech + text + egemaps": (*SPEECH, *WORDS, "--paralinguistic", "egemaps"),
}
LOSSES = ("wce", "wce+sml")
CORPORA: dict[str, tuple[str, ...]] = {"emodb": (), "ravdess": ("--drop", "calm")}
FIGURES = ("macro_f1", "uar", "bs_f1")


def call(project: Path, *words: str) -> Any:
    """Run one serctl command in a project and return its JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "serctl", *words, "--json"],
        cwd=project,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


def prepare(corpus: str, data: Path, folder: Path) -> Path:
    """Make the project of a corpus with its own words and the frames of three encoders."""
    project = folder / corpus
    if not project.exists():
        folder.mkdir(parents=True, exist_ok=True)
        root = str((data / corpus).resolve())
        call(folder, "init", "--corpus", corpus, "--root", root, *CORPORA[corpus], "-C", corpus)
        head, _, tail = (project / "serctl.toml").read_text().partition("[transcribe]")
        own_words = f"{head}[transcribe]\nfrom_manifest = true{tail}\n"
        (project / "serctl.toml").write_text(own_words)
    call(project, "transcribe")
    call(project, "extract", *(f"--encoder={name}" for name in ENCODERS))
    return project


def measure(project: Path, seeds: int) -> list[list[str]]:
    """Train and judge every system; return the rows of the corpus' table."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for title, branches in SYSTEMS.items():
        names: dict[str, list[str]] = {}
        for loss in LOSSES:
            words = ("train", "--recipe", "small", *branches, "--loss", loss, "--seeds", str(seeds))
            names[loss] = [Path(run["folder"]).name for run in call(project, *words)["runs"]]
        flat = [name for found in names.values() for name in found]
        for name in flat:
            call(project, "export-logits", name)
        report = call(project, "evaluate", *flat, "--name", title.replace(" + ", "-"))
        table = {system["name"]: system for system in report["table"]}
        rows["majority class"] = [table["majority-class"]]
        rows[f"logistic regression, {title}"] = [table["pooled-logistic-regression"]]
        for loss, found in names.items():
            rows[f"network, {title}, {loss}"] = [table[name] for name in found]
    stacked = [s for s in call(project, "run", "small")["table"] if s["kind"] == "stacker"]
    rows["stack of `serctl run small`, one seed"] = stacked
    return [[title, *(show(found, figure) for figure in FIGURES)] for title, found in rows.items()]


def show(systems: list[dict[str, Any]], figure: str) -> str:
    """Return mean and deviation over seeds."""
    values = [s[figure]["mean"] if figure == "bs_f1" else s[figure] for s in systems]
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    """Measure the corpora named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="*", default=[*CORPORA])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    print(f"{date.today()}, commit {commit}, {' '.join(sys.argv)}", flush=True)
    for corpus in options.corpora:
        rows = measure(prepare(corpus, options.data, options.folder), options.seeds)
        print(f"\n{corpus}\n\n| system | {' | '.join(FIGURES)} |\n|---|---|---|---|")
        print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)


if __name__ == "__main__":
    main()

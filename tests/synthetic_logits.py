"""A project with made-up logits: what `export-logits` leaves behind, without any training."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from serctl.config import PROJECT_FILE, Workspace, read_workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.documents.logits import LogitsSidecar
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import write_logits

LABELS = ("angry", "sad", "happy", "neutral")
COUNTS = {"train": (25, 30, 40, 85), "dev": (12, 14, 16, 30), "test": (12, 14, 16, 30)}
SPEAKERS = 8


def make_utterances(counts=None, speakers: int = SPEAKERS) -> list[Utterance]:
    """Utterances of every split; the speakers of a split are its own."""
    rows = []
    for split, sizes in (counts or COUNTS).items():
        for label, size in zip(LABELS, sizes, strict=True):
            for i in range(size):
                name = f"{split}-{label}-{i:03d}"
                speaker = f"{split}-s{i % speakers}"
                extra = {"gender": "fm"[i % 2], "duration": f"{1 + i % 5}.5"}
                path = Path(f"{name}.wav")
                rows.append(Utterance(name, path, split, label, speaker, "words", extra))
    return rows


def make_project(folder: Path, utterances: Iterable[Utterance]) -> Workspace:
    """Write manifest and project file."""
    rows = list(utterances)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / "manifest.csv", [_placed(row, folder) for row in rows])
    (folder / PROJECT_FILE).write_text("")
    return read_workspace(folder / PROJECT_FILE)


def _placed(row: Utterance, folder: Path) -> Utterance:
    return Utterance(
        row.utterance_id,
        folder / row.path,
        row.split,
        row.emotion,
        row.speaker,
        row.transcript,
        row.extra,
    )


def make_run(
    workspace: Workspace,
    name: str,
    utterances: Iterable[Utterance],
    *,
    signal: float = 1.5,
    stack_on: str = "oof",
    seed: int = 0,
    run_hash: str = "",
) -> None:
    """Write logits that point at the right class by ``signal``, as `export-logits` would."""
    rows = list(utterances)
    for split in dict.fromkeys(row.split for row in rows):
        chosen = [row for row in rows if row.split == split]
        known = [LABELS.index(row.emotion) if row.emotion else 0 for row in chosen]
        # numbers belong to the utterance, not to its place
        noise = [
            np.random.default_rng([seed, *row.utterance_id.encode()]).normal(size=4)
            for row in chosen
        ]
        values = np.array(noise) + signal * np.eye(4)[known]
        made = {"split": split, "model": name, "run_hash": run_hash or f"hash-of-{name}"}
        made |= {"stack_on": stack_on} if split == "train" else {}
        made |= {"predicted_by": "folds" if stack_on == "oof" else "main"}
        provenance = LogitsSidecar(**made)
        in_sample = np.full(len(chosen), split == "train" and stack_on == "in-sample")
        logits = Logits(
            tuple(row.utterance_id for row in chosen), values, LABELS, in_sample, name, provenance
        )
        write_logits(workspace.runs / name / "logits" / f"{split}.csv", logits)

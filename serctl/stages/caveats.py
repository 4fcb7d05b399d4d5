"""What every report says beside its figures."""

from collections.abc import Iterable, Sequence

from serctl.config import Workspace
from serctl.data.manifest import Manifest
from serctl.ensemble.checkpoint import read_document
from serctl.ensemble.systems import System
from serctl.errors import CheckpointError, first_few
from serctl.evaluation.trial import SystemScore, Trial
from serctl.files import read_json

FEW_SPEAKERS = 10


def list_warnings(
    manifest: Manifest, split: str, scores: Sequence[SystemScore], trial: Trial
) -> list[str]:
    """Return what makes the figures too good or too sure."""
    leaks = {
        name: splits for name, splits in manifest.leaking_speakers().items() if split in splits
    }
    found = []
    if leaks:
        others = sorted({other for splits in leaks.values() for other in splits} - {split})
        found.append(
            f"{len(leaks)} speakers of {split} ({first_few(leaks)}) are also in "
            f"{', '.join(others)}: the corpus' own splits are not speaker-disjoint."
        )
    for score in scores:
        if score.facts.get("num_in_sample"):
            found.append(
                f"{score.name} was trained on {score.facts['num_in_sample']} of these utterances."
            )
        if score.kind == "stacker" and score.facts.get("stack_on") == "in-sample":
            found.append(f"{score.name} was fitted on in-sample logits, as the authors did.")
    if split == "dev" and any(score.kind in ("run", "stacker") for score in scores):
        found.append("Dev chose the epoch of every run: figures on it are too good.")
    size = trial.resamples.num_clusters
    if size < FEW_SPEAKERS:
        found.append(f"{size} speakers are few: intervals over speakers are rough.")
    return found


def find_stale(workspace: Workspace, systems: Iterable[System]) -> list[str]:
    """Return a warning for each stacker whose base models were trained again since."""
    found = []
    for system in systems:
        if system.kind != "stacker":
            continue
        for name, made in read_document(system.path)["fitted_on"]["hashes"].items():
            config = workspace.runs / name / "config.json"
            if config.is_file() and read_json(config, CheckpointError).get("hash", made) != made:
                found.append(
                    f"{system.name} was fitted before {name} was trained again. Run: serctl stack"
                )
    return found


def list_notes(scores: Sequence[SystemScore], trial: Trial) -> list[str]:
    """Return what a reader must know to read the figures."""
    absent = [name for i, name in enumerate(trial.labels) if i not in trial.true]
    size = scores[0].bs_f1["per_class"]
    found = [
        f"BS-F1: mean of {len(trial.subsets)} balanced subsets, {size} utterances of each class "
        "without replacement; its range is no confidence interval.",
        f"95 % intervals: {len(trial.resamples.weights)} resamples of "
        f"{trial.resamples.num_clusters} speakers with replacement.",
    ]
    if absent:
        found.append(f"No utterance of {', '.join(absent)}: their F1 counts as 0.")
    for score in scores:
        if score.kind == "stacker":
            how = score.facts.get("stack_on", "")
            cross = ", cross-fitted by speaker here" if score.facts.get("cross_fitted") else ""
            found.append(f"{score.name} was fitted on {how} logits{cross}.")
    return found

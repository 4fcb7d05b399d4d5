"""Warnings and notes of a report."""

from collections.abc import Sequence
from pathlib import Path

from serctl.config import Workspace
from serctl.data.manifest import Manifest
from serctl.data.overlaps import describe_overlaps
from serctl.documents.logits import name_source
from serctl.documents.report import SystemScore
from serctl.documents.run import RunConfig
from serctl.errors import count, first_few
from serctl.evaluation.trial import Trial
from serctl.metrics.paired import can_test

FEW_SPEAKERS = 10


def list_warnings(
    workspace: Workspace,
    manifest: Manifest,
    split: str,
    scores: Sequence[SystemScore],
    trial: Trial,
) -> list[str]:
    """Return the reasons why metrics may be optimistic or intervals too narrow."""
    leaks = {
        name: splits for name, splits in manifest.leaking_speakers().items() if split in splits
    }
    found = []
    if leaks:
        others = sorted({other for splits in leaks.values() for other in splits} - {split})
        found.append(
            f"{len(leaks)} speakers of {split} ({first_few(leaks)}) are also in "
            f"{', '.join(others)}: the splits are not speaker-disjoint."
        )
    found += describe_overlaps(manifest, split)
    for score in scores:
        if score.facts.assumed:
            found.append(f"{score.name} was read as {score.facts.assumed}.")
        if score.facts.num_in_sample:
            found.append(
                f"{score.name} was trained on {score.facts.num_in_sample} of these utterances."
            )
        if score.kind == "stacker" and score.facts.stack_on == "in-sample":
            found.append(f"{score.name} was fitted on in-sample logits, as in the authors' code.")
    if split == "dev":
        found += _describe_epochs(workspace, scores)
    rows = [row for row in manifest.select(split) if row.emotion]
    if unknown := sum(not row.speaker for row in rows):
        found.append(
            f"{unknown} of {len(rows)} utterances of {split} have no speaker. Each recording "
            "counts as a speaker of its own, so confidence intervals may be too narrow."
        )
    size = trial.resamples.num_clusters
    if size < FEW_SPEAKERS:
        effect = (
            "confidence intervals are imprecise" if can_test(size) else "no confidence intervals"
        )
        found.append(f"Only {count(size, 'speaker')}: {effect}.")
    return found


def _describe_epochs(workspace: Workspace, scores: Sequence[SystemScore]) -> list[str]:
    """Return a warning with the runs, also base models of stackers, whose epoch dev selected."""
    names = {name for score in scores for name in score.facts.base_models}
    names |= {score.name for score in scores if score.kind == "run"}
    runs = [name for name in sorted(names) if (workspace.runs / name).is_dir()]
    chosen = [name for name in runs if _dev_chose(workspace.runs / name / "config.json")]
    if not chosen:
        return []
    if len(chosen) == len(runs):
        return ["The epoch of every run was selected on dev: metrics on dev are optimistic."]
    return [
        f"The epoch of {first_few(chosen)} was selected on dev: metrics of these runs and of their "
        "stackers on dev are optimistic."
    ]


def _dev_chose(config: Path) -> bool:
    if not config.is_file():
        return True
    options = RunConfig.read(config).options
    selects = options.fit_on != "train+dev" and options.select_by != "last"
    return selects and options.kind != "pooled"


def explain_metrics(scores: Sequence[SystemScore], trial: Trial) -> list[str]:
    """Return explanations of the metrics."""
    absent = [name for i, name in enumerate(trial.labels) if i not in trial.true]
    size = scores[0].bs_f1.per_class
    found = [
        f"BS-F1: mean of {len(trial.subsets)} balanced subsets, {count(size, 'utterance')} of each "
        "class without replacement. Its range is not a confidence interval.",
    ]
    if can_test(speakers := trial.resamples.num_clusters):
        found.append(
            f"95 % intervals: {len(trial.resamples.weights)} resamples of {speakers} speakers with "
            "replacement."
        )
    if absent:
        found.append(f"No utterance of {', '.join(absent)}: their F1 counts as 0.")
    known = [score.name for score in scores if score.facts.by_speaker]
    if known:
        found.append(
            f"{first_few(known, len(known))}: standardised with all utterances of the speaker, "
            f"including unlabelled ones of this split."
        )
    for score in scores:
        if score.kind == "stacker":
            how = name_source(score.facts.stack_on)
            cross = ", cross-fitted by speaker here" if score.facts.cross_fitted else ""
            found.append(f"{score.name} was fitted on {how} logits{cross}.")
    return found

"""Changes of manifest and frames since a run was trained or exported, which change its meaning."""

from collections.abc import Collection, Iterable, Sequence

from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.documents.run import RunConfig
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.encoding.features import FeatureBranch, reopen_branches
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.systems import System
from serctl.errors import MissingFeaturesError, first_few
from serctl.hashes import hash_document
from serctl.training.run_folder import (
    CONFIG,
    SUMMARY,
    read_dev_ids,
    read_summary,
    read_train_ids,
)
from serctl.training.speakers import speaker_sources


def hash_emotions(rows: Iterable[Utterance], ids: Collection[str]) -> str:
    """Return a hash of the emotions of the utterances in ``ids``."""
    known = {row.utterance_id: row.emotion for row in rows if row.utterance_id in ids}
    return hash_document(known)


def name_runs(systems: Iterable[System]) -> list[str]:
    """Return the names of the runs, also of the base models of stackers."""
    names: set[str] = set()
    for system in systems:
        if system.kind == "run":
            names.add(system.name)
        elif system.kind == "stacker":
            names.update(StackerDocument.read(system.path / STACKER_FILE).models)
    return sorted(names)


def find_relabelled(
    workspace: Workspace, rows: Sequence[Utterance], systems: Iterable[System]
) -> list[str]:
    """Return a warning that names the runs, also base models of stackers, with other emotions now.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        systems: Runs and stackers. Runs of earlier versions recorded no emotions.
    """
    changed = []
    for name in name_runs(systems):
        folder = workspace.runs / name
        recorded = read_summary(folder).emotions if (folder / SUMMARY).is_file() else ""
        if recorded and recorded != hash_emotions(rows, read_train_ids(folder)):
            changed.append(name)
    if not changed:
        return []
    return [
        f"Since {first_few(changed)} was trained, its training utterances have changed in the "
        f"manifest: other emotions, or some are missing. Run: serctl train --overwrite"
    ]


def hash_features(
    branches: Sequence[FeatureBranch],
    ids: Sequence[str],
    rows: Sequence[Utterance],
    by_speaker: bool,
) -> str:
    """Return a hash of the utterances ``ids`` and of the audio and text of their frames.

    Args:
        branches: The stores of a run.
        ids: The utterances, in the order of the file of logits.
        rows: All utterances of the manifest.
        by_speaker: Whether frames are standardised with all utterances of their speaker.
    """
    stores = [store for branch in branches for store in branch.stores]
    sources: list[list[str]] = [[store.source_of(name) for store in stores] for name in ids]
    if by_speaker:
        sources.append(list(speaker_sources(rows, branches)))
    return hash_document([ids, sources])


def find_reencoded(
    workspace: Workspace,
    rows: Sequence[Utterance],
    systems: Iterable[System],
    splits: Sequence[str],
) -> list[str]:
    """Return a warning for each run, also of stackers, whose logits are of other frames.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        systems: Runs and stackers. A run without its frames cannot be checked.
        splits: Splits to check.
    """
    found = []
    for name in name_runs(systems):
        old = [split for split in splits if _has_other_frames(workspace, rows, name, split)]
        if old:
            found.append(
                f"The logits of {name} on {', '.join(old)} are of other frames than the cache "
                f"holds now. Run: serctl export-logits {name}"
            )
    return found


def _has_other_frames(
    workspace: Workspace, rows: Sequence[Utterance], name: str, split: str
) -> bool:
    """Whether the logits of a split are of other frames than the stores hold."""
    config = workspace.runs / name / CONFIG
    path = workspace.runs / name / "logits" / f"{split}.csv"
    if not (config.is_file() and path.is_file()):
        return False
    logits = read_logits(path, name)
    made = logits.provenance
    if not made.features_hash:
        return False
    try:
        branches = reopen_branches(workspace, RunConfig.read(config).branches)
    except MissingFeaturesError:
        return False
    stores = [store for branch in branches for store in branch.stores]
    if not all(one in store for store in stores for one in logits.ids):
        return False
    return hash_features(branches, logits.ids, rows, made.by_speaker) != made.features_hash


def find_selected(workspace: Workspace, ids: Iterable[str], systems: Iterable[System]) -> list[str]:
    """Return a warning that names the runs, also base models of stackers, selected on ``ids``.

    Args:
        workspace: The project.
        ids: Utterances of a split that is not dev now.
        systems: Runs and stackers. Runs of earlier versions did not record their dev.
    """
    wanted = set(ids)
    names, moved = [], set()
    for name in name_runs(systems):
        if found := wanted & read_dev_ids(workspace.runs / name):
            names.append(name)
            moved |= found
    if not names:
        return []
    return [
        f"{len(moved)} of these utterances ({first_few(sorted(moved))}) were in dev when the epoch "
        f"of {first_few(names)} was selected on it: their metrics are optimistic."
    ]

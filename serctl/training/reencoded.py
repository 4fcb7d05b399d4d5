"""Logits that were exported before frames of their utterances were encoded again."""

from collections.abc import Iterable, Sequence

from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.documents.run import RunConfig
from serctl.encoding.features import FeatureBranch, reopen_branches
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.systems import System
from serctl.errors import MissingFeaturesError
from serctl.hashes import hash_document
from serctl.training.relabelled import name_runs
from serctl.training.speakers import speaker_sources


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
    """Return a warning for each run, also of stackers, whose frames are newer than its logits.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        systems: Runs and stackers. A run without its frames cannot be checked.
        splits: Splits to check.
    """
    found = []
    for name in name_runs(systems):
        old = [split for split in splits if _is_older(workspace, rows, name, split)]
        if old:
            found.append(
                f"The logits of {name} on {', '.join(old)} were exported before frames of their "
                f"utterances were encoded again. Run: serctl export-logits {name}"
            )
    return found


def _is_older(workspace: Workspace, rows: Sequence[Utterance], name: str, split: str) -> bool:
    """Whether the frames of the logits of a split are not those that they were computed from."""
    config = workspace.runs / name / "config.json"
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

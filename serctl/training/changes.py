"""Changes of manifest and frames since a run was trained or exported, which change its meaning."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from serctl.config import Workspace
from serctl.data.ids import hash_emotions, hash_speakers
from serctl.data.manifest import Manifest, Utterance
from serctl.documents.logits import LogitsSidecar
from serctl.documents.run import RunConfig, retrain_command
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.encoding.features import (
    FeatureBranch,
    reopen_branches,
    speaker_sources,
)
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.stale import find_stale
from serctl.ensemble.systems import System
from serctl.errors import MissingFeaturesError, SerctlError, count, first_few
from serctl.hashes import hash_document
from serctl.training.run_folder import (
    CONFIG,
    SUMMARY,
    TRAIN_IDS,
    read_dev_ids,
    read_summary,
    read_train_ids,
)
from serctl.training.sources import find_unextracted

_CHANGED = "have changed in the manifest: other emotions, or some are missing"
_ENCODED = "were encoded again from other audio or transcripts"
OUTDATED = (
    f"its training utterances {_CHANGED}",
    "its training utterances have other votes, attributes or speakers in the manifest",
    f"its training utterances {_ENCODED}",
    f"the dev utterances that selected its epoch {_CHANGED}",
    f"the dev utterances that selected its epoch {_ENCODED}",
)
"""What makes a run outdated."""


def name_runs(systems: Iterable[System]) -> list[str]:
    """Return the names of the runs, also of the base models of stackers."""
    names: set[str] = set()
    for system in systems:
        if system.kind == "run":
            names.add(system.name)
        elif system.kind == "stacker":
            names.update(StackerDocument.read(system.path / STACKER_FILE).models)
    return sorted(names)


def find_outdated(
    workspace: Workspace, rows: Sequence[Utterance], systems: Iterable[System]
) -> list[str]:
    """Return warnings that name the runs, also base models of stackers, with other training data.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        systems: Runs and stackers. Missing frames are not compared.
    """
    found: dict[str, list[str]] = {}
    for name in name_runs(systems):
        if (workspace.runs / name / SUMMARY).is_file():
            for what in _list_outdated(workspace, rows, workspace.runs / name):
                found.setdefault(what, []).append(name)
    return [
        f"Since {first_few(found[what])} was trained, {what}. "
        f"Run: {retrain_command([workspace.runs / name for name in found[what]])}"
        for what in OUTDATED
        if what in found
    ]


def _list_outdated(workspace: Workspace, rows: Sequence[Utterance], folder: Path) -> Iterator[str]:
    """Yield those of `OUTDATED` that hold for a run. Earlier versions recorded not all hashes."""
    summary, config = read_summary(folder), RunConfig.read(folder / CONFIG)
    trained, dev = read_train_ids(folder), read_dev_ids(folder)
    emotions, votes, frames, dev_emotions, dev_frames = OUTDATED
    if summary.emotions not in ("", hash_emotions(rows, trained)):
        yield emotions
    elif summary.targets not in ("", hash_targets(rows, trained, config)):
        yield votes
    if _has_other_frames(workspace, folder, sorted(trained), summary.features_hash):
        yield frames
    if summary.dev_emotions not in ("", hash_emotions(rows, dev)):
        yield dev_emotions
    if _has_other_frames(workspace, folder, sorted(dev), summary.dev_features_hash):
        yield dev_frames


def hash_targets(rows: Sequence[Utterance], ids: Collection[str], config: RunConfig) -> str:
    """Return a hash of what a training reads of the manifest besides emotions; '' if nothing.

    These are votes of raters, attributes, and the division by speaker: of frames that are
    standardised per speaker, and of a pooled model that chooses its regularisation.
    """
    options, pooled = config.options, config.model.kind == "pooled"
    voted, rated = options.soft_targets and not pooled, bool(options.attribute_weight)
    divided = config.model.by_speaker or (pooled and not options.pooled_c)
    if not (voted or rated or divided):
        return ""
    known = {
        row.utterance_id: [row.votes() if voted else None, row.attributes() if rated else None]
        for row in rows
        if row.utterance_id in ids
    }
    return hash_document([known, hash_speakers(rows, ids) if divided else ""])


def hash_features(
    branches: Sequence[FeatureBranch],
    ids: Sequence[str],
    rows: Sequence[Utterance] = (),
    by_speaker: bool = False,
) -> str:
    """Return a hash of the utterances ``ids`` and of the audio and text of their frames.

    Args:
        branches: The stores of a run.
        ids: The utterances, in the order of the file of logits.
        rows: All utterances of the manifest, if ``by_speaker``.
        by_speaker: Whether frames are standardised with all utterances of their speaker.
    """
    stores = [store for branch in branches for store in branch.stores]
    sources = list(zip(*(store.sources_of(ids) for store in stores), strict=True))
    if by_speaker:
        wanted = set(ids)
        speakers = {row.speaker for row in rows if row.utterance_id in wanted}
        sources.append(speaker_sources((r for r in rows if r.speaker in speakers), branches))
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
    systems, found = list(systems), []
    fitted = _list_fitted(systems)
    for name in name_runs(systems):
        read = dict.fromkeys((*splits, *fitted.get(name, ())))
        old = [split for split in read if _has_other_logits(workspace, rows, name, split)]
        if old:
            found.append(
                f"The logits of {name} on {', '.join(old)} are of other frames than the cache "
                f"holds now. Run: serctl export-logits {name}"
            )
    return found


def _list_fitted(systems: Iterable[System]) -> dict[str, list[str]]:
    """Return the splits that stackers were fitted on, by base model.

    Out-of-fold rows are left out: they are those of the training, which is checked too.
    """
    found: dict[str, list[str]] = {}
    for system in systems:
        if system.kind == "stacker":
            stacker = StackerDocument.read(system.path / STACKER_FILE)
            if stacker.fitted_on.stack_on in ("dev", "heldout"):
                for name in stacker.models:
                    found.setdefault(name, []).append(stacker.fitted_on.split)
    return found


def _has_other_logits(
    workspace: Workspace, rows: Sequence[Utterance], name: str, split: str
) -> bool:
    """Whether the logits of a split are of other frames than the stores hold."""
    folder = workspace.runs / name
    path = folder / "logits" / f"{split}.csv"
    if not ((folder / CONFIG).is_file() and path.is_file()):
        return False
    logits = read_logits(path, name)
    recorded, by_speaker = logits.provenance.features_hash, logits.provenance.by_speaker
    return _has_other_frames(workspace, folder, logits.ids, recorded, rows, by_speaker)


def _has_other_frames(
    workspace: Workspace,
    folder: Path,
    ids: Sequence[str],
    recorded: str,
    rows: Sequence[Utterance] = (),
    by_speaker: bool = False,
) -> bool:
    """Whether the stores of a run hold the utterances with another hash than the recorded one."""
    if not recorded:
        return False
    try:
        branches = reopen_branches(workspace, RunConfig.read(folder / CONFIG).branches)
    except MissingFeaturesError:
        return False
    known = all(one in store for branch in branches for store in branch.stores for one in ids)
    return known and hash_features(branches, ids, rows, by_speaker) != recorded


def find_shared(
    workspace: Workspace, rows: Iterable[Utterance], systems: Iterable[System]
) -> list[str]:
    """Return a warning that names the runs with a speaker in both parts of a fold.

    Args:
        workspace: The project.
        rows: All utterances of the manifest, whose speakers may be others than at the training.
        systems: Runs and stackers.
    """
    speaker_of = {row.utterance_id: row.speaker for row in rows if row.speaker}
    names, shared = [], set()
    for name in name_runs(systems):
        found: set[str] = set()
        for trained, held_out in _list_parts(workspace.runs / name):
            known = {speaker_of.get(one, "") for one in trained}
            found |= known.intersection(speaker_of.get(one, "") for one in held_out) - {""}
        if found:
            names.append(name)
            shared |= found
    if not names:
        return []
    return [
        f"By the manifest of now, {count(len(shared), 'speaker')} ({first_few(sorted(shared))}) of "
        f"the held-out parts of {first_few(names)} were trained on: out-of-fold and held-out "
        f"results are optimistic. Correct speakers and folds there, or: "
        f"{retrain_command([workspace.runs / name for name in names])}"
    ]


def _list_parts(folder: Path) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Yield the utterances that each fold model was trained on, and those that it predicts."""
    folds = [read_train_ids(path.parent) for path in folder.glob(f"folds/*/{TRAIN_IDS}")]
    everything = frozenset().union(*folds)
    for trained in folds:
        yield trained, everything - trained
    for path in folder.glob("logits/*.json"):
        with suppress(SerctlError):  # of a split that nobody asked for
            if LogitsSidecar.read(path).stack_on == "heldout":
                logits = read_logits(path.with_suffix(".csv"))
                yield read_train_ids(folder), frozenset(logits.ids)


def list_changes(
    workspace: Workspace, manifest: Manifest, systems: Sequence[System], splits: Sequence[str]
) -> list[str]:
    """Return all warnings about changes since the systems were trained and their logits exported.

    Args:
        workspace: The project.
        manifest: The whole manifest.
        systems: Runs and stackers.
        splits: Splits whose logits are read.
    """
    rows = manifest.utterances
    return [
        *find_stale(workspace, rows, systems, splits),
        *find_outdated(workspace, rows, systems),
        *find_shared(workspace, rows, systems),
        *find_reencoded(workspace, rows, systems, splits),
        *find_unextracted(workspace, rows, name_runs(systems), splits),
    ]


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

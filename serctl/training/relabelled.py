"""Runs whose training utterances have other emotions in the manifest since they were trained."""

from collections.abc import Collection, Iterable, Sequence

from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.ensemble.systems import System
from serctl.errors import first_few
from serctl.hashes import hash_document
from serctl.training.run_folder import SUMMARY, read_summary, read_train_ids


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

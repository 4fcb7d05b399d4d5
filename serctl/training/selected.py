"""Utterances of a test split that were in dev when the epoch of a run was selected on them."""

from collections.abc import Iterable

from serctl.config import Workspace
from serctl.ensemble.systems import System
from serctl.errors import first_few
from serctl.training.relabelled import name_runs
from serctl.training.run_folder import DEV_IDS


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
        path = workspace.runs / name / DEV_IDS
        if path.is_file() and (
            found := wanted.intersection(path.read_text("utf-8", "replace").split("\n"))
        ):
            names.append(name)
            moved |= found
    if not names:
        return []
    return [
        f"{len(moved)} of these utterances ({first_few(sorted(moved))}) were in dev when the epoch "
        f"of {first_few(names)} was selected on it: their metrics are optimistic."
    ]

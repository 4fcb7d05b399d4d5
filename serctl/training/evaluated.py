"""Changes since an evaluation was written, which its figures do not show."""

from collections.abc import Mapping
from contextlib import suppress

from serctl.config import Workspace
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.data.values import parse_gender
from serctl.documents.logits import LogitsSidecar
from serctl.documents.report import Report, SystemScore
from serctl.documents.run import RunConfig, read_fold_hashes
from serctl.documents.stacker import STACKER_FILE
from serctl.ensemble.stale import hash_input
from serctl.ensemble.systems import System
from serctl.errors import SerctlError, count, first_few
from serctl.training.changes import list_changes


def find_changes_since(
    workspace: Workspace, report: Report, configs: Mapping[str, RunConfig]
) -> list[str]:
    """Return warnings about changes since an evaluation, without those that it holds.

    Args:
        workspace: The project, which may have no manifest.
        report: The evaluation.
        configs: Configurations of its runs.
    """
    again = {
        system.name
        for system in report.systems
        if (config := configs.get(system.name)) and _is_retrained(workspace, report, system, config)
    }
    found = [
        f"{system.name} was trained again since the evaluation, so its curve belongs to another "
        f"run. Run: serctl evaluate"
        for system in report.systems
        if system.name in again
    ]
    if other := [
        system.name
        for system in report.systems
        if system.name not in again and _predicts_otherwise(workspace, report, system)
    ]:
        found.append(
            f"The evaluation is of earlier predictions of {first_few(other)} for {report.split} "
            f"than there are now. Run: serctl evaluate"
        )
    systems = [System(one.name, one.kind, workspace.stackers / one.name) for one in report.systems]
    systems = [
        one for one in systems if one.kind != "stacker" or (one.path / STACKER_FILE).is_file()
    ]
    with suppress(SerctlError):
        manifest = read_manifest(workspace.manifest)
        found += _find_other_rows(workspace, manifest, report)
        found += list_changes(workspace, manifest, systems, (report.split,))
    return [text for text in found if text not in report.warnings]


def _is_retrained(
    workspace: Workspace, report: Report, system: SystemScore, config: RunConfig
) -> bool:
    """Whether a run, or its fold models, were trained again since they predicted the split."""
    then, folder = system.facts.run_hash, workspace.runs / system.name
    sidecar = folder / "logits" / f"{report.split}.json"
    if not then or config.hash != then or not sidecar.is_file():
        return bool(then) and config.hash != then
    with suppress(SerctlError):
        folds = LogitsSidecar.read(sidecar).fold_hashes
        return bool(folds) and read_fold_hashes(folder) not in ((), folds)
    return False


def _predicts_otherwise(workspace: Workspace, report: Report, system: SystemScore) -> bool:
    """Whether a system has other predictions than the evaluated ones."""
    then, now = system.facts.csv_hash, ""
    if system.kind == "stacker":
        sidecar = workspace.stackers / system.name / f"{report.split}.json"
        with suppress(SerctlError):
            now = LogitsSidecar.read(sidecar).csv_hash if sidecar.is_file() else ""
    elif system.kind != "baseline":
        tables = report.options.get("systems", ())
        with suppress(SerctlError):
            now = hash_input(workspace, system.name, report.split, tables)
    return bool(then and now and then != now)


def _find_other_rows(workspace: Workspace, manifest: Manifest, report: Report) -> list[str]:
    """Return a warning on utterances that the manifest describes otherwise than at the evaluation.

    Utterances that a system could not read are not in an evaluation.
    """
    columns = report.utterances
    emotions = (report.labels[i] for i in columns.true)
    facts = zip(emotions, columns.speaker, columns.gender, strict=True)
    then = dict(zip(columns.utterance_id, facts, strict=True))
    now = {
        row.utterance_id: (row.emotion, row.speaker, parse_gender(row.extra.get("gender", "")))
        for row in manifest
        if row.split == report.split and row.emotion
    }
    changed = {name for name, known in then.items() if now.get(name) != known}
    if not report.options.get("limit"):
        changed |= now.keys() - then.keys() - _list_unread(workspace, report)
    if not changed:
        return []
    return [
        f"Since the evaluation, {count(len(changed), 'utterance')} of {report.split} "
        f"({first_few(sorted(changed))}) changed in the manifest: added, removed, or of another "
        f"emotion, speaker or gender. Run: serctl evaluate"
    ]


def _list_unread(workspace: Workspace, report: Report) -> set[str]:
    found: set[str] = set()
    for system in report.systems:
        for folder in (workspace.runs / system.name / "logits", workspace.stackers / system.name):
            path = folder / f"{report.split}.json"
            found.update(LogitsSidecar.read(path).unread if path.is_file() else ())
    return found

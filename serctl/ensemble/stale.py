"""Stackers of which the base models, their logits or the emotions have changed since the fit."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from serctl.config import Workspace
from serctl.data.ids import hash_emotions, hash_speakers, read_ids
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest
from serctl.documents.logits import LogitsSidecar
from serctl.documents.stacker import (
    FITTED_IDS,
    STACKER_FILE,
    FittedOn,
    StackerDocument,
    list_retrained,
    stack_command,
)
from serctl.ensemble.logits_file import hash_csv
from serctl.ensemble.systems import System
from serctl.errors import SerctlError, first_few


def find_stale(
    workspace: Workspace,
    rows: Iterable[Utterance],
    systems: Iterable[System],
    splits: Iterable[str],
) -> list[str]:
    """Return warnings for each stacker of which an input has changed since.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        systems: Runs and stackers.
        splits: Splits whose predictions are read.
    """
    found: list[str] = []
    for system in systems:
        if system.kind != "stacker":
            continue
        stacker = StackerDocument.read(system.path / STACKER_FILE)
        # The logits of a run are deleted with the run: without them, fewer models would be stacked.
        gone = [
            f"serctl export-logits {name}, then: "
            for name in list_retrained(stacker, workspace.runs)
            if not (workspace.runs / name / "logits" / f"{stacker.fitted_on.split}.csv").is_file()
        ]
        command = "".join(gone) + stack_command(stacker.options, system.name)
        changes = _list_changes(workspace, rows, system, stacker, splits)
        found += [f"{system.name} {change}. Run: {command}" for change in changes]
    return found


def note_stale(workspace: Workspace, system: System) -> tuple[str, ...]:
    """Return the warnings of a stacker whose predictions of dev are read; () without a manifest."""
    with suppress(SerctlError):
        return tuple(find_stale(workspace, read_manifest(workspace.manifest), [system], ["dev"]))
    return ()


def _list_changes(
    workspace: Workspace,
    rows: Iterable[Utterance],
    system: System,
    stacker: StackerDocument,
    splits: Iterable[str],
) -> Iterator[str]:
    """Yield what has changed since a stacker was fitted, each change once."""
    trained = list_retrained(stacker, workspace.runs)
    for name in trained:
        yield f"was fitted before {name} was trained again"
    fitted, tables = stacker.fitted_on, stacker.options.get("models", ())
    if trained:
        return
    old = {
        name
        for name, made in fitted.inputs.items()
        if hash_input(workspace, name, fitted.split, tables) not in ("", made)
    }
    if old:
        yield f"was fitted before the logits of {first_few(sorted(old))} were exported again"
    with suppress(OSError):  # earlier versions wrote no ids
        if fitted.emotions not in ("", hash_fit(rows, read_ids(system.path / FITTED_IDS), fitted)):
            yield (
                f"was fitted before its utterances of {fitted.split} were changed in the manifest: "
                f"other emotions{' or speakers' if fitted.is_divided else ''}, or some are "
                f"missing"
            )
    for split in splits:
        own = system.path / f"{split}.json"
        inputs = LogitsSidecar.read(own).inputs if own.is_file() else {}
        for name in sorted(inputs.keys() - old):
            if hash_input(workspace, name, split, tables) not in ("", inputs[name]):
                yield f"predicted {split} before the logits of {name} were exported again"


def hash_fit(rows: Iterable[Utterance], ids: frozenset[str], fitted: FittedOn) -> str:
    """Return a hash of what the manifest says about the utterances of a fit.

    Cross-fitting, greedy selection and ``auto`` also depend on the speakers.
    """
    rows = list(rows)
    emotions = hash_emotions(rows, ids)
    return emotions + (hash_speakers(rows, ids) if fitted.is_divided else "")


def hash_input(workspace: Workspace, name: str, split: str, tables: Iterable[str]) -> str:
    """Return the hash of the logits of a model as they are now; '' if they are not found.

    Args:
        workspace: The project.
        name: A run, or a table of another program.
        split: Split of the logits.
        tables: Names on the command line, among them the paths of tables.
    """
    sidecar = workspace.runs / name / "logits" / f"{split}.json"
    if sidecar.is_file():
        return LogitsSidecar.read(sidecar).csv_hash
    for given in map(Path, tables):
        path = given / f"{split}.csv" if given.is_dir() else given
        if name in (given.name, given.stem) and path.is_file():
            return hash_csv(path.read_bytes())
    return ""

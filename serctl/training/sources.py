"""Audio and transcripts that have changed, or may have changed, since they were encoded."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from serctl.cache.sources import SourceHasher
from serctl.config import Workspace
from serctl.data.manifest import Utterance
from serctl.documents.run import RunConfig, retrain_command
from serctl.encoding.features import SourceCheck, check_sources, reopen_branches
from serctl.encoding.words import find_old_transcripts
from serctl.errors import SerctlError, count, first_few
from serctl.training.run_folder import CONFIG, TRAIN_IDS, read_dev_ids, read_train_ids


def find_unextracted(
    workspace: Workspace, rows: Sequence[Utterance], names: Sequence[str], splits: Collection[str]
) -> list[str]:
    """Return warnings that name the runs whose audio or transcripts have changed since encoding.

    Args:
        workspace: The project.
        rows: All utterances of the manifest.
        names: Runs. A run without its frames cannot be checked.
        splits: Splits whose logits are read. Utterances of the training, and those that selected
            the epoch, are checked too.
    """
    tested = {row.utterance_id for row in rows if row.split in splits}
    found: dict[str, dict[str, set[str]]] = {"tested": {}, "trained": {}, "unknown": {}}
    hasher, checks = SourceHasher(workspace.cache), dict[tuple[Path, ...], SourceCheck]()
    read: set[str] = set()
    for name in names:
        ids, dev = _read_ids(workspace.runs / name), read_dev_ids(workspace.runs / name)
        for check in _check_run(workspace, name, rows, hasher, checks):
            kinds = {
                "tested": (check.changed & (tested | dev)) - ids,
                "trained": check.changed & ids,
                "unknown": check.unknown & (tested | ids),
            }
            for kind, some in kinds.items():
                if some:
                    found[kind].setdefault(name, set()).update(some)
        if _reads_text(workspace.runs / name / CONFIG):
            read |= tested | ids | dev
    words = find_old_transcripts(workspace, (r for r in rows if r.utterance_id in read), hasher)
    return words + [_describe(workspace, kind, by_run) for kind, by_run in found.items() if by_run]


def _reads_text(config: Path) -> bool:
    with suppress(SerctlError):
        return any(branch.modality == "text" for branch in RunConfig.read(config).branches)
    return False


def _read_ids(folder: Path) -> frozenset[str]:
    return read_train_ids(folder) if (folder / TRAIN_IDS).is_file() else frozenset()


def _check_run(
    workspace: Workspace,
    name: str,
    rows: Sequence[Utterance],
    hasher: SourceHasher,
    checks: dict[tuple[Path, ...], SourceCheck],
) -> list[SourceCheck]:
    """Return the check of each branch of a run. Many runs read one store, which is checked once."""
    made = []
    with suppress(SerctlError):
        config = RunConfig.read(workspace.runs / name / CONFIG)
        for branch in reopen_branches(workspace, config.branches):
            paths = tuple(store.path for store in branch.stores)
            if paths not in checks:
                checks[paths] = check_sources(workspace, branch, rows, hasher)
            made.append(checks[paths])
    return made


def _describe(workspace: Workspace, kind: str, by_run: dict[str, set[str]]) -> str:
    """Return the warning of one kind: changed and tested, changed and trained on, or unknown."""
    ids = sorted(set[str]().union(*by_run.values()))
    runs, first = first_few(list(by_run)), next(iter(by_run))
    which = f"{count(len(ids), 'utterance')} ({first_few(ids)})"
    if kind == "unknown":
        return (
            f"It is not known whether the audio of {which} has changed since it was encoded for "
            f"{runs}, for example because the project was copied. To compare: "
            f"serctl export-logits {first}"
        )
    what = f"Audio (its size or time) or transcripts of {which} have changed"
    if kind == "trained":
        command = retrain_command([workspace.runs / name for name in by_run])
        return f"{what} since {runs} was trained on them. Run: {command}"
    return f"{what} since they were encoded for {runs}. Run: serctl export-logits {first}"

"""Sources of logits: runs, stackers, and CSV files of outside systems."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serctl.config import Workspace
from serctl.data.labels import ALIASES, EMOTIONS
from serctl.data.manifest import Manifest
from serctl.documents.report import SystemKind
from serctl.documents.run import RunConfig, read_fold_hashes
from serctl.documents.stacker import STACKER_FILE, StackerDocument, stack_command
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.outside import match_ids
from serctl.errors import CheckpointError, LogitsError, UnknownNameError, UsageError, first_few
from serctl.names import guess_path

MAKE = "Make a run with: serctl train"


@dataclass(frozen=True)
class System:
    """A source of logits or probabilities.

    ``path`` is a folder of ``<split>.csv`` files, or one CSV file with utterances of any split.
    """

    name: str
    kind: SystemKind
    path: Path

    def load(self, split: str, ids: Iterable[str]) -> Logits | None:
        """Return the logits for these utterances of a split, in their order; None without any.

        Raises:
            LogitsError: The file is malformed.
        """
        path = self.path if self.path.is_file() else self.path / f"{split}.csv"
        if not path.is_file():
            return None
        logits = read_logits(path, self.name)
        self._check_origin(path, logits)
        if self.kind == "outside":
            found = match_ids(logits.ids, ids)
            if any(name != theirs for name, theirs in found.items()):
                assumed = (logits.assumed, "ids without folders and endings")
                logits = replace(logits, assumed=" with ".join(filter(None, assumed)))
        else:
            known = set(logits.ids)
            found = {name: name for name in ids if name in known}
        return replace(logits.select(found.values()), ids=tuple(found)) if found else None

    def _check_origin(self, path: Path, logits: Logits) -> None:
        """Check that the logits in the folder of a run or stacker are of this run or stacker.

        Raises:
            LogitsError: They are of another one, or of an earlier training, or the configuration
                of the run cannot be read.
        """
        if self.kind == "stacker":
            self._check_stacker(path, logits)
        folder, made = path.parent.parent, logits.provenance
        config = folder / "config.json"
        if self.kind != "run" or not made.run_hash or not config.is_file():
            return
        try:
            found = RunConfig.read(config).hash
            folds = made.fold_hashes and read_fold_hashes(folder)
        except CheckpointError as error:
            raise LogitsError(str(error)) from error
        if found != made.run_hash or (folds and folds != made.fold_hashes):
            raise LogitsError(
                f"'{path}' was exported from another run or an earlier training, expected the "
                f"logits of '{self.name}'. Run: serctl export-logits {self.name}"
            )

    def _check_stacker(self, path: Path, logits: Logits) -> None:
        """Check that predictions in the folder of a stacker are of this stacker.

        Raises:
            LogitsError: They are of another stacker or fit.
        """
        made = logits.provenance
        if not made.stacker:
            return
        found = StackerDocument.read(self.path / STACKER_FILE)
        own = (found.kind, found.models, found.fitted_on.ids_hash)
        options = found.options | {"limit": made.options.get("limit")}
        if (made.stacker, made.base_models, made.fitted_on, made.options) != (*own, options):
            raise LogitsError(
                f"'{path}' was predicted by another stacker or an earlier fit, expected the "
                f"predictions of '{self.name}'. Run: {stack_command(found.options, self.name)}"
            )

    def load_all(self, split: str, ids: Sequence[str]) -> Logits:
        """Return logits for all of these utterances, except unreadable ones.

        Raises:
            LogitsError: Logits are missing. The message names the command that exports them.
        """
        logits = self.load(split, ids)
        if logits is None:
            raise LogitsError(
                f"'{self.name}' has no logits for split '{split}'. {self._remedy(split, None)}"
            )
        known = {*logits.ids, *logits.unread}
        if lacking := [name for name in ids if name not in known]:
            raise LogitsError(
                f"'{self.name}' has no logits for {len(lacking)} of {len(ids)} utterances of "
                f"{split} ({first_few(lacking)}). {self._remedy(split, logits)}"
            )
        return logits.select(name for name in ids if name not in logits.unread)

    def _remedy(self, split: str, others: Logits | None) -> str:
        """Return the command for the missing logits. ``others`` are the existing ones."""
        if self.kind == "outside":
            return f"Expected the column utterance_id to hold utterances of {split}."
        if others and others.provenance.stack_on == "heldout" and self.kind == "run":
            return "It was trained on them. To predict them out of fold, train with --folds 5."
        if others:
            return others.remedy()
        stacker = StackerDocument.read(self.path / STACKER_FILE) if self.kind == "stacker" else None
        if stacker and split == stacker.fitted_on.split:
            return (
                "A stacker does not predict the split that it was fitted on. Name the others: "
                "serctl evaluate RUN RUN --split train, or compare stackers: serctl stack --compare"
            )
        if stacker:
            command = stack_command(stacker.options, self.name)
            return f"Export {split} of its base models, then run: {command}"
        return f"Run: serctl export-logits {self.name}"


def list_systems(workspace: Workspace) -> list[System]:
    """Return all runs, then all stackers, with logits for any split, sorted by name."""
    runs = [System(path.parent.name, "run", path) for path in workspace.runs.glob("[!.]*/logits")]
    stackers = [
        System(path.parent.name, "stacker", path.parent)
        for path in workspace.stackers.glob("[!.]*/stacker.json")
    ]
    found = sorted(runs, key=lambda system: system.name)
    found += sorted(stackers, key=lambda system: system.name)
    return [system for system in found if any(system.path.glob("*.csv"))]


def find_systems(workspace: Workspace, names: Sequence[str]) -> list[System]:
    """Return the systems of names, folders or CSV files from the command line.

    Raises:
        UnknownNameError: There is no run or stacker of that name and no such file.
        LogitsError: A run has no logits yet.
        UsageError: A name is ambiguous or repeated, or a file does not exist.
    """
    known = list_systems(workspace)
    found = [_find_system(known, name, workspace) for name in names]
    twice = sorted({system.name for system in found if found.count(system) > 1})
    if twice:
        raise UsageError(f"'{twice[0]}' is named twice. Name each system once.")
    names_of = [system.name for system in found]
    if alike := [str(system.path) for system in found if names_of.count(system.name) > 1]:
        raise UsageError(f"{first_few(alike)} have the same name in a report. Rename one.")
    return found


def load_systems(
    systems: Sequence[System],
    load: Callable[[System], Logits],
    manifest: Manifest,
    *,
    all_required: bool,
    if_none: str,
) -> tuple[list[tuple[System, Logits]], list[str]]:
    """Return systems with their logits, and a note on each system that is left out.

    Args:
        systems: Systems to read.
        load: Returns the logits of one system or raises a `LogitsError`.
        manifest: If some systems have its emotions, those with others are left out, unless all are
            required.
        all_required: Raise the error of a refused system.
        if_none: Message if there are no systems.

    Raises:
        LogitsError: No system has logits, or a required one has none.
    """
    found, problems = [], []
    for system in systems:
        try:
            found.append((system, load(system)))
        except LogitsError as error:
            if all_required:
                raise
            problems.append(str(error))
    if not found:
        raise LogitsError(problems[0] if problems else if_none)
    emotions = {row.emotion for row in manifest if row.emotion}
    other = [one for one in found if not one[1].hard_labels and emotions != {*one[1].labels}]
    fitting = [one for one in found if one not in other]
    if not all_required and any(not logits.hard_labels for _, logits in fitting):
        found = fitting
        problems += [
            f"'{system.name}' has the labels {', '.join(logits.labels)}, but the manifest has the "
            f"emotions {', '.join(sorted(emotions))}. Train it again or name it."
            for system, logits in other
        ]
    return found, [f"Left out: {problem}" for problem in problems]


def list_unexported(workspace: Workspace) -> list[str]:
    """Return a note for each finished run that has no logits yet."""
    folders = sorted(path.parent for path in workspace.runs.glob("[!.]*/summary.json"))
    return [
        f"Left out: '{folder.name}' has no logits. Run: serctl export-logits {folder.name}"
        for folder in folders
        if not any(folder.glob("logits/*.csv"))
    ]


def check_columns(found: Iterable[tuple[System, Logits]], known: Iterable[str]) -> None:
    """Check that the columns of outside scores are emotions, and not an index or a duration.

    Args:
        found: Systems with their logits.
        known: Emotions of the manifest and of the project.

    Raises:
        LogitsError: A column is no emotion that serctl, the project or a run knows.
    """
    found = list(found)
    ours = [logits.labels for system, logits in found if system.kind != "outside"]
    every = {*EMOTIONS, *ALIASES.values(), *known}.union(*ours)
    for system, logits in found:
        if logits.hard_labels and not every.intersection(logits.labels):
            raise LogitsError(
                f"'{system.path}' predicts {first_few(sorted(logits.labels))}, and none of them is "
                f"an emotion of the manifest. Write the names of the emotions."
            )
        strange = (
            [] if logits.hard_labels else [name for name in logits.labels if name not in every]
        )
        if system.kind == "outside" and strange:
            raise LogitsError(
                f"'{system.path}' has a column '{strange[0]}', expected emotions: no utterance of "
                f"the manifest has it. Delete the column, or rename it to an emotion of the "
                f"manifest. If it is an emotion, add it to serctl.toml: [labels] order"
            )


def _find_system(known: Sequence[System], name: str, workspace: Workspace) -> System:
    fits = [system for system in known if system.name == name]
    if len(fits) > 1:
        raise UsageError(
            f"'{name}' is both a run and a stacker. Write '{fits[0].path}' or '{fits[1].path}'."
        )
    if fits:
        return fits[0]
    path = Path(name).resolve()
    for system in known:
        if path in (system.path.resolve(), system.path.parent.resolve()):
            return system
    if path.is_file() or any(path.glob("*.csv")):
        return System(path.stem if path.is_file() else path.name, "outside", path)
    if path.suffix == ".csv" or Path(name).name != name:
        raise UsageError(
            f"'{name}' does not exist or holds no CSV.{guess_path(name)} Expected a run, a stacker "
            f"or a table of predictions. For all runs and stackers: serctl evaluate"
        )
    if (workspace.runs / name).is_dir():
        raise LogitsError(f"Run '{name}' has no logits yet. Run: serctl export-logits {name}")
    raise UnknownNameError("run or stacker", name, (system.name for system in known), MAKE)

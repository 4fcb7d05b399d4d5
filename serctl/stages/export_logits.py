"""`serctl export-logits`: the logits of a run for every utterance, each in-sample or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.config import Workspace, options_to_dict
from serctl.data.labels import LabelSet
from serctl.data.manifest import Manifest, Utterance, read_manifest
from serctl.documents.logits import LogitsSidecar
from serctl.documents.run import PredictedBy, RunConfig
from serctl.encoding.features import check_features, reopen_branches
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_sidecar, write_logits
from serctl.errors import CheckpointError, LogitsError, UnknownNameError, first_few
from serctl.files import remove_file
from serctl.options import ExportLogitsOptions
from serctl.progress import Progress, silent
from serctl.runtime import environment, resolve_device
from serctl.training.checkpoint import Run, load_run
from serctl.training.dataset import build_set, make_reader
from serctl.training.inference import Outputs, infer
from serctl.training.run_folder import (
    CONFIG,
    MODEL,
    SUMMARY,
    TRAIN_IDS,
    hash_document,
    list_folds,
    read_summary,
    usual_model,
)
from serctl.training.speakers import make_speaker_readers, read_moments, speaker_sources


@dataclass(frozen=True)
class ExportedSplit:
    """Logits of one split.

    Attributes:
        split: Its name.
        path: The CSV file.
        rows: Utterances in it.
        in_sample: Those that the predicting model was trained on.
        source: ``oof``, ``heldout`` or ``in-sample`` where the run was trained on the split, else
            the model that predicted it: ``folds`` or ``main``.
        present: The file was there already, of the same run and features.
    """

    split: str
    path: Path
    rows: int
    in_sample: int
    source: str
    present: bool


@dataclass(frozen=True)
class ExportLogitsResult:
    """The files of an export."""

    run: str
    splits: tuple[ExportedSplit, ...]
    notes: tuple[str, ...] = ()


def export_logits(
    workspace: Workspace, options: ExportLogitsOptions, *, progress: Progress = silent
) -> ExportLogitsResult:
    """Write ``runs/<run>/logits/<split>.csv`` and its sidecar for every split asked for.

    Utterances that the run was trained on are predicted out of fold if it has fold models.

    Raises:
        CheckpointError: The run, or a fold model that is needed, is missing or not finished.
        CacheError: Features are missing or stale.
        LogitsError: ``train_logits`` asks for logits that the run does not have.
    """
    folder = find_run(workspace, options.run)
    device = resolve_device(options.device)
    export = _Export(workspace, folder, options, device)
    manifest = export.manifest.limit(export.run.config.options.limit)
    splits = [manifest.select(split) for split in options.splits or manifest.splits]
    rows = [row for part in splits for row in part]
    notes = export.check_folds(rows)
    unread, found = check_features(workspace, export.branches, rows)
    notes += found
    with progress.task(f"export {folder.name}", len(rows), "utterances") as advance:
        done = []
        for part in splits:
            split = part.utterances[0].split
            if written := export.write(split, part, unread):
                done.append(written)
            else:
                why = (
                    "none of its utterances could be read"
                    if unread.issuperset(part.ids)
                    else "the run was trained on all of its speakers"
                )
                notes.append(f"No logits of {split}: {why}.")
            advance(len(part), split)
    return ExportLogitsResult(folder.name, tuple(done), tuple(notes))


def find_run(workspace: Workspace, name: str) -> Path:
    """Return the folder of a finished run, given by name or path.

    Raises:
        UnknownNameError: There is none.
        CheckpointError: It is not finished.
    """
    for folder in (workspace.runs / name, Path(name)):
        if name and (folder / CONFIG).is_file():
            read_summary(folder)
            return folder
    known = [path.parent.name for path in workspace.runs.glob(f"[!.]*/{CONFIG}")]
    raise UnknownNameError("run", name, known, "Make one with: serctl train")


class _Export:
    """One run, its fold models, and the utterances it was trained on."""

    def __init__(
        self,
        workspace: Workspace,
        folder: Path,
        options: ExportLogitsOptions,
        device: torch.device,
    ) -> None:
        self.folder, self.options, self.device = folder, options, device
        config = RunConfig.read(folder / CONFIG)
        self.folds = list_folds(folder, config)
        self.source = _choose_source(options, config, bool(self.folds))
        self.predicted_by = _choose_model(options, folder, self.source)
        self.run = load_run(folder, device, self.predicted_by)
        self.branches = reopen_branches(workspace, self.run.branches)
        self.manifest = read_manifest(workspace.manifest)
        self.by_speaker = self.run.config.model.by_speaker
        self.readers = [make_reader(branch.stores) for branch in self.branches]
        if self.by_speaker:
            moments = read_moments(self.run.model, len(self.branches))
            rows = self.manifest.utterances
            self.readers = make_speaker_readers(self.branches, rows, moments)
        self.trained_on = _read_ids(folder)

    def check_folds(self, rows: Sequence[Utterance]) -> list[str]:
        """Return a note on fold models that are not finished and not needed for these rows.

        Raises:
            CheckpointError: They are needed.
        """
        missing = [fold.name for fold in self.folds if not (fold / SUMMARY).is_file()]
        if not missing or self.source != "oof":
            return []
        state = f"Run '{self.folder.name}': fold model {first_few(missing)} is not finished"
        if any(row.utterance_id in self.trained_on for row in rows):
            raise CheckpointError(
                f"{state}. Repeat its training, it continues; or name other splits: --split dev"
            )
        return [f"{state}; its logits of train need it."]

    def write(self, split: str, part: Manifest, unread: frozenset[str]) -> ExportedSplit | None:
        """Write the logits of one split, unless they are there already.

        Return None and remove older logits where the run may not predict any utterance of it.
        """
        left_out = sorted(unread.intersection(part.ids))
        part = part.where(lambda row: row.utterance_id not in unread)
        seen = any(name in self.trained_on for name in part.ids)
        source = self.source if seen else self.predicted_by
        if source == "heldout":
            known = _speakers(part, self.trained_on)  # also of utterances readable only since
            part = part.where(lambda row: row.utterance_id not in self.trained_on)
            part = part.where(lambda row: row.speaker not in known)
        path = self.folder / "logits" / f"{split}.csv"
        if not len(part):
            for stale in (path, path.with_suffix(".json")):
                remove_file(stale)
            return None
        marks = [source == "in-sample" and name in self.trained_on for name in part.ids]
        in_sample = np.array(marks, dtype=bool)
        exported = ExportedSplit(split, path, len(part), int(in_sample.sum()), source, present=True)
        provenance = self._describe(part, split, source, left_out)
        if not self.options.overwrite and _is_written(path, provenance):
            return exported
        outputs = self._predict(part.utterances, source)
        labels = self.run.labels
        attributes = self._unscale(outputs.attributes)
        write_logits(
            path,
            Logits(
                part.ids,
                outputs.logits,
                labels,
                in_sample,
                self.folder.name,
                provenance,
                attributes,
            ),
        )
        return replace(exported, present=False)

    def _predict(self, rows: Sequence[Utterance], source: str) -> Outputs:
        """Predict rows in their order, each by a model that was not trained on its speaker."""
        if source != "oof":
            return self._infer(self.run, rows)
        fold_of = self._assign_folds(rows)
        models = {-1: self.run} if -1 in fold_of else {}
        models |= {k: load_run(self.folds[k], self.device) for k in sorted({*fold_of} - {-1})}
        at = {k: np.flatnonzero(fold_of == k).tolist() for k in models}
        parts = [self._infer(models[k], [rows[i] for i in at[k]]) for k in models]
        order = np.argsort(np.concatenate([at[k] for k in models]))
        attributes = [part.attributes for part in parts if part.attributes is not None]
        return Outputs(
            np.concatenate([part.logits for part in parts])[order],
            np.concatenate(attributes)[order] if attributes else None,
        )

    def _assign_folds(self, rows: Sequence[Utterance]) -> NDArray[np.intp]:
        """Return the fold model that may predict each row; -1: none was trained on its speaker.

        Raises:
            CheckpointError: Every model was trained on a row.
        """
        fold_of = np.full(len(rows), -1)
        for fold, folder in enumerate(self.folds):
            left_out = self.trained_on - _read_ids(folder)
            speakers = _speakers(rows, left_out)
            for i, row in enumerate(rows):
                new = row.utterance_id not in self.trained_on and row.speaker in speakers
                if row.utterance_id in left_out or new:
                    fold_of[i] = fold
        names = [row.utterance_id for row, fold in zip(rows, fold_of, strict=True) if fold < 0]
        if seen := self.trained_on.intersection(names):
            raise CheckpointError(
                f"Run '{self.folder.name}': every fold model was trained on "
                f"{first_few(sorted(seen))}. Train it again with: serctl train --overwrite"
            )
        return fold_of

    def _infer(self, run: Run, rows: Sequence[Utterance]) -> Outputs:
        """Run one network over rows, given in any order."""
        unlabelled = [replace(row, emotion="") for row in rows]
        data = build_set(unlabelled, self.readers, LabelSet(run.labels))
        outputs = infer(run.model, data, self.device, batch_size=self.options.batch_size)
        at = {name: i for i, name in enumerate(data.ids)}
        order = [at[row.utterance_id] for row in rows]
        attributes = None if outputs.attributes is None else outputs.attributes[order]
        return Outputs(outputs.logits[order], attributes)

    def _unscale(self, attributes: np.ndarray | None) -> np.ndarray | None:
        scale = self.run.config.attributes
        if attributes is None or scale is None:
            return None
        return attributes * np.array(scale.deviation) + np.array(scale.mean)

    def _describe(
        self, part: Manifest, split: str, source: str, unread: Sequence[str]
    ) -> LogitsSidecar:
        """Return what the sidecar records about the logits of one split."""
        sources = [
            [store.source_of(name) for branch in self.branches for store in branch.stores]
            for name in part.ids
        ]
        if self.by_speaker:
            sources.append(list(speaker_sources(self.manifest.utterances, self.branches)))
        config = self.run.config
        folds = self.folds if source in ("oof", "folds") else []
        return LogitsSidecar(
            split=split,
            model=self.folder.name,
            run_hash=config.hash,
            stack_on=source,
            predicted_by=self.predicted_by,
            by_speaker=self.by_speaker,
            features_hash=hash_document([part.ids, sources]),
            fold_hashes=tuple(RunConfig.read(fold / CONFIG).hash for fold in folds),
            options=options_to_dict(config.options),
            seed=config.seed,
            fit_on=config.options.fit_on,
            environment=environment(),
            unread=tuple(unread),
        )


def _choose_source(options: ExportLogitsOptions, config: RunConfig, folded: bool) -> str:
    """Return which logits of train are written: ``oof``, ``heldout`` or ``in-sample``."""
    wanted, heldout = options.train_logits, config.options.heldout
    if wanted == "auto":
        return "oof" if folded else "heldout" if heldout else "in-sample"
    if (wanted == "oof" and not folded) or (wanted == "heldout" and not heldout):
        flag = "--folds 5" if wanted == "oof" else "--heldout"
        raise LogitsError(f"Run '{options.run}' has no {wanted} logits. Train it with {flag}.")
    return wanted


def _choose_model(options: ExportLogitsOptions, folder: Path, source: str) -> PredictedBy:
    """Return which model of the run predicts what no model was trained on."""
    if options.predicted_by != "auto":
        return options.predicted_by
    # Only the main model was trained on all of train, so in-sample logits are its own.
    in_sample = source == "in-sample" and (folder / MODEL).is_file()
    return "main" if in_sample else usual_model(folder)


def _is_written(path: Path, wanted: LogitsSidecar) -> bool:
    """Whether the logits of this run, these features and this source are there."""
    try:
        found = read_sidecar(path, path.read_bytes())
    except (OSError, LogitsError):
        return False
    same = ("run_hash", "stack_on", "predicted_by", "features_hash", "fold_hashes", "unread")
    return found is not None and all(getattr(found, name) == getattr(wanted, name) for name in same)


def _read_ids(folder: Path) -> frozenset[str]:
    """Return the utterances that a model was trained on."""
    try:
        return frozenset((folder / TRAIN_IDS).read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise CheckpointError(
            f"'{folder / TRAIN_IDS}': {error.strerror}. Train it again."
        ) from error


def _speakers(rows: Iterable[Utterance], ids: frozenset[str]) -> set[str]:
    """Return the named speakers of those rows that are in ``ids``."""
    return {row.speaker for row in rows if row.utterance_id in ids} - {""}

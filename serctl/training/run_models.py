"""The main model and the fold models of a run, and the choice of a model for an utterance."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.cache.store import FeatureStore
from serctl.data.labels import LabelSet
from serctl.data.manifest import Utterance
from serctl.documents.logits import name_source
from serctl.documents.run import PredictedBy, RunConfig, retrain_command
from serctl.errors import CheckpointError, LogitsError, count, first_few
from serctl.options import ExportLogitsOptions
from serctl.training.checkpoint import Run, load_run
from serctl.training.dataset import FrameReader, build_set
from serctl.training.inference import Outputs, infer
from serctl.training.run_folder import (
    CONFIG,
    MODEL,
    SUMMARY,
    list_folds,
    read_train_ids,
    usual_model,
)


class RunModels:
    """The models of a run, loaded when they are needed.

    Args:
        folder: Folder of the run.
        options: Options of the export.
        device: Device to compute on.

    Attributes:
        source: Source of the logits of train: ``oof``, ``heldout`` or ``in-sample``.
        predicted_by: Model that predicts dev, test and new utterances.
        run: The loaded model of ``predicted_by``.
        folds: Folders of the fold models.
        trained_on: Utterances that the main model or any fold model was trained on.
    """

    def __init__(self, folder: Path, options: ExportLogitsOptions, device: torch.device) -> None:
        self.folder, self.device, self.batch_size = folder, device, options.batch_size
        config = RunConfig.read(folder / CONFIG)
        self.folds = list_folds(folder, config)
        self.source = _choose_source(options, config, bool(self.folds))
        self.predicted_by = _choose_model(options, folder, self.source)
        self.run = load_run(folder, device, self.predicted_by)
        self.trained_on = read_train_ids(folder)

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
                f"{state}. Repeat its training, which continues, or choose a split: --split dev"
            )
        return [f"{state}. It is needed for the logits of train."]

    def check_renamed(
        self, rows: Iterable[Utterance], known: Collection[str], stores: Iterable[FeatureStore]
    ) -> None:
        """Check that rows are no recordings of the training under other ids.

        Args:
            rows: Utterances to predict.
            known: All ids of the manifest. An utterance of the training that it has is not renamed.
            stores: Stores of the run, which keep the hashes of audio of former ids. Equal texts are
                no equal utterances.

        Raises:
            CheckpointError: Some are: their logits would be called out-of-fold.
        """
        gone = self.trained_on.difference(known)
        new = [row.utterance_id for row in rows if row.utterance_id not in self.trained_on]
        for store in stores if gone else ():
            if store.key.modality == "text":
                continue
            learned = set(store.sources_of([name for name in gone if name in store]))
            renamed = [name for name in new if name in store and store.source_of(name) in learned]
            if renamed:
                raise CheckpointError(
                    f"Run '{self.folder.name}' was trained on {count(len(renamed), 'utterance')} "
                    f"under other ids (now {first_few(renamed)}). Restore the ids in the manifest, "
                    f"or run: {retrain_command([self.folder])}"
                )

    def predict(
        self, rows: Sequence[Utterance], readers: Sequence[FrameReader], source: str
    ) -> Outputs:
        """Return the predictions for rows, in their order.

        With ``oof``, each row is predicted by a model that was not trained on its speaker.
        """
        if source != "oof":
            return self._infer(self.run, rows, readers)
        fold_of = self._assign_folds(rows)
        models = {-1: self.run} if -1 in fold_of else {}
        models |= {k: load_run(self.folds[k], self.device) for k in sorted({*fold_of} - {-1})}
        at = {k: np.flatnonzero(fold_of == k).tolist() for k in models}
        parts = [self._infer(models[k], [rows[i] for i in at[k]], readers) for k in models]
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
            left_out = self.trained_on - read_train_ids(folder)
            speakers = name_speakers(rows, left_out)
            for i, row in enumerate(rows):
                new = row.utterance_id not in self.trained_on and row.speaker in speakers
                if row.utterance_id in left_out or new:
                    fold_of[i] = fold
        names = [row.utterance_id for row, fold in zip(rows, fold_of, strict=True) if fold < 0]
        if seen := self.trained_on.intersection(names):
            raise CheckpointError(
                f"Run '{self.folder.name}': every fold model was trained on "
                f"{first_few(sorted(seen))}. Run: {retrain_command([self.folder])}"
            )
        return fold_of

    def _infer(
        self, run: Run, rows: Sequence[Utterance], readers: Sequence[FrameReader]
    ) -> Outputs:
        """Run one network over rows, given in any order."""
        unlabelled = [replace(row, emotion="") for row in rows]
        data = build_set(unlabelled, readers, LabelSet(run.labels))
        outputs = infer(run.model, data, self.device, batch_size=self.batch_size)
        at = {name: i for i, name in enumerate(data.ids)}
        order = [at[row.utterance_id] for row in rows]
        attributes = None if outputs.attributes is None else outputs.attributes[order]
        return Outputs(outputs.logits[order], attributes)


def _choose_source(options: ExportLogitsOptions, config: RunConfig, folded: bool) -> str:
    """Return the source of the logits of train: ``oof``, ``heldout`` or ``in-sample``."""
    wanted, heldout = options.train_logits, config.options.heldout
    if wanted == "auto":
        return "oof" if folded else "heldout" if heldout else "in-sample"
    if (wanted == "oof" and not folded) or (wanted == "heldout" and not heldout):
        flag = "--folds 5" if wanted == "oof" else "--heldout"
        raise LogitsError(
            f"Run '{options.run}' has no {name_source(wanted)} logits. Train it with {flag}."
        )
    return wanted


def _choose_model(options: ExportLogitsOptions, folder: Path, source: str) -> PredictedBy:
    """Return the model of the run that predicts dev, test and new utterances."""
    if options.predicted_by != "auto":
        return options.predicted_by
    # Only the main model was trained on all of train, so it predicts in-sample logits.
    in_sample = source == "in-sample" and (folder / MODEL).is_file()
    return "main" if in_sample else usual_model(folder)


def name_speakers(rows: Iterable[Utterance], ids: frozenset[str]) -> set[str]:
    """Return the speakers of the rows in ``ids``, without unknown speakers."""
    return {row.speaker for row in rows if row.utterance_id in ids} - {""}

"""`serctl export-logits`: write logits of a run for every utterance, marked in-sample or not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from serctl.config import Workspace, options_to_dict
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.documents.logits import LogitsSidecar
from serctl.documents.run import RunConfig, read_lost
from serctl.encoding.features import check_features, reopen_branches
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_logits_sidecar, write_logits
from serctl.ensemble.systems import System
from serctl.errors import LogitsError, UnknownNameError
from serctl.files import remove_file
from serctl.options import ExportLogitsOptions
from serctl.progress import Progress, silent
from serctl.runtime import environment, resolve_device
from serctl.training.changes import find_outdated, find_shared, hash_features
from serctl.training.dataset import make_reader
from serctl.training.run_folder import CONFIG, read_summary
from serctl.training.run_models import RunModels, name_speakers
from serctl.training.speakers import make_speaker_readers, read_corpus_moments


@dataclass(frozen=True)
class ExportedSplit:
    """Logits of one split.

    Attributes:
        split: Name of the split.
        path: CSV file.
        rows: Number of utterances in the file.
        in_sample: Number of utterances that the predicting model was trained on.
        source: ``oof``, ``heldout`` or ``in-sample`` where the run was trained on the split, else
            the model that predicted it: ``folds`` or ``main``.
        present: Whether the file existed, of the same run and features.
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
    """Write ``runs/<run>/logits/<split>.csv`` and its sidecar for every requested split.

    Utterances that the run was trained on are predicted out of fold if it has fold models.

    Raises:
        CheckpointError: The run, or a fold model that is needed, is missing or not finished.
        CacheError: Features are missing or stale.
        LogitsError: ``train_logits`` names logits that the run does not have.
    """
    folder = find_run(workspace, options.run)
    device = resolve_device(options.device)
    export = _Export(workspace, folder, options, device)
    manifest = export.manifest.limit(export.run.config.options.limit)
    splits = [manifest.select(split) for split in options.splits or manifest.splits]
    rows = [row for part in splits for row in part]
    stores = [store for branch in export.branches for store in branch.stores]
    export.models.check_renamed(rows, export.manifest.ids, stores)
    notes = export.models.check_folds(rows)
    own, everyone = [System(folder.name, "run", folder)], export.manifest.utterances
    notes += find_outdated(workspace, everyone, own) + find_shared(workspace, everyone, own)
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
        CheckpointError: The run is not finished.
    """
    for folder in (workspace.runs / name, Path(name)):
        if name and (folder / CONFIG).is_file():
            read_summary(folder)
            return folder
    known = [path.parent.name for path in workspace.runs.glob(f"[!.]*/{CONFIG}")]
    raise UnknownNameError("run", name, known, "Make one with: serctl train")


class _Export:
    """One run with its models, and the features that they read."""

    def __init__(
        self,
        workspace: Workspace,
        folder: Path,
        options: ExportLogitsOptions,
        device: torch.device,
    ) -> None:
        self.folder, self.options = folder, options
        self.models = RunModels(folder, options, device)
        self.run = self.models.run
        self.branches = reopen_branches(workspace, self.run.branches)
        self.manifest = read_manifest(workspace.manifest)
        self.by_speaker = self.run.config.model.by_speaker
        self.readers = [make_reader(branch.stores) for branch in self.branches]
        if self.by_speaker:
            moments = read_corpus_moments(self.run.model, len(self.branches))
            rows = self.manifest.utterances
            self.readers = make_speaker_readers(self.branches, rows, moments)

    def write(self, split: str, part: Manifest, unread: frozenset[str]) -> ExportedSplit | None:
        """Write the logits of one split, unless they exist.

        Return None and remove older logits if the run may not predict any utterance of the split.
        """
        trained_on = self.models.trained_on
        left_out = sorted(unread.intersection(part.ids))
        part = part.where(lambda row: row.utterance_id not in unread)
        seen = any(name in trained_on for name in part.ids)
        source = self.models.source if seen else self.models.predicted_by
        if source == "heldout":
            known = name_speakers(part, trained_on)  # also of utterances readable only since
            part = part.where(lambda row: row.utterance_id not in trained_on)
            part = part.where(lambda row: row.speaker not in known)
        path = self.folder / "logits" / f"{split}.csv"
        if not len(part):
            for stale in (path, path.with_suffix(".json")):
                remove_file(stale)
            return None
        marks = [source == "in-sample" and name in trained_on for name in part.ids]
        in_sample = np.array(marks, dtype=bool)
        exported = ExportedSplit(split, path, len(part), int(in_sample.sum()), source, present=True)
        provenance = self._describe(part, split, source, left_out)
        if not self.options.overwrite and _is_written(path, provenance):
            return exported
        outputs = self.models.predict(part.utterances, self.readers, source)
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

    def _unscale(self, attributes: np.ndarray | None) -> np.ndarray | None:
        scale = self.run.config.attributes
        if attributes is None or scale is None:
            return None
        return attributes * np.array(scale.deviation) + np.array(scale.mean)

    def _describe(
        self, part: Manifest, split: str, source: str, unread: Sequence[str]
    ) -> LogitsSidecar:
        """Return the content of the sidecar for the logits of one split."""
        config = self.run.config
        folds = self.models.folds if source in ("oof", "folds") else []
        return LogitsSidecar(
            split=split,
            model=self.folder.name,
            run_hash=config.hash,
            stack_on=source,
            predicted_by=self.models.predicted_by,
            by_speaker=self.by_speaker,
            lost_emotions=read_lost(self.folder),
            features_hash=hash_features(
                self.branches, part.ids, self.manifest.utterances, self.by_speaker
            ),
            fold_hashes=tuple(RunConfig.read(fold / CONFIG).hash for fold in folds),
            options=options_to_dict(config.options),
            seed=config.seed,
            fit_on=config.options.fit_on,
            environment=environment(),
            unread=tuple(unread),
        )


def _is_written(path: Path, wanted: LogitsSidecar) -> bool:
    """Whether the file exists and holds logits of this run, these features and this source."""
    try:
        found = read_logits_sidecar(path, path.read_bytes())
    except (OSError, LogitsError):
        return False
    same = ("run_hash", "stack_on", "predicted_by", "features_hash", "fold_hashes", "unread")
    return found is not None and all(getattr(found, name) == getattr(wanted, name) for name in same)

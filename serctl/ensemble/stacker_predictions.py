"""Predictions of a stacker for whole splits, and the folder of the stacker with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serctl.data.ids import write_ids
from serctl.data.manifest import Manifest
from serctl.documents.logits import NAMES, LogitsSidecar, name_source
from serctl.documents.stacker import FITTED_IDS
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import write_logits
from serctl.ensemble.stacker_folder import TrainedStacker, save_stacker
from serctl.ensemble.stacking_set import StackingSet, list_inputs
from serctl.ensemble.systems import System
from serctl.errors import LogitsError, first_few
from serctl.files import write_folder


class SplitPredictions(NamedTuple):
    """Probabilities ``(N, C)`` of a split.

    ``in_sample`` marks utterances that a base model was trained on. ``unread`` are the ids of
    utterances that a base model could not read. ``inputs`` are hashes of the base models' logits.
    """

    ids: tuple[str, ...]
    probabilities: NDArray[np.float64]
    in_sample: NDArray[np.bool_]
    unread: frozenset[str]
    inputs: Mapping[str, str]


def predict_splits(
    trained: TrainedStacker,
    systems: Sequence[System],
    manifest: Manifest,
    rows: StackingSet,
    limit: int | None,
) -> dict[str, SplitPredictions]:
    """Return the predictions for every other split with logits of all base models.

    Args:
        trained: The fitted stacker.
        systems: Its base models.
        manifest: Utterances of all splits.
        rows: Rows that it was fitted on.
        limit: Maximum number of utterances of a split.

    Raises:
        LogitsError: A base model was trained again, has logits of another kind of its models, or a
            table of another program has only some utterances of a split.
    """
    predictions: dict[str, SplitPredictions] = {}
    for split in manifest.splits:
        ids = manifest.select(split).limit(limit).ids
        parts = [system.load(split, ids) for system in systems]
        # Base models were trained on train, so probabilities there would be in-sample.
        if split in ("train", rows.split) or not all(parts):
            continue
        found = [part for part in parts if part is not None]
        for part in found:
            _check_same_training(part, rows, split)
            _check_same_kind(part, rows, split)
        unread = frozenset[str]().union(*(part.unread for part in found)).intersection(ids)
        for system, part in zip(systems, found, strict=True):
            _check_whole(system, part, split, set(ids) - unread)
        readable = set(found[0].ids) - unread
        ids = tuple(name for name in ids if name in readable)
        found = [part.select(ids) for part in found]
        in_sample = np.any([part.in_sample for part in found], axis=0)
        predictions[split] = SplitPredictions(
            ids, trained.predict_parts(found), in_sample, unread, list_inputs(found)
        )
    return predictions


def collect_cross_fitted(rows: StackingSet, probabilities: NDArray[np.float64]) -> SplitPredictions:
    """Return predictions ``(N, C)`` of the rows of the fit, each by a stacker not fitted on it."""
    in_sample = np.zeros(len(probabilities), dtype=bool)
    return SplitPredictions(rows.joined.ids, probabilities, in_sample, rows.unread, rows.inputs)


def _check_whole(system: System, part: Logits, split: str, ids: set[str]) -> None:
    """Refuse a table of another program with some utterances of a split. A run may lack some."""
    if system.kind == "outside" and (lacking := sorted(ids - set(part.ids))):
        raise LogitsError(
            f"'{system.path}' holds {len(ids) - len(lacking)} of {len(ids)} utterances of "
            f"{split} and lacks {first_few(lacking)}. Expected all of them "
            f"or none: add the others or delete these."
        )


def _check_same_kind(part: Logits, rows: StackingSet, split: str) -> None:
    wanted = rows.predicted_by.get(part.name)
    if wanted and wanted != (part.provenance.predicted_by or "main"):
        raise LogitsError(
            f"The {name_source(rows.stack_on)} logits of '{part.name}' are of its "
            f"{NAMES[wanted]}, those of {split} of its "
            f"{NAMES[part.provenance.predicted_by or 'main']}: a stacker needs one kind. "
            f"Run: serctl export-logits {part.name} --predicted-by {wanted}"
        )


def _check_same_training(part: Logits, rows: StackingSet, split: str) -> None:
    made = part.provenance.run_hash
    if made and made != rows.hashes[part.name]:
        raise LogitsError(
            f"'{part.name}' was trained again between its logits for {rows.split} and {split}. "
            f"Run: serctl export-logits {part.name}"
        )


def write_stacker(
    folder: Path,
    name: str,
    rows: StackingSet,
    trained: TrainedStacker,
    predictions: dict[str, SplitPredictions],
) -> None:
    """Write the stacker and its predictions as one folder, which replaces an older one."""
    fitted_on = trained.fitted_on
    with write_folder(folder) as new:
        save_stacker(new, trained)
        write_ids(new / FITTED_IDS, rows.joined.ids)
        for split, (ids, probabilities, in_sample, unread, inputs) in predictions.items():
            provenance = LogitsSidecar(
                kind="probabilities",
                split=split,
                model=name,
                stacker=trained.stacker.kind,
                stack_on=fitted_on.stack_on,
                by_speaker=rows.by_speaker,
                cross_fitted=split == fitted_on.split,
                base_models=trained.models,
                fitted_on=fitted_on.ids_hash,
                inputs=dict(inputs),
                unread=tuple(sorted(unread)),
                options={**trained.options, "limit": fitted_on.limit},
            )
            write_logits(
                new / f"{split}.csv",
                Logits(ids, probabilities, trained.labels, in_sample, name, provenance),
            )

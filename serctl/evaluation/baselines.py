"""Baselines of a report: the majority class, and logistic regression on pooled frames."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.cache.pooled import pool_frames
from serctl.cache.speakers import (
    SpeakerFrames,
    combine_moments,
    measure_speakers,
    restate_speaker,
)
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.folds import choose_folds, group_by_speaker
from serctl.data.ids import read_ids
from serctl.data.manifest import Manifest
from serctl.documents.logits import LogitsSidecar
from serctl.documents.run import RunConfig
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.ensemble.logits import Logits, softmax
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.ensemble.pooled import STRENGTHS, fit_pooled
from serctl.ensemble.systems import System
from serctl.errors import (
    LogitsError,
    MissingFeaturesError,
    SerctlError,
    count,
    first_few,
)
from serctl.progress import Progress

MAJORITY, POOLED = "majority-class", "pooled-logistic-regression"
POOLED_BY_SPEAKER = f"{POOLED}-by-speaker"


def predict_majority(train: Manifest, ids: Sequence[str], labels: Sequence[str]) -> Logits:
    """Predict the most frequent class of train. Probabilities are the class frequencies.

    Raises:
        LogitsError: Train has no labelled utterance.
    """
    counts = Counter(row.emotion for row in train if row.emotion)
    if not counts:
        raise LogitsError("Train has no labelled utterance, so there is no majority class.")
    shares = np.array([counts[label] for label in labels]) / counts.total()
    return _as_logits(ids, np.tile(shares, (len(ids), 1)), labels, MAJORITY)


def predict_pooled(
    stores: Sequence[FeatureStore],
    train: Manifest,
    ids: Sequence[str],
    labels: Sequence[str],
    folder: Path,
    split: str,
    speaker_of: Mapping[str, str] | None,
    progress: Progress,
) -> Logits:
    """Predict with logistic regression on standardised mean+deviation-pooled frames.

    It is fitted on the labelled utterances of train, as a pooled model is (`fit_pooled`).
    Predictions are cached in ``folder``.

    Args:
        stores: Stores whose pooled frames are concatenated.
        train: Utterances to fit on.
        ids: Utterances to predict.
        labels: Emotions in the order of the probabilities.
        folder: Folder of the cached predictions.
        split: Split of ``ids``.
        speaker_of: Speaker of every utterance, for standardisation per speaker; None is off.
        progress: Reports the fit.

    Raises:
        MissingFeaturesError: An utterance has no frames in one of the stores.
    """
    fitted = [row for row in train if row.emotion]
    everything = [*(row.utterance_id for row in fitted), *ids]
    name = POOLED_BY_SPEAKER if speaker_of else POOLED
    groups = group_by_speaker(fitted)
    data = [[row.emotion for row in fitted], groups, labels]
    key = _key(stores, everything, data, speaker_of)
    kept = folder / f"{split}-{key[:8]}.csv"
    with suppress(LogitsError):  # missing, or incomplete after a kill
        predicted = read_logits(kept, name)
        if predicted.provenance.key == key:
            return predicted.select(ids)
    vectors = np.hstack(
        [_pool(store, everything, len(fitted), speaker_of, progress) for store in stores]
    )
    targets = np.array([labels.index(row.emotion) for row in fitted])
    with progress.task(f"logistic regression on {vectors.shape[1]} values", 1) as advance:
        classifier = fit_pooled(vectors[: len(fitted)], targets, groups, len(labels))
        advance()
    probabilities = softmax(classifier.logits(vectors[len(fitted) :]))
    facts = {"key": key, "split": split, "by_speaker": bool(speaker_of)}
    write_logits(kept, _as_logits(ids, probabilities, labels, name, **facts))
    return read_logits(kept, name)  # rounded like cached predictions


def _pool(
    store: FeatureStore,
    ids: Sequence[str],
    num_fitted: int,
    speaker_of: Mapping[str, str] | None,
    progress: Progress,
) -> NDArray[np.float32]:
    """Return pooled frames ``(N, 2·D)``. The first ``num_fitted`` rows define the statistics."""
    vectors = pool_frames(store, ids, progress)
    if not speaker_of:
        return vectors
    corpus = combine_moments(vectors[:num_fitted], store.num_frames(ids[:num_fitted]))
    known = [name for name in speaker_of if name in store]
    pooled, lengths = pool_frames(store, known, progress), store.num_frames(known)
    found = measure_speakers(pooled, lengths, [speaker_of[name] for name in known])
    maps = {name: restate_speaker(moments, corpus) for name, moments in found.items()}
    return SpeakerFrames(store, speaker_of, maps).restate_pooled(ids, vectors)


def open_stores(workspace: Workspace, systems: Iterable[System]) -> list[FeatureStore]:
    """Open the stores of the runs and of the stackers' base models.

    Raises:
        MissingFeaturesError: There is no store, or one is missing.
    """
    runs = _read_runs(workspace, systems).values()
    branches = [branch for run in runs for branch in run.branches]
    keys = {key.store_name: key for branch in branches for key in branch.keys}
    gone = [key.encoder for name, key in keys.items() if not (workspace.cache / name).is_dir()]
    if gone or not keys:
        raise MissingFeaturesError(
            f"The frames of {gone[0]} are missing. Run: serctl extract --encoder {gone[0]}"
            if gone
            else "None of these systems records which frames it reads."
        )
    return [FeatureStore.open(workspace.cache / name) for name in sorted(keys)]


def _read_runs(workspace: Workspace, systems: Iterable[System]) -> dict[str, RunConfig]:
    """Return the runs among these systems and among the base models of the stackers, by name."""
    names: dict[str, None] = {}
    for system in systems:
        if system.kind == "run":
            names[system.name] = None
        elif system.kind == "stacker":
            names |= dict.fromkeys(StackerDocument.read(system.path / STACKER_FILE).models)
    paths = {name: workspace.runs / name / "config.json" for name in names}
    return {name: RunConfig.read(path) for name, path in paths.items() if path.is_file()}


def make_baselines(
    workspace: Workspace,
    manifest: Manifest,
    systems: Sequence[System],
    ids: Sequence[str],
    labels: Sequence[str],
    split: str,
    progress: Progress,
) -> tuple[list[Logits], list[str]]:
    """Return the available baselines, and a note for each one that is not available.

    Train is predicted out of fold.
    """
    found, notes = [], []
    train = manifest.where(lambda row: row.split == "train" and row.emotion in labels)

    def majority(fitted: Manifest, asked: Sequence[str]) -> Logits:
        return predict_majority(fitted, asked, labels)

    def pooled(
        fitted: Manifest, asked: Sequence[str], speaker_of: Mapping[str, str] | None = None
    ) -> Logits:
        stores = open_stores(workspace, systems)
        lacking = {name for name in train.ids if any(name not in store for store in stores)}
        if lacking and (note := _describe_lacking(lacking, len(train))) not in notes:
            notes.append(note)
        fitted = fitted.where(lambda row: row.utterance_id not in lacking)
        folder = workspace.reports / "baselines"
        return predict_pooled(stores, fitted, asked, labels, folder, split, speaker_of, progress)

    kinds = {MAJORITY: majority, POOLED: pooled}
    runs = _read_runs(workspace, systems).values()
    if any(run.model.by_speaker for run in runs):  # equal conditions
        speaker_of = {row.utterance_id: row.speaker for row in manifest if row.speaker}
        kinds[POOLED_BY_SPEAKER] = partial(pooled, speaker_of=speaker_of)
    for name, predict in kinds.items():
        try:
            found.append(
                _cross_fit(predict, train, ids) if split == "train" else predict(train, ids)
            )
        except SerctlError as error:
            notes.append(f"Baseline '{name}' is missing: {error}")
    notes += _note_tie(train, labels) if split != "train" else ()
    return found, notes + _note_untrained(workspace, systems, train)


def _note_tie(train: Manifest, labels: Sequence[str]) -> list[str]:
    """Return a note if several classes are the most frequent ones of train."""
    counts = Counter(row.emotion for row in train)
    most = max(counts.values(), default=0)
    first, *others = [name for name in labels if counts[name] == most]
    if not (most and others):
        return []
    return [
        f"'{MAJORITY}' predicts {first}, the first of {len(others) + 1} emotions with "
        f"{count(most, 'utterance')} of train each: {', '.join((first, *others))}."
    ]


def _note_untrained(workspace: Workspace, systems: Sequence[System], train: Manifest) -> list[str]:
    """Return a note on utterances that the baselines are fitted on and a run was not trained on."""
    runs: dict[str, list[str]] = {}
    with suppress(SerctlError):  # without frames there is no baseline to compare
        stores = open_stores(workspace, systems)
        readable = [name for name in train.ids if all(name in store for store in stores)]
        for run in _read_runs(workspace, systems):
            with suppress(OSError):
                known = read_ids(workspace.runs / run / "train_ids.txt")
                if new := [name for name in readable if name not in known]:
                    runs[run] = new
    more = sorted({name for new in runs.values() for name in new})
    if not more:
        return []
    return [
        f"The baselines are fitted on {count(len(more), 'utterance')} of train ({first_few(more)}) "
        f"that {first_few(runs)} was not trained on: added since, held out or left out by --limit."
    ]


def _describe_lacking(lacking: Collection[str], size: int) -> str:
    return (
        f"'{POOLED}' is not fitted on {len(lacking)} of {size} utterances of train, which have no "
        f"frames ({first_few(sorted(lacking))})."
    )


def _cross_fit(
    predict: Callable[[Manifest, Sequence[str]], Logits], train: Manifest, ids: Sequence[str]
) -> Logits:
    """Predict each fold with a model fitted on the others."""
    folds = choose_folds(train, None)
    parts = []
    for fold in range(folds.num_folds):
        left_out = folds.ids(fold)
        asked = sorted(left_out.intersection(ids))
        fitted = train.where(lambda row, out=left_out: row.utterance_id not in out)  # type: ignore[misc]
        parts += [predict(fitted, asked)] if asked else []
    values = np.concatenate([part.values for part in parts])
    whole = tuple(name for part in parts for name in part.ids)
    joined = _as_logits(whole, values, parts[0].labels, parts[0].name, stack_on="oof")
    return joined.select(ids)


def _as_logits(
    ids: Sequence[str],
    probabilities: np.ndarray,
    labels: Sequence[str],
    name: str,
    **facts: Any,
) -> Logits:
    in_sample = np.zeros(len(ids), dtype=bool)
    sidecar = LogitsSidecar.model_validate({"kind": "probabilities", "model": name, **facts})
    return Logits(tuple(ids), probabilities, tuple(labels), in_sample, name, sidecar)


def _key(
    stores: Sequence[FeatureStore],
    ids: Sequence[str],
    data: Sequence[Sequence[str]],
    speaker_of: Mapping[str, str] | None,
) -> str:
    """Return a hash of all inputs of the pooled baseline."""
    asked = [*ids, *sorted(speaker_of or ())]
    sources = [[store.source_of(name) for name in asked if name in store] for store in stores]
    names = [store.key.store_name for store in stores]
    speakers = sorted(speaker_of.items()) if speaker_of else []
    text = json.dumps([STRENGTHS, names, ids, data, sources, speakers])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

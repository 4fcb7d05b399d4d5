"""Baselines of every table: the majority class, and logistic regression on pooled frames."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from serctl.cache.key import FeatureKey
from serctl.cache.pooled import pool_frames
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.folds import choose_folds
from serctl.data.manifest import Manifest
from serctl.documents.logits import LogitsSidecar
from serctl.documents.run import RunConfig
from serctl.documents.stacker import STACKER_FILE, StackerDocument
from serctl.ensemble.logits import Logits
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.ensemble.systems import System
from serctl.errors import (
    LogitsError,
    MissingFeaturesError,
    SerctlError,
    first_few,
)
from serctl.progress import Progress, silent

MAJORITY, POOLED = "majority-class", "pooled-logistic-regression"


def predict_majority(train: Manifest, ids: Sequence[str], labels: Sequence[str]) -> Logits:
    """Predict the most frequent class of train; the probabilities are the shares of the classes.

    Raises:
        LogitsError: Train has no labelled utterance.
    """
    counts = Counter(row.emotion for row in train if row.emotion)
    if not counts:
        raise LogitsError("Train has no labelled utterance to take the majority class from.")
    shares = np.array([counts[label] for label in labels]) / counts.total()
    return _as_logits(ids, np.tile(shares, (len(ids), 1)), labels, MAJORITY)


def predict_pooled(
    stores: Sequence[FeatureStore],
    train: Manifest,
    ids: Sequence[str],
    labels: Sequence[str],
    folder: Path,
    split: str,
    progress: Progress = silent,
) -> Logits:
    """Predict with logistic regression on standardised mean+deviation-pooled frames.

    scikit-learn's defaults (C = 1), fitted on the labelled utterances of train. Pooled frames and
    predictions are kept in ``folder``; nothing is computed twice.

    Raises:
        MissingFeaturesError: An utterance has no frames in one of the stores.
    """
    fitted = [row for row in train if row.emotion]
    key = _key(stores, [row.utterance_id for row in fitted], ids, [row.emotion for row in fitted])
    kept = folder / f"{split}-{key[:8]}.csv"
    with suppress(LogitsError):  # not there, or a writer was killed
        predicted = read_logits(kept, POOLED)
        if predicted.provenance.key == key:
            return predicted.select(ids)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    everything = [*(row.utterance_id for row in fitted), *ids]
    features = np.hstack(
        [
            pool_frames(store, everything, folder / f"{Path(store.path).stem}.npz", progress)
            for store in stores
        ]
    )
    targets = np.array([labels.index(row.emotion) for row in fitted])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with progress.task(f"logistic regression on {features.shape[1]} values", 1) as advance:
        classifier.fit(features[: len(fitted)], targets)
        advance()
    probabilities = np.zeros((len(ids), len(labels)))
    probabilities[:, classifier.classes_] = classifier.predict_proba(features[len(fitted) :])
    predicted = _as_logits(ids, probabilities, labels, POOLED, key=key, split=split)
    write_logits(kept, predicted)
    return read_logits(kept, POOLED)  # with as many digits as the next time


def find_stores(workspace: Workspace, systems: Iterable[System]) -> list[FeatureStore]:
    """Open the stores that the runs among these systems, and the stackers' base models, read.

    Raises:
        MissingFeaturesError: There is none, or one is gone.
    """
    runs: dict[str, None] = {}
    for system in systems:
        if system.kind == "run":
            runs[system.name] = None
        elif system.kind == "stacker":
            runs |= dict.fromkeys(StackerDocument.read(system.path / STACKER_FILE).models)
    keys: dict[str, FeatureKey] = {}
    for name in runs:
        path = workspace.runs / name / "config.json"
        if path.is_file():
            branches = RunConfig.read(path).branches
            keys |= {key.store_name: key for branch in branches for key in branch.keys}
    gone = [key.encoder for name, key in keys.items() if not (workspace.cache / name).is_dir()]
    if gone or not keys:
        raise MissingFeaturesError(
            f"The frames of {gone[0]} are gone. Run: serctl extract --encoder {gone[0]}"
            if gone
            else "None of these systems says which frames it read."
        )
    return [FeatureStore.open(workspace.cache / name) for name in sorted(keys)]


def make_baselines(
    workspace: Workspace,
    manifest: Manifest,
    systems: Sequence[System],
    ids: Sequence[str],
    labels: Sequence[str],
    split: str,
    progress: Progress = silent,
) -> tuple[list[Logits], list[str]]:
    """Return the baselines that can be made, and a note for each that cannot.

    Train itself is predicted out of fold.
    """
    found, notes = [], []
    train = manifest.where(lambda row: row.split == "train" and row.emotion in labels)

    def majority(fitted: Manifest, asked: Sequence[str]) -> Logits:
        return predict_majority(fitted, asked, labels)

    def pooled(fitted: Manifest, asked: Sequence[str]) -> Logits:
        stores = find_stores(workspace, systems)
        lacking = {name for name in train.ids if any(name not in store for store in stores)}
        if lacking and (note := _describe_lacking(lacking, len(train))) not in notes:
            notes.append(note)
        fitted = fitted.where(lambda row: row.utterance_id not in lacking)
        folder = workspace.reports / "baselines"
        return predict_pooled(stores, fitted, asked, labels, folder, split, progress)

    for name, predict in ((MAJORITY, majority), (POOLED, pooled)):
        try:
            found.append(
                _cross_fit(predict, train, ids) if split == "train" else predict(train, ids)
            )
        except SerctlError as error:
            notes.append(f"No baseline '{name}': {error}")
    return found, notes


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
    **facts: str,
) -> Logits:
    in_sample = np.zeros(len(ids), dtype=bool)
    sidecar = LogitsSidecar.model_validate({"kind": "probabilities", "model": name, **facts})
    return Logits(tuple(ids), probabilities, tuple(labels), in_sample, name, sidecar)


def _key(
    stores: Sequence[FeatureStore],
    train: Sequence[str],
    ids: Sequence[str],
    emotions: Sequence[str],
) -> str:
    """Return a hash of everything that the pooled baseline's predictions depend on."""
    sources = [[store.source_of(name) for name in (*train, *ids)] for store in stores]
    names = [store.key.store_name for store in stores]
    text = json.dumps([names, train, ids, emotions, sources])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

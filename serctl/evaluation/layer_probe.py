"""Comparison of layers: one linear classifier per layer, cross-validated over speakers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.cache.sources import hash_bytes
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.folds import group_by_speaker
from serctl.data.manifest import FOLD, Manifest, Utterance
from serctl.data.manifest_file import read_manifest
from serctl.documents.layers import FOLDER, LayerScore, LayersDocument
from serctl.errors import SerctlError
from serctl.metrics.bootstrap import Resamples, interval, score_resamples
from serctl.metrics.classification import score_predictions
from serctl.metrics.paired import compare_paired
from serctl.progress import Advance

REGULARISATION = 0.01
"""C of scikit-learn on standardised vectors, the same for all layers. Vectors have more values than
most corpora have utterances, so a search per layer would fit noise."""


SETTINGS = ("folds", "resamples", "seed", "limit")
"""Options that the scores depend on."""


def list_compared(manifest: Manifest, limit: int | None) -> list[Utterance]:
    """Return the labelled utterances of train and dev, sorted by id."""
    rows = manifest.limit(limit).where(
        lambda row: row.split in ("train", "dev") and bool(row.emotion)
    )
    return sorted(rows, key=lambda row: row.utterance_id)


def hash_comparison(
    store: FeatureStore, rows: Sequence[Utterance], options: Mapping[str, Any]
) -> str:
    """Return a hash of the data and options that the scores depend on."""
    facts = [
        [
            row.utterance_id,
            store.source_of(row.utterance_id),
            row.emotion,
            group,
            row.extra.get(FOLD),
        ]
        for row, group in zip(rows, group_by_speaker(rows), strict=True)
    ]
    settings = [*(options[name] for name in ("folds", "resamples", "seed")), REGULARISATION]
    text = json.dumps([store.key.digest, settings, facts], ensure_ascii=False)
    return hash_bytes(text.encode())


def find_old_comparisons(workspace: Workspace, documents: Iterable[LayersDocument]) -> list[str]:
    """Return a warning for each comparison whose utterances have changed in the manifest."""
    found = []
    for document in documents:
        path = workspace.cache / FOLDER / document.key.store_name
        with suppress(SerctlError, KeyError):  # earlier versions recorded no options
            store, options = FeatureStore.open(path), document.options
            rows = list_compared(read_manifest(workspace.manifest), options["limit"])
            rows = [row for row in rows if row.utterance_id in store]
            if hash_comparison(store, rows, options) != document.data:
                found.append(
                    f"The layers of {document.encoder} were compared on other emotions, speakers, "
                    f"folds or audio than there are now. Run: serctl layers {document.encoder}"
                )
    return found


def predict_folds(
    vectors: NDArray[np.float32], targets: NDArray[np.intp], fold_of: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the class of each utterance ``(N,)``, predicted by a classifier without its fold.

    Args:
        vectors: ``(N, V)`` one vector per utterance.
        targets: ``(N,)`` label ids.
        fold_of: ``(N,)`` fold numbers.
    """
    predicted = np.empty_like(targets)
    for fold in np.unique(fold_of):
        asked = fold_of == fold
        predicted[asked] = _fit_and_predict(vectors[~asked], targets[~asked], vectors[asked])
    return predicted


def _fit_and_predict(
    train: NDArray[np.float32], targets: NDArray[np.intp], asked: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Return the classes of ``asked``. Speakers of one emotion may leave one class to fit on."""
    from sklearn.linear_model import LogisticRegression

    if len(only := np.unique(targets)) == 1:
        return np.full(len(asked), only[0])
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation == 0] = 1.0
    train, asked = (train - mean) / deviation, (asked - mean) / deviation
    if len(train) < train.shape[1]:
        # The solution is in the span of the rows, so the fit in that basis is equal and smaller.
        *_, axes = np.linalg.svd(train, full_matrices=False)  # (N, V)
        train, asked = train @ axes.T, asked @ axes.T
    classifier = LogisticRegression(C=REGULARISATION, max_iter=500, class_weight="balanced")
    return classifier.fit(train, targets).predict(asked)


def score_layers(
    moments: NDArray[np.float32],
    layers: Sequence[int],
    targets: NDArray[np.intp],
    fold_of: NDArray[np.intp],
    resamples: Resamples,
    advance: Advance = lambda n=1, note="": None,
) -> list[LayerScore]:
    """Evaluate every layer, and test each against the best.

    Args:
        moments: ``(L, N, V)`` vectors of each layer.
        layers: L layer numbers.
        targets: ``(N,)`` label ids from 0.
        fold_of: ``(N,)`` numbers of speaker-disjoint folds.
        resamples: Number of bootstrap resamples of speakers.
        advance: Called for every layer.
    """
    num_classes = int(targets.max()) + 1
    predictions = []
    for layer, vectors in zip(layers, moments, strict=True):
        predictions.append(predict_folds(vectors, targets, fold_of))
        advance(note=f"layer {layer}")
    scores = [score_predictions(targets, found, num_classes) for found in predictions]
    best = int(np.argmax([score.macro_f1 for score in scores]))
    made = []
    for layer, found, score in zip(layers, predictions, scores, strict=True):
        test = compare_paired(
            resamples, targets, ("best", predictions[best]), (str(layer), found), num_classes
        )
        low, high = interval(score_resamples(resamples, targets, found, num_classes).macro_f1)
        made.append(
            LayerScore(
                layer=layer,
                macro_f1=float(score.macro_f1),
                low=low,
                high=high,
                uar=float(score.uar),
                behind=test.difference,
                behind_low=test.low,
                behind_high=test.high,
                p_value=test.p_value,
                is_worse=test.is_real,
            )
        )
    return made

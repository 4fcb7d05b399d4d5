"""`serctl layers`: compare the layers of an encoder before frames are stored."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serctl.cache.sources import SourceHasher
from serctl.cache.store import FeatureStore
from serctl.config import Workspace
from serctl.data.folds import choose_folds, group_by_speaker
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest
from serctl.documents.layers import FOLDER, LAYERS_VERSION, LayersDocument
from serctl.encoding.keys import note_window
from serctl.encoding.layer_moments import LayerMoments, read_layer_moments
from serctl.errors import ManifestError, ReportError, UsageError, count, first_few
from serctl.evaluation.layer_probe import (
    SETTINGS,
    hash_comparison,
    list_compared,
    score_layers,
)
from serctl.files import write_atomic
from serctl.metrics.bootstrap import draw_resamples
from serctl.options import ExtractOptions, LayersOptions
from serctl.options.option import copy_options
from serctl.page.layer_curve import draw_curve
from serctl.progress import Progress, silent


@dataclass(frozen=True)
class LayersResult:
    """Result of a comparison of layers.

    Attributes:
        document: Scores of all layers.
        path: File of the document.
        curve: SVG file with a plot of the scores.
        present: Utterances that were encoded before.
        encoded: Utterances encoded now.
        failed: Utterances that could not be read.
    """

    document: LayersDocument
    path: Path
    curve: Path
    present: int
    encoded: int = 0
    failed: int = 0


def layers(
    workspace: Workspace, options: LayersOptions, *, progress: Progress = silent
) -> LayersResult:
    """Compare all layers of an encoder on the labelled utterances of train and dev.

    One pass of the encoder stores mean and standard deviation of every layer. A logistic regression
    per layer is then cross-validated over speakers. Moments and scores are cached: an interrupted
    comparison continues, and a larger one encodes only the new utterances.

    Raises:
        UsageError: The encoder has no layers.
        ManifestError: There are too few labelled utterances or speakers.
        SerctlError: An utterance cannot be read (unless ``skip_bad``), or the weights are missing.
    """
    rows = list_compared(read_manifest(workspace.manifest), options.limit)
    if not rows:
        raise ManifestError(
            "No utterance of train or dev has an emotion, expected labels to compare layers. "
            "Check the manifest: serctl manifest stats"
        )
    if len(emotions := {row.emotion for row in rows}) == 1:
        raise ManifestError(
            f"All utterances of train and dev have the emotion '{emotions.pop()}', expected at "
            f"least two emotions to compare layers. See: serctl manifest stats"
        )
    choose_folds(rows, options.folds, options.seed)  # fails before the encoder runs
    with SourceHasher(workspace.cache) as hasher:
        moments = LayerMoments(workspace, copy_options(ExtractOptions, options), hasher)
        if notes := note_window(options.window, moments.keys[0]):
            raise UsageError(f"{notes[0]} Leave out --window.")
        missing = moments.find_missing(rows)
        encoded, failed = 0, frozenset[str]()
        if missing:
            # Encode only missing utterances: unlike frames, moments need not be bit-identical.
            left = [row for row in rows if row.utterance_id in missing]
            done = moments.run(left, missing, progress=progress)
            encoded, failed = done.encoded, frozenset(done.failures)
    kept = [row for row in rows if row.utterance_id not in failed]
    store = FeatureStore.open(moments.stores[0])
    path = workspace.reports / FOLDER / f"{moments.stores[0].stem}.json"
    curve = path.with_suffix(".svg")
    data = hash_comparison(store, kept, vars(options))
    document = _read_kept(path, data)
    if document is None:
        document = _compare(store, kept, options, failed, data, progress)
        document.write(path)
        with write_atomic(curve) as file:
            file.write(draw_curve(document))
    return LayersResult(
        document, path, curve, len(rows) - len(missing), encoded, failed=len(failed)
    )


def _read_kept(path: Path, data: str) -> LayersDocument | None:
    """Return the scores of an earlier call on the same data."""
    if not path.is_file():
        return None
    with suppress(ReportError):  # scores of another version are computed again
        document = LayersDocument.read(path)
        return document if document.data == data else None
    return None


def _compare(
    store: FeatureStore,
    rows: Sequence[Utterance],
    options: LayersOptions,
    failed: frozenset[str],
    data: str,
    progress: Progress,
) -> LayersDocument:
    folds = choose_folds(rows, options.folds, options.seed)
    speakers = group_by_speaker(rows)
    names = sorted({row.emotion for row in rows})
    targets = np.array([names.index(row.emotion) for row in rows], dtype=np.intp)
    fold_of = np.array([folds.fold_of[row.utterance_id] for row in rows], dtype=np.intp)
    moments = read_layer_moments(store, [row.utterance_id for row in rows])  # (L, N, 2D)
    numbers = (*range(len(moments) - 1), -1)
    with progress.task(
        f"compare the layers of {store.key.encoder}", len(moments), "layers"
    ) as advance:
        scores = score_layers(
            moments,
            numbers,
            targets,
            fold_of,
            draw_resamples(speakers, options.resamples, options.seed),
            advance,
        )
    notes = [folds.warning] if folds.warning else []
    if failed:
        left = first_few(sorted(failed))
        notes.append(f"{count(len(failed), 'utterance')} could not be read ({left}).")
    return LayersDocument(
        serctl_layers=LAYERS_VERSION,
        encoder=store.key.encoder,
        key=store.key,
        labels=tuple(names),
        utterances=len(rows),
        speakers=len(set(speakers)),
        folds=folds.num_folds,
        data=data,
        options={name: getattr(options, name) for name in SETTINGS},
        scores=tuple(scores),
        notes=tuple(notes),
    )

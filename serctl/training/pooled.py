"""Training of a pooled model by logistic regression, without epochs."""

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.documents.run import RunSummary
from serctl.ensemble.pooled import PooledClassifier, fit_pooled
from serctl.models.pooled import PooledModel
from serctl.options import TrainOptions
from serctl.training.checkpoint import save_tensors
from serctl.training.dataset import UtteranceSet
from serctl.training.fit import score_dev
from serctl.training.ranks import Ranks
from serctl.training.run_folder import MODEL


def train_pooled(
    model: PooledModel,
    vectors: NDArray[np.float32],
    data: UtteranceSet,
    dev: UtteranceSet | None,
    options: TrainOptions,
    folder: Path,
    *,
    device: torch.device,
    ranks: Ranks,
) -> RunSummary:
    """Fit the classifier on pooled frames ``(N, F)`` of ``data``, save and evaluate it."""
    start = time.perf_counter()
    classes = model.config.num_classes
    targets = data.targets.argmax(axis=1)
    fitted = fit_pooled(vectors, targets, data.groups, classes, options.pooled_c)
    set_classifier(model, fitted)
    ranks.call_first(lambda: save_tensors(folder / MODEL, model.state_dict()))
    seconds = time.perf_counter() - start
    chosen = "of pooled_c" if options.pooled_c else "by cross-validation over speakers"
    if not options.pooled_c and len(set(data.groups)) == 1:
        chosen = "without cross-validation, because the training has one speaker"
    logits = fitted.logits(vectors)
    return RunSummary(
        best_epoch=0,
        epochs=0,
        chosen_because=f"C = {fitted.strength:g} {chosen}",
        metrics=score_dev(model.to(device), dev, options, device, ranks),
        loss=_cross_entropy(logits, targets),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        utterances=len(data),
        seconds=seconds,
        profile={},
    )


def set_classifier(model: PooledModel, fitted: PooledClassifier) -> None:
    """Copy a fitted classifier into its torch module."""
    with torch.no_grad():
        model.mean.copy_(torch.from_numpy(fitted.mean))
        model.deviation.copy_(torch.from_numpy(fitted.deviation))
        model.classifier.weight.copy_(torch.from_numpy(fitted.weight))
        model.classifier.bias.copy_(torch.from_numpy(fitted.bias))


def _cross_entropy(logits: NDArray[np.float64], targets: NDArray[np.integer]) -> float:
    rows = torch.from_numpy(logits), torch.from_numpy(targets)
    return float(torch.nn.functional.cross_entropy(*rows))

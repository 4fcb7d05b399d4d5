"""From options to a trained network: shape, phases, training and metrics on dev."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch

from serctl.data.labels import LabelSet
from serctl.documents.run import EpochRecord, RunSummary
from serctl.errors import ConfigError
from serctl.metrics.bootstrap import draw_subsets, score_subsets
from serctl.metrics.classification import score_predictions
from serctl.models.build import Network
from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.options import TrainOptions
from serctl.progress import Advance
from serctl.runtime import seed_everything
from serctl.training.dataset import UtteranceSet, measure_frames
from serctl.training.diagnosis import diagnose
from serctl.training.inference import infer
from serctl.training.loop import Phase, Trainer
from serctl.training.objective import Objective
from serctl.training.ranks import Ranks
from serctl.training.sampler import BatchBalance, Sampler
from serctl.training.speakers import Moments, stack_corpus_moments
from serctl.training.state import TrainState

BALANCES: dict[str, BatchBalance] = {
    "on": "exact",
    "off": "off",
    "replacement": "replacement",
    "sqrt": "sqrt",
}


def shape_model(
    options: TrainOptions,
    encoders: list[tuple[str, str]],
    num_classes: int,
    layers: Sequence[int] = (),
    *,
    by_speaker: bool = False,
) -> ModelConfig:
    """Return the shape of the network.

    Args:
        options: Options of the training.
        encoders: Modality and encoder of each branch.
        num_classes: C.
        layers: Number of layers that each branch reads; () means one for all.
        by_speaker: Whether frames are standardised per speaker.
    """
    heads = tuple(
        options.paralinguistic_heads if modality == "paralinguistic" else options.heads
        for modality, _ in encoders
    )
    alike = {  # hidden, dropout, attention and others; the rest follows per branch
        field.name: getattr(options, field.name)
        for field in fields(ModelConfig)
        if hasattr(options, field.name) and field.name != "downsample"
    }
    downsample = tuple(1 if modality == "text" else options.downsample for modality, _ in encoders)
    standardise = tuple(
        encoder in options.standardise or "*" in options.standardise for _, encoder in encoders
    )
    return replace(
        ModelConfig(**alike),
        num_classes=num_classes,
        heads=heads,
        neutral_head=options.loss == "wce+sml",
        num_attributes=3 if options.attribute_weight else 0,
        standardise=standardise if not by_speaker else (True,) * len(encoders),
        by_speaker=by_speaker,
        layers=tuple(layers) if max(layers, default=1) > 1 else (),
        downsample=downsample if options.downsample > 1 else (),
    )


def plan_phases(options: TrainOptions, data: UtteranceSet, labels: LabelSet) -> list[Phase]:
    """Return the main phase and optionally the class-balanced second one.

    Raises:
        ConfigError: The labels do not allow the balancing or the loss.
    """
    balance = options.balance
    if balance == "auto":
        balance = "on" if options.loss == "wce+sml" else "off"
    if options.loss == "wce+sml" and not labels.neutral:
        raise ConfigError(
            f"--loss wce+sml needs a label of neutral speech, and no label is called neutral "
            f"(labels: {', '.join(labels.names)}). Name it: --neutral LABEL, or use --loss wce."
        )
    sampler = Sampler(
        data.costs,
        data.neutral.astype(np.int64),
        options.batch_size,
        BALANCES[balance],
        options.sort_window,
        options.seed,
    )
    main = Objective.of(options, data.targets, options.class_weights)
    phases = [Phase(options.epochs, options.learning_rate, sampler, main)]
    if options.balanced_epochs:
        classes = data.targets.argmax(axis=1)
        balanced = replace(sampler, groups=classes, balance="replacement")
        plain = Objective.of(options, data.targets, "none")
        phases.append(
            Phase(options.balanced_epochs, options.balanced_learning_rate, balanced, plain)
        )
    return phases


def score_dev(
    model: Network,
    dev: UtteranceSet | None,
    options: TrainOptions,
    device: torch.device,
    ranks: Ranks,
) -> dict[str, float]:
    """Return the metrics of a network on dev; {} without dev."""
    if dev is None:
        return {}
    own = np.arange(len(dev))[ranks.rank :: ranks.size]
    logits = np.zeros((len(dev), model.config.num_classes))
    logits[own] = infer(model, dev.take(own), device, precision=options.precision).logits
    logits = ranks.sum_array(logits)
    if not np.isfinite(logits).all():
        raise diagnose(model, dev, device, "the evaluation of dev")
    predicted, num_classes = logits.argmax(axis=1), model.config.num_classes
    scores = score_predictions(dev.label_ids, predicted, num_classes)
    subsets = draw_subsets(dev.label_ids)
    return {
        "dev_macro_f1": float(scores.macro_f1),
        "dev_bs_f1": float(score_subsets(dev.label_ids, predicted, subsets, num_classes).mean()),
        "dev_uar": float(scores.uar),
        "dev_accuracy": float(scores.accuracy),
    }


def fit(
    data: UtteranceSet,
    dev: UtteranceSet | None,
    labels: LabelSet,
    shape: ModelConfig,
    options: TrainOptions,
    folder: Path,
    *,
    device: torch.device,
    moments: Sequence[Moments] = (),
    ranks: Ranks | None = None,
    advance: Advance = lambda n=1, note="": None,
    report: Callable[[list[EpochRecord], str], None] = lambda history, line: None,
) -> RunSummary:
    """Train a network, or continue from the state in its folder, and return its summary.

    ``moments`` are the corpus statistics for standardisation per speaker.
    """
    ranks = ranks or Ranks()
    if dev is None:
        options = replace(options, select_by="last")
    seed_everything(options.seed)
    model = FusionModel([reader.dim for reader in data.readers], shape)
    for branch, wanted in enumerate(shape.standardise):
        if shape.by_speaker:  # fold models share the statistics, so that they can share frames
            model.set_standardisation(branch, *stack_corpus_moments(moments[branch]))
        elif wanted:
            mean, deviation = measure_frames(data, branch)
            model.set_standardisation(
                branch, torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()
            )
    phases = plan_phases(options, data, labels)
    trainer = Trainer(
        model.to(device),
        data,
        phases,
        lambda model: score_dev(model, dev, options, device, ranks),
        options,
        folder,
        ranks=ranks,
        advance=advance,
    )
    epochs = sum(phase.epochs for phase in phases)
    state = trainer.run(
        lambda record: report(trainer.state.history, describe_epoch(record, epochs))
    )
    return summarise_training(state, model, options, len(data), trainer)


def describe_epoch(record: EpochRecord, epochs: int) -> str:
    """Return the line of one epoch."""
    left = (epochs - record.epoch) * (record.seconds + record.evaluation_seconds)
    parts = [f"epoch {record.epoch}/{epochs}", f"loss {record.loss:.4f}"]
    if record.dev_macro_f1 is not None:
        parts.append(f"dev macro-F1 {record.dev_macro_f1:.3f} BS-F1 {record.dev_bs_f1:.3f}")
    parts.append(f"{record.utterances_per_second:,.0f} utterances/s")
    parts.append(f"{int(left) // 60}:{int(left) % 60:02} left")
    return "  ".join(parts)


def summarise_training(
    state: TrainState, model: FusionModel, options: TrainOptions, size: int, trainer: Trainer
) -> RunSummary:
    """Return the summary of a finished training."""
    best = state.history[state.best_epoch - 1]
    reason = {
        "macro_f1": "best macro-F1 on dev",
        "bs_f1": "best BS-F1 on dev",
        "last": "the last epoch",
    }[options.select_by]
    return RunSummary(
        best_epoch=state.best_epoch,
        epochs=len(state.history),
        chosen_because=reason,
        metrics={x: y for x, y in best.to_dict().items() if x.startswith("dev_")},
        loss=best.loss,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        utterances=size,
        seconds=sum(record.seconds for record in state.history),
        profile=asdict(trainer.seconds),
    )


def summarise_folds(
    folds: Sequence[RunSummary], metrics: dict[str, float], utterances: int
) -> RunSummary:
    """Return the summary of a run whose fold models predict together.

    Args:
        folds: Summary of each fold model.
        metrics: Metrics of their mean on dev.
        utterances: Number of utterances that at least one of them was trained on.
    """
    parts = {name for fold in folds for name in fold.profile}
    reasons = dict.fromkeys(fold.chosen_because for fold in folds)
    return RunSummary(
        best_epoch=round(sum(fold.best_epoch for fold in folds) / len(folds)),
        epochs=max(fold.epochs for fold in folds),
        chosen_because=f"mean of {len(folds)} fold models: {'; '.join(reasons)}",
        metrics=metrics,
        loss=sum(fold.loss for fold in folds) / len(folds),
        parameters=sum(fold.parameters for fold in folds),
        utterances=utterances,
        seconds=sum(fold.seconds for fold in folds),
        profile={name: sum(fold.profile.get(name, 0.0) for fold in folds) for name in parts},
    )

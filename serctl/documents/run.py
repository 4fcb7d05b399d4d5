"""A run on disk: configuration (``config.json``), epochs, and summary (``summary.json``)."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator

from serctl.cache.key import FeatureKey
from serctl.config import options_to_dict
from serctl.document import Document, Section, hash_field
from serctl.errors import CheckpointError, ConfigError
from serctl.models.config import ModelConfig
from serctl.options import TrainOptions, restore_options

RUN_VERSION: Literal[1] = 1
PredictedBy = Literal["folds", "main"]
"""The model of a run that predicts dev, test and new audio: the mean of the fold models, or the
main model, which was trained on all of train."""


def parse_train_options(recorded: Any) -> TrainOptions:
    """Return the recorded options of a run.

    A run may be from another version of serctl. Options that no longer exist are dropped, and new
    options have their default.

    Raises:
        ValueError: A value is of the wrong type, or ``recorded`` is not a table of options.
    """
    if isinstance(recorded, TrainOptions):
        return recorded
    if not isinstance(recorded, dict):
        raise ValueError("expected the options of a training")
    known = {field.name for field in dataclasses.fields(TrainOptions)}
    values = {name: value for name, value in recorded.items() if name in known}
    try:
        return restore_options(TrainOptions, values, "options")
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("options: ")) from error


RecordedOptions = Annotated[
    TrainOptions, PlainValidator(parse_train_options), PlainSerializer(options_to_dict)
]


class BranchRecord(Section):
    """One branch of a network and the store of its frames."""

    modality: str = Field(description="`speech`, `text` or `paralinguistic`")
    encoder: str = Field(description="name of the encoder on the command line")
    store: str = Field(description="folder of the feature store below the cache")
    key: FeatureKey = Field(description="the feature key: all settings that change the frames")
    dim: int = Field(description="values per frame, D")
    layers: tuple[int, ...] = Field(
        default=(), description="layers that are summed; `key` and `store` are of the first"
    )

    @property
    def keys(self) -> tuple[FeatureKey, ...]:
        """Keys of all layers of the branch."""
        return tuple(
            dataclasses.replace(self.key, layer=layer) for layer in self.layers or (self.key.layer,)
        )


class AttributeScale(Section):
    """Standardisation of the targets arousal, valence and dominance."""

    mean: tuple[float, float, float] = Field(description="means over the training utterances")
    deviation: tuple[float, float, float] = Field(description="standard deviations")


class RunConfig(Document):
    """Configuration of a run, written before its first epoch."""

    noun: ClassVar = "run"
    place: ClassVar = "runs/<name>/config.json"
    error: ClassVar = CheckpointError
    hint: ClassVar = "Train it again with: serctl train"

    serctl_run: Literal[1] = Field(description="format version")
    name: str = Field(description="name of the run")
    fold: int | None = Field(description="number of the fold model; null for the main model")
    hash: str = Field(description="hash of all settings and data that change the weights")
    options: RecordedOptions = Field(description="every option of `serctl train`")
    labels: tuple[str, ...] = Field(description="emotions in the order of the logits")
    branches: tuple[BranchRecord, ...] = Field(description="one entry per encoder")
    model: ModelConfig = Field(description="shape of the network")
    attributes: AttributeScale | None = Field(
        description="scale of the attribute targets, if any; of all of train, also in fold models"
    )
    seed: int = Field(description="seed of weights, batches and dropout")
    data: str = Field(description="hash of the utterances, their targets and their features")
    environment: dict[str, str] = Field(description="versions of Python and of the packages")
    processes: int = Field(
        default=1,
        description="processes that began the training; dropout differs with their number",
    )
    lost_emotions: tuple[str, ...] = Field(
        default=(),
        description="emotions that a fold model of the run was trained without; the main model "
        "then predicts",
    )


class RunSummary(Document):
    """Summary of a training, written last. A run without it is not finished."""

    noun: ClassVar = "summary of a run"
    place: ClassVar = "runs/<name>/summary.json"
    error: ClassVar = CheckpointError
    hint: ClassVar = (
        "Repeat its command: an unfinished training continues, a finished one needs --overwrite."
    )

    best_epoch: int = Field(description="epoch of the kept network, from 1; 0 for a pooled model")
    epochs: int = Field(description="number of trained epochs; 0 for a pooled model")
    chosen_because: str = Field(description="rule that selected the epoch, or C of a pooled model")
    metrics: dict[str, float] = Field(description="metrics of the kept epoch on dev")
    loss: float = Field(description="mean training loss of the kept epoch")
    parameters: int = Field(description="parameters of the network")
    utterances: int = Field(description="training utterances")
    seconds: float = Field(description="seconds of all epochs, without evaluation")
    profile: dict[str, float] = Field(description="seconds by part of the training loop")
    layer_weights: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="learned weight of each layer, by summing branch"
    )
    skipped: int = Field(default=0, description="utterances without emotion or frames")
    notes: tuple[str, ...] = Field(default=(), description="notes on the data")
    emotions: str = Field(
        default="",
        description="hash of the emotions of the training utterances; earlier versions wrote none",
    )
    targets: str = Field(
        default="",
        description="hash of their votes, attributes and division by speaker, as far as the "
        "training depends on them",
    )
    dev_emotions: str = Field(
        default="", description="hash of the emotions of the utterances that selected the epoch"
    )
    dev_features_hash: str = Field(
        default="", description="hash of these utterances and their sources"
    )
    features_hash: str = Field(
        default="",
        description="hash of the training utterances and sources; earlier versions wrote none",
    )
    fold_hashes: tuple[str, ...] = Field(
        default=(), description="`hash` of each fold model whose mean has these metrics"
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 of configuration, network and ids; earlier versions wrote none",
    )
    document_hash: str = hash_field()


class EpochRecord(Document):
    """One line of ``metrics.jsonl``. Additional keys are kept."""

    model_config = ConfigDict(extra="allow")
    noun: ClassVar = "record of an epoch"
    place: ClassVar = "runs/<name>/metrics.jsonl"
    error: ClassVar = CheckpointError
    hint: ClassVar = "Train it again with: serctl train"

    epoch: int = Field(description="number of the epoch, from 1")
    phase: int = Field(default=0, description="0: main training; 1: class-balanced second training")
    loss: float = Field(description="mean training loss")
    learning_rate: float = Field(default=0.0, description="at the end of the epoch")
    dev_macro_f1: float | None = Field(default=None, description="macro-F1 on dev")
    dev_bs_f1: float | None = Field(default=None, description="BS-F1 on dev")
    dev_uar: float | None = Field(default=None, description="unweighted average recall on dev")
    dev_accuracy: float | None = Field(default=None, description="accuracy on dev")
    seconds: float = Field(default=0.0, description="seconds of training")
    loading_seconds: float = Field(default=0.0, description="seconds of waiting for batches")
    reading_seconds: float = Field(default=0.0, description="seconds of reading the cache")
    evaluation_seconds: float = Field(default=0.0, description="seconds of evaluating dev")
    utterances_per_second: float = Field(default=0.0, description="of training, without dev")


def read_fold_hashes(folder: Path) -> tuple[str, ...]:
    """Return the `hash` of each fold model of a run, in the order of the folds; () without any.

    The `hash` of the run itself does not depend on how train is divided into folds.

    Raises:
        CheckpointError: A configuration is damaged.
    """
    found = {path.parent.name: path for path in folder.glob("folds/*/config.json")}
    numbers = sorted((name for name in found if name.isdecimal()), key=int)
    return tuple(RunConfig.read(found[name]).hash for name in numbers)


def retrain_command(folders: Sequence[Path]) -> str:
    """Return the command that trains the first of some runs again with its options."""
    command = f"serctl train --config {shlex.quote(str(folders[0] / 'config.json'))} --overwrite"
    return command if len(folders) == 1 else f"{command} (and likewise for the others)"


def read_lost(folder: Path) -> tuple[str, ...]:
    """Return the emotions that a fold model of a run was trained without.

    The configuration of the main model lacks them if it was trained before the fold models.

    Raises:
        CheckpointError: A configuration is damaged.
    """
    paths = (folder / "config.json", folder / "folds" / "0" / "config.json")
    found = (RunConfig.read(path).lost_emotions for path in paths if path.is_file())
    return next(filter(None, found), ())


def read_epochs(path: Path) -> list[EpochRecord]:
    """Return the records of a ``metrics.jsonl``; [] if the file does not exist.

    Raises:
        CheckpointError: A line is damaged.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [EpochRecord.parse(line, f"{path}:{i}") for i, line in enumerate(lines, 1)]


def average_epochs(trainings: Sequence[Sequence[EpochRecord]]) -> list[EpochRecord]:
    """Return mean loss and dev macro-F1 by epoch, over the trainings that reached the epoch."""
    longest = max(trainings, key=len)
    averaged = []
    for i, record in enumerate(longest):
        rows = [records[i] for records in trainings if i < len(records)]
        scores = [row.dev_macro_f1 for row in rows if row.dev_macro_f1 is not None]
        averaged.append(
            EpochRecord(
                epoch=record.epoch,
                loss=fmean(row.loss for row in rows),
                dev_macro_f1=fmean(scores) if scores else None,
            )
        )
    return averaged

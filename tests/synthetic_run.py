"""What a training leaves on disk beside its network, made up."""

from collections.abc import Iterable
from pathlib import Path

from serctl.cache.key import FeatureKey
from serctl.documents.run import BranchRecord, RunConfig, RunSummary
from serctl.models.config import ModelConfig
from serctl.options import TrainOptions

SUMMARY = RunSummary(
    best_epoch=1,
    epochs=1,
    chosen_because="the last epoch",
    metrics={},
    loss=1.0,
    parameters=1,
    utterances=1,
    seconds=1.0,
    profile={},
)


def make_branch(encoder: str, modality: str = "speech", dim: int = 4) -> BranchRecord:
    key = FeatureKey(encoder, modality, "w", "r", -1, "float32", "none", "audio-16k-mono")
    return record_branch(key, dim)


def record_branch(key: FeatureKey, dim: int) -> BranchRecord:
    return BranchRecord(
        modality=key.modality, encoder=key.encoder, store=key.store_name, key=key, dim=dim
    )


def write_run(
    folder: Path,
    options: TrainOptions | None = None,
    branches: Iterable[BranchRecord] = (),
    *,
    run_hash: str = "",
) -> None:
    """Write the configuration of a run; by default the one of `synthetic_logits.make_run`."""
    run_hash = run_hash or f"hash-of-{folder.name}"
    config = make_run_config(folder.name, options or TrainOptions(), branches, run_hash)
    config.write(folder / "config.json")


def make_run_config(
    name: str, options: TrainOptions, branches: Iterable[BranchRecord] = (), run_hash: str = "hash"
) -> RunConfig:
    return RunConfig(
        serctl_run=1,
        name=name,
        fold=None,
        hash=run_hash,
        options=options,
        labels=("angry", "neutral"),
        branches=tuple(branches),
        model=ModelConfig(num_classes=2),
        attributes=None,
        seed=options.seed,
        data="data",
        environment={},
    )

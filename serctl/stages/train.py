"""`serctl train`: train networks on cached frames, one model or fold models for each seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from serctl.config import Workspace
from serctl.data.folds import FOLD, group_by_speaker
from serctl.encoding.shards import parse_shard
from serctl.errors import UsageError
from serctl.options import TrainOptions
from serctl.options.training import split_seeds
from serctl.progress import Log, Progress, silent
from serctl.runtime import resolve_device
from serctl.training.corpus import TrainingCorpus, prepare_corpus
from serctl.training.ranks import Ranks
from serctl.training.run_folder import choose_run_name, settle_options
from serctl.training.run_trainer import RunResult, RunTrainer
from serctl.training.session import Session
from serctl.training.tracking import check_tracker


@dataclass(frozen=True)
class TrainResult:
    """Result of `serctl train`.

    Attributes:
        runs: One run per seed; the networks of a part while other networks are missing.
        folds: Fold models of all seeds.
        mean: Mean of the dev metrics over seeds; empty for a part.
        deviation: Standard deviation of the dev metrics over seeds; empty for one seed.
        notes: Notes for the user, one sentence each.
    """

    runs: tuple[RunResult, ...]
    folds: tuple[RunResult, ...] = ()
    mean: Mapping[str, float] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def train(
    workspace: Workspace,
    options: TrainOptions,
    *,
    progress: Progress = silent,
    log: Log = lambda line: None,
    log_epoch: Log = lambda line: None,
) -> TrainResult:
    """Train one network for each seed, or one for each seed and fold with ``folds``.

    A finished run with the same options and data is kept. An interrupted one continues.

    Args:
        workspace: The project.
        options: See `TrainOptions`.
        progress: Reports every step.
        log: Receives notes on the data before the first epoch.
        log_epoch: Receives a line for every epoch. metrics.jsonl holds the same numbers.

    Raises:
        SerctlError: Features are missing, stale or not finite; the run exists with other options.
        KeyboardInterrupt: Ctrl-C. The same call continues the training.
    """
    _refuse_contradictions(options)
    check_tracker(options)
    part = parse_shard(options.shard)
    options = replace(settle_options(options), shard="")
    corpus = prepare_corpus(workspace, options)
    options, few = _limit_folds(options, corpus)
    runs, folds, notes = [], [], (*corpus.notes, *few, *_note_seeds(options))
    device = resolve_device(options.device)
    with Ranks.join(device, log) as ranks:
        if ranks.rank == 0:  # show notes before the first epoch
            for note in notes:
                log(f"Note: {note}")
        for one in split_seeds(options):
            folder = workspace.runs / choose_run_name(workspace.runs, one)
            session = Session(RunTrainer(folder, one, corpus, ranks, progress, log, log_epoch))
            found, parts = session.run(part)
            runs += found
            folds += parts
            notes = tuple(dict.fromkeys((*notes, session.warning)))
    whole = part[1] == 1
    mean, deviation = _aggregate([run.summary.metrics for run in runs]) if whole else ({}, {})
    return TrainResult(tuple(runs), tuple(folds), mean, deviation, tuple(filter(None, notes)))


def _refuse_contradictions(options: TrainOptions) -> None:
    if options.folds and options.heldout:
        raise UsageError("--folds and --heldout exclude each other. Leave one of them out.")
    if options.shard and options.overwrite:
        raise UsageError(
            "--shard and --overwrite exclude each other. Delete the folder of the old run."
        )
    if options.fit_on == "train+dev" and options.patience:
        raise UsageError("--patience needs dev, which --fit-on train+dev uses. Set --patience 0.")


def _note_seeds(options: TrainOptions) -> list[str]:
    """Return a note on seeds that change nothing."""
    if options.kind != "pooled" or options.folds or options.seeds == 1:
        return []
    return [
        f"The {options.seeds} seeds give the same pooled model: it draws no random numbers without "
        f"--folds. Use --seeds 1."
    ]


def _limit_folds(options: TrainOptions, corpus: TrainingCorpus) -> tuple[TrainOptions, list[str]]:
    """Limit the number of folds to the number of speakers. Return the options and a note.

    A recipe has one number of folds for all corpora.
    """
    named = any(row.extra.get(FOLD) for row in corpus.utterances)
    speakers = len(set(group_by_speaker(corpus.utterances)))
    if named or not 2 <= speakers < options.folds:
        return options, []
    note = f"{speakers} folds instead of {options.folds}: train has {speakers} speakers."
    return replace(options, folds=speakers), [note]


def _aggregate(found: list[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and standard deviation (n - 1) of metrics over seeds."""
    table = {name: np.array([metrics[name] for metrics in found]) for name in found[0]}
    mean = {name: float(values.mean()) for name, values in table.items()}
    if len(found) == 1:
        return mean, {}
    return mean, {name: float(values.std(ddof=1)) for name, values in table.items()}

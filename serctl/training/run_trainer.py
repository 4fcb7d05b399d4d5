"""Train the networks of a run: the main model and the fold models, each in its folder."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from serctl.data.ids import hash_emotions
from serctl.documents.run import (
    RUN_VERSION,
    EpochRecord,
    PredictedBy,
    RunConfig,
    RunSummary,
    read_fold_hashes,
)
from serctl.hashes import hash_document
from serctl.models.config import ModelConfig
from serctl.models.pooled import PooledModel
from serctl.options import TrainOptions
from serctl.progress import Log, Progress
from serctl.runtime import environment, split_threads
from serctl.training.changes import hash_features, hash_targets
from serctl.training.checkpoint import load_run
from serctl.training.corpus import TrainingCorpus
from serctl.training.dataset import UtteranceSet
from serctl.training.fit import fit, score_dev, shape_model, summarise_folds
from serctl.training.loop import describe_step
from serctl.training.pooled import train_pooled
from serctl.training.ranks import Ranks
from serctl.training.run_folder import (
    CONFIG,
    MODEL,
    SUMMARY,
    close_folder,
    count_processes,
    hash_config,
    open_folder,
    read_dev_ids,
    read_summary,
    read_train_ids,
    write_metrics,
)
from serctl.training.speakers import pool_readers, stack_corpus_moments
from serctl.training.tracking import track_epoch

SMALL = 128
"""Maximum hidden size for training in one thread. A second one gains little on a busy machine."""


@dataclass(frozen=True)
class RunResult:
    """One trained network.

    Attributes:
        name: Name of the run. A fold model has its fold in the name.
        folder: Folder of the run.
        present: Whether the run existed, with the same options and data.
        summary: Summary of the training.
    """

    name: str
    folder: Path
    present: bool
    summary: RunSummary


class RunTrainer:
    """Trains the networks of one run, one after the other.

    Attributes:
        folder: Final folder of the run. Its name is the name of the run.
        ranks: Processes of the training, with the shares of the current network.
        log: Prints a line.
        lost: Emotions that a fold model was trained without.
    """

    def __init__(
        self,
        folder: Path,
        options: TrainOptions,
        corpus: TrainingCorpus,
        ranks: Ranks,
        progress: Progress,
        log: Log,
        log_epoch: Log,
    ) -> None:
        self.folder, self.options, self.corpus, self.ranks = folder, options, corpus, ranks
        self.lost: tuple[str, ...] = ()
        self.log, self._progress, self._log_epoch = log, progress, log_epoch
        self._noted = False

    def keep_shares(self, folder: Path, otherwise: int) -> None:
        """Divide batches as the processes did that began the training in a folder."""
        shares = self.ranks.call_first(lambda: count_processes(folder, otherwise))
        self.ranks = replace(self.ranks, shares=shares)

    def open(self, folder: Path, ids: frozenset[str], fold: int | None) -> bool:
        """Create the folder of a network; return whether its training is finished.

        Args:
            folder: Folder of the network.
            ids: Utterances to train on.
            fold: Number of its fold; None for the main model.
        """
        config = self.make_config(fold, ids)
        kept = [name for name in self.corpus.train.ids if name in ids]
        chooses = self.options.select_by != "last" and config.model.kind != "pooled"
        dev = self.corpus.dev.ids if self.corpus.dev and chooses else ()
        return self.ranks.call_first(lambda: open_folder(folder, config, kept, dev))

    def train(self, folder: Path, ids: frozenset[str], fold: int | None) -> RunResult:
        """Train a network, unless it is finished; see `open`."""
        title = self.folder.name
        if fold is not None:
            title = f"{self.folder.name} fold {fold + 1}/{self.options.folds}"
        if self.open(folder, ids, fold):
            return RunResult(title, folder, True, read_summary(folder))
        self._note_processes()
        rows = np.array([i for i, name in enumerate(self.corpus.train.ids) if name in ids])
        data = self.corpus.train.take(rows)
        shape = RunConfig.read(folder / CONFIG).model
        train = self._train_pooled if shape.kind == "pooled" else self._train_fusion
        summary = self._add_facts(folder, train(title, data, shape, folder))
        self.ranks.call_first(lambda: close_folder(folder, summary))
        return RunResult(title, folder, False, read_summary(folder))

    def close_folds(self, folder: Path, parts: Sequence[RunResult]) -> RunResult:
        """Finish a run without a main model: evaluate the mean of its fold models on dev."""
        hashes = read_fold_hashes(folder)
        present = _has_summary(folder, hashes, parts)
        if not present:
            device = self.ranks.device
            model = load_run(folder, device, "folds").model
            metrics = score_dev(model, self.corpus.dev, self.options, device, self.ranks)
            summary = summarise_folds(
                [part.summary for part in parts], metrics, len(read_train_ids(folder))
            )
            summary = self._add_facts(folder, summary.model_copy(update={"fold_hashes": hashes}))
            self.ranks.call_first(lambda: close_folder(folder, summary))
        return RunResult(self.folder.name, folder, present, read_summary(folder))

    def make_config(self, fold: int | None, ids: frozenset[str]) -> RunConfig:
        """Return the configuration of a network; see `open`."""
        corpus, options = self.corpus, self.options
        encoders = [(branch.modality, branch.key.encoder) for branch in corpus.branches]
        layers = [len(branch.stores) for branch in corpus.branches]
        config = RunConfig(
            serctl_run=RUN_VERSION,
            name=self.folder.name,
            fold=fold,
            hash="",
            options=options,
            labels=corpus.labels.names,
            branches=tuple(branch.record() for branch in corpus.branches),
            model=shape_model(
                options,
                encoders,
                len(corpus.labels),
                layers,
                by_speaker=bool(corpus.moments),
            ),
            attributes=corpus.attributes,
            seed=options.seed,
            data=corpus.hash_of(ids),
            environment=environment(),
            processes=self.ranks.shares,
            lost_emotions=self.lost,
        )
        return config.model_copy(update={"hash": hash_config(config)})

    def _note_processes(self) -> None:
        """Note once that other processes than those of now divided the batches."""
        began, now = self.ranks.shares, self.ranks.size
        if began != now and self.ranks.rank == 0 and not self._noted:
            self._noted = True
            idle = f" Only {began} of the {now} compute. To use all, delete '{self.folder}'."
            self.log(
                f"Note: number of processes: {began} when this training began, {now} now. "
                f"Its batches stay divided, so the result is the same.{idle if now > began else ''}"
            )

    def _train_fusion(
        self, title: str, data: UtteranceSet, shape: ModelConfig, folder: Path
    ) -> RunSummary:
        """Train a fusion network, and report every epoch."""
        corpus, options, ranks = self.corpus, self.options, self.ranks

        def report(history: list[EpochRecord], line: str) -> None:
            ranks.call_first(lambda: write_metrics(folder, history))
            if options.log:
                ranks.call_first(lambda: track_epoch(folder, history[-1]))
            if ranks.rank == 0:
                self._log_epoch(f"{title}: {line}")

        epochs = options.epochs + options.balanced_epochs
        threads = split_threads(ranks.device) if options.hidden <= SMALL else nullcontext()
        with self._progress.task(title, epochs, "epochs") as advance, threads:
            advance(0, describe_step())  # seconds before the first step
            return fit(
                data,
                corpus.dev,
                corpus.labels,
                shape,
                options,
                folder,
                device=ranks.device,
                moments=corpus.moments,
                ranks=ranks,
                advance=lambda n=1, note="": advance(n / len(data), note),
                report=report,
            )

    def _train_pooled(
        self, title: str, data: UtteranceSet, shape: ModelConfig, folder: Path
    ) -> RunSummary:
        """Fit a pooled model on the pooled frames, which the cache keeps."""
        corpus, options = self.corpus, self.options
        model = PooledModel([reader.dim for reader in data.readers], shape)
        for branch, moments in enumerate(corpus.moments):
            model.set_standardisation(branch, *stack_corpus_moments(moments))
        with self._progress.task(title, 1):
            return train_pooled(
                model,
                pool_readers(data, corpus.branches),
                data,
                corpus.dev,
                options,
                folder,
                device=self.ranks.device,
                ranks=self.ranks,
            )

    def _add_facts(self, folder: Path, summary: RunSummary) -> RunSummary:
        """Add facts on the corpus and learned layer weights to the summary of a folder."""
        corpus = self.corpus
        seen: dict[str, Any] = {"skipped": corpus.skipped, "notes": corpus.notes}
        ids = read_train_ids(folder)
        seen["emotions"] = hash_emotions(corpus.utterances, ids)
        seen["features_hash"] = hash_features(corpus.branches, sorted(ids))
        seen["targets"] = hash_targets(corpus.utterances, ids, RunConfig.read(folder / CONFIG))
        if corpus.dev and read_dev_ids(folder):
            emotions = [corpus.labels.names[i] for i in corpus.dev.label_ids]
            seen["dev_emotions"] = hash_document(dict(zip(corpus.dev.ids, emotions, strict=True)))
            seen["dev_features_hash"] = hash_features(corpus.branches, corpus.dev.ids)
        if any(len(branch.stores) > 1 for branch in self.corpus.branches):
            model: PredictedBy = "main" if (folder / MODEL).is_file() else "folds"
            seen["layer_weights"] = load_run(folder, predicted_by=model).layer_weights()
        return summary.model_copy(update=seen)


def _has_summary(folder: Path, hashes: tuple[str, ...], parts: Sequence[RunResult]) -> bool:
    """Whether a run has the summary of these fold models, and not of replaced ones."""
    if not (folder / SUMMARY).is_file():
        return False
    recorded = read_summary(folder).fold_hashes  # earlier versions recorded none
    return recorded == hashes if recorded else all(part.present for part in parts)

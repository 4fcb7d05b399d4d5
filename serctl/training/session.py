"""The trainings of one seed: the main model and its fold models, each in its folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serctl.config import Workspace
from serctl.data.folds import choose_folds, hold_out
from serctl.data.journal import WHOLE
from serctl.documents.run import RUN_VERSION, EpochRecord, PredictedBy, RunConfig, RunSummary
from serctl.files import recover_folder, replace_folder
from serctl.locks import hold
from serctl.models.config import ModelConfig
from serctl.models.pooled import PooledModel
from serctl.options import TrainOptions
from serctl.progress import Progress
from serctl.runtime import environment, split_threads
from serctl.training.checkpoint import load_run
from serctl.training.corpus import TrainingCorpus
from serctl.training.dataset import UtteranceSet
from serctl.training.fit import fit, score_dev, shape_model, summarise_folds
from serctl.training.pooled import train_pooled
from serctl.training.ranks import Ranks
from serctl.training.run_folder import (
    CONFIG,
    MODEL,
    SUMMARY,
    choose_folder,
    choose_run_name,
    close_folder,
    count_processes,
    hash_config,
    open_folder,
    read_summary,
    write_metrics,
)
from serctl.training.speakers import pool_readers, stack_moments
from serctl.training.tracking import track_epoch

HELD_OUT, HELD_OUT_SEED = 0.1, 0
"""Seed of the held-out part, the same for all base models of a stacker."""

SMALL = 128
"""Maximum hidden size for training in one thread. A second one gains little on a busy machine."""

Log = Callable[[str], None]


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


class Session:
    """The trainings of one seed: the main model and its fold models."""

    def __init__(
        self,
        workspace: Workspace,
        options: TrainOptions,
        corpus: TrainingCorpus,
        ranks: Ranks,
        progress: Progress,
        log: Log,
        log_epoch: Log,
    ) -> None:
        self.options, self.corpus = options, corpus
        self.progress, self.log, self.log_epoch = progress, log, log_epoch
        self.name = choose_run_name(workspace.runs, options)
        self.folder = workspace.runs / self.name
        self.ranks, self.device = ranks, ranks.device
        self.warning = ""
        self.lost: tuple[str, ...] = ()
        self.noted = False

    def run(self, part: tuple[int, int] = WHOLE) -> tuple[list[RunResult], list[RunResult]]:
        """Train the missing models.

        Args:
            part: i and n: every n-th network from the i-th. The part that finds all networks
                trained finishes the run.

        Returns:
            The run and its fold models; only the networks of the part if others are missing.
        """
        corpus, options = self.corpus, self.options
        chosen = set(corpus.train.ids)
        if options.heldout:
            parts = hold_out(corpus.utterances, HELD_OUT, HELD_OUT_SEED)
            chosen, self.warning = chosen - parts.ids(0), parts.warning
        kept: dict[str, frozenset[str]] = {}
        if options.folds:  # folds may be refused: check them before hours of training
            folds = choose_folds(corpus.utterances, options.folds, options.seed)
            self.warning, self.lost = folds.warning, folds.lost
            if folds.warning and self.ranks.rank == 0:
                self.log(f"Note: {folds.warning}")
            kept = {str(k): frozenset(chosen - folds.ids(k)) for k in range(options.folds)}
        if part[1] > 1:
            trained = self._train_part(frozenset(chosen), kept, part)
            if trained is not None:
                return trained, []
        with ExitStack() as stack:
            # Two processes in one folder would overwrite each other's files.
            lock = partial(hold, self.folder, wait=part[1] > 1)
            self.ranks.call_first(lambda: stack.enter_context(lock()))
            main, fold_models = self._train_all(frozenset(chosen), kept)
            return [main], fold_models

    def _train_part(
        self, chosen: frozenset[str], kept: Mapping[str, frozenset[str]], part: tuple[int, int]
    ) -> list[RunResult] | None:
        """Train the networks of one part while other processes train others.

        Returns:
            The networks of the part; None if all networks of the run are trained.
        """
        folder, first, fresh = self.folder, self.ranks.call_first, self.ranks.shares
        networks = {folder / "folds" / name: ids for name, ids in kept.items()}
        if self._has_main(kept):
            networks = {folder: chosen, **networks}

        def lock(stack: ExitStack, name: str, **how: bool) -> None:
            path = folder.with_name(f"{folder.name}{name}")
            first(lambda: stack.enter_context(hold(path, **how)))

        trained = []
        with ExitStack() as shared:
            lock(shared, "", shared=True)
            with ExitStack() as stack:
                lock(stack, ".config", wait=True)
                self._open(folder, chosen, None)
            for place in list(networks)[part[0] - 1 :: part[1]]:
                fold = None if place == folder else int(place.name)
                with ExitStack() as stack:
                    lock(stack, ".main" if fold is None else f".{fold}")
                    self._keep_shares(place, fresh)
                    title = self.name if fold is None else self._name_fold(fold)
                    trained.append(self._train_one(title, place, networks[place], fold))
        self.ranks = replace(self.ranks, shares=fresh)
        done = first(lambda: all((place / SUMMARY).is_file() for place in networks))
        return None if done else trained

    def _has_main(self, kept: Mapping[str, frozenset[str]]) -> bool:
        return bool(self.options.main or not kept or self.lost)

    def _name_fold(self, fold: int) -> str:
        return f"{self.name} fold {fold + 1}/{self.options.folds}"

    def _train_all(
        self, chosen: frozenset[str], kept: Mapping[str, frozenset[str]]
    ) -> tuple[RunResult, list[RunResult]]:
        """Train the main model on ``chosen``, and each fold model on the other folds."""
        folder = self.folder
        main: RunResult | None = None
        with self._replacing(folder, {".": chosen}) as place:
            fresh = self.ranks.shares
            self._keep_shares(place, fresh)
            if self._has_main(kept):
                main = self._train_one(self.name, place, chosen, None)
            else:
                self._open(place, chosen, None)
            begun = fresh if main and main.present else self.ranks.shares
            with self._replacing(place / "folds", kept) as folds:
                self._keep_shares(folds, begun)
                parts = [
                    self._train_one(self._name_fold(int(name)), folds / name, ids, int(name))
                    for name, ids in kept.items()
                ]
            main = main or self._close_folds(place, parts)
        moved = [replace(part, folder=folder / "folds" / part.folder.name) for part in parts]
        return replace(main, folder=folder), moved

    def _keep_shares(self, folder: Path, otherwise: int) -> None:
        """Divide batches as the processes did that began the training in a folder."""
        shares = self.ranks.call_first(lambda: count_processes(folder, otherwise))
        self.ranks = replace(self.ranks, shares=shares)

    def _note_processes(self) -> None:
        began, now = self.ranks.shares, self.ranks.size
        if began != now and self.ranks.rank == 0 and not self.noted:
            self.noted = True
            idle = f" Only {began} of the {now} compute. To use all, delete '{self.folder}'."
            self.log(
                f"Note: number of processes: {began} when this training began, {now} now. "
                f"Its batches stay divided, so the result is the same.{idle if now > began else ''}"
            )

    @contextmanager
    def _replacing(self, folder: Path, ids: Mapping[str, frozenset[str]]) -> Iterator[Path]:
        """Yield the folder in which runs are trained until they are finished; see `choose_folder`.

        Args:
            folder: Final folder.
            ids: Training utterances by name of the run (``.`` or the number of a fold).
        """
        call_first = self.ranks.call_first
        call_first(lambda: recover_folder(folder))
        if not self.options.overwrite or not ids:
            yield folder
            return
        hashes = {
            name: self._make_config(None if name == "." else int(name), own).hash
            for name, own in ids.items()
        }
        place = call_first(lambda: choose_folder(folder, hashes))
        yield place
        if place != folder:
            call_first(lambda: replace_folder(place, folder))

    def _close_folds(self, folder: Path, parts: Sequence[RunResult]) -> RunResult:
        """Finish a run without a main model: evaluate the mean of its fold models on dev."""
        present = (folder / SUMMARY).is_file()
        if not present:
            model = load_run(folder, self.device, "folds").model
            corpus, options = self.corpus, self.options
            metrics = score_dev(model, corpus.dev, options, self.device, self.ranks)
            summary = summarise_folds([part.summary for part in parts], metrics)
            summary = self._add_facts(folder, summary)
            self.ranks.call_first(lambda: close_folder(folder, summary))
        return RunResult(self.name, folder, present, read_summary(folder))

    def _add_facts(self, folder: Path, summary: RunSummary) -> RunSummary:
        """Add facts on the corpus and learned layer weights to the summary of a folder."""
        seen: dict[str, Any] = {"skipped": self.corpus.skipped, "notes": self.corpus.notes}
        if any(len(branch.stores) > 1 for branch in self.corpus.branches):
            model: PredictedBy = "main" if (folder / MODEL).is_file() else "folds"
            seen["layer_weights"] = load_run(folder, predicted_by=model).layer_weights()
        return summary.model_copy(update=seen)

    def _open(self, folder: Path, ids: frozenset[str], fold: int | None) -> bool:
        """Create the folder of a run; return whether its training is finished."""
        config = self._make_config(fold, ids)
        kept = [name for name in self.corpus.train.ids if name in ids]
        return self.ranks.call_first(lambda: open_folder(folder, config, kept))

    def _train_one(
        self, title: str, folder: Path, ids: frozenset[str], fold: int | None
    ) -> RunResult:
        corpus, options = self.corpus, self.options
        call_first = self.ranks.call_first
        if self._open(folder, ids, fold):
            return RunResult(title, folder, True, read_summary(folder))
        self._note_processes()
        rows = np.array([i for i, name in enumerate(corpus.train.ids) if name in ids])
        data = corpus.train.take(rows)
        shape = RunConfig.read(folder / CONFIG).model
        epochs = options.epochs + options.balanced_epochs
        with self.progress.task(title, epochs, "epochs") as advance:

            def report(history: list[EpochRecord], line: str) -> None:
                call_first(lambda: write_metrics(folder, history))
                if options.log:
                    call_first(lambda: track_epoch(folder, history[-1]))
                if self.ranks.rank == 0:
                    self.log_epoch(f"{title}: {line}")

            threads = split_threads(self.device) if options.hidden <= SMALL else nullcontext()
            if shape.kind == "pooled":
                summary = self._fit_pooled(data, shape, folder)
            else:
                with threads:
                    summary = fit(
                        data,
                        corpus.dev,
                        corpus.labels,
                        shape,
                        options,
                        folder,
                        device=self.device,
                        moments=corpus.moments,
                        ranks=self.ranks,
                        advance=lambda n=1, note="": advance(n / len(data), note),
                        report=report,
                    )
        summary = self._add_facts(folder, summary)
        call_first(lambda: close_folder(folder, summary))
        return RunResult(title, folder, False, summary)

    def _fit_pooled(self, data: UtteranceSet, shape: ModelConfig, folder: Path) -> RunSummary:
        """Fit a pooled model on the pooled frames, which the cache keeps."""
        corpus = self.corpus
        model = PooledModel([reader.dim for reader in data.readers], shape)
        for branch, moments in enumerate(corpus.moments):
            model.set_standardisation(branch, *stack_moments(moments))
        vectors = pool_readers(data, corpus.branches)
        return train_pooled(
            model,
            vectors,
            data,
            corpus.dev,
            self.options,
            folder,
            device=self.device,
            ranks=self.ranks,
        )

    def _make_config(self, fold: int | None, ids: frozenset[str]) -> RunConfig:
        corpus, options = self.corpus, self.options
        encoders = [(branch.modality, branch.key.encoder) for branch in corpus.branches]
        layers = [len(branch.stores) for branch in corpus.branches]
        config = RunConfig(
            serctl_run=RUN_VERSION,
            name=self.name,
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
            lost_emotions=self.lost if fold is None else (),
        )
        return config.model_copy(update={"hash": hash_config(config)})

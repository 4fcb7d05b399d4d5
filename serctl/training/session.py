"""The trainings of one seed: the main model and its fold models, in order or in parts."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from serctl.data.folds import choose_folds, hold_out
from serctl.data.journal import WHOLE
from serctl.files import follow_link, recover_folder, replace_folder
from serctl.locks import hold
from serctl.training.run_folder import SUMMARY, choose_folder
from serctl.training.run_trainer import RunResult, RunTrainer

HELD_OUT, HELD_OUT_SEED = 0.1, 0
"""Share of train that is held out, and its seed. All base models of a stacker have the same,
because the stacker is fitted on that part."""


class Session:
    """The trainings of one seed: the main model and its fold models.

    Args:
        trainer: Trains the networks.

    Attributes:
        warning: Note on the division of train into folds, for the user; '' if there is none.
    """

    def __init__(self, trainer: RunTrainer) -> None:
        self.warning = ""
        self._trainer, self._folder, self._options = trainer, trainer.folder, trainer.options
        self._corpus, self._ranks = trainer.corpus, trainer.ranks

    def run(self, part: tuple[int, int] = WHOLE) -> tuple[list[RunResult], list[RunResult]]:
        """Train the missing models.

        Args:
            part: i and n: every n-th network from the i-th. The part that finds all networks
                trained finishes the run.

        Returns:
            The run and its fold models; only the networks of the part if others are missing.
        """
        chosen, kept = self._choose_rows()  # folds may be refused: before hours of training
        if part[1] > 1:
            trained = self._train_part(chosen, kept, part)
            if trained is not None:
                return trained, []
        with ExitStack() as stack:
            # Two processes in one folder would overwrite each other's files.
            lock = partial(hold, self._folder, wait=part[1] > 1)
            self._ranks.call_first(lambda: stack.enter_context(lock()))
            main, fold_models = self._train_all(chosen, kept)
            return [main], fold_models

    def _choose_rows(self) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
        """Return the utterances of the main model, and those of the fold models by their number."""
        corpus, options = self._corpus, self._options
        chosen = frozenset(corpus.train.ids)
        if options.heldout:
            parts = hold_out(corpus.utterances, HELD_OUT, HELD_OUT_SEED)
            chosen -= parts.ids(0)
            self.warning = f"{self._describe_lost(chosen)} {parts.warning}".strip()
            if self.warning and self._ranks.rank == 0:
                self._trainer.log(f"Note: {self.warning}")
        if not options.folds:
            return chosen, {}
        folds = choose_folds(corpus.utterances, options.folds, options.seed)
        self.warning, self._trainer.lost = folds.warning, folds.lost
        if folds.warning and self._ranks.rank == 0:
            self._trainer.log(f"Note: {folds.warning}")
        return chosen, {str(k): chosen - folds.ids(k) for k in range(options.folds)}

    def _describe_lost(self, chosen: frozenset[str]) -> str:
        """Return a warning on emotions of train that ``chosen`` lacks; '' if it has all."""
        train, names = self._corpus.train, self._corpus.labels.names
        pairs = [pair for pair in zip(train.ids, train.label_ids, strict=True) if pair[1] >= 0]
        kept = {label for name, label in pairs if name in chosen}
        lost = [names[label] for label in sorted({label for _, label in pairs} - kept)]
        if not lost:
            return ""
        return (
            f"The held-out part has all utterances of {', '.join(lost)}. The model is trained "
            f"without them, so its held-out predictions are wrong. Add speakers, or use --folds."
        )

    def _has_main(self, kept: Mapping[str, frozenset[str]]) -> bool:
        """Whether a main model is trained too; without an emotion no fold model replaces it."""
        return bool(self._options.main or not kept or self._trainer.lost)

    def _train_all(
        self, chosen: frozenset[str], kept: Mapping[str, frozenset[str]]
    ) -> tuple[RunResult, list[RunResult]]:
        """Train the main model on ``chosen``, and each fold model on the other folds."""
        folder, trainer, fresh = self._folder, self._trainer, self._ranks.shares
        main: RunResult | None = None
        with self._replacing(folder, {".": chosen}) as place:
            trainer.keep_shares(place, fresh)
            if self._has_main(kept):
                main = trainer.train(place, chosen, None)
            else:
                trainer.open(place, chosen, None)
            begun = fresh if main and main.present else trainer.ranks.shares
            with self._replacing(place / "folds", kept) as folds:
                trainer.keep_shares(folds, begun)
                parts = [trainer.train(folds / k, ids, int(k)) for k, ids in kept.items()]
            main = main or trainer.close_folds(place, parts)
        moved = [replace(part, folder=folder / "folds" / part.folder.name) for part in parts]
        return replace(main, folder=folder), moved

    def _train_part(
        self, chosen: frozenset[str], kept: Mapping[str, frozenset[str]], part: tuple[int, int]
    ) -> list[RunResult] | None:
        """Train the networks of one part while other processes train others.

        Returns:
            The networks of the part; None if all networks of the run are trained.
        """
        folder, trainer, first = self._folder, self._trainer, self._ranks.call_first
        networks = {folder / "folds" / name: ids for name, ids in kept.items()}
        if self._has_main(kept):
            networks = {folder: chosen, **networks}

        def lock(stack: ExitStack, path: Path, **how: bool) -> None:
            first(lambda: stack.enter_context(hold(path, **how)))

        trained = []
        with ExitStack() as shared:
            # Parts hold it together. A training of the whole run needs it alone.
            lock(shared, folder, shared=True)
            # No run begins with a dot, so a run NAME.main has another lock.
            own = folder.with_name(f".{folder.name}")
            with ExitStack() as stack:  # the first part writes the configuration, others check it
                lock(stack, own.with_name(f"{own.name}.config"), wait=True)
                trainer.open(folder, chosen, None)
            for place in list(networks)[part[0] - 1 :: part[1]]:
                fold = None if place == folder else int(place.name)
                with ExitStack() as stack:
                    lock(stack, own.with_name(f"{own.name}.{'main' if fold is None else fold}"))
                    trainer.keep_shares(place, self._ranks.shares)
                    trained.append(trainer.train(place, networks[place], fold))
        trainer.ranks = self._ranks
        done = first(lambda: all((place / SUMMARY).is_file() for place in networks))
        return None if done else trained

    @contextmanager
    def _replacing(self, folder: Path, ids: Mapping[str, frozenset[str]]) -> Iterator[Path]:
        """Yield the folder in which runs are trained until they are finished; see `choose_folder`.

        Args:
            folder: Final folder.
            ids: Training utterances by name of the run (``.`` or the number of a fold).
        """
        call_first = self._ranks.call_first
        folder = follow_link(folder)
        call_first(lambda: recover_folder(folder))
        if not self._options.overwrite or not ids:
            yield folder
            return
        hashes = {
            name: self._trainer.make_config(None if name == "." else int(name), own).hash
            for name, own in ids.items()
        }
        place = call_first(lambda: choose_folder(folder, hashes))
        yield place
        if place != folder:
            call_first(lambda: replace_folder(place, folder))

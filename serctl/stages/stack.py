"""`serctl stack`: fit a second-level classifier on the logits of the trained models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.config import Workspace, options_to_dict
from serctl.data.folds import group_by_speaker, warn_of_unknown
from serctl.data.manifest import Manifest
from serctl.data.manifest_file import read_manifest
from serctl.ensemble.choice import AUTO, AVERAGE, BALANCE, assess_stacker, choose_kind
from serctl.ensemble.compare import (
    Comparison,
    compare_stackers,
    count_folds,
    cross_predict,
    divide_rows,
)
from serctl.ensemble.fold_check import find_broken_folds
from serctl.ensemble.stacker_folder import TrainedStacker
from serctl.ensemble.stacker_predictions import (
    collect_cross_fitted,
    predict_splits,
    write_stacker,
)
from serctl.ensemble.stackers import AVERAGES, SELECTIONS, Stacker, make_stacker
from serctl.ensemble.stacking_set import StackingSet, collect_stacking_set
from serctl.ensemble.stale import hash_fit
from serctl.ensemble.systems import System, find_systems, list_systems, list_unexported
from serctl.errors import LogitsError, ManifestError
from serctl.names import check_name
from serctl.options import StackOptions
from serctl.progress import Progress, silent
from serctl.training.changes import list_changes


@dataclass(frozen=True)
class StackResult:
    """Result of `serctl stack`.

    ``kind`` is the fitted stacker, and ``verdict`` compares it with its base models. ``splits``
    are the splits with written probabilities. ``comparison`` is the result of ``--compare``, which
    writes no stacker.
    """

    name: str
    folder: Path
    kind: str
    stack_on: str
    models: tuple[str, ...]
    num_rows: int
    rows_per_class: dict[str, int]
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: str = ""
    comparison: Comparison | None = None


def stack(
    workspace: Workspace, options: StackOptions, *, progress: Progress = silent
) -> StackResult:
    """Fit a stacker on logits of utterances its base models did not train on, and apply it.

    Without ``options.models`` every run with such logits is a base model. The folder
    ``stackers/<name>/`` holds the stacker and its probabilities for every other split with logits
    of all base models.

    Raises:
        LogitsError: Logits are missing, in-sample, of other labels or utterances, or a class is
            too small to fit on.
        UsageError: The options contradict each other.
    """
    manifest = read_manifest(workspace.manifest)
    systems, rows = _collect_models(workspace, manifest, options)
    problem = _check_rows(rows, systems, manifest)
    # A plain average must not have the name of the stacker that was not fitted.
    kept = _make_average(options) if _must_average(options, problem) else options
    name = check_name(options.name or default_name(kept))
    result = partial(
        StackResult,
        name=name,
        folder=workspace.stackers / name,
        stack_on=options.stack_on,
        models=rows.joined.names,
        num_rows=len(rows.targets),
        rows_per_class=rows.describe().rows_per_class,
    )
    notes = (
        *rows.notes,
        *filter(None, [warn_of_unknown(rows.utterances)]),
        *list_changes(workspace, manifest, systems, manifest.splits),
    )
    notes = notes if options.models else (*notes, *list_unexported(workspace))
    if options.compare:
        if problem:
            raise LogitsError(f"{problem} Use --stack-on dev, or an average: --stacker {AVERAGE}")
        comparison = compare_stackers(
            rows,
            balance=options.balance,
            num_folds=options.folds,
            seed=options.seed,
            progress=progress,
        )
        return result(kind=options.stacker, comparison=comparison, notes=notes)
    options, note = _settle_stacker(rows, problem, options, progress)
    notes += (note,) if note else ()
    # A choice and the bootstrap samples of greedy selection depend on who is whose speaker.
    reads_speakers = kept.stacker in (AUTO, "greedy")
    trained, probabilities = _fit(rows, options, progress, reads_speakers=reads_speakers)
    predictions = predict_splits(trained, systems, manifest, rows, options.limit)
    if probabilities is not None:
        predictions[rows.split] = collect_cross_fitted(rows, probabilities)
    write_stacker(workspace.stackers / name, name, rows, trained, predictions)
    constant = _find_constant(name, trained, rows)
    notes += constant
    verdict = "" if problem or constant else _assess(rows, options, progress)
    return result(kind=options.stacker, splits=tuple(predictions), notes=notes, verdict=verdict)


def _collect_models(
    workspace: Workspace, manifest: Manifest, options: StackOptions
) -> tuple[list[System], StackingSet]:
    """Return the base models with logits to fit on, and these logits."""
    systems = find_systems(workspace, options.models) or [
        system for system in list_systems(workspace) if system.kind == "run"
    ]
    # Fixed order, independent of the command line: trees draw their features by position.
    systems = sorted(systems, key=lambda system: system.name)
    rows = collect_stacking_set(
        systems,
        manifest,
        options.stack_on,
        all_must_fit=bool(options.models),
        limit=options.limit,
        labels=workspace.label_order,
    )
    return [system for system in systems if system.name in rows.joined.names], rows


def _check_rows(rows: StackingSet, systems: Sequence[System], manifest: Manifest) -> str:
    """Return why a stacker must not be fitted on these rows; '' if it may."""
    if rows.stack_on != "oof":
        return ""
    dev = manifest.where(lambda row: row.split == "dev")
    found = {system.name: system.load("dev", dev.ids) for system in systems}
    known = {name: logits for name, logits in found.items() if logits is not None}
    return find_broken_folds(rows, known, {row.utterance_id: row.emotion for row in dev})


def _settle_stacker(
    rows: StackingSet, problem: str, options: StackOptions, progress: Progress
) -> tuple[StackOptions, str]:
    """Return the options with the stacker that is fitted, and a note if it was not the named one.

    ``problem`` says why nothing may be fitted on these rows; '' if it may.
    """
    if _must_average(options, problem):
        note = f"{problem} The plain average is used instead. To fit a stacker: --stack-on dev"
        return _make_average(options), note
    if options.stacker != AUTO:
        return options, ""
    kind, why = choose_kind(rows, num_folds=options.folds, seed=options.seed, progress=progress)
    learned = kind not in (*AVERAGES, *SELECTIONS)
    balance = BALANCE if learned else options.balance
    return replace(options, stacker=kind, balance=balance), why


def _must_average(options: StackOptions, problem: str) -> bool:
    """Return whether a plain average replaces the named stacker because of a problem."""
    return bool(problem) and options.stacker not in AVERAGES


def _make_average(options: StackOptions) -> StackOptions:
    """Return the options of a plain average, without those that it refuses."""
    usual = StackOptions()
    return replace(
        options, stacker=AVERAGE, balance=usual.balance, draws=usual.draws, fold=usual.fold
    )


def _find_constant(name: str, trained: TrainedStacker, rows: StackingSet) -> tuple[str, ...]:
    """Return a note on a stacker that predicts the same for all utterances."""
    if trained.importances is None or trained.importances.any():
        return ()
    return (
        f"'{name}' predicts the same for all utterances: {len(rows.targets)} rows are too few "
        f"to split its trees. Use --balance weights or --stacker mean-probabilities.",
    )


def _assess(rows: StackingSet, options: StackOptions, progress: Progress) -> str:
    """Return a comparison of the stacker with its base models, or why there is none."""
    make = partial(_make, options, rows.joined.labels)
    try:
        found = assess_stacker(
            rows, make, num_folds=options.folds, seed=options.seed, progress=progress
        )
    except (LogitsError, ManifestError) as error:
        return f"Too few utterances or speakers to compare the stacker with its models: {error}"
    return str(found)


def _make(options: StackOptions, labels: Sequence[str]) -> Stacker:
    """Return the unfitted stacker of the options."""
    return make_stacker(
        options.stacker,
        labels,
        balance=options.balance,
        fold=options.fold,
        seed=options.seed,
        draws=options.draws,
    )


def default_name(options: StackOptions) -> str:
    """Return the name of the folder: the kind, and options that differ from the default."""
    parts = [options.stacker]
    parts += [f"fold{options.fold}"] if options.fold is not None else []
    parts += [options.stack_on] if options.stack_on != "oof" else []
    return "-".join(parts)


def _fit(
    rows: StackingSet, options: StackOptions, progress: Progress, *, reads_speakers: bool
) -> tuple[TrainedStacker, NDArray[np.float64] | None]:
    """Return the stacker and, if fitted on dev, cross-fitted probabilities for dev.

    ``reads_speakers`` says that the fit depends on who the speakers of the rows are.
    """
    labels = rows.joined.labels
    make = partial(_make, options, labels)
    stacker = make()
    with progress.task(f"fitting {stacker.kind} on {len(rows.targets)} utterances", 1) as advance:
        stacker.fit(rows.joined.values, rows.targets, group_by_speaker(rows.utterances))
        advance()
    fitted_on = rows.describe()
    if reads_speakers:
        fitted_on = fitted_on.model_copy(update={"reads_speakers": True})
    probabilities = None
    if options.stack_on == "dev":
        try:
            fold_of = divide_rows(rows, options.folds, options.seed)
        except ManifestError as error:
            raise LogitsError(f"Dev cannot be cross-fitted: {error} Use --stack-on oof.") from error
        probabilities = cross_predict(rows, make, fold_of, progress)
        folds = {"cross_fitted_folds": count_folds(rows, options.folds)}
        fitted_on = fitted_on.model_copy(update=folds)
    known = hash_fit(rows.utterances, frozenset(rows.joined.ids), fitted_on)
    fitted_on = fitted_on.model_copy(update={"emotions": known})
    recorded = options_to_dict(options)
    return TrainedStacker(stacker, labels, rows.joined.names, fitted_on, recorded), probabilities

"""The folder of a run. It is replaced only with ``--overwrite``.

``config.json`` is written before the training, and ``summary.json`` after it.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serctl.config import options_to_dict
from serctl.data.ids import read_ids, write_ids
from serctl.documents.run import EpochRecord, PredictedBy, RunConfig, RunSummary, read_lost
from serctl.encoders.catalog import is_path, settle_name
from serctl.errors import CheckpointError, first_few
from serctl.files import remove_file, write_atomic
from serctl.hashes import hash_document, hash_file
from serctl.names import check_name
from serctl.options import TrainOptions

CONFIG, MODEL, STATE = "config.json", "model.safetensors", "state.safetensors"
SUMMARY, METRICS, TRAIN_IDS = "summary.json", "metrics.jsonl", "train_ids.txt"
DEV_IDS = "dev_ids.txt"
INDIFFERENT = frozenset(
    {"name", "recipe", "overwrite", "log", "profile", "device", "seeds", "folds", "main", "shard"}
)
"""Options that do not change the numbers of the main model."""


def run_name(options: TrainOptions) -> str:
    """Return the name of a run: the given one, or encoders and options that are not the default.

    Example:
        >>> run_name(TrainOptions(speech=("whisper-tiny",), text=("minilm",)))
        'whisper-tiny+minilm'
        >>> run_name(TrainOptions(speech=("whisper-tiny",), loss="wce+sml", seed=3))
        'whisper-tiny-sml-s3'
    """
    if options.name:
        check_name(options.name)
        return options.name
    kind = "-pooled" if options.kind == "pooled" else ""
    loss = "-sml" if options.loss == "wce+sml" else ""
    seed = f"-s{options.seed}" if options.seed else ""
    return f"{_join_encoders(options)}{kind}{loss}{seed}{_limited(options)}"


def choose_run_name(runs: Path, options: TrainOptions) -> str:
    """Return the name of a run, or its name in earlier versions if that run exists."""
    name = run_name(options)
    former = f"{_join_encoders(options)}-{options.loss}-s{options.seed}{_limited(options)}"
    there = (runs / former / CONFIG).is_file() and not (runs / name).exists()
    if options.name or not there or list_other_options(runs / former, options):
        return name
    return former


def _join_encoders(options: TrainOptions) -> str:
    encoders = (*options.speech, *options.text, *options.paralinguistic)
    return "+".join(map(_short_name, encoders))


def _limited(options: TrainOptions) -> str:
    return "" if options.limit is None else f"-limit{options.limit}"


def _short_name(encoder: str) -> str:
    plain, at, digest = encoder.partition("@")
    name = Path(plain).name if is_path(plain) else settle_name(plain)
    return re.sub(r"[^A-Za-z0-9.@_-]+", "-", f"{name}{at}{digest}")


def settle_options(options: TrainOptions) -> TrainOptions:
    """Return the options with aliases resolved, so that both names give the same run."""
    lists = ("speech", "text", "paralinguistic", "standardise")
    settled: dict[str, Any] = {at: tuple(map(settle_name, getattr(options, at))) for at in lists}
    return replace(options, **settled)


def list_other_options(folder: Path, options: TrainOptions) -> list[str]:
    """Return the options of a folder's run that differ from ``options``, which are settled."""
    path = folder / CONFIG
    return _list_differences(RunConfig.read(path).options, options) if path.is_file() else []


def usual_model(folder: Path) -> PredictedBy:
    """Return which model of a run predicts: the mean of its fold models where it has any.

    A stacker is fitted on predictions of the fold models, so everything else that it reads has to
    be predicted by them too. The main model of such a run predicts where it is named, and where a
    fold model was trained without an emotion.
    """
    has_folds = (folder / "folds").is_dir()
    return "folds" if has_folds and not read_lost(folder) else "main"


def list_folds(folder: Path, config: RunConfig) -> list[Path]:
    """Return the folders of all fold models of a run, finished or not."""
    found = sorted((folder / "folds").glob(f"*/{CONFIG}"))
    number = (RunConfig.read(found[0]) if found else config).options.folds
    return [folder / "folds" / str(fold) for fold in range(number)] if config.fold is None else []


def list_model_files(folder: Path, predicted_by: PredictedBy | None) -> list[str]:
    """Return the files of the predicting model, relative to the folder of the run."""
    config = RunConfig.read(folder / CONFIG)
    if (predicted_by or usual_model(folder)) == "main":
        return [CONFIG, MODEL]
    folds = [fold.relative_to(folder).as_posix() for fold in list_folds(folder, config)]
    return [CONFIG, *(f"{fold}/{name}" for fold in folds for name in (CONFIG, MODEL))]


def hash_config(config: RunConfig) -> str:
    """Return the hash of everything in a run's config that changes its numbers."""
    given = options_to_dict(config.options).items()
    as_folds = config.fold is None and config.options.folds and not config.options.main
    indifferent = INDIFFERENT - {"folds"} if as_folds else INDIFFERENT
    options = {name: value for name, value in given if name not in indifferent}
    kept = config.model_dump(include={"labels", "model", "data", "seed"})
    keys = [key.to_dict() for branch in config.branches for key in branch.keys]
    return hash_document({"options": options, "keys": keys, **kept})


def choose_folder(folder: Path, hashes: Mapping[str, str]) -> Path:
    """Return the folder in which ``--overwrite`` trains.

    A run of the same hash is kept and continued in ``folder``. If ``folder`` holds other runs, the
    new ones are trained in ``.<name>.new``, and `replace_folder` replaces the old ones at the end.

    Args:
        folder: Folder of a run (named ``.``) or of several (named by their subfolders).
        hashes: Hashes of the requested configs, by name of the run.
    """
    if not _holds_others(folder, hashes):
        return folder
    new = folder.with_name(f".{folder.name}.new")
    if _holds_others(new, hashes):  # left from an unfinished training with other options
        shutil.rmtree(new)
    return new


def _holds_others(folder: Path, hashes: Mapping[str, str]) -> bool:
    paths = [path for path in (folder / CONFIG, *folder.glob(f"*/{CONFIG}")) if path.is_file()]
    return any(
        _read_hash(path) != hashes.get(path.parent.relative_to(folder).as_posix())
        for path in paths
        if _is_started(path.parent)
    )


def _read_hash(path: Path) -> str:
    try:
        _check_network(path.parent)
        return RunConfig.read(path).hash
    except CheckpointError:  # a damaged or changed run, or one of another version, is replaced
        return ""


def open_folder(
    folder: Path, config: RunConfig, train_ids: Iterable[str], dev_ids: Iterable[str] = ()
) -> bool:
    """Create or continue the folder of a run; return whether the run is finished.

    Raises:
        CheckpointError: The folder holds a run of other options or data.
    """
    if (folder / CONFIG).is_file() and _is_started(folder):
        found = RunConfig.read(folder / CONFIG)
        if hash_config(found) == config.hash:  # computed again, because new options may exist
            return _is_finished(folder)
        raise CheckpointError(
            f"'{folder}' holds a run of other {_difference(found, config)}. "
            f"Choose another name with --name, or replace it with --overwrite. In a recipe, add "
            f"to [train]: overwrite = true"
        )
    folder.mkdir(parents=True, exist_ok=True)
    remove_file(folder / SUMMARY)  # of a run whose configuration is gone
    for path, ids in ((folder / TRAIN_IDS, train_ids), (folder / DEV_IDS, dev_ids)):
        write_ids(path, ids)
    config.write(folder / CONFIG)
    return False


def count_processes(folder: Path, otherwise: int) -> int:
    """Return how many processes began a training, and ``otherwise`` if none began.

    Args:
        folder: Folder of a run, or of several runs.
        otherwise: Number of processes of a training that begins now.
    """
    paths = sorted({folder / CONFIG, *folder.glob(f"*/{CONFIG}")})
    begun = [path for path in paths if path.is_file() and _is_started(path.parent)]
    return RunConfig.read(begun[0]).processes if begun else otherwise


def write_metrics(folder: Path, history: Iterable[EpochRecord]) -> None:
    """Write the records of all finished epochs, one JSON object per line."""
    with write_atomic(folder / METRICS) as file:
        file.writelines(json.dumps(record.to_dict()) + "\n" for record in history)


def read_summary(folder: Path) -> RunSummary:
    """Return the summary of a finished run.

    Raises:
        CheckpointError: The run is not finished.
    """
    return RunSummary.read(folder / SUMMARY)


def read_train_ids(folder: Path) -> frozenset[str]:
    """Return the utterances that a model was trained on."""
    return _read_ids(folder / TRAIN_IDS)


def read_dev_ids(folder: Path) -> frozenset[str]:
    """Return the utterances that selected the epoch; none for a run of an earlier version."""
    path = folder / DEV_IDS
    return _read_ids(path) if path.is_file() else frozenset()


def _read_ids(path: Path) -> frozenset[str]:
    try:
        return read_ids(path)
    except OSError as error:
        raise CheckpointError(f"'{path}': {error.strerror}. Train it again.") from error


def check_run(folder: Path) -> None:
    """Check the files of a run and of its fold models against the hashes in their summaries.

    Unfinished runs, runs of earlier versions and networks of bundles have no such hashes.

    Raises:
        CheckpointError: A file is missing, or was changed since the training.
    """
    for network in (folder, *sorted((folder / "folds").glob("*"))):
        _check_network(network)


def _check_network(folder: Path) -> None:
    """Check the files of one network; see `check_run`."""
    if not (folder / SUMMARY).is_file():
        return
    for name, expected in read_summary(folder).files.items():
        path = folder / Path(name).name
        if not path.is_file() or hash_file(path) != expected:
            raise CheckpointError(
                f"'{path}' is missing or was changed since the training. Restore it, or run the "
                f"same serctl train again with --overwrite."
            )


def close_folder(folder: Path, summary: RunSummary) -> None:
    """Mark a run as finished, and record the hashes of its files."""
    paths = [folder / name for name in (CONFIG, MODEL, TRAIN_IDS, DEV_IDS)]
    files = {path.name: hash_file(path) for path in paths if path.is_file()}
    summary.model_copy(update={"files": files}).write(folder / SUMMARY)
    _is_finished(folder)


def _is_finished(folder: Path) -> bool:
    """Whether a run is finished. The state file of a finished run is removed."""
    if finished := (folder / SUMMARY).is_file():
        remove_file(folder / STATE)
    return finished


def _is_started(folder: Path) -> bool:
    """Whether a step was trained. A run that failed before has only a configuration."""
    if any((folder / name).is_file() for name in (STATE, MODEL, SUMMARY)):
        return True
    return any(map(_is_started, (folder / "folds").glob("*")))


def _difference(found: RunConfig, wanted: RunConfig) -> str:
    """Return the options that differ, or 'data, features or labels' if no option differs."""
    shown = _list_differences(found.options, wanted.options)
    old, new = found.options.folds, wanted.options.folds
    if not shown and old != new:  # other folds are other data
        shown = [f"folds {old}, now {new}"]
    return f"options ({first_few(shown)})" if shown else "data, features or labels"


def _list_differences(old: TrainOptions, new: TrainOptions) -> list[str]:
    before = options_to_dict(old)
    return [
        f"{name} {_show(before[name])}, now {_show(value)}"
        for name, value in options_to_dict(new).items()
        if name not in INDIFFERENT and before[name] != value
    ]


def _show(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)

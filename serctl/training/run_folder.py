"""The folder of a run: begun, continued, or found finished; never replaced without being told to.

``config.json`` (what is being trained) comes first and ``summary.json`` (how it ended) last.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from serctl.config import options_to_dict
from serctl.encoders.catalog import is_path, settle_name
from serctl.errors import CheckpointError, first_few
from serctl.files import read_json, write_atomic, write_json
from serctl.options import TrainOptions

RUN_VERSION = 1
CONFIG, MODEL, STATE = "config.json", "model.safetensors", "state.safetensors"
SUMMARY, METRICS, TRAIN_IDS = "summary.json", "metrics.jsonl", "train_ids.txt"
INDIFFERENT = frozenset({"name", "recipe", "overwrite", "profile", "device", "seeds", "folds"})
"""Options that do not change the numbers of the main model."""


def run_name(options: TrainOptions) -> str:
    """Return the name of a run: the one given, or encoders, loss and seed.

    Example:
        >>> run_name(TrainOptions(speech=("whisper-tiny",), text=("minilm",)))
        'whisper-tiny+minilm-wce-s0'
    """
    if options.name:
        return options.name if options.seeds == 1 else f"{options.name}-s{options.seed}"
    encoders = (*options.speech, *options.text, *options.paralinguistic)
    name = f"{'+'.join(map(_short_name, encoders))}-{options.loss}-s{options.seed}"
    return name if options.limit is None else f"{name}-limit{options.limit}"


def _short_name(encoder: str) -> str:
    plain, at, digest = encoder.partition("@")
    name = Path(plain).name if is_path(plain) else settle_name(plain)
    return re.sub(r"[^A-Za-z0-9.@_-]+", "-", f"{name}{at}{digest}")


def settle_options(options: TrainOptions) -> TrainOptions:
    """Return the options with an alias as what it stands for: the same run by either name."""
    lists = ("speech", "text", "paralinguistic", "standardise")
    settled: dict[str, Any] = {at: tuple(map(settle_name, getattr(options, at))) for at in lists}
    return replace(options, **settled)


def holds_other_options(folder: Path, options: TrainOptions) -> bool:
    """Whether a run in the folder was begun with other options than these, settled ones."""
    if not (folder / CONFIG).is_file():
        return False
    found = read_json(folder / CONFIG, CheckpointError, "Remove the folder.")
    return bool(_differing(found, options_to_dict(options)))


def hash_document(document: Any) -> str:
    """Return 12 hex digits of the SHA-256 over canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hash_config(config: dict[str, Any]) -> str:
    """Return the hash of everything in a run's config that changes its numbers."""
    options = {name: value for name, value in config["options"].items() if name not in INDIFFERENT}
    kept = {name: config[name] for name in ("labels", "model", "data", "seed")}
    keys = [branch["key"] for branch in config["branches"]]
    return hash_document({"options": options, "keys": keys, **kept})


def open_folder(folder: Path, config: dict[str, Any], train_ids: Iterable[str]) -> bool:
    """Begin a run or find it begun; return whether it is finished.

    Raises:
        CheckpointError: The folder holds a run of other options or data.
    """
    overwrite = config["options"]["overwrite"]
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    elif (folder / CONFIG).is_file() and _is_begun(folder):
        found = read_json(
            folder / CONFIG, CheckpointError, "Remove the folder, or use --overwrite."
        )
        if found.get("hash") == config["hash"]:
            return _is_finished(folder)
        raise CheckpointError(
            f"'{folder}' holds a run of other {_difference(found, config)}. "
            f"Give this one a --name, or replace that with --overwrite."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomic(folder / TRAIN_IDS) as file:
        file.writelines(f"{name}\n" for name in train_ids)
    write_json(folder / CONFIG, config)
    return False


def write_metrics(folder: Path, history: Iterable[dict[str, Any]]) -> None:
    """Write the records of all finished epochs, one JSON object a line."""
    with write_atomic(folder / METRICS) as file:
        file.writelines(json.dumps(record) + "\n" for record in history)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run.

    Raises:
        CheckpointError: It is not finished.
    """
    hint = "The training is not finished: repeat its command, and it continues."
    return dict(read_json(folder / SUMMARY, CheckpointError, hint))


def close_folder(folder: Path, summary: dict[str, Any]) -> None:
    """Mark a run as finished."""
    write_json(folder / SUMMARY, summary)
    _is_finished(folder)


def _is_finished(folder: Path) -> bool:
    """Whether a run is finished; a finished one keeps no state, wherever it was killed."""
    if finished := (folder / SUMMARY).is_file():
        (folder / STATE).unlink(missing_ok=True)
    return finished


def _is_begun(folder: Path) -> bool:
    """Whether anything was learnt: what was refused at its first step leaves only a config."""
    return any((folder / name).is_file() for name in (STATE, MODEL, SUMMARY))


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the options that differ, or 'data' where only that does."""
    shown = _differing(found, wanted["options"])
    old, new = found.get("options", {}).get("folds"), wanted["options"]["folds"]
    if not shown and wanted["fold"] is not None and old != new:  # other folds are other data
        shown = [f"folds {old}, now {new}"]
    return f"options ({first_few(shown)})" if shown else "data, features or labels"


def _differing(found: dict[str, Any], new: dict[str, Any]) -> list[str]:
    old = found.get("options", {})
    return [
        f"{name} {old.get(name)}, now {new[name]}"
        for name in new
        if name not in INDIFFERENT and json.dumps(old.get(name)) != json.dumps(new[name])
    ]

"""A stacker on disk: kind, data of the fit, and hashes of its files."""

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from serctl.document import Document, Section, hash_field
from serctl.documents.run import RunConfig, read_fold_hashes
from serctl.errors import CheckpointError
from serctl.options import StackOptions

STACKER_VERSION: Literal[1] = 1
STACKER_FILE = "stacker.json"
FITTED_IDS = "fitted_ids.txt"
"""List of the utterances of the fit. It is not copied into bundles."""


class FittedOn(Section):
    """The utterances that a stacker was fitted on."""

    stack_on: str = Field(default="", description="`oof`, `heldout`, `dev` or `in-sample`")
    split: str = Field(default="", description="split of the utterances")
    num_rows: int = Field(default=0, description="number of utterances")
    rows_per_class: dict[str, int] = Field(
        default_factory=dict, description="utterances by emotion"
    )
    ids_hash: str = Field(default="", description="hash of the utterance ids")
    emotions: str = Field(
        default="",
        description="hash of their emotions, with `cross_fitted_folds` or `reads_speakers` also of "
        "their division by speaker",
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="base model → `csv_hash` of its logits for the fit"
    )
    limit: int | None = Field(default=None, description="`--limit` of a dry run, else null")
    hashes: dict[str, str] = Field(
        default_factory=dict, description="base model → `hash` of its training"
    )
    fold_hashes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="run → `hash` of each fold model, if fold models predicted the utterances",
    )
    predicted_by: dict[str, Literal["folds", "main"]] = Field(
        default_factory=dict,
        description="run → model that predicts new rows for the stacker",
    )
    notes: tuple[str, ...] = Field(default=(), description="exclusions and their reasons")
    cross_fitted_folds: int | None = Field(
        default=None, description="folds of the cross-fitting; only with `stack_on = dev`"
    )
    reads_speakers: bool = Field(
        default=False, description="whether the fit depends on the speakers: `greedy` and `auto`"
    )

    @property
    def is_divided(self) -> bool:
        """Whether the stacker depends on the division of its utterances by speaker."""
        return self.reads_speakers or bool(self.cross_fitted_folds)


class StackerDocument(Document):
    """A fitted stacker. The estimators are in the same folder, and their hashes are checked."""

    noun: ClassVar = "stacker"
    place: ClassVar = f"stackers/<name>/{STACKER_FILE}"
    error: ClassVar = CheckpointError
    hint: ClassVar = "Fit it again with: serctl stack"

    serctl_stacker: Literal[1] = Field(description="format version")
    kind: str = Field(description="name of the stacker, such as `random-forest`")
    balance: Literal["subset", "weights", "none"] = Field(
        default="subset", description="how the classes were balanced; absent for averages"
    )
    fold: int | None = Field(default=None, description="the forest that predicts alone, if any")
    seed: int = Field(default=42, description="seed of subset, folds and classifiers")
    draws: int = Field(default=1, description="number of balanced subsets")
    weights: tuple[float, ...] = Field(
        default=(),
        description="weight of each base model, for `greedy`, `log-pool` and `best-single`",
    )
    classes: tuple[int, ...] = Field(
        default=(), description="label ids that the classifiers were fitted on"
    )
    labels: tuple[str, ...] = Field(description="emotions in the order of the probabilities")
    models: tuple[str, ...] = Field(description="base models in the order of the input")
    files: dict[str, str] = Field(default_factory=dict, description="estimator file → BLAKE2b hash")
    versions: dict[str, str] = Field(default_factory=dict, description="versions of the packages")
    fitted_on: FittedOn = Field(
        default_factory=FittedOn, description="the utterances it was fitted on"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="every option of `serctl stack`"
    )
    importances: tuple[tuple[float, ...], ...] | None = Field(
        default=None,
        description="shares (M, C) of each base model's logit of each class; null for averages",
    )
    document_hash: str = hash_field()


def list_retrained(stacker: StackerDocument, runs: Path) -> list[str]:
    """Return the base models that were trained again since the stacker was fitted.

    Raises:
        CheckpointError: A configuration is damaged.
    """
    made, folds_made = stacker.fitted_on.hashes, stacker.fitted_on.fold_hashes
    found = []
    for name in stacker.models:
        config = runs / name / "config.json"
        if not config.is_file():
            continue
        folds = folds_made.get(name) and read_fold_hashes(config.parent)
        other_folds = folds and folds != folds_made[name]
        if other_folds or made.get(name, "") not in ("", RunConfig.read(config).hash):
            found.append(name)
    return found


def stack_command(options: Mapping[str, Any], name: str) -> str:
    """Return the command that fits a stacker again, with the options that are not defaults.

    Example:
        >>> stack_command({"models": ["a", "b"], "stacker": "greedy", "stack_on": "oof"}, "best")
        'serctl stack a b --stacker greedy --name best'
    """
    words = ["serctl", "stack", *options.get("models", ())]
    for field in fields(StackOptions):
        value = options.get(field.name, field.default)
        if field.name not in ("models", "name") and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--name", name])

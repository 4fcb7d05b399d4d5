"""The sidecar of a CSV of logits: the model and the utterances."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from serctl.document import Document, hash_field
from serctl.errors import LogitsError

LOGITS_VERSION: Literal[1] = 1
ScoreKind = Literal["logits", "probabilities"]


NAMES = {
    "oof": "out-of-fold",
    "heldout": "held-out",
    "folds": "fold models",
    "main": "main model",
}
"""What messages call the values of ``stack_on``, ``predicted_by`` and the source of logits."""


def name_source(source: str) -> str:
    """Return what messages call a source of logits.

    Example:
        >>> name_source("oof"), name_source("dev")
        ('out-of-fold', 'dev')
    """
    return NAMES.get(source, source)


class LogitsSidecar(Document):
    """Origin of a CSV of logits. All fields are optional, and additional keys are kept.

    Other programs may write a sidecar with some of the fields.
    """

    model_config = ConfigDict(extra="allow")
    noun: ClassVar = "logits"
    place: ClassVar = "runs/<name>/logits/<split>.json, stackers/<name>/<split>.json"
    error: ClassVar = LogitsError
    hint: ClassVar = "Export the logits again."

    serctl_logits: Literal[1] = Field(default=LOGITS_VERSION, description="format version")
    kind: ScoreKind = Field(default="logits", description="content of the CSV's columns")
    labels: tuple[str, ...] = Field(default=(), description="emotions in the order of the columns")
    split: str = Field(default="", description="split of the utterances")
    model: str = Field(default="", description="name of the run, stacker or baseline")
    run_hash: str = Field(default="", description="`hash` of the run's config.json")
    stacker: str = Field(default="", description="kind of the stacker; empty for a run")
    stack_on: str = Field(
        default="",
        description="run: `oof`, `heldout` or `in-sample` if it was trained on the split, else "
        "`folds` or `main`; stacker: logits that it was fitted on",
    )
    predicted_by: Literal["", "folds", "main"] = Field(
        default="",
        description="run: the mean of the fold models or the main model; absent before serctl 0.2",
    )
    lost_emotions: tuple[str, ...] = Field(
        default=(),
        description="run: emotions that a fold model was trained without; no stacker is fitted on "
        "its out-of-fold logits",
    )
    by_speaker: bool = Field(
        default=False, description="frames standardised per speaker with unlabelled utterances"
    )
    cross_fitted: bool = Field(
        default=False, description="stacker: each utterance is predicted by a fold without it"
    )
    base_models: tuple[str, ...] = Field(default=(), description="stacker: its base models")
    fitted_on: str = Field(default="", description="stacker: hash of the utterances of the fit")
    inputs: dict[str, str] = Field(
        default_factory=dict, description="stacker: base model → `csv_hash` of the logits it read"
    )
    features_hash: str = Field(default="", description="hash of the utterances and their features")
    fold_hashes: tuple[str, ...] = Field(default=(), description="`hash` of each fold model")
    key: str = Field(default="", description="baseline: hash of all its inputs")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of `serctl train` or `serctl stack`"
    )
    seed: int = Field(default=0, description="seed of the run")
    fit_on: str = Field(default="", description="run: splits that it was trained on")
    environment: dict[str, str] = Field(
        default_factory=dict, description="versions of Python and of the packages"
    )
    unread: tuple[str, ...] = Field(
        default=(), description="utterances that could not be read and have no row"
    )
    csv_hash: str = Field(default="", description="BLAKE2b hash of the CSV")
    document_hash: str = hash_field()

    @property
    def limit(self) -> int | None:
        """The ``--limit`` of a dry run; None for all utterances."""
        limit = self.options.get("limit")
        return limit if isinstance(limit, int) else None

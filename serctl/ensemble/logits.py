"""Logits in memory: one row per utterance, joined on the utterance id."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from serctl.documents.logits import LogitsSidecar
from serctl.documents.stacker import stack_command
from serctl.errors import CheckpointError, LogitsError, first_few

SMALLEST_PROBABILITY = 1e-9
"""Lower bound of probabilities before the logarithm, because a tree may predict 0."""


@dataclass(frozen=True, eq=False)
class Logits:
    """The predictions of one model for some utterances.

    Attributes:
        ids: N utterance ids, unique.
        values: ``(N, C)`` float64: logits, or probabilities according to ``kind``.
        labels: C emotions, in the order of the columns.
        in_sample: ``(N,)`` bool: the model was trained on the utterance.
        name: Name of the model in tables.
        provenance: Content of the sidecar: origin and split of the logits.
        attributes: ``(N, 3)`` predicted arousal, valence, dominance, if the model has them.
        in_sample_known: False for a file of another program without a column ``in_sample``.
        hard_labels: A file of another program has labels without scores; their probability is 1.
        assumed: Assumed content of another program's file, if the file does not state it.
    """

    ids: tuple[str, ...]
    values: NDArray[np.float64]
    labels: tuple[str, ...]
    in_sample: NDArray[np.bool_]
    name: str = ""
    provenance: LogitsSidecar = field(default_factory=LogitsSidecar)
    attributes: NDArray[np.float64] | None = None
    in_sample_known: bool = True
    hard_labels: bool = False
    assumed: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kind(self) -> str:
        """``logits`` or ``probabilities``."""
        return self.provenance.kind

    @property
    def unread(self) -> frozenset[str]:
        """Ids of utterances without a row because they could not be read."""
        return frozenset(self.provenance.unread)

    def logits(self) -> NDArray[np.float64]:
        """Return logits ``(N, C)``, or the logarithm of probabilities."""
        if self.kind == "logits":
            return self.values
        return np.log(np.maximum(self.values, SMALLEST_PROBABILITY))

    def probabilities(self) -> NDArray[np.float64]:
        """Return probabilities ``(N, C)``, or the softmax of logits."""
        return softmax(self.values) if self.kind == "logits" else self.values

    @property
    def limit(self) -> int | None:
        """The ``--limit`` of a dry run; None for all utterances."""
        return self.provenance.limit

    def remedy(self) -> str:
        """Return the command to get logits of more utterances."""
        made = self.provenance
        if self.limit:
            return (
                f"Evaluate a dry run with: serctl evaluate --limit {self.limit}, "
                f"or train without --limit."
            )
        if made.stacker:
            command = stack_command(made.options, self.name)
            return f"Export the logits of its base models, then run: {command}"
        return f"Run: serctl export-logits {self.name}"

    def select(self, ids: Iterable[str]) -> "Logits":
        """Return the rows of these utterances, in this order.

        Raises:
            LogitsError: Some utterances are missing.
        """
        ids = tuple(ids)
        row_of = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in row_of]
        if missing:
            raise LogitsError(
                f"'{self.name}' has no logits for {len(missing)} of {len(ids)} utterances "
                f"({first_few(missing)}). {self.remedy()}"
            )
        rows = np.array([row_of[name] for name in ids], dtype=np.intp)
        attributes = None if self.attributes is None else self.attributes[rows]
        return replace(
            self,
            ids=ids,
            values=self.values[rows],
            in_sample=self.in_sample[rows],
            attributes=attributes,
        )

    def reorder(self, labels: Sequence[str]) -> "Logits":
        """Return the logits with the columns in the order of ``labels``.

        Raises:
            LogitsError: The labels differ.
        """
        if self.hard_labels:  # a label without predictions has no column
            absent = [label for label in labels if label not in self.labels]
            zeros = np.zeros((len(self), len(absent)))
            self = replace(
                self, values=np.hstack([self.values, zeros]), labels=(*self.labels, *absent)
            )
        if set(labels) != set(self.labels):
            raise LogitsError(
                f"'{self.name}' has the labels {', '.join(self.labels)}, "
                f"expected {', '.join(labels)}. Leave it out or train it on the same labels."
            )
        columns = [self.labels.index(label) for label in labels]
        return replace(self, values=self.values[:, columns], labels=tuple(labels))


@dataclass(frozen=True, eq=False)
class JoinedLogits:
    """The logits of M models on the same utterances: ``values (N, M, C)``."""

    ids: tuple[str, ...]
    values: NDArray[np.float64]
    labels: tuple[str, ...]
    names: tuple[str, ...]
    in_sample: NDArray[np.bool_]
    """``(N,)`` bool: at least one of the models was trained on the utterance."""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax along the last axis, with the shape of ``logits``."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def check_finite(logits: NDArray[np.float64], run: str) -> NDArray[np.float64]:
    """Return the logits of a run.

    Raises:
        CheckpointError: They are not finite.
    """
    if not np.isfinite(logits).all():
        raise CheckpointError(
            f"Run '{run}' predicts values that are not finite, expected numbers: its weights are "
            f"damaged. Make it again: serctl train"
        )
    return logits


def join_logits(parts: Sequence[Logits], ids: Iterable[str] | None = None) -> JoinedLogits:
    """Join the logits of models on the utterance id, with labels in the first model's order.

    The first model is the first one with scores: predicted labels alone may lack an emotion.

    Args:
        parts: One `Logits` per model, in the order of the stacker's input.
        ids: Utterances and their order. None takes those of the models, sorted by id, without
            utterances that one of them could not read.

    Raises:
        LogitsError: There is no model, a name is given twice, or utterances or labels differ.
    """
    if not parts:
        raise LogitsError("No logits to join. Run: serctl export-logits RUN")
    twice = [name for name, count in Counter(part.name for part in parts).items() if count > 1]
    if twice:
        raise LogitsError(f"Models are named twice: {first_few(twice)}. Name each once.")
    unread = frozenset[str]().union(*(part.unread for part in parts))
    chosen_ids = tuple(sorted(set(parts[0].ids) - unread) if ids is None else ids)
    if ids is None:
        for part in parts[1:]:
            strange = sorted((set(part.ids) - unread) ^ set(chosen_ids))
            if strange:
                raise LogitsError(
                    f"'{parts[0].name}' and '{part.name}' hold different utterances: "
                    f"{len(strange)} are in only one of them ({first_few(strange)}). "
                    f"{_reconcile(parts[0], part)}"
                )
    labels = next((part.labels for part in parts if not part.hard_labels), ())
    if not labels:
        labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    chosen = [part.select(chosen_ids).reorder(labels) for part in parts]
    return JoinedLogits(
        ids=chosen_ids,
        values=np.stack([part.logits() for part in chosen], axis=1),
        labels=labels,
        names=tuple(part.name for part in chosen),
        in_sample=np.any([part.in_sample for part in chosen], axis=0),
    )


def _reconcile(*pair: Logits) -> str:
    """Return the fix for two models with different utterances."""
    if dry := [part.name for part in pair if part.limit]:
        return f"'{dry[0]}' is from a dry run (--limit). Name the other runs: serctl stack RUN RUN"
    return "Export both again: serctl export-logits RUN"

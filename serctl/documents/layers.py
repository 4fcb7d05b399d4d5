"""The comparison of the layers of an encoder by `serctl layers`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from serctl.cache.key import FeatureKey
from serctl.document import Document, Section
from serctl.errors import ReportError
from serctl.metrics.paired import can_test

LAYERS_VERSION: Literal[1] = 1
FOLDER = "layers"
"""Folder of the comparisons below the reports, and of their moments below the cache."""


class LayerScore(Section):
    """Metrics of the predictions from one layer."""

    layer: int = Field(description="N of `hidden_states[N]`; -1 is `last_hidden_state`")
    macro_f1: float = Field(description="macro-F1 of the cross-validated predictions")
    low: float | None = Field(
        description="lower bound of its 95 % interval; null with fewer than six speakers"
    )
    high: float | None = Field(description="upper bound")
    uar: float = Field(description="unweighted average recall")
    behind: float = Field(description="macro-F1 of the best layer minus this one's")
    behind_low: float | None = Field(
        description="lower bound of the 95 % interval of the difference"
    )
    behind_high: float | None = Field(description="upper bound")
    p_value: float = Field(description="of the difference: paired randomisation over speakers")
    is_worse: bool = Field(
        description="whether test and interval both show a difference to the best"
    )


class LayersDocument(Document):
    """A probe of every layer of one encoder on one corpus."""

    noun: ClassVar = "comparison of layers"
    place: ClassVar = "reports/layers/<encoder>.json"
    error: ClassVar = ReportError
    hint: ClassVar = "Run again: serctl layers ENCODER"

    serctl_layers: Literal[1] = Field(description="format version")
    encoder: str = Field(description="the encoder")
    key: FeatureKey = Field(description="weights, precision and window; `layer` has no meaning")
    labels: tuple[str, ...] = Field(description="the emotions")
    utterances: int = Field(description="labelled utterances of train and dev")
    speakers: int = Field(description="their speakers")
    folds: int = Field(description="folds of the cross-validation")
    data: str = Field(description="hash of the data and options that the scores depend on")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options that the scores depend on; earlier versions wrote none",
    )
    scores: tuple[LayerScore, ...] = Field(description="from the lowest layer to the last")
    notes: tuple[str, ...] = Field(default=(), description="notes for the reader")

    @field_validator("scores")
    @classmethod
    def drop_intervals(
        cls, scores: tuple[LayerScore, ...], found: ValidationInfo
    ) -> tuple[LayerScore, ...]:
        """Remove intervals of too few speakers, which earlier versions wrote."""
        if can_test(found.data.get("speakers", 0)):
            return scores
        bounds = dict.fromkeys(("low", "high", "behind_low", "behind_high"))
        return tuple(score.model_copy(update=bounds) for score in scores)

    @property
    def intervals(self) -> list[tuple[float, float]]:
        """The 95 % interval of each layer; none with fewer than six speakers."""
        return [
            (score.low, score.high)
            for score in self.scores
            if score.low is not None and score.high is not None
        ]

    @property
    def best(self) -> LayerScore:
        """The layer with the highest macro-F1."""
        return max(self.scores, key=lambda score: score.macro_f1)

    @property
    def last(self) -> LayerScore:
        """The default layer of `serctl extract`."""
        return self.scores[-1]

    def verdict(self) -> str:
        """Return the result of the comparison, and whether differences are significant."""
        best, last = self.best, self.last
        if best is last:
            return f"The last layer has the highest macro-F1 ({best.macro_f1:.3f})."
        if last.behind_low is None:
            return (
                f"{self.speakers} speakers: differences cannot be tested. Layer {best.layer} has "
                f"the highest macro-F1 ({best.macro_f1:.3f}), {last.behind:.3f} above the last "
                f"layer."
            )
        interval = f"95 % interval {last.behind_low:.3f} to {last.behind_high:.3f}"
        if not last.is_worse:
            return (
                f"No layer differs significantly from the last one ({last.macro_f1:.3f}). Layer "
                f"{best.layer} has the highest macro-F1 ({best.macro_f1:.3f}), "
                f"{last.behind:.3f} more ({interval}, p = {last.p_value:.3f})."
            )
        alike = [str(it.layer) for it in self.scores if not it.is_worse and it is not best]
        text = (
            f"Layer {best.layer} has the highest macro-F1 ({best.macro_f1:.3f}), "
            f"{last.behind:.3f} above the last layer ({interval}, p = {last.p_value:.3f})."
        )
        return f"{text} Not significantly worse: {', '.join(alike)}." if alike else text

    def next_command(self, name: str) -> str:
        """Return the command that extracts the recommended layer."""
        chosen = self.best.layer if self.last.is_worse else self.last.layer
        return f"serctl extract --encoder {name}" + ("" if chosen < 0 else f" --layer {chosen}")


def read_comparisons(folder: Path, encoders: Collection[str]) -> list[LayersDocument]:
    """Return the existing comparisons of the encoders.

    Raises:
        ReportError: A comparison is damaged.
    """
    found = [LayersDocument.read(path) for path in sorted(folder.glob("*.json"))]
    return [document for document in found if document.encoder in encoders]

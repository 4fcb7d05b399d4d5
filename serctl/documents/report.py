"""An evaluation on disk: every metric of every system, and the columns of the utterances."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from serctl.document import Document, Section
from serctl.errors import ReportError
from serctl.files import write_atomic
from serctl.metrics.classification import Reliability

REPORT_VERSION: Literal[1] = 1
SystemKind = Literal["run", "stacker", "outside", "baseline"]
ConfidenceInterval = tuple[float, float]


class Intervals(Section):
    """95 % intervals from resampling speakers: lower and upper bound."""

    macro_f1: ConfidenceInterval = Field(description="of macro-F1")
    uar: ConfidenceInterval = Field(description="of UAR")
    accuracy: ConfidenceInterval = Field(description="of accuracy")


class SubsetSummary(Section):
    """Macro-F1 over balanced subsets (BS-F1)."""

    mean: float = Field(description="mean over the subsets: BS-F1")
    std: float = Field(description="standard deviation")
    min: float = Field(description="lowest subset")
    max: float = Field(description="highest subset")
    per_class: int = Field(description="utterances of each class in a subset")


class SubsetScores(SubsetSummary):
    """BS-F1 with the macro-F1 of each subset."""

    values: tuple[float, ...] = Field(description="macro-F1 of each subset")


class ClassScore(Section):
    """Metrics of one class."""

    label: str = Field(description="the emotion")
    precision: float = Field(description="0 for a class without predictions")
    recall: float = Field(description="0 for a class without utterances")
    f1: float = Field(description="F1")
    support: int = Field(description="utterances of the class")


class GroupScore(Section):
    """Metrics of one speaker, gender or range of durations."""

    name: str = Field(description="the group")
    count: int = Field(description="utterances")
    macro_f1: float = Field(description="macro-F1 over the classes in the group")
    uar: float = Field(description="unweighted average recall")
    accuracy: float = Field(description="share of correct predictions")


class SystemFacts(Section):
    """Facts from the sidecar of a system's logits, and the number of in-sample utterances."""

    stacker: str = Field(default="", description="kind of the stacker; empty for a run")
    stack_on: str = Field(default="", description="see the sidecar of logits")
    by_speaker: bool = Field(default=False, description="see the sidecar of logits")
    cross_fitted: bool = Field(default=False, description="see the sidecar of logits")
    base_models: tuple[str, ...] = Field(default=(), description="base models of a stacker")
    run_hash: str = Field(default="", description="`hash` of the run's config.json")
    csv_hash: str = Field(default="", description="hash of the CSV of its predictions")
    num_in_sample: int = Field(default=0, description="utterances it was trained on")
    assumed: str = Field(
        default="", description="outside system: assumed content of its columns; absent if stated"
    )


class SystemSummary(Section):
    """Metrics of a system in the results table, as fractions from 0 to 1."""

    name: str = Field(description="name of the run, stacker, CSV or baseline")
    kind: SystemKind = Field(description="type of the system")
    macro_f1: float = Field(description="mean F1 over the declared labels")
    uar: float = Field(description="unweighted average recall")
    accuracy: float = Field(description="share of correct predictions")
    intervals: Intervals | None = Field(
        description="95 % intervals over speakers; null with fewer than six"
    )
    bs_f1: SubsetSummary = Field(description="macro-F1 over balanced subsets")


class SystemScore(SystemSummary):
    """Every metric of one system; N utterances, C labels."""

    bs_f1: SubsetScores = Field(description="macro-F1 over balanced subsets")
    per_class: tuple[ClassScore, ...] = Field(description="one entry per label")
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="counts (C, C), true class by row, predicted class by column"
    )
    calibration: Reliability = Field(description="accuracy by confidence")
    groups: dict[str, tuple[GroupScore, ...]] = Field(
        description="by `speaker`, `gender` and `duration`"
    )
    ccc: dict[str, float] | None = Field(
        description="concordance of arousal, valence and dominance, each over the utterances with "
        "a rating of it; null without them"
    )
    predictions: tuple[int, ...] = Field(description="N label ids")
    probabilities: list[list[float]] = Field(description="(N, C), five digits")
    facts: SystemFacts = Field(description="provenance of the predictions")

    def summarise(self) -> SystemSummary:
        """Return the metrics of the results table."""
        subset = self.bs_f1.model_dump(exclude={"values"})
        names = ("name", "kind", "macro_f1", "uar", "accuracy", "intervals")
        values = {name: getattr(self, name) for name in names}
        return SystemSummary(**values, bs_f1=SubsetSummary(**subset))


class PairedResult(Section):
    """The paired test of two systems. The difference is first minus second."""

    first: str = Field(description="name of the first system")
    second: str = Field(description="name of the second system")
    difference: float = Field(description="difference in macro-F1")
    low: float = Field(description="lower bound of its 95 % interval")
    high: float = Field(description="upper bound")
    p_value: float = Field(description="two-sided, from swapping predictions by speaker")
    num_clusters: int = Field(description="speakers")
    corrected_p: float = Field(description="p-value after Holm's correction for all tests")
    is_real: bool = Field(description="whether corrected test and interval both show a difference")
    verdict: str = Field(description="the result in a sentence")


class UtteranceColumns(Section):
    """The utterances of a report, one array per column, in the order of the manifest."""

    utterance_id: tuple[str, ...] = Field(description="utterance ids")
    true: tuple[int, ...] = Field(description="label ids of the emotions")
    speaker: tuple[str, ...] = Field(description="empty if unknown")
    gender: tuple[str, ...] = Field(description="empty if unknown")
    duration: tuple[float, ...] = Field(description="seconds; 0 if unknown")
    path: tuple[str, ...] = Field(description="audio files")
    stretch: tuple[tuple[float, float | None], ...] = Field(
        default=(), description="start and end in seconds, if utterances are parts of files"
    )
    channel: tuple[int, ...] = Field(
        default=(), description="channels from 1, if utterances are channels of files; 0: the mean"
    )
    transcript: tuple[str | None, ...] = Field(description="of the manifest; null without one")


class Report(Document):
    """An evaluation of one split."""

    noun: ClassVar = "evaluation"
    place: ClassVar = "reports/<name>.json"
    error: ClassVar = ReportError
    hint: ClassVar = "Run: serctl evaluate"

    serctl_report: Literal[1] = Field(description="format version")
    title: str = Field(description="title in one line")
    split: str = Field(description="split of the utterances")
    labels: tuple[str, ...] = Field(description="emotions in the order of label ids, C")
    counts: dict[str, int] = Field(default_factory=dict, description="utterances by emotion")
    num_utterances: int = Field(description="number of utterances, N")
    num_speakers: int = Field(description="number of named speakers")
    options: dict[str, Any] = Field(
        default_factory=dict, description="every option of `serctl evaluate`"
    )
    warnings: tuple[str, ...] = Field(description="reasons why metrics may be optimistic")
    notes: tuple[str, ...] = Field(description="explanations of the metrics")
    systems: tuple[SystemScore, ...] = Field(description="one entry per system")
    paired: tuple[PairedResult, ...] = Field(description="tests, in the order of macro-F1")
    utterances: UtteranceColumns = Field(description="columns of the utterances")

    @property
    def has_intervals(self) -> bool:
        """Whether there were enough speakers for intervals."""
        return any(system.intervals for system in self.systems)

    def write(self, path: Path) -> None:
        """Write the document as JSON in one line, because a report is large."""
        with write_atomic(path) as file:
            json.dump(self.to_dict(), file, ensure_ascii=False, separators=(",", ":"))

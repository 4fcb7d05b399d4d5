"""The paper's Table 2 and the authors' measurements, for comparison on MSP-Podcast.

The numbers are in ``paper_table_2.csv``. Source: Table 2 (dev: macro-F1, accuracy, BS-F1 with its
range; test: macro-F1, accuracy). The columns ``verified_*`` come from the authors' notebooks
(github.com/AI-Unicamp/interspeech_ser, history commit 6b4986c: 200 utterances per class, 100
subsets) with four digits. The paper's rows come from the released code (recipe `released`), not
from the paper's text.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from serctl.documents.report import Report, SystemScore
from serctl.documents.run import RunConfig

CORPUS_PREFIX = "MSP-PODCAST_"
"""Pattern of utterance ids in MSP-Podcast."""
RELEASED = {"attention": "query", "pooling": "linear", "class_weights": "N/(E*N_j)"}
"""Train options that differ between the released code's recipe and the paper's."""
STACKER = "random-forest"
"""The paper's stacker."""

Metrics = tuple[float | None, ...]


@dataclass(frozen=True)
class Published:
    """One row of Table 2.

    Attributes:
        title: The paper's name of the row.
        loss: ``wce``, ``wce+sml`` (with balancing) or '' for the stacking.
        encoders: Catalogue names of the encoders; () for baselines and the stacking.
        dev: Macro-F1, accuracy, BS-F1, its minimum and its maximum; None if not given.
        test: Macro-F1 and accuracy on the challenge's test set.
        verified: BS-F1, lowest, highest, macro-F1, accuracy on dev, from the authors' notebooks.
    """

    title: str
    loss: str
    encoders: frozenset[str]
    dev: Metrics
    test: Metrics = (None, None)
    verified: Metrics = ()

    @property
    def is_quoted(self) -> bool:
        """Whether it is a quoted baseline, which serctl does not run."""
        return "baseline" in self.title.lower()


def read_paper_table() -> tuple[Published, ...]:
    """Read the rows of Table 2 from ``paper_table_2.csv``, in the paper's order."""
    with (files("serctl.evaluation") / "paper_table_2.csv").open(encoding="utf-8") as file:
        return tuple(map(_parse_row, csv.DictReader(file)))


def _parse_row(row: Mapping[str, str]) -> Published:
    def numbers(prefix: str) -> Metrics:
        found = [value for name, value in row.items() if name.startswith(prefix)]
        return tuple(float(value) if value else None for value in found)

    verified = numbers("verified_")
    return Published(
        row["title"],
        row["loss"],
        frozenset(row["encoders"].split()),
        numbers("dev_"),
        numbers("test_"),
        verified if any(verified) else (),
    )


TABLE_2 = read_paper_table()
AVERAGES = (
    "Plain averages and votes of the same models reached BS-F1 0.414 to 0.422, dev macro-F1 0.400 "
    "to 0.410 and accuracy 0.54 to 0.56 in the authors' notebooks."
)


@dataclass(frozen=True)
class Training:
    """Encoders (catalogue names), loss and recipe of a run. A pooled model has no loss."""

    encoders: tuple[str, ...]
    loss: str
    is_released: bool


def describe_training(config: RunConfig) -> Training:
    """Return the encoders, loss and recipe of a run."""
    options = config.options
    return Training(
        tuple(branch.encoder for branch in config.branches),
        "" if options.kind == "pooled" else options.loss,
        all(getattr(options, name) == value for name, value in RELEASED.items()),
    )


@dataclass(frozen=True)
class PublishedPair:
    """A published row and the corresponding system of a report, if there is one."""

    published: Published
    system: SystemScore | None
    is_released: bool


def pair_published(report: Report, configs: Mapping[str, RunConfig]) -> list[PublishedPair]:
    """Pair the rows of Table 2 with systems; [] unless the report is on dev of MSP-Podcast.

    A stacker is paired with the paper's only if its base models are the twelve of the table, and a
    forest before others.

    Args:
        report: An evaluation.
        configs: ``config.json`` of the runs, by name.
    """
    ids = report.utterances.utterance_id
    is_corpus = all(name.startswith(CORPUS_PREFIX) for name in ids)
    if not is_corpus or report.split != "dev" or len(report.labels) != 8:
        return []
    trainings = {name: describe_training(config) for name, config in configs.items()}
    rows = {name: _find_row(training) for name, training in trainings.items()}
    found: dict[Published, SystemScore] = {}
    for system in sorted(report.systems, key=lambda system: system.facts.stacker != STACKER):
        row = rows.get(system.name)
        bases = [rows.get(name) for name in system.facts.base_models]
        if system.kind == "stacker" and None not in bases and len(bases) == len({*bases}) == 12:
            row = TABLE_2[-1]
        if row:
            found.setdefault(row, system)
    return [
        PublishedPair(row, found.get(row), row in found and _is_released(found[row], trainings))
        for row in TABLE_2
    ]


def compare_note(published: Sequence[PublishedPair]) -> str:
    """Return sentences on how comparable the two columns are."""
    others = [row.system.name for row in published if row.system and not row.is_released]
    text = "The paper's metrics come from the released code (recipe 'released'). "
    if others:
        text += f"Not strictly comparable, because of other options: {', '.join(others)}. "
    return text + "The two baselines are quoted and were not run. " + AVERAGES


def _find_row(training: Training) -> Published | None:
    encoders = {name.replace("facodec-prosody", "facodec") for name in training.encoders}
    fits: Iterable[Published] = (
        row for row in TABLE_2 if row.encoders == encoders and row.loss == training.loss
    )
    return next(iter(fits), None) if encoders else None


def _is_released(system: SystemScore, trainings: Mapping[str, Training]) -> bool:
    names = system.facts.base_models or (system.name,)
    if system.facts.base_models and system.facts.stacker != STACKER:
        return False
    return all(name in trainings and trainings[name].is_released for name in names)

"""The paper's Table 2 and the authors' own figures behind it, to lay beside ours on MSP-Podcast.

Source: Table 2 (dev: macro-F1, accuracy, BS-F1 with its range; test: macro-F1, accuracy). The
figures of `verified` were measured again by the authors' notebooks (github.com/AI-Unicamp/
interspeech_ser, history commit 6b4986c: 200 utterances a class, 100 subsets), four digits each.
Published rows come from the released code, not from the paper's text: the recipe `released`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serctl.documents.run import RunConfig

CORPUS_PREFIX = "MSP-PODCAST_"
"""How every utterance of that corpus is named."""
RELEASED = {"attention": "query", "pooling": "linear", "class_weights": "N/(E*N_j)"}
"""Train options that tell the released code's recipe from the paper's."""

Figures = tuple[float | None, ...]


@dataclass(frozen=True)
class Published:
    """One row of Table 2.

    Attributes:
        title: The paper's name of the row.
        loss: ``wce``, ``wce+sml`` (with balancing) or '' for the stacking.
        encoders: Of this catalogue; () for baselines and the stacking.
        dev: Macro-F1, accuracy, BS-F1, its lowest and its highest; None where not given.
        test: Macro-F1 and accuracy on the challenge's test set.
        verified: BS-F1, lowest, highest, macro-F1, accuracy on dev, from the authors' notebooks.
    """

    title: str
    loss: str
    encoders: frozenset[str]
    dev: Figures
    test: Figures = (None, None)
    verified: Figures = ()

    @property
    def is_quoted(self) -> bool:
        """True for the baselines of others, which serctl does not run."""
        return "baseline" in self.title.lower()


def _row(title: str, loss: str, dev: Figures, verified: Figures = ()) -> Published:
    names = {"Hubert": "hubert-xlarge", "Whisper": "whisper-large-v3", "WavLM": "wavlm-large"}
    names |= {"Roberta": "roberta-large", "Deberta": "deberta-v2-xxlarge", "NS3": "facodec"}
    encoders = frozenset(names[word] for word in title.split(" + "))
    return Published(title, loss, encoders, dev, verified=verified)


_NONE = (None,) * 5
TABLE_2 = (
    Published("Baseline", "wce", frozenset(), _NONE, (0.329, 0.356)),
    Published(
        "Reproduced baseline",
        "wce",
        frozenset(),
        (0.346, 0.520, 0.325, 0.290, 0.356),
        (0.284, 0.320),
    ),
    _row(
        "WavLM + Roberta",
        "wce",
        (0.363, 0.498, 0.392, 0.366, 0.423),
        (0.3919, 0.3656, 0.4231, 0.3635, 0.4977),
    ),
    _row(
        "Whisper + Roberta",
        "wce",
        (0.388, 0.524, 0.417, 0.392, 0.440),
        (0.4174, 0.3919, 0.4402, 0.3880, 0.5240),
    ),
    _row("Whisper + Deberta", "wce", (0.376, 0.527, 0.383, 0.364, 0.414)),
    _row(
        "Hubert + Roberta",
        "wce",
        (0.359, 0.493, 0.387, 0.356, 0.418),
        (0.3874, 0.3557, 0.4185, 0.3592, 0.4928),
    ),
    _row(
        "Hubert + Whisper",
        "wce",
        (0.345, 0.499, 0.347, 0.327, 0.366),
        (0.3469, 0.3275, 0.3657, 0.3449, 0.4990),
    ),
    _row(
        "Whisper + Roberta + NS3",
        "wce",
        (0.383, 0.547, 0.374, 0.347, 0.391),
        (0.3742, 0.3473, 0.3911, 0.3829, 0.5469),
    ),
    _row(
        "WavLM + Roberta",
        "wce+sml",
        (0.375, 0.505, 0.398, 0.364, 0.425),
        (0.3980, 0.3643, 0.4246, 0.3750, 0.5047),
    ),
    _row(
        "Whisper + Roberta",
        "wce+sml",
        (0.387, 0.529, 0.410, 0.388, 0.433),
        (0.4103, 0.3885, 0.4331, 0.3873, 0.5287),
    ),
    _row("Whisper + Deberta", "wce+sml", (0.388, 0.531, 0.404, 0.375, 0.431)),
    _row(
        "Hubert + Roberta",
        "wce+sml",
        (0.370, 0.512, 0.382, 0.356, 0.408),
        (0.3823, 0.3557, 0.4080, 0.3699, 0.5123),
    ),
    _row("Hubert + Whisper", "wce+sml", (0.351, 0.507, 0.354, 0.312, 0.411)),
    _row("Whisper + Roberta + NS3", "wce+sml", (0.386, 0.542, 0.391, 0.338, 0.433)),
    Published(
        "Stacking",
        "",
        frozenset(),
        (0.379, 0.498, 0.430, 0.404, 0.451),
        (0.409, 0.413),
        (0.4292, 0.4038, 0.4510, None, None),
    ),
)
AVERAGES = (
    "Plain averages and votes of the same models reached BS-F1 0.414 to 0.422, dev macro-F1 0.400 "
    "to 0.410 and accuracy 0.54 to 0.56 in the authors' notebooks."
)


@dataclass(frozen=True)
class Training:
    """What a run was trained as: catalogue names of its encoders, loss, and by which recipe."""

    encoders: tuple[str, ...]
    loss: str
    is_released: bool


def describe_training(config: RunConfig) -> Training:
    """Return the encoders, loss and recipe of a run."""
    options = config.options
    return Training(
        tuple(branch.encoder for branch in config.branches),
        options.loss,
        all(getattr(options, name) == value for name, value in RELEASED.items()),
    )


@dataclass(frozen=True)
class Beside:
    """A published row and the system of ours that it is to be compared with, if there is one."""

    published: Published
    system: Mapping[str, Any] | None
    is_released: bool


def lay_beside(report: Mapping[str, Any], configs: Mapping[str, RunConfig]) -> list[Beside]:
    """Lay Table 2 beside a report; [] unless it is about MSP-Podcast's dev split and 8 classes.

    A stacker stands beside the paper's only if its base models are the table's twelve.

    Args:
        report: The document of an evaluation.
        configs: ``config.json`` of the runs, by name.
    """
    ids = report["utterances"]["utterance_id"]
    is_corpus = all(name.startswith(CORPUS_PREFIX) for name in ids)
    if not is_corpus or report["split"] != "dev" or len(report["labels"]) != 8:
        return []
    trainings = {name: describe_training(config) for name, config in configs.items()}
    rows = {name: _find_row(training) for name, training in trainings.items()}
    found: dict[Published, Mapping[str, Any]] = {}
    for system in report["systems"]:
        row = rows.get(system["name"])
        bases = {rows.get(name) for name in system["facts"].get("base_models", ())} - {None}
        if system["kind"] == "stacker" and len(bases) == 12:
            row = TABLE_2[-1]
        if row:
            found.setdefault(row, system)
    return [
        Beside(row, found.get(row), row in found and _is_released(found[row], trainings))
        for row in TABLE_2
    ]


def compare_note(beside: Sequence[Beside]) -> str:
    """Say how far the two columns can be compared."""
    others = [row.system["name"] for row in beside if row.system and not row.is_released]
    text = "Published figures come from the released code (recipe 'released'). "
    if others:
        text += f"Trained otherwise, so not strictly comparable: {', '.join(others)}. "
    return text + "The two baselines are quoted, not run. " + AVERAGES


def _find_row(training: Training) -> Published | None:
    encoders = {name.replace("facodec-prosody", "facodec") for name in training.encoders}
    fits: Iterable[Published] = (
        row for row in TABLE_2 if row.encoders == encoders and row.loss == training.loss
    )
    return next(iter(fits), None) if encoders else None


def _is_released(system: Mapping[str, Any], trainings: Mapping[str, Training]) -> bool:
    names = system["facts"].get("base_models") or [system["name"]]
    return all(name in trainings and trainings[name].is_released for name in names)

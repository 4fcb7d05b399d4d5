"""Model card of a bundle: intended use, limits, law, metrics, encoders and data.

README.md of a bundle is the card with the YAML header for the Hugging Face hub.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serctl.data.corpora import CORPORA
from serctl.documents.bundle import (
    OTHER_LICENSE,
    BundleDocument,
    CorpusRecord,
    EncoderRecord,
    SplitMetrics,
)
from serctl.encoders.catalog import is_hub_id
from serctl.ensemble.calibration import NOT_CALIBRATED
from serctl.errors import first_few
from serctl.system.bundle_facts import NOT_STATED

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

CARD = "README.md"

METRIC_TITLES = {"macro_f1": "macro-F1", "uar": "UAR", "accuracy": "accuracy"}
METRIC_TYPES = {"macro_f1": "f1", "uar": "recall", "accuracy": "accuracy"}
"""The hub's name for each metric; UAR is the macro-averaged recall."""
UNKNOWN, KNOWN = "speakers unknown", "speakers known"

USE = """\
## Intended use

Research on emotional speech: one of the emotions below for an utterance of a few seconds by one
speaker. The classes are perceived (or acted) emotions, not the feelings of a speaker.

## Limits

- It was evaluated only on the corpora below. Another language, microphone, age, accent or speaking
  style can cost most of the accuracy. Evaluate it on your own labelled recordings.
- Probabilities are as trained. With `--prior` the calibration below applies. It does not hold for
  other audio than that of these corpora.
- A text branch reads transcripts. Errors of the recogniser can cause wrong predictions.
- It was not tested for decisions about people. Do not use it for them.

## Law

- Regulation (EU) 2024/1689 (AI Act), Article 5(1)(f), prohibits AI systems that infer emotions of a
  natural person in the areas of workplace and education institutions, except for medical or safety
  reasons, since 2 February 2025. Recital 44 states the reasons: limited reliability, lack of
  specificity, limited generalisability.
- Elsewhere, systems intended for emotion recognition from biometric data (Article 3(39)) are listed
  as high-risk (Annex III, point 1(c); Article 6 has exceptions). Users of such a system must inform
  the people exposed to it (Article 50(3)).
- Voice recordings are personal data. You are responsible for consent and purpose. This is not
  legal advice, and other countries have other laws.

The Regulation: https://eur-lex.europa.eu/eli/reg/2024/1689/oj. It has been amended in 2026; the
points above were checked on 2026-11-22 against reproductions of it, not the Official Journal.
"""


def write_bundle_readme(document: BundleDocument) -> str:
    """Return README.md of a bundle: the hub's header, then the card."""
    return f"---\n{write_header(document)}\n---\n\n{write_card(document)}"


def note_in_sample(document: BundleDocument) -> list[str]:
    """Return notes on utterances that the networks were trained on."""
    notes = [
        f"Not in the metrics: {number} utterances of {split} that the networks were trained on."
        for split, number in document.in_sample.items()
    ]
    return notes if document.calibration.num_rows else [*notes, NOT_CALIBRATED]


def note_base(document: BundleDocument) -> list[str]:
    """Return a note on corpora that the base was trained on and that it is evaluated on."""
    trained = {row.name for row in document.corpora}
    shared = [row.name for row in document.measured_on if row.name in trained - {NOT_STATED}]
    if not document.base or not shared:
        return []
    return [
        f"The networks of the base were trained on {first_few(shared)} too. A bundle does not name "
        f"their utterances. If some of them are in dev or test here, the metrics are optimistic."
    ]


def write_header(document: BundleDocument) -> str:
    """Return the YAML header for the Hugging Face hub.

    It has no metrics of dev, because the temperature was fitted on dev.
    """
    from huggingface_hub import ModelCardData

    license_id = document.license
    bases = [row.weights for row in document.encoders if is_hub_id(row.weights)]
    corpora = [row.name for row in document.corpora if row.name in CORPORA]
    languages = {CORPORA[name].language for name in corpora}
    results = list_results(document)
    header = ModelCardData(
        model_name=document.name if results else None,
        eval_results=results or None,
        license=license_id,
        license_name="terms-of-the-training-data" if license_id == OTHER_LICENSE else None,
        language=sorted(languages) or None,
        base_model=sorted(set(bases)) or None,
        datasets=corpora or None,
        library_name="serctl",
        pipeline_tag="audio-classification",
        tags=[
            *("speech-emotion-recognition", "emotion", "speech"),
            *filter(None, map(_slug, document.labels)),  # the hub refuses empty ones
        ],
    )
    return header.to_yaml()


def list_results(document: BundleDocument) -> "list[EvalResult]":
    """Return the metrics of every split except dev, in the form of the hub's model index.

    If networks are standardised per speaker, the metrics of a plain `predict` come first.
    """
    from huggingface_hub import EvalResult

    corpora = ", ".join(row.name for row in document.measured_on or document.corpora)
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type=_slug(corpora) or "speech",
            dataset_name=f"{corpora} ({', '.join(filter(None, (split, way)))})",
            dataset_config=_slug(way) or None,
            dataset_split=split,
            metric_type=METRIC_TYPES[name],
            metric_name=title,
            metric_value=getattr(found, name),
        )
        for split, way, found in _list_metrics(document)
        if split != "dev"
        for name, title in METRIC_TITLES.items()
    ]


def _list_metrics(document: BundleDocument) -> list[tuple[str, str, SplitMetrics]]:
    """Return split, what is known of the speakers ('' where that does not matter), and metrics."""
    ways = [("", document.metrics)]
    if document.by_speaker:
        ways = [(UNKNOWN, document.without_speakers), (KNOWN, document.metrics)]
    return [(split, way, found) for way, metrics in ways for split, found in metrics.items()]


def write_card(document: BundleDocument) -> str:
    """Return the card of a bundle as Markdown, from ``bundle.json``."""
    system = f"stacker `{document.stacker.kind}` over " if document.stacker else ""
    count = len(document.networks)
    parts = [
        f"# {document.name}",
        f"Speech emotion recognition: {system}{count} model{'s' * (count > 1)} on frames of frozen "
        f"encoders. Emotions: {', '.join(document.labels)}.",
        "    serctl predict AUDIO --model FOLDER",
        USE,
        "## Metrics",
        *_describe_metrics(document),
        *_describe_unmeasured(document),
        *_describe_speakers(document),
        *_describe_calibration(document),
        "## Encoders",
        "The weights are not in this folder. serctl finds them by name and checks their revision.",
        _tabulate(
            ("encoder", "modality", "layer", "weights", "revision", "license"),
            document.encoders,
        ),
        f"Transcripts: {_recogniser_of(document)}.",
        "## Data",
        _tabulate(("name", "terms"), document.corpora),
        "The networks were trained on these recordings. Their terms may bind the weights too.",
        *_describe_base(document),
        f"Made by serctl {document.serctl} on {document.made}.",
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _describe_metrics(document: BundleDocument) -> list[str]:
    rows = [
        (
            ", ".join(filter(None, (split, way))),
            str(found.num_utterances),
            *(f"{getattr(found, name):.3f}" for name in METRIC_TITLES),
        )
        for split, way, found in _list_metrics(document)
    ]
    found = [_table(("split", "utterances", *METRIC_TITLES.values()), rows)] if rows else []
    found += ["Predictions as trained, before `--prior`."] if rows else []
    if "dev" in document.metrics:
        found.append(
            "The temperature was fitted on dev, and dev may have selected the epochs of the "
            "networks, so metrics on dev are optimistic."
        )
    return found + note_in_sample(document)


def _describe_calibration(document: BundleDocument) -> list[str]:
    calibration = document.calibration
    rows, size = calibration.num_rows, len(document.labels)
    natural, implied = calibration.natural_prior, calibration.implied_prior
    if not rows:
        return []

    def share(name: str) -> float:  # the prior counts one utterance more of each emotion
        return max(0.0, (natural[name] * (rows + size) - 1) / rows)

    return [
        f"Fitted on dev ({rows} utterances): temperature {calibration.temperature:.2f}.",
        _table(
            ("emotion", "share in dev", "share implied by the predictions"),
            [(name, f"{share(name):.3f}", f"{implied[name]:.3f}") for name in document.labels],
        ),
    ]


def _describe_unmeasured(document: BundleDocument) -> list[str]:
    if not document.unmeasured:
        return []
    names = ", ".join(f"{name} ({number})" for name, number in document.unmeasured.items())
    return [
        f"Not in the metrics: {sum(document.unmeasured.values())} labelled utterances outside of "
        f"train whose emotions the system does not know: {names}."
    ]


def _describe_speakers(document: BundleDocument) -> list[str]:
    if not document.by_speaker:
        return []
    names = ", ".join(f"`{name}`" for name in document.by_speaker)
    measured = (
        f"The rows '{UNKNOWN}' are of a plain `serctl predict`."
        if document.without_speakers
        else "A plain `serctl predict` was not measured and may be less accurate. To measure it on "
        "labelled recordings: `serctl bundle make --base`."
    )
    return [
        f"Frames in {names} are standardised per speaker. The rows '{KNOWN}' use unlabelled "
        f"utterances of the same speaker, as `serctl predict --speaker-per` does. {measured}"
    ]


def _describe_base(document: BundleDocument) -> list[str]:
    if not document.base:
        return []
    return [
        f"Networks and stacker are those of `{document.base}`. Temperature, priors and metrics are "
        f"from these recordings:",
        _tabulate(("name", "terms"), document.measured_on),
        *note_base(document),
    ]


def _recogniser_of(document: BundleDocument) -> str:
    recogniser = document.recogniser
    return f"`{recogniser.source}`" if recogniser else "not used"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _tabulate(columns: Sequence[str], rows: Sequence[EncoderRecord | CorpusRecord]) -> str:
    cells = [tuple(str(getattr(row, name)) for name in columns) for row in rows]
    return _table(tuple(name.replace("license", "licence") for name in columns), cells)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)

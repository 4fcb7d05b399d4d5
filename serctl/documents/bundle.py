"""The document of a bundle, ``bundle.json``: its parts, and all files with their hashes."""

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from serctl.document import Document, Section, hash_field
from serctl.errors import CheckpointError
from serctl.workspace import BUNDLE_FILE

BUNDLE_VERSION: Literal[1] = 1
OTHER_LICENSE = "other"
"""The hub's identifier of licences without their own identifier."""


class StackerName(Section):
    """The stacker of a bundle."""

    kind: str = Field(description="such as `random-forest`")
    name: str = Field(description="name of its folder in the project")


class EncoderRecord(Section):
    """An encoder whose frames the networks read: its feature key, licence and files."""

    encoder: str = Field(description="name in the catalogue, on the hub or in `[weights]`")
    modality: str = Field(description="`speech`, `text` or `paralinguistic`")
    weights: str = Field(description="source of the weights: hub id, package or `local`")
    revision: str = Field(description="commit or hash of the weights")
    layer: int = Field(description="N of `hidden_states[N]`; -1 is `last_hidden_state`")
    compute_dtype: str = Field(description="type that the network computes in")
    window: str = Field(description="the encoder's rule for length and padding")
    source: str = Field(description="`audio-16k-mono`, or the id of the transcripts")
    storage: str = Field(description="how the cache keeps the frames")
    digest: str = Field(description="twelve hex digits of the feature key")
    license: str = Field(description="licence of the weights")
    content: str = Field(description="hash of the weights' files; empty if they were missing")


class RecogniserRecord(Section):
    """The recogniser whose transcripts the text branches were trained on."""

    source: str = Field(description="id of the transcripts; `manifest` for those of the corpus")
    backend: str = Field(default="auto", description="program that ran the recogniser")
    settings: dict[str, Any] | None = Field(
        default=None, description="model, language, dtype, layer, storage and seed"
    )


class CalibrationRecord(Section):
    """Temperature and priors, fitted on dev."""

    temperature: PositiveFloat = Field(description="divisor of the logits")
    implied_prior: dict[str, PositiveFloat] = Field(
        description="emotion → share that the predictions imply"
    )
    natural_prior: dict[str, PositiveFloat] = Field(
        description="emotion → share in dev, with one utterance more of each"
    )
    num_rows: int = Field(
        description="utterances of dev that it was fitted on; 0 if the networks were trained on all"
    )


class SplitMetrics(Section):
    """Metrics of the system on one split."""

    num_utterances: int = Field(description="labelled utterances")
    macro_f1: float = Field(description="macro-F1")
    uar: float = Field(description="unweighted average recall")
    accuracy: float = Field(description="share of correct predictions")


class CorpusRecord(Section):
    """A corpus that the networks were trained on, or that they were evaluated on."""

    name: str = Field(description="name of the corpus")
    terms: str = Field(description="its licence or terms")


class FileRecord(Section):
    """A file of the bundle."""

    bytes: int = Field(description="size")
    sha256: str = Field(description="SHA-256 in hex digits")


class BundleDocument(Document):
    """Content of a bundle."""

    noun: ClassVar = "bundle"
    place: ClassVar = f"<bundle>/{BUNDLE_FILE}"
    error: ClassVar = CheckpointError
    hint: ClassVar = "Make a bundle with: serctl bundle make"

    serctl_bundle: Literal[1] = Field(description="format version")
    name: str = Field(description="name of the bundle")
    serctl: str = Field(description="version of serctl that made it")
    made: str = Field(description="date")
    license: str = Field(
        default=OTHER_LICENSE, description="licence of the bundle, an identifier of the hub"
    )
    labels: tuple[str, ...] = Field(description="emotions in the order of every output")
    networks: tuple[str, ...] = Field(description="names, in the order of the stacker's input")
    stacker: StackerName | None = Field(description="null for a single network")
    encoders: tuple[EncoderRecord, ...] = Field(description="one entry per feature key")
    recogniser: RecogniserRecord | None = Field(description="null without a text branch")
    calibration: CalibrationRecord = Field(description="fitted on dev")
    metrics: dict[str, SplitMetrics] = Field(description="by labelled split, without train")
    by_speaker: tuple[str, ...] = Field(
        default=(),
        description="networks with metrics for frames standardised per speaker, which `predict` "
        "does only with `--speaker-per`",
    )
    unmeasured: dict[str, int] = Field(
        default={},
        description="emotion that the system does not know → labelled utterances outside of train, "
        "which are not in the metrics",
    )
    in_sample: dict[str, int] = Field(
        default={},
        description="split → labelled utterances that the networks were trained on, which are not "
        "in the metrics",
    )
    without_speakers: dict[str, SplitMetrics] = Field(
        default={},
        description="metrics of `predict` without `--speaker-per`, where `by_speaker` names any",
    )
    corpora: tuple[CorpusRecord, ...] = Field(description="the training data")
    base: str = Field(
        default="", description="bundle of origin of networks and stacker, with its commit"
    )
    measured_on: tuple[CorpusRecord, ...] = Field(
        default=(), description="data of calibration and metrics, if not the training data"
    )
    files: dict[str, FileRecord] = Field(description="path in the bundle → size and hash")
    document_hash: str = hash_field()

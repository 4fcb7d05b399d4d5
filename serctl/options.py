"""Every option of every stage with its default: the only place where defaults stand."""

from dataclasses import dataclass
from typing import Literal

Device = str
"""``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""


@dataclass(frozen=True)
class TranscribeOptions:
    """Options of `serctl transcribe`."""

    model: str = "whisper-large-v3"


@dataclass(frozen=True)
class ExtractOptions:
    """Options of `serctl extract`."""

    encoder: str = ""
    layer: int = -1
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Device = "auto"
    batch_seconds: float = 60.0
    storage: str = "float16"
    weights: str | None = None
    limit: int | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class TrainOptions:
    """Options of `serctl train`."""

    speech: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    paralinguistic: tuple[str, ...] = ()
    loss: Literal["wce", "wce+sml"] = "wce"


@dataclass(frozen=True)
class ExportLogitsOptions:
    """Options of `serctl export-logits`."""


@dataclass(frozen=True)
class StackOptions:
    """Options of `serctl stack`."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `serctl evaluate`."""


STAGE_OPTIONS: dict[str, type] = {
    "transcribe": TranscribeOptions,
    "extract": ExtractOptions,
    "train": TrainOptions,
    "export-logits": ExportLogitsOptions,
    "stack": StackOptions,
    "evaluate": EvaluateOptions,
}
"""Tables of serctl.toml and of recipe files."""

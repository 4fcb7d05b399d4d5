"""Options of every stage. A field defines name, type, default, range and help text of an option.

Command lines, ``--help``, the validation of files and flags, and the documentation are generated
from the fields.
"""

from serctl.options.check import check_options, read_recipe, restore_options
from serctl.options.option import OVER_TIME
from serctl.options.serving import BundleOptions, PushOptions, ServeOptions, SpaceOptions
from serctl.options.slurm import SlurmOptions
from serctl.options.stages import (
    EvaluateOptions,
    ExportLogitsOptions,
    ExtractOptions,
    LayersOptions,
    PredictOptions,
    ReportOptions,
    StackOptions,
    TranscribeOptions,
)
from serctl.options.training import TrainOptions

STAGE_OPTIONS: dict[str, type] = {
    "transcribe": TranscribeOptions,
    "layers": LayersOptions,
    "extract": ExtractOptions,
    "train": TrainOptions,
    "export-logits": ExportLogitsOptions,
    "stack": StackOptions,
    "evaluate": EvaluateOptions,
    "report": ReportOptions,
    "predict": PredictOptions,
    "bundle": BundleOptions,
    "push": PushOptions,
    "space": SpaceOptions,
    "serve": ServeOptions,
    "slurm": SlurmOptions,
}
"""Tables of serctl.toml and of recipe files."""

__all__ = [
    "OVER_TIME",
    "STAGE_OPTIONS",
    "BundleOptions",
    "EvaluateOptions",
    "ExportLogitsOptions",
    "ExtractOptions",
    "LayersOptions",
    "PredictOptions",
    "PushOptions",
    "ReportOptions",
    "ServeOptions",
    "SlurmOptions",
    "SpaceOptions",
    "StackOptions",
    "TrainOptions",
    "TranscribeOptions",
    "check_options",
    "read_recipe",
    "restore_options",
]

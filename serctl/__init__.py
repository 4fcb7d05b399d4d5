"""Speech emotion recognition from frozen encoders: the library behind the `serctl` command.

Every subcommand is a function of the same name: ``serctl.extract(workspace, options)``. Public
names are imported when first used, so ``import serctl`` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "serctl.config": ("Workspace", "open_workspace", "resolve_options"),
    "serctl.data.manifest": ("Manifest", "Utterance", "read_manifest", "write_manifest"),
    "serctl.cache.store": ("FeatureStore",),
    "serctl.options": (
        "TranscribeOptions",
        "ExtractOptions",
        "LayersOptions",
        "TrainOptions",
        "ExportLogitsOptions",
        "StackOptions",
        "EvaluateOptions",
        "PredictOptions",
        "BundleOptions",
    ),
    "serctl.stages.transcribe": ("transcribe",),
    "serctl.stages.layers": ("layers",),
    "serctl.stages.extract": ("extract",),
    "serctl.stages.train": ("train",),
    "serctl.stages.export_logits": ("export_logits",),
    "serctl.stages.stack": ("stack",),
    "serctl.stages.evaluate": ("evaluate",),
    "serctl.stages.predict": ("predict",),
    "serctl.system.predictor": ("load", "Predictor"),
    "serctl.system.prediction": ("Prediction", "predictions_to_frame"),
    "serctl.stages.bundle": ("make_bundle",),
    "serctl.stages.doctor": ("examine",),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'serctl' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

"""Speech emotion recognition from frozen encoders: the library behind the `serctl` command.

A project is a folder with `serctl.toml`. Each stage reads what the stage before it wrote::

    import serctl

    workspace = serctl.open_workspace()                    # here or in a parent folder
    serctl.extract(workspace, serctl.ExtractOptions(encoder="whisper-tiny"))
    serctl.train(workspace, serctl.TrainOptions(speech="whisper-tiny", recipe="small"))
    serctl.run(workspace, "small")                         # or all stages of a recipe

    model = serctl.load("bundle")                          # a trained system
    model.predict("a.wav").emotion

Stages, each ``stage(workspace, options)`` with options of its own (``help(serctl.TrainOptions)``):
    transcribe, extract, layers, train, export_logits, stack, evaluate, report, predict, serve,
    bundle_make

Other commands, named as on the command line:
    init, run, doctor, manifest_check, manifest_stats, manifest_split, manifest_merge, cache_ls,
    cache_info, cache_verify, cache_prune, cache_rm, cache_pack, cache_unpack, bundle_check,
    bundle_show, bundle_push, bundle_space; list_encoders for `serctl encoders`, because
    `serctl.encoders` is the package of the encoders

Objects:
    Workspace, Source, Manifest, Utterance, FeatureStore, Predictor, Prediction

Paths may be strings. An error that a user can cause is a `serctl.errors.SerctlError`. Names are
imported when they are first used, so ``import serctl`` is fast and ``from serctl import *`` gives
nothing: write ``from serctl import load``.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

_PUBLIC = {
    "serctl.config": ("Workspace", "open_workspace", "resolve_options"),
    "serctl.data.manifest": ("Manifest", "Utterance"),
    "serctl.data.manifest_file": ("read_manifest", "write_manifest"),
    "serctl.cache.store": ("FeatureStore",),
    "serctl.options": (
        "TranscribeOptions",
        "ExtractOptions",
        "LayersOptions",
        "TrainOptions",
        "ExportLogitsOptions",
        "StackOptions",
        "EvaluateOptions",
        "ReportOptions",
        "PredictOptions",
        "BundleOptions",
        "PushOptions",
        "ServeOptions",
        "SpaceOptions",
    ),
    "serctl.stages.init": ("Source", "init=init_project"),
    "serctl.stages.manifest": (
        "manifest_check=check_audio",
        "manifest_stats=describe_manifest",
        "manifest_split=split_manifest",
        "manifest_merge=merge_manifests",
    ),
    "serctl.stages.transcribe": ("transcribe",),
    "serctl.stages.layers": ("layers",),
    "serctl.stages.extract": ("extract",),
    "serctl.stages.train": ("train",),
    "serctl.stages.export_logits": ("export_logits",),
    "serctl.stages.stack": ("stack",),
    "serctl.stages.evaluate": ("evaluate",),
    "serctl.stages.report": ("report",),
    "serctl.pipeline.execute": ("Execution",),
    "serctl.pipeline.run": ("run",),
    "serctl.stages.predict": ("predict",),
    "serctl.system.load": ("load",),
    "serctl.system.predictor": ("Predictor",),
    "serctl.system.prediction": ("Prediction", "predictions_to_frame"),
    "serctl.stages.bundle": (
        "make_bundle",
        "bundle_make=make_bundle",
        "bundle_check=describe_bundle",
        "bundle_show=show_bundle",
    ),
    "serctl.stages.push": ("bundle_push=push_bundle",),
    "serctl.web.server": ("serve",),
    "serctl.web.space": ("bundle_space=write_space",),
    "serctl.stages.cache": (
        "cache_ls",
        "cache_info",
        "cache_verify",
        "cache_prune",
        "cache_rm",
        "cache_pack",
        "cache_unpack",
    ),
    "serctl.stages.doctor": ("examine", "doctor=examine"),
    "serctl.encoders.listing": ("list_encoders",),
}
"""Public names by module. ``name=function`` renames the module's function."""
_HOME = {
    entry.partition("=")[0]: (module, entry.rpartition("=")[2])
    for module, entries in _PUBLIC.items()
    for entry in entries
}
PUBLIC_NAMES = ("__version__", *_HOME)
"""Every public name. With ``__all__``, ``help(serctl)`` would print all their docstrings."""


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'serctl' has no attribute '{name}'")
    module, original = _HOME[name]
    found = getattr(_import_module(module), original)
    if isinstance(found, type):
        return found
    from serctl.arguments import check_arguments

    return check_arguments(found, f"serctl.{name}")


def __dir__() -> list[str]:
    return list(PUBLIC_NAMES)

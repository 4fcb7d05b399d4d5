"""Options without effect: the cases, and the check of the options that a source names."""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serctl.errors import ConfigError, SerctlError, UsageError
from serctl.options.option import FLAGS, OVER_TIME, flag_of, option_of

SEVERAL_LAYERS = re.compile(r"@-?\d+(\+-?\d+)+$")
"""End of the name of several layers, as in ``wavlm@9+12``."""
UNBALANCED = (
    "mean-logits",
    "mean-probabilities",
    "majority-vote",
    "best-single",
    "log-pool",
    "greedy",
)
"""Stackers that draw and weight no rows."""


@dataclass(frozen=True)
class Idle:
    """A case in which options have no effect.

    Attributes:
        options: Names of the options.
        other: Name of the option that decides it.
        when: Whether it is the case, from the values of all options.
        instead: Value of ``other`` with which the options have an effect; None if it is only left
            out.
        why: The reason.
        case: Description of the case, instead of the value of ``other``.
    """

    options: tuple[str, ...]
    other: str
    when: Callable[[Mapping[str, Any]], bool]
    instead: Any = None
    why: str = ""
    case: str = ""


def _has_one_layer(given: Mapping[str, Any]) -> bool:
    names = [*given["speech"], *given["text"], *given["paralinguistic"]]
    return bool(names) and not any(SEVERAL_LAYERS.search(name) for name in names)


WHISPER = ("model", "backend", "language", "weights", "seed", "device", "dtype", "batch_seconds")
IDLE: dict[str, tuple[Idle, ...]] = {
    "TranscribeOptions": (
        Idle(
            (*WHISPER, "layer", "storage", "skip_bad"),
            "from_manifest",
            lambda given: given["from_manifest"],
            why="no model is run",
        ),
        Idle(("layer", "storage"), "keep_frames", lambda given: not given["keep_frames"], True),
    ),
    "TrainOptions": (
        Idle(
            ("main",),
            "folds",
            lambda given: not given["folds"],
            5,
            "the model of all of train is the only one",
        ),
        Idle(
            ("patience",),
            "select_by",
            lambda given: given["patience"] and given["select_by"] == "last",
            "macro_f1",
        ),
        Idle(
            ("select_by",),
            "fit_on",
            lambda given: given["select_by"] != "last" and given["fit_on"] == "train+dev",
            "train",
            "without dev the last epoch is kept",
        ),
        Idle(
            ("select_by",),
            "kind",
            lambda given: given["select_by"] != "last" and given["kind"] == "pooled",
            "fusion",
            "it has no epochs",
        ),
        Idle(("pooled_c",), "kind", lambda given: given["kind"] != "pooled", "pooled"),
        Idle(
            ("neutral",),
            "loss",
            lambda given: given["loss"] == "wce" and given["balance"] in ("auto", "off"),
            "wce+sml",
            "only the soft margin loss and balanced batches use the label",
        ),
        Idle(
            ("layer_fusion", "normalise_layers"),
            "speech",
            _has_one_layer,
            "NAME@9+12",
            case="with one layer of each encoder",
        ),
        Idle(
            ("standardise",),
            "standardise_by",
            lambda given: given["standardise_by"] == "speaker",
            "corpus",
            "it standardises the frames of all encoders",
        ),
        Idle(
            ("balanced_learning_rate",),
            "balanced_epochs",
            lambda given: not given["balanced_epochs"],
            3,
        ),
        Idle(("mixup_alpha",), "mixup", lambda given: not given["mixup"], 0.3),
    ),
    "StackOptions": (
        Idle(
            ("stacker", "fold", "draws"),
            "compare",
            lambda given: given["compare"],
            why="it fits every stacker, each on one subset",
        ),
        Idle(
            ("balance", "draws", "fold"),
            "stacker",  # auto always weights classes
            lambda given: given["stacker"] in (*UNBALANCED, "auto") and not given["compare"],
            "random-forest",
            "it has no subsets, weights or forests to choose",
        ),
        Idle(
            ("draws",),
            "balance",
            lambda given: given["balance"] != "subset",
            "subset",
            "no subset is drawn",
        ),
    ),
    "EvaluateOptions": (
        Idle(
            ("baselines", "per_class", "subsets", "resamples", "seed"),
            "submission",
            lambda given: given["submission"],
            why="it is written without metrics",
        ),
        Idle(
            ("limit",),
            "submission",
            lambda given: given["submission"],
            why="it has all files of the split",
        ),
    ),
    "PredictOptions": (
        Idle(
            ("recogniser",),
            "transcripts",
            lambda given: given["transcripts"],
            why="no recording is transcribed",
        ),
        Idle(("cut_over",), "every", lambda given: given["every"], why="it predicts windows"),
        Idle(
            ("segment_seconds",),
            "cut_over",
            lambda given: given["cut_over"] == float("inf") and not given["every"],
            30.0,
            "no recording is cut",
        ),
    ),
}
"""Cases by the name of the options, in the order of the check."""


def check_idle(
    kind: type,
    values: Mapping[str, Any],
    given: Collection[str],
    source: str,
    sources: Mapping[str, str],
) -> None:
    """Check that every option that one source names has an effect with the others.

    Args:
        kind: Dataclass of the options.
        values: All of them.
        given: Names of the options of the source.
        source: Origin of these options.
        sources: Origin of each option that is not a default.

    Raises:
        UsageError: Flags have no effect.
        ConfigError: The same, for keys of a file.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    _check_over_time(kind, fields, values, given, source)
    unread = tuple(name for name in fields if option_of(fields[name]).only_with)
    network = Idle(
        unread, "kind", lambda given: given["kind"] == "pooled", "fusion", "it trains no network"
    )
    for case in (*([network] if unread else []), *IDLE.get(kind.__name__, ())):
        # False switches off what a file switched on.
        found = [
            name
            for name in case.options
            if name in given and (values[name] is not False or fields[name].default is not False)
        ]
        if found and case.when(values):
            raise _refuse(case, found, fields, values, source, sources)


def _check_over_time(
    kind: type,
    fields: Mapping[str, dataclasses.Field[Any]],
    values: Mapping[str, Any],
    given: Collection[str],
    source: str,
) -> None:
    for name, field in fields.items():
        over_time = name in given and option_of(field).panel == OVER_TIME
        if not over_time or values[name] == field.default or values["every"]:
            continue
        if source == FLAGS:
            raise UsageError(f"{flag_of(field)} needs a timeline. Add: --every 1")
        if source == kind.__name__:  # Python; a file may have it for other calls
            raise UsageError(f"{source}: '{name}' needs a timeline. Add: every=1")


def _refuse(
    case: Idle,
    found: Sequence[str],
    fields: Mapping[str, dataclasses.Field[Any]],
    values: Mapping[str, Any],
    source: str,
    sources: Mapping[str, str],
) -> SerctlError:
    """Return the error of options without effect. Each is named as its source names it."""
    other, value = fields[case.other], values[case.other]
    origin = sources.get(case.other, source)
    deciding = f"{'with' if value else 'without'} {_show_setting(other, value, origin)}"
    deciding += f" ({origin})" if origin not in (source, FLAGS) else ""
    if case.instead is not None:
        remedy = f"set {_show_setting(other, case.instead, source)}"
    else:
        remedy = f"leave out {_show_name(other, origin)}"
    names = [_show_name(fields[name], source) for name in found]
    if source == FLAGS and values[found[0]] is False:
        names[0] = names[0].replace("--", "--no-", 1)
    text = say_idle(names, case.case or deciding, case.why, remedy)
    return UsageError(text) if source == FLAGS else ConfigError(f"{source}: {text}")


def say_idle(names: Sequence[str], case: str, why: str = "", remedy: str = "") -> str:
    """Return the message that options have no effect.

    Example:
        >>> say_idle(["--main"], "without --folds", remedy="set --folds 5")
        '--main has no effect without --folds. Leave it out, or set --folds 5.'
    """
    has, them = ("has", "it") if len(names) == 1 else ("have", "them")
    text = f"{', '.join(names)} {has} no effect {case}{why and f': {why}'}. "
    return f"{text}Leave {them} out{remedy and f', or {remedy}'}."


def refuse_idle(given: Mapping[str, object], case: str, why: str = "") -> None:
    """Refuse flags of a command line that are no options of a stage.

    Args:
        given: Value of each flag. One that is False, None or '' was not given.
        case: Why they have no effect, such as ``with --slurm``.
        why: The reason.

    Raises:
        UsageError: A flag was given.
    """
    if names := [flag for flag, value in given.items() if value]:
        raise UsageError(say_idle(names, case, why))


def _show_name(field: dataclasses.Field[Any], source: str) -> str:
    """Return an option as a flag, or as a key of a file."""
    is_flag = source == FLAGS and not option_of(field).only_in_files
    return flag_of(field) if is_flag else f"'{field.name}'"


def _show_setting(field: dataclasses.Field[Any], value: Any, source: str) -> str:
    """Return an option with its value, unless it is off: ``--folds 5``, ``folds = 5``."""
    name = _show_name(field, source)
    if not value:
        return name
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if name.startswith("--"):
        return name if value is True else f"{name} {shown}"
    if isinstance(value, str):
        shown = f"['{value}']" if isinstance(field.default, tuple) else f"'{value}'"
    return f"{field.name} = {shown.lower() if value is True else shown}"

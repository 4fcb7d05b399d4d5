"""Metadata of an option: default, help, range, panel and the name of its flag."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

Options = TypeVar("Options")
OVER_TIME = "Emotion over time"
"""Panel of the options of a timeline, which is made with ``every``."""
FLAGS = "flags"
"""Source of the values of a command line."""


@dataclass(frozen=True)
class Option:
    """Metadata of an option in addition to its name, type and default.

    Attributes:
        help: One sentence for ``--help``, the docs and docstrings.
        panel: Heading of its group in ``--help``.
        min: Smallest value. A default outside the range is allowed; it switches the option off.
        max: Largest value.
        above: Exclusive lower bound.
        below: Exclusive upper bound.
        endless: Infinity is allowed.
        divides: Option whose value this one divides.
        times: Factor of that value.
        shown: Description of the default for ``--help``, instead of the value.
        flag: Name of the flag, if it differs from the option's.
        short: One-letter flag, such as ``-o``.
        metavar: Placeholder of the value in ``--help``.
        argument: Positional argument instead of a flag.
        required: Required on the command line.
        only_in_files: Set by serctl.toml, recipes and Python. There is no flag.
        only_with: Value of the option ``kind`` that reads this one; '' if all do.
    """

    help: str = ""
    panel: str | None = None
    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    endless: bool = False
    divides: str = ""
    times: int = 1
    shown: str = ""
    flag: str = ""
    short: str = ""
    metavar: str | None = None
    argument: bool = False
    required: bool = False
    only_in_files: bool = False
    only_with: str = ""

    def admits(self, value: float) -> bool:
        """Whether a number is within the range and, unless ``endless``, finite."""
        above = self.above is None or value > self.above
        below = self.below is None or value < self.below
        low = float("-inf") if self.min is None else self.min
        high = float("inf") if self.max is None else self.max
        finite = self.endless or abs(value) < float("inf")
        return above and below and low <= value <= high and finite

    @property
    def range(self) -> str:
        """Description of the range; '' if there is none."""
        if self.above is not None:
            return f"more than {self.above:g}"
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:.10g}"
        if self.min is not None and self.below is not None:
            return f"{self.min:g} to less than {self.below:g}"
        return f"at least {self.min:g}" if self.min is not None else ""


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a dataclass field with a default and its `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, **more)})


def option_of(field: dataclasses.Field[Any]) -> Option:
    """Return the metadata of a field; an empty `Option` for a field of another dataclass."""
    return field.metadata.get("option", Option())


def flag_of(field: dataclasses.Field[Any]) -> str:
    """Return the flag of a field, ``--model`` of ``TrainOptions.kind``."""
    return f"--{(option_of(field).flag or field.name).replace('_', '-')}"


def copy_options(kind: type[Options], source: Any) -> Options:
    """Return options of another stage with the values of the fields that both have."""
    shared = {field.name for field in dataclasses.fields(kind)} & vars(source).keys()  # type: ignore[arg-type]
    return kind(**{name: getattr(source, name) for name in shared})


def device_option() -> Any:
    """Return the option for the device, which most stages share."""
    return option("auto", "Device to compute on: auto, cpu, cuda, cuda:N or mps.")


def limit_option() -> Any:
    """Return the option that limits the number of utterances."""
    return option(None, "Use only N utterances, balanced over splits and emotions.", min=1)


LARGEST_SEED = 2**31 - 1
"""NumPy takes 2**32 - 1; the seeds of runs, draws and folds are counted up from here."""


def seed_option(default: int = 0, **more: Any) -> Any:
    """Return the seed of a stage."""
    return option(default, "Seed of all random choices.", min=0, max=LARGEST_SEED, **more)


def layer_option() -> Any:
    """Return the layer of an encoder."""
    return option(-1, "Layer to store: N for hidden_states[N], -1 for last_hidden_state.", min=-1)


def dtype_option() -> Any:
    """Return the precision of an encoder."""
    return option("float32", "Precision of the computation.")


def resamples_option() -> Any:
    """Return the number of bootstrap resamples.

    A 95 % interval leaves out 2.5 % on each side, which is one of 40 resamples.
    """
    return option(1000, "Number of bootstrap resamples of speakers.", min=40)


def storage_option() -> Any:
    """Return the storage format of frames."""
    return option(
        "float16",
        "Format of stored frames: float16, float32, float16-zstd, float16-stride2 or int8.",
    )


def weights_option() -> Any:
    """Return the checkpoint of an encoder."""
    return option(None, "Checkpoint folder or Hugging Face id to use instead of the default.")


def prior_option() -> Any:
    """Return the class prior of predictions."""
    return option(
        "as-trained",
        "Class prior: as-trained, natural (frequencies of dev), balanced, or a JSON or TOML file.",
    )


def abstain_option() -> Any:
    """Return the probability below which a prediction has no label."""
    return option(
        0.0, "Return no label if the highest probability is below P.", min=0, max=1, metavar="P"
    )


def recogniser_option() -> Any:
    """Return the Whisper model that transcribes new audio."""
    return option("", "Whisper model to transcribe with.", shown="the one of the training data")


def checkpoints_option() -> Any:
    """Return the checkpoints of the encoders of a trained system."""
    return option(
        (), "Checkpoint of an encoder, instead of the one in serctl.toml.", metavar="NAME=DIR"
    )


def shard_option() -> Any:
    """Return the option for one part of the work."""
    return option(
        "",
        "Process part I of N. auto takes both from the job array. auto/N takes I from it.",
        metavar="I/N",
    )


def skip_bad_option() -> Any:
    """Return the option to continue after unreadable audio."""
    return option(False, "List unreadable audio in failures.csv instead of stopping.")

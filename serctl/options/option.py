"""What is said once about an option: default, help, range, panel, and the name of its flag."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """Everything but the name, the type and the default of an option.

    Attributes:
        help: One sentence for ``--help``, the docs and docstrings.
        panel: Heading of its group in ``--help``.
        min: Smallest value. A default outside the range stays allowed: it switches something off.
        max: Largest value.
        above: Every value is greater than this.
        endless: Infinity is a value too.
        divides: Option whose value this one divides.
        times: Factor of that value.
        shown: The default in words, where its value does not explain itself.
        flag: Name of the flag, where it is not the option's own.
        short: One-letter flag, such as ``-o``.
        metavar: What ``--help`` shows for the value.
        argument: Given by position instead of by a flag.
        required: Has to be given on the command line.
        only_in_files: serctl.toml, recipes and Python set it; it has no flag.
    """

    help: str = ""
    panel: str | None = None
    min: float | None = None
    max: float | None = None
    above: float | None = None
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

    def admits(self, value: float) -> bool:
        """Whether a number is within the range and, unless ``endless``, finite."""
        above = self.above is None or value > self.above
        low = float("-inf") if self.min is None else self.min
        high = float("inf") if self.max is None else self.max
        finite = self.endless or abs(value) < float("inf")
        return above and low <= value <= high and finite

    @property
    def range(self) -> str:
        """The range in words; '' if there is none."""
        if self.above is not None:
            return f"more than {self.above:g}"
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else ""


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a dataclass field with a default and its `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, **more)})


def option_of(field: dataclasses.Field[Any]) -> Option:
    """Return what stands on a field; an empty `Option` on one of another dataclass."""
    return field.metadata.get("option", Option())


def device_option() -> Any:
    """Return the option that most stages share."""
    return option("auto", "Device to compute on: auto, cpu, cuda, cuda:N or mps.")


def limit_option() -> Any:
    """Return the option of a dry run."""
    return option(None, "Use only N utterances, balanced over splits and emotions.", min=1)


def seed_option(default: int = 0, **more: Any) -> Any:
    """Return the seed of a stage."""
    return option(default, "Seed of all random choices.", min=0, **more)


def layer_option() -> Any:
    """Return the layer of an encoder."""
    return option(-1, "Layer to store: N for hidden_states[N], -1 for last_hidden_state.", min=-1)


def dtype_option() -> Any:
    """Return the precision of an encoder."""
    return option("float32", "Precision of the computation.")


def storage_option() -> Any:
    """Return the storage format of frames."""
    return option(
        "float16",
        "Format of stored frames: float16, float32, float16-zstd, float16-stride2 or int8.",
    )


def weights_option() -> Any:
    """Return the checkpoint of an encoder."""
    return option(None, "Checkpoint folder or Hugging Face id to use instead of the default.")


def shard_option() -> Any:
    """Return the part of the work that a process does."""
    return option(
        "",
        "Process part i of n; n processes share the work. auto: the place of this task in its job "
        "array; auto/n: its index.",
        metavar="I/N",
    )


def skip_bad_option() -> Any:
    """Return whether unreadable audio ends a stage."""
    return option(False, "List unreadable audio in failures.csv instead of stopping.")

"""The epochs of a training in the files of TensorBoard; ``metrics.jsonl`` has them in any case."""

from importlib.util import find_spec
from pathlib import Path

from serctl.documents.run import EpochRecord
from serctl.errors import ConfigError
from serctl.options import TrainOptions

FOLDER = "tensorboard"
"""Below a run, so that ``tensorboard --logdir runs`` shows every run under its name."""
SPLITS = ("dev",)
LEFT_OUT = frozenset({"epoch", "phase"})


def check_tracker(options: TrainOptions) -> None:
    """Refuse to begin without the package that writes what is asked for.

    Raises:
        ConfigError: It is not installed.
    """
    if options.log and find_spec(options.log) is None:
        raise ConfigError(
            f"--log {options.log} needs a package. Install it: pip install 'serctl[{options.log}]'"
        )


def track_epoch(folder: Path, record: EpochRecord) -> None:
    """Add an epoch to the event files of a run.

    A file for each epoch: a training that is interrupted and continued leaves whole files, and
    TensorBoard reads all of a folder as one.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / FOLDER)) as writer:
        for name, value in record.to_dict().items():
            if name not in LEFT_OUT and isinstance(value, int | float):
                writer.add_scalar(name_scalar(name), value, record.epoch)


def name_scalar(name: str) -> str:
    """Return a tag of TensorBoard, which groups by what stands before the slash.

    Example:
        >>> name_scalar("dev_macro_f1"), name_scalar("loss")
        ('dev/macro_f1', 'train/loss')
    """
    split, _, rest = name.partition("_")
    return f"{split}/{rest}" if split in SPLITS else f"train/{name}"

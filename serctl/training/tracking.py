"""Event files of TensorBoard for the epochs of a training, in addition to ``metrics.jsonl``."""

from importlib.util import find_spec
from pathlib import Path

from serctl.documents.run import EpochRecord
from serctl.errors import ConfigError
from serctl.options import TrainOptions

FOLDER = "tensorboard"
"""Subfolder of a run, so that ``tensorboard --logdir runs`` shows every run by name."""
SPLITS = ("dev",)
LEFT_OUT = frozenset({"epoch", "phase"})


def check_tracker(options: TrainOptions) -> None:
    """Check that the package of the tracker is installed.

    Raises:
        ConfigError: The package is not installed.
    """
    if options.log and find_spec(options.log) is None:
        raise ConfigError(
            f"--log {options.log} needs a package. Install it: pip install 'serctl[{options.log}]'"
        )


def track_epoch(folder: Path, record: EpochRecord) -> None:
    """Add an epoch to the event files of a run.

    Each epoch has its own file, so that an interrupted training leaves complete files. TensorBoard
    reads all files of a folder together.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / FOLDER)) as writer:
        for name, value in record.to_dict().items():
            if name not in LEFT_OUT and isinstance(value, int | float):
                writer.add_scalar(name_scalar(name), value, record.epoch)


def name_scalar(name: str) -> str:
    """Return a tag of TensorBoard, which groups tags by the part before the slash.

    Example:
        >>> name_scalar("dev_macro_f1"), name_scalar("loss")
        ('dev/macro_f1', 'train/loss')
    """
    split, _, rest = name.partition("_")
    return f"{split}/{rest}" if split in SPLITS else f"train/{name}"

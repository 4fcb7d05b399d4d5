"""Choice of the back-end for decoding, without loading one."""

from importlib.util import find_spec
from pathlib import Path

from serctl.errors import ConfigError

CTRANSLATE2_FILE = "model.bin"
"""File with the weights of a CTranslate2 model, which transformers checkpoints do not have."""


def is_ctranslate2(folder: Path) -> bool:
    """Return whether a folder holds a model in CTranslate2 format."""
    return (folder / CTRANSLATE2_FILE).is_file()


def require_faster_whisper() -> None:
    """Check that the back-end is installed.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec("faster_whisper") is None:
        raise ConfigError(
            "The back-end faster-whisper is not installed. Install it with: "
            "pip install 'serctl[faster-whisper]' (or use --backend transformers)."
        )


def choose_backend(name: str, checkpoint: Path) -> str:
    """Return the back-end. ``auto`` chooses by the format of the checkpoint.

    Raises:
        ConfigError: faster-whisper is needed and not installed.
    """
    if name == "faster-whisper":
        require_faster_whisper()
    if name != "auto":
        return name
    ready = is_ctranslate2(checkpoint) and find_spec("faster_whisper") is not None
    return "faster-whisper" if ready else "transformers"

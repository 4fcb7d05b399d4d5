"""Which back-end decodes, found out without loading any of them."""

from importlib.util import find_spec
from pathlib import Path

from serctl.errors import ConfigError

CTRANSLATE2_FILE = "model.bin"
"""Holds all weights of a model in CTranslate2 form; no Hugging Face repository has it."""


def is_ctranslate2(folder: Path) -> bool:
    """Return whether a folder holds a model in CTranslate2 form."""
    return (folder / CTRANSLATE2_FILE).is_file()


def require_faster_whisper() -> None:
    """Check that the back-end is there.

    Raises:
        ConfigError: It is not, with the remedy.
    """
    if find_spec("faster_whisper") is None:
        raise ConfigError(
            "The back-end faster-whisper is not installed. Install it with: "
            "pip install 'serctl[faster-whisper]' (or take --backend transformers)."
        )


def choose_backend(name: str, checkpoint: Path) -> str:
    """Return the back-end that ``auto`` stands for: that of the checkpoint's own form.

    Raises:
        ConfigError: faster-whisper is asked for and not installed.
    """
    if name == "faster-whisper":
        require_faster_whisper()
    if name != "auto":
        return name
    ready = is_ctranslate2(checkpoint) and find_spec("faster_whisper") is not None
    return "faster-whisper" if ready else "transformers"

"""A call: noises that take turns on the two channels."""

from pathlib import Path

import numpy as np
import soundfile


def write_call(path: Path, seconds: int = 4) -> Path:
    """Write a turn of a second each."""
    sides = 0.1 * np.random.default_rng(0).standard_normal((seconds * 16_000, 2))
    side = np.arange(len(sides)) // 16_000 % 2
    soundfile.write(path, sides * np.stack([side, 1 - side], axis=1), 16_000)
    return path

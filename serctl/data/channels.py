"""Channels of a recording: mixed, or separate (for example agent and customer of a call)."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import decode_channels, read_audio
from serctl.data.downmix import ReportProblem
from serctl.errors import AudioError

Choice = Literal["mix", "split", "left", "right"]
SIDES = ("left", "right")


def read_channels(
    path: Path, choice: Choice, report: ReportProblem | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return waveforms ``(num_samples,)`` at 16 kHz by the name of the channel.

    ``mix`` averages all channels and names the result ''. ``split`` returns every channel: ``left``
    and ``right`` of two, numbers from 1 of more. Silent channels are left out.
    ``report`` receives what the mean mixes or loses.

    Raises:
        AudioError: The file cannot be read, or does not have the channel.
    """
    if choice == "mix":
        return {"": read_audio(path, report=report)}
    names: tuple[str, ...] = ()

    def choose(count: int) -> list[int]:
        nonlocal names
        names = SIDES if count == 2 else tuple(map(str, range(1, count + 1)))
        chosen = names if choice == "split" else (choice,)
        if count == 1 or not set(chosen) <= set(names):
            number = "one channel" if count == 1 else f"{count} channels"
            raise AudioError(
                f"'{path}' has {number}, expected two for --channels {choice}. Use --channels mix"
            )
        indices = [names.index(name) for name in chosen]
        names = chosen
        return indices

    samples = decode_channels(path, choose)
    found = {name: one for name, one in zip(names, samples, strict=True) if one.any()}
    if not found:
        raise AudioError(f"'{path}': the {choice} channel is digitally silent.")
    return found

"""Which windows of a recording are predicted, and which stretches are encoded for them.

A step is a stretch of the timeline, ``every`` seconds long. It is predicted from a longer window
with the step in its middle. Neighbouring windows overlap, so an encoder that runs over each window
anew reads every second of audio ``window / every`` times. A stretch is as long as an encoder reads
at once and holds many windows, which then share its frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serctl.data.audio import SAMPLE_RATE
from serctl.errors import UsageError

SHORTEST_STEP = 0.1
"""Seconds; two frames of most encoders are 40 ms."""


@dataclass(frozen=True)
class Step:
    """A step of a timeline, in samples of the recording; no ``stop`` is part of it.

    Attributes:
        start: Where the step begins.
        stop: Where it ends.
        window_start: Where its window begins.
        window_stop: Where its window ends.
    """

    start: int
    stop: int
    window_start: int
    window_stop: int


@dataclass(frozen=True)
class Stretch:
    """What is encoded in one go.

    Attributes:
        start: First sample.
        stop: Behind the last sample.
        steps: Positions of the steps whose windows lie in it.
    """

    start: int
    stop: int
    steps: range


def plan_steps(num_samples: int, every: float, window: float) -> list[Step]:
    """Return the steps of a recording, without gap or overlap; the last may be shorter.

    At the edges of the recording the windows are cut, to half their length at the least.

    Args:
        num_samples: Of the recording, 16 kHz.
        every: Seconds of a step.
        window: Seconds of a window, at least a step.

    Raises:
        UsageError: A step is too short, or longer than its window.

    Example:
        >>> [(s.start, s.window_start, s.window_stop) for s in plan_steps(48_000, 1, 2)]
        [(0, 0, 24000), (16000, 8000, 40000), (32000, 24000, 48000)]
    """
    if every < SHORTEST_STEP:
        raise UsageError(f"--every {every:g}: expected at least {SHORTEST_STEP:g} seconds.")
    if window < every:
        raise UsageError(f"--window {window:g} is shorter than a step (--every {every:g}).")
    size, margin = round(every * SAMPLE_RATE), round((window - every) * SAMPLE_RATE / 2)
    return [
        Step(
            start,
            min(start + size, num_samples),
            max(0, start - margin),
            min(start + size + margin, num_samples),
        )
        for start in range(0, num_samples, size)
    ]


def plan_stretches(steps: Sequence[Step], longest: float) -> list[Stretch]:
    """Return stretches of at most ``longest`` samples, each window whole in one of them.

    A window that is longer gets a stretch of its own.
    """
    stretches: list[Stretch] = []
    first = 0
    for position, step in enumerate(steps):
        if step.window_stop - steps[first].window_start > longest and position > first:
            stretches.append(_stretch(steps, first, position))
            first = position
    return [*stretches, _stretch(steps, first, len(steps))] if steps else []


def _stretch(steps: Sequence[Step], first: int, stop: int) -> Stretch:
    return Stretch(steps[first].window_start, steps[stop - 1].window_stop, range(first, stop))

"""Plan the windows of a recording and the stretches that are encoded for them.

A step is a part of the timeline, ``every`` seconds long. It is predicted from a longer window with
the step in its centre. Neighbouring windows overlap, so encoding each window separately reads every
second of audio ``window / every`` times. A stretch is the input of one pass of an encoder. Its
windows share its frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serctl.data.audio import SAMPLE_RATE
from serctl.errors import UsageError

SHORTEST_STEP = 0.1
"""Seconds; two frames of most encoders are 40 ms."""


@dataclass(frozen=True)
class TimelineStep:
    """A step of a timeline, in samples of the recording. ``stop`` values are exclusive.

    Attributes:
        start: First sample of the step.
        stop: End of the step.
        window_start: First sample of the window.
        window_stop: End of the window.
    """

    start: int
    stop: int
    window_start: int
    window_stop: int


@dataclass(frozen=True)
class Stretch:
    """A part of a recording that is encoded in one pass.

    Attributes:
        start: First sample.
        stop: End, exclusive.
        steps: Positions of the steps whose windows are in the stretch.
    """

    start: int
    stop: int
    steps: range


def plan_windows(num_samples: int, every: float, window: float) -> list[TimelineStep]:
    """Return the steps of a recording, without gap or overlap. The last one may be shorter.

    Windows at the edges of the recording are cut, to at least half their length.

    Args:
        num_samples: Samples of the recording at 16 kHz.
        every: Seconds of a step.
        window: Seconds of a window, at least a step.

    Raises:
        UsageError: A step is too short, or longer than its window.

    Example:
        >>> [(s.start, s.window_start, s.window_stop) for s in plan_windows(48_000, 1, 2)]
        [(0, 0, 24000), (16000, 8000, 40000), (32000, 24000, 48000)]
    """
    if every < SHORTEST_STEP:
        raise UsageError(f"--every is {every:g}, expected at least {SHORTEST_STEP:g} seconds.")
    if window < every:
        raise UsageError(f"--window is {window:g}, expected at least a step (--every {every:g}).")
    size, margin = round(every * SAMPLE_RATE), round((window - every) * SAMPLE_RATE / 2)
    return [
        TimelineStep(
            start,
            min(start + size, num_samples),
            max(0, start - margin),
            min(start + size + margin, num_samples),
        )
        for start in range(0, num_samples, size)
    ]


def plan_stretches(steps: Sequence[TimelineStep], longest: float) -> list[Stretch]:
    """Return stretches of at most ``longest`` samples. Each window is inside one of them.

    A longer window gets its own stretch.
    """
    stretches: list[Stretch] = []
    first = 0
    for position, step in enumerate(steps):
        if step.window_stop - steps[first].window_start > longest and position > first:
            stretches.append(_stretch(steps, first, position))
            first = position
    return [*stretches, _stretch(steps, first, len(steps))] if steps else []


def _stretch(steps: Sequence[TimelineStep], first: int, stop: int) -> Stretch:
    return Stretch(steps[first].window_start, steps[stop - 1].window_stop, range(first, stop))

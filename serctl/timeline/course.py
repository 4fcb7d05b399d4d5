"""From the probabilities of every step to segments of one emotion.

``smooth`` averages the probabilities of neighbouring steps. ``settle_course`` finds the most
probable sequence of emotions in which every segment has the minimum length, instead of deleting
short segments afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LEAST_PROBABILITY = 1e-6
"""Lower bound of probabilities, because log 0 in one step would exclude an emotion."""


@dataclass(frozen=True)
class EmotionSegment:
    """A stretch of one emotion.

    Attributes:
        start: Seconds.
        end: Seconds.
        emotion: The emotion; None if none is probable enough.
        confidence: Mean probability of the emotion (of the most probable one for None).
    """

    start: float
    end: float
    emotion: str | None
    confidence: float


@dataclass(frozen=True)
class Spoken:
    """A stretch of the transcript: start and end in seconds, and the text."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Timeline:
    """The emotions of one recording, or of one channel of it, over time.

    Attributes:
        audio: Name of the file.
        channel: ``left``, ``right`` or a number; '' for a mixed recording.
        model: Name of the system.
        seconds: Length of the recording.
        labels: Emotions in the order of the probabilities.
        starts: Seconds at which each of S steps begins.
        ends: Seconds at which each step ends.
        probabilities: ``(S, C)``, smoothed; NaN in steps without speech.
        emotions: Emotion of each step after ``settle_course``; None without speech or if no
            emotion is probable enough.
        segments: Stretches of one emotion.
        transcript: Parts of the transcript; empty if no branch reads text.
    """

    audio: str
    channel: str
    model: str
    seconds: float
    labels: tuple[str, ...]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    emotions: tuple[str | None, ...]
    segments: tuple[EmotionSegment, ...]
    transcript: tuple[Spoken, ...] = ()

    @property
    def name(self) -> str:
        """The file's name and, if there is one, its channel."""
        return f"{self.audio} ({self.channel})" if self.channel else self.audio


def find_silence(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return True for each step ``(S,)`` without speech."""
    return np.isnan(probabilities[:, 0])


def smooth(probabilities: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average every step's probabilities with those of its neighbours.

    Args:
        probabilities: ``(S, C)``. NaN rows are excluded from every mean and stay NaN.
        width: Number of averaged steps, odd.

    Returns:
        ``(S, C)``, rows that sum to 1.
    """
    half = width // 2
    if not half:
        return probabilities
    silent = find_silence(probabilities)
    filled = np.where(silent[:, None], 0.0, probabilities)
    # Differences of running sums take the same time for any width.
    sums = np.pad(filled.cumsum(axis=0), ((1, 0), (0, 0)))
    counts = np.pad((~silent).cumsum(), (1, 0))
    low = np.maximum(np.arange(len(filled)) - half, 0)
    high = np.minimum(np.arange(len(filled)) + half + 1, len(filled))
    with np.errstate(invalid="ignore"):
        means = (sums[high] - sums[low]) / (counts[high] - counts[low])[:, None]
    means[silent] = np.nan
    return means


def settle_course(
    probabilities: NDArray[np.float64], shortest: int, lengths: NDArray[np.int64] | None = None
) -> NDArray[np.intp]:
    """Return the most probable sequence of emotions with segments of a minimum length.

    Exact dynamic programming over steps and classes in O(S C). Each run of steps with speech is
    settled alone, because steps without speech end a segment.

    Args:
        probabilities: ``(S, C)``; NaN in steps without speech.
        shortest: Minimum length of a segment. A shorter run is one segment.
        lengths: Length of each step ``(S,)``, at least 1; None counts steps.

    Returns:
        Class of each step ``(S,)``; 0 in steps without speech.
    """
    lengths = np.ones(len(probabilities), np.int64) if lengths is None else lengths
    silent = find_silence(probabilities)
    course = np.zeros(len(probabilities), dtype=np.intp)
    scores = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    for start, stop in _find_runs(silent.tolist()):
        if not silent[start]:
            course[start:stop] = _find_best(scores[start:stop], lengths[start:stop], shortest)
    return course


def _find_best(
    scores: NDArray[np.float64], lengths: NDArray[np.int64], shortest: int
) -> NDArray[np.intp]:
    """Return the best sequence for scores ``(S, C)``.

    ``best[t, c]`` is the score of the best sequence of the steps before t whose last segment has
    class c. That segment begins at the latest where it has the minimum length. ``gains[s, c]`` is
    the best of all beginnings up to s, and ``begins[s, c]`` is that beginning.
    """
    num_steps, num_classes = scores.shape
    sums = np.pad(scores.cumsum(axis=0), ((1, 0), (0, 0)))
    ends = np.pad(lengths.cumsum(), (1, 0))
    least = min(max(1, shortest), int(ends[-1]))
    latest = np.searchsorted(ends, ends - least, side="right") - 1  # -1: no beginning is early
    best = np.full((num_steps + 1, num_classes), -np.inf)
    gains = np.zeros((num_steps + 1, num_classes))
    begins = np.zeros((num_steps + 1, num_classes), dtype=np.intp)
    for step in range(1, num_steps + 1):
        if latest[step] >= 0:
            best[step] = gains[latest[step]] + sums[step]
        begun = best[step].max() - sums[step]
        gains[step] = np.maximum(gains[step - 1], begun)
        begins[step] = np.where(begun > gains[step - 1], step, begins[step - 1])
    course = np.zeros(num_steps, dtype=np.intp)
    stop = num_steps
    while stop:
        label = int(best[stop].argmax())
        start = int(begins[latest[stop], label])
        course[start:stop] = label
        stop = start
    return course


def name_emotions(
    course: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
    abstain_below: float = 0.0,
) -> tuple[str | None, ...]:
    """Return the emotion of each step; None without speech or if none is probable enough."""
    silent = find_silence(probabilities)
    named = [None if quiet else labels[i] for i, quiet in zip(course.tolist(), silent, strict=True)]
    for start, stop in _find_runs(named):
        if named[start] is not None:
            mean = probabilities[start:stop, course[start]].mean()
            if mean < abstain_below:
                named[start:stop] = [None] * (stop - start)
    return tuple(named)


def find_segments(
    emotions: Sequence[str | None],
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> tuple[EmotionSegment, ...]:
    """Return the runs of steps of one emotion. Pauses without speech are in no segment."""
    silent = find_silence(probabilities)
    keys = list(zip(emotions, silent.tolist(), strict=True))
    segments = []
    for start, stop in _find_runs(keys):
        emotion, quiet = keys[start]
        if quiet:
            continue
        means = probabilities[start:stop].mean(axis=0)
        confidence = means.max() if emotion is None else means[labels.index(emotion)]
        segments.append(
            EmotionSegment(float(starts[start]), float(ends[stop - 1]), emotion, float(confidence))
        )
    return tuple(segments)


def _find_runs(values: Sequence[object]) -> list[tuple[int, int]]:
    """Return start and stop of each run of equal values."""
    changes = [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    edges = [0, *changes, len(values)]
    return list(pairwise(edges)) if values else []

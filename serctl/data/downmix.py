"""Check of the mean of the channels: it may mix two talkers, lose sound or be far too loud.

Only the energies of frames of 0.1 s are kept, 0.4 MB per hour of stereo.
"""

import shlex
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from serctl.errors import first_few

ReportProblem = Callable[[str, str], None]
"""Receives the name of a recording and one of the problems."""

TALKERS = "a different talker on each channel"
PHASE = "channels that are partly in opposite phase"
SCALE = "floating-point samples far above 1"
WIDTH = "32-bit integers below -48 dBFS"

PREDICT_CHANNELS = "Predict each channel: serctl predict {file} --every 1 --channels split"
KEEP_CHANNEL = "Read one channel: a column 'channel' in the manifest, with left or right"
"""Suggestions for a recording in a prediction and for one in a corpus."""

FRAME = 0.1
"""Seconds of a frame, longer than the delay of sound between two microphones in a room."""
LONGEST_FRAME = 1 << 16
"""Maximum samples of a frame, for headers with a wrong sampling rate."""
MOST_CHANNELS = 8
"""Maximum channels. Energies of more channels would need too much memory."""
FLOOR = 0.01
"""Minimum energy of a frame with sound, relative to the loud frames of the channel (-20 dB)."""
LOUD = 95
"""Percentile of the loud frames of a channel. Levels are per channel, because talkers differ."""
QUIET = 1e-4
"""Minimum energy of the loud frames of a channel, relative to the loudest channel."""
ALONE = 10.0
"""Minimum energy relative to the other channels for a channel to be alone in a frame (10 dB)."""
LEAST_SHARE, LEAST_FRAMES = 0.05, 5
"""Minimum share of frames with sound in which each of two channels is alone."""
SAME = 0.5
"""Minimum correlation of the levels of two channels with the same source."""
LOST = 0.2
"""Energy of the mean relative to independent channels, below which a frame is lost (-7 dB)."""
LOST_SHARE, LOST_RUN = 0.5, 10
"""Share of lost energy, and number of consecutive lost frames, that are reported."""


class Downmix:
    """Measures the C channels of one recording, block by block.

    The bounds were set on utterances of RAVDESS and EmoDB, see ``docs/reliability.md``. One source
    is not reported: panned, delayed by up to 40 ms, or with other reverberation on each channel.

    Attributes:
        peak: Largest magnitude in any channel.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self.peak = 0.0
        self._hop = min(max(1, round(rate * FRAME)), LONGEST_FRAME)
        self._measured = 2 <= channels <= MOST_CHANNELS
        self._rest = np.empty((0, channels), np.float32)
        self._energies: list[NDArray[np.float64]] = []

    def listen(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(num_samples, num_channels)`` unchanged, and measure them."""
        for block in blocks:
            self.peak = max(
                self.peak, float(block.max(initial=0.0)), -float(block.min(initial=0.0))
            )
            self.measure(block)
            yield block

    def measure(self, block: NDArray[np.float32]) -> None:
        """Add the energies of a block."""
        if not self._measured:
            return
        samples = np.concatenate([self._rest, block])
        end = len(samples) - len(samples) % self._hop
        self._rest = samples[end:]
        frames = samples[:end].reshape(-1, self._hop, samples.shape[1])  # (T, H samples, C)
        of_channels = np.einsum("thc,thc->tc", frames, frames, dtype=np.float64)
        mean = frames.mean(axis=2)
        of_mean = np.einsum("th,th->t", mean, mean, dtype=np.float64)
        self._energies.append(np.column_stack([of_channels, of_mean]))

    def find_problem(self) -> str:
        """Return `TALKERS` or `PHASE`; '' if the mean has neither problem."""
        energies = np.concatenate(self._energies) if self._energies else np.empty((0, 3))
        channels, mean = energies[:, :-1], energies[:, -1]
        if not np.isfinite(energies).all() or not channels.any():
            return ""
        if loses_sound(channels, mean):
            return PHASE
        return TALKERS if have_talkers(channels) else ""


def loses_sound(channels: NDArray[np.float64], mean: NDArray[np.float64]) -> bool:
    """Return whether the mean cancels much of the channels, or all of them for a second.

    Args:
        channels: Energies of the frames ``(T, C)``.
        mean: Energies of the mean of the channels ``(T,)``.
    """
    whole = channels.sum(axis=1)
    # Relative to the sum of energies, the mean of independent channels has 1/C², equal ones 1/C.
    lost = (whole > 0) & (mean * channels.shape[1] ** 2 < LOST * whole)
    if whole[lost].sum() >= LOST_SHARE * whole.sum():
        return True
    # Lost frames begin and end where the mask, framed by False, changes.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    runs = [slice(*run) for run in edges.reshape(-1, 2) if run[1] - run[0] >= LOST_RUN]
    return any(whole[run].sum() >= LEAST_SHARE * whole.sum() for run in runs)


def have_talkers(channels: NDArray[np.float64]) -> bool:
    """Return whether two channels are alone in turn, and their levels are not correlated.

    Args:
        channels: Energies of the frames ``(T, C)``.
    """
    loud = np.percentile(channels, LOUD, axis=0)
    used = (loud > 0) & (loud >= QUIET * loud.max())
    channels = channels[:, used] / loud[used]
    channels = channels[channels.max(axis=1, initial=0.0) > FLOOR]
    if channels.shape[1] < 2 or not len(channels):
        return False
    second, first = np.partition(channels, -2, axis=1)[:, -2:].T  # the two loudest, (T,) each
    loudest = channels.argmax(axis=1)[first > ALONE * second]
    alone = np.bincount(loudest, minlength=channels.shape[1])
    pair = np.argsort(alone)[-2:]
    if alone[pair[0]] < max(LEAST_FRAMES, LEAST_SHARE * len(channels)):
        return False
    levels = np.log(np.maximum(channels[:, pair], FLOOR**2))
    return bool(np.corrcoef(levels.T)[0, 1] < SAME)


class DownmixReport:
    """Recordings of a run whose samples are probably not the sound that was meant."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, None]] = {TALKERS: {}, PHASE: {}, SCALE: {}, WIDTH: {}}

    def __call__(self, name: str, problem: str) -> None:
        """Add one recording."""
        self._found[problem][name] = None

    def list_notes(self, hint: str) -> tuple[str, ...]:
        """Return a line for each problem.

        Args:
            hint: `PREDICT_CHANNELS` or `KEEP_CHANNEL`.
        """
        effects = {
            TALKERS: ("The mean of the channels mixes them", hint),
            PHASE: ("The mean of the channels loses sound", hint),
            SCALE: ("They are read as they are", "If they are at another scale, divide them by it"),
            WIDTH: (
                "They are read as quiet sound",
                "If their values have 16 or 24 bits, write them in files of that width",
            ),
        }
        return tuple(
            f"{effects[problem][0]}: {first_few(sorted(names))} "
            f"({problem}). {effects[problem][1].format(file=shlex.quote(min(names)))}"
            for problem, names in self._found.items()
            if names
        )

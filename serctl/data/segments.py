"""Long recordings cut at pauses, by the speech detector that comes with faster-whisper."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE
from serctl.errors import ConfigError

SHORTEST_PAUSE = 0.5
"""Seconds without speech that end a segment."""
SHORTEST_SPEECH = 0.25
"""Seconds; what is shorter is a click or a breath."""
MARGIN = 0.1
"""Seconds kept before and behind the speech of a segment."""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech, in samples of the recording; ``stop`` is not part of it."""

    start: int
    stop: int


def cut_at_pauses(waveform: NDArray[np.float32], longest: float) -> list[Segment]:
    """Return the stretches of speech of a recording, none of them longer than ``longest`` seconds.

    Speech without a pause for that long is cut at its longest lull, or else just there.

    Args:
        waveform: ``(num_samples,)``, 16 kHz.
        longest: Seconds, at least 1.

    Returns:
        In order and without overlap; none if nobody speaks.

    Raises:
        ConfigError: faster-whisper, which holds the detector, is not installed.

    Source: Silero VAD (https://github.com/snakers4/silero-vad), MIT.
    """
    try:
        from faster_whisper.vad import VadOptions, get_speech_timestamps
    except ImportError:
        raise ConfigError(
            "Cutting a long recording at its pauses needs the detector that comes with "
            "faster-whisper. Install it with: pip install 'serctl[faster-whisper]' "
            "(or judge recordings whole: --cut-over inf)."
        ) from None
    options = VadOptions(
        min_speech_duration_ms=int(1000 * SHORTEST_SPEECH),
        min_silence_duration_ms=int(1000 * SHORTEST_PAUSE),
        speech_pad_ms=int(1000 * MARGIN),
        max_speech_duration_s=longest,
    )
    found = get_speech_timestamps(waveform, options, SAMPLE_RATE)
    return [Segment(int(part["start"]), min(int(part["end"]), len(waveform))) for part in found]

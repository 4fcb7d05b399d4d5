"""Cut long recordings at pauses, with the speech detector of faster-whisper."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE
from serctl.errors import ConfigError

SHORTEST_PAUSE = 0.5
"""Minimum seconds without speech that end a segment."""
SHORTEST_SPEECH = 0.25
"""Minimum seconds of speech. Shorter sounds are clicks or breaths."""
MARGIN = 0.1
"""Seconds kept before and after the speech of a segment."""


@dataclass(frozen=True)
class SpeechSegment:
    """A stretch of speech, in samples of the recording. ``stop`` is exclusive."""

    start: int
    stop: int


def cut_at_pauses(waveform: NDArray[np.float32], longest: float) -> list[SpeechSegment]:
    """Return the stretches of speech of a recording, each of at most ``longest`` seconds.

    Longer speech without a pause is cut at its longest silence, else at the maximum length.

    Args:
        waveform: ``(num_samples,)``, 16 kHz.
        longest: Maximum seconds, at least 1.

    Returns:
        Stretches in order and without overlap; [] without speech.

    Raises:
        ConfigError: faster-whisper, which contains the detector, is not installed.

    Source: Silero VAD (https://github.com/snakers4/silero-vad), MIT.
    """
    try:
        from faster_whisper.vad import VadOptions, get_speech_timestamps
    except ImportError:
        raise ConfigError(
            "Cutting a long recording at its pauses needs the speech detector of faster-whisper. "
            "Install it with: pip install 'serctl[faster-whisper]' "
            "(or predict recordings uncut: --cut-over inf)."
        ) from None
    options = VadOptions(
        min_speech_duration_ms=int(1000 * SHORTEST_SPEECH),
        min_silence_duration_ms=int(1000 * SHORTEST_PAUSE),
        speech_pad_ms=int(1000 * MARGIN),
        max_speech_duration_s=longest,
    )
    found = get_speech_timestamps(waveform, options, SAMPLE_RATE)
    return [
        SpeechSegment(int(part["start"]), min(int(part["end"]), len(waveform))) for part in found
    ]

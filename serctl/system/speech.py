"""Speech within a recording: its parts, their transcripts and their place in samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE
from serctl.errors import ConfigError
from serctl.system.loading import cut_speech
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance


@dataclass(frozen=True)
class Speech:
    """Parts of a recording with speech, and their transcripts if a branch reads text.

    Attributes:
        spoken: Stretches of speech.
        parts: Utterance of each stretch, which is transcribed and may have frames.
        whole: Whether the only part is the recording, with its silence.
    """

    spoken: Sequence[LoadedUtterance]
    parts: Sequence[LoadedUtterance]
    whole: bool = False

    def touch(self, start: int, stop: int) -> list[LoadedUtterance]:
        """Return the parts whose speech overlaps the range between two samples."""
        pairs = zip(self.spoken, self.parts, strict=True)
        return [one for span, one in pairs if start_of(span) < stop and start < stop_of(span)]

    def measure(self, start: int, stop: int) -> int:
        """Return the number of samples with speech in the range between two samples."""
        pairs = ((max(start, start_of(one)), min(stop, stop_of(one))) for one in self.spoken)
        return sum(max(0, last - first) for first, last in pairs)

    def recognise(self, predictor: Predictor, start: int, stop: int) -> None:
        """Transcribe the parts between two samples, and free the frames of earlier parts.

        If the networks read the recogniser's encoder, its frames are kept in the parts.
        """
        for one in self.parts:
            if stop_of(one) <= start:
                one.frames.clear()
        if predictor.parts.needs_transcripts:
            parts = [one for one in self.touch(start, stop) if one.text is None]
            predictor.encode(parts, keys=())
            raise_first_error(parts)


def find_speech(
    predictor: Predictor,
    waveform: NDArray[np.float32],
    name: str,
    predicted: Sequence[LoadedUtterance],
) -> Speech:
    """Return the parts of a recording with speech.

    A recording that `serctl predict` takes whole is one part if it has one stretch of speech, so
    both read the same transcript and frames. Without the speech detector, a system without a text
    branch takes any recording as one part.
    """
    try:
        spoken = cut_speech(name, waveform, predictor.options.segment_seconds)
    except ConfigError:
        if predictor.parts.needs_transcripts:
            raise
        predictor.note(
            "Silence was predicted like speech, because the speech detector is not installed. "
            "Install it: pip install 'serctl[faster-whisper]'"
        )
        spoken = [LoadedUtterance(name, waveform)]
    whole = len(spoken) == 1 and len(waveform) <= predictor.options.cut_over * SAMPLE_RATE
    parts = [LoadedUtterance(name, waveform)] if whole else spoken
    known = {(start_of(one), stop_of(one)): one for one in predicted}
    parts = [known.get((start_of(one), stop_of(one)), one) for one in parts]
    return Speech(spoken, parts, whole)


def raise_first_error(utterances: Sequence[LoadedUtterance]) -> None:
    """Raise the error of the first utterance that has one."""
    for one in utterances:
        if one.error is not None:
            raise one.error


def start_of(one: LoadedUtterance) -> int:
    """Return the first sample of an utterance within its recording."""
    return round(one.start * SAMPLE_RATE)


def stop_of(one: LoadedUtterance) -> int:
    """Return the sample after the last one of an utterance within its recording."""
    return start_of(one) + len(one.waveform)

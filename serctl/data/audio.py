"""Read audio files as 16 kHz mono float32.

Files are decoded block by block, so memory depends on the audio and not on the file's header.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio_file import open_audio, open_sound
from serctl.data.downmix import SCALE, WIDTH, Downmix, ReportProblem
from serctl.errors import AudioError, count

if TYPE_CHECKING:
    from soundfile import SoundFile

SAMPLE_RATE = 16_000
"""Sampling rate in Hz. All encoders of the paper were trained on 16 kHz speech."""
LONGEST = 3 * 3600
"""Maximum seconds of a recording. At 16 kHz it takes 0.7 GB, and twice that during decoding."""
LONGEST_OF_ALL = 2 * LONGEST
"""Maximum seconds of all channels together, if they are kept separately."""
HIGHEST_PEAK = 100.0
"""Maximum sample of a file: mixes in floats exceed 1 by 30 dB, integers as floats by far more."""
LOUD_PEAK = 8.0
"""Maximum sample that is not reported, 18 dB above full scale."""
QUIET_PEAK = 2.0**-8
"""Maximum peak of 32-bit integers that is reported: that of 24-bit values in them, -48 dBFS."""
QUIETEST_PEAK = 2.0**-31
"""Minimum peak, one step of 32-bit integers. No recorded sound is as quiet."""
BLOCK = 1 << 20
"""Number of values (samples times channels) that are decoded at once."""
SLACK = 0.1
"""Maximum seconds by which a segment may exceed its file, because times are rounded."""


def read_audio(
    path: Path,
    start: float = 0.0,
    end: float | None = None,
    channel: int = 0,
    *,
    report: ReportProblem | None = None,
) -> NDArray[np.float32]:
    """Decode a file or a stretch of it, average the channels and resample to 16 kHz.

    Args:
        path: A file of any rate, width and channel count that libsndfile reads.
        start: Start of the stretch in seconds.
        end: End in seconds; None is the end of the file.
        channel: Channel to read, from 1; 0 is the mean of all.
        report: Receives the problem if the mean of the channels mixes talkers or loses sound.

    Returns:
        Samples ``(num_samples,)`` in about [-1, 1], without loudness normalisation.

    Raises:
        AudioError: The file is missing, unreadable, empty, digitally silent, not finite, longer
            than `LONGEST`, ends before the stretch does, or does not have the channel.
    """
    with open_audio(path) as file:
        return decode_audio(file, path, start, end, channel, report=report)


def decode_audio(
    source: bytes | BinaryIO,
    name: Path | str,
    start: float = 0.0,
    end: float | None = None,
    channel: int = 0,
    *,
    report: ReportProblem | None = None,
) -> NDArray[np.float32]:
    """Decode the bytes of an audio file, or an open one; see `read_audio`."""
    with open_sound(source, name) as sound:
        width = sound.subtype
        first, last = _find_stretch(sound, name, start, end)
        if channel > sound.channels:
            raise AudioError(
                f"Audio file '{name}' has {count(sound.channels, 'channel')}, not a channel "
                f"{channel}."
            )
        downmix = Downmix(sound.samplerate, sound.channels)
        blocks = _read_blocks(sound, name, first, last)
        if channel:
            blocks = (block[:, channel - 1 : channel] for block in blocks)
        elif sound.channels > 1:
            blocks = downmix.listen(blocks)
        mono = (_average(block, name) for block in blocks)
        parts = list(_resample_blocks(mono, sound.samplerate, 1))
    if not any(map(len, parts)):
        raise AudioError(f"Audio file '{name}' holds no samples.")
    if (peak := max(map(_find_peak, parts))) < QUIETEST_PEAK:
        _refuse_silence(name, peak, downmix.peak)
    if report and peak > LOUD_PEAK:
        report(str(name), SCALE)
    if report and width == "PCM_32" and max(peak, downmix.peak) <= QUIET_PEAK:
        report(str(name), WIDTH)
    if report and (problem := downmix.find_problem()):
        report(str(name), problem)
    return np.concatenate(parts)


def decode_channels(
    path: Path, choose: Callable[[int], Sequence[int]]
) -> list[NDArray[np.float32]]:
    """Decode channels of a file separately, and resample them to 16 kHz.

    Args:
        path: See `read_audio`.
        choose: Returns the channels to keep for a number of channels.

    Returns:
        Samples ``(num_samples,)`` of each channel.

    Raises:
        AudioError: See `read_audio`. Digitally silent channels are allowed.
    """
    with open_audio(path) as file, open_sound(file, path) as sound:
        chosen = list(choose(sound.channels))
        first, last = _find_stretch(sound, path, 0.0, None)
        every = (_check_finite(block, path) for block in _read_blocks(sound, path, first, last))
        blocks = (block[:, chosen] for block in every)
        parts: list[NDArray[np.float32]] = []
        left = LONGEST_OF_ALL * SAMPLE_RATE
        for part in _resample_blocks(blocks, sound.samplerate, len(chosen)):
            left -= part.size
            if left < 0:
                raise AudioError(
                    f"Audio file '{path}': its {len(chosen)} channels last longer than "
                    f"{LONGEST_OF_ALL / 3600:g} h together. Cut it into files."
                )
            parts.append(part)
    if not any(map(len, parts)):
        raise AudioError(f"Audio file '{path}' holds no samples.")
    return [np.concatenate([part[:, i] for part in parts]) for i in range(len(chosen))]


def _refuse_silence(name: object, peak: float, of_channels: float) -> NoReturn:
    if of_channels >= QUIETEST_PEAK:
        raise AudioError(
            f"Audio '{name}': its channels cancel out (opposite phase). Keep one of them: "
            f"ffmpeg -i IN -af 'pan=mono|c0=c0' OUT"
        )
    level = f"no sample exceeds {peak:.0e}" if peak else "every sample is zero"
    raise AudioError(f"Audio '{name}' is digitally silent: {level}.")


def to_mono_16k(
    samples: NDArray[np.float32], rate: int, name: object, report: ReportProblem | None = None
) -> NDArray[np.float32]:
    """Average channels ``(num_samples, num_channels)``, resample and check.

    Only audio with all samples zero is refused. RAVDESS has real recordings at -64 dBFS.
    """
    if not samples.size:
        raise AudioError(f"Audio '{name}' holds no samples.")
    mono = _average(samples, name)
    if (peak := _find_peak(mono)) < QUIETEST_PEAK:
        _refuse_silence(name, peak, _find_peak(samples))
    if report:
        downmix = Downmix(rate, samples.shape[1])
        downmix.measure(samples)
        if problem := downmix.find_problem():
            report(str(name), problem)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    if not mono.size:
        raise AudioError(f"Audio '{name}' is shorter than one sample at {SAMPLE_RATE} Hz.")
    return np.ascontiguousarray(mono, dtype=np.float32)


def measure_samples(path: Path, start: float = 0.0, end: float | None = None) -> int:
    """Return the number of 16 kHz samples, from the file's header if possible.

    A streamed file without a length in its header is decoded.

    Raises:
        AudioError: See `read_audio`. Samples are not checked.
    """
    with open_audio(path) as file, open_sound(file, path) as sound:
        first, last = _find_stretch(sound, path, start, end)
        if last is None:
            last = first + sum(len(block) for block in _read_blocks(sound, path, first, None))
        return max(1, round((last - first) * SAMPLE_RATE / sound.samplerate))


def _find_stretch(
    sound: "SoundFile", name: Path | str, start: float, end: float | None
) -> tuple[int, int | None]:
    """Return start and end (exclusive) of a stretch in samples; None if it needs decoding."""
    rate, frames = sound.samplerate, sound.frames
    longest = LONGEST * rate
    known = 0 <= frames <= longest
    length = frames / rate
    if known and (start > 0 or end is not None) and max(start, (end or 0) - SLACK) >= length:
        shown = f"{start:g} s to {'the end' if end is None else f'{end:g} s'}"
        raise AudioError(f"Audio file '{name}' has {length:.2f} s, but a segment of it is {shown}.")
    first = round(start * rate)
    if end is not None:
        last = max(first + 1, round(end * rate))
        return first, min(last, frames) if known else last
    return first, frames if known else None


def _resample_blocks(
    blocks: Iterable[NDArray[np.float32]], rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Yield samples ``(num_samples, ...)`` at 16 kHz by blocks, equal to those of the whole."""
    resampler = None
    if rate != SAMPLE_RATE:
        import soxr

        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, channels, "float32", "HQ")
    block = None
    for block in blocks:
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None and block is not None:
        yield resampler.resample_chunk(block[:0], last=True)


def _read_blocks(
    sound: "SoundFile", name: Path | str, first: int, last: int | None
) -> Iterator[NDArray[np.float32]]:
    """Yield samples ``(num_samples, num_channels)`` from ``first`` to before ``last``."""
    # A block of one sample too many is refused before a low rate makes gigabytes of it.
    size = max(1, min(BLOCK // sound.channels, LONGEST * sound.samplerate + 1))
    if first:
        _skip_samples(sound, first, size)
    known = 0 <= sound.frames <= LONGEST * sound.samplerate
    position = first
    while last is None or position < last:
        wanted = size if last is None else min(size, last - position)
        block = sound.read(wanted, dtype="float32", always_2d=True)
        if not len(block):
            if last is not None and not known and position < last - SLACK * sound.samplerate:
                raise AudioError(
                    f"Audio file '{name}' ends before its segment to "
                    f"{last / sound.samplerate:g} s. Correct the end in the table."
                )
            return
        position += len(block)
        if position - first > LONGEST * sound.samplerate:
            raise AudioError(
                f"Audio file '{name}' lasts longer than {LONGEST / 3600:g} h. Cut it into files."
            )
        yield block


def _skip_samples(sound: "SoundFile", number: int, size: int) -> None:
    """Seek to a sample. Codecs that cannot seek (GSM, G.721) are decoded up to it."""
    import soundfile

    try:
        sound.seek(number)
    except soundfile.LibsndfileError:
        while number and len(block := sound.read(min(size, number), always_2d=True)):
            number -= len(block)


def _average(samples: NDArray[np.float32], name: object) -> NDArray[np.float32]:
    """Return the mean of the channels ``(num_samples,)``."""
    _check_finite(samples, name)
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    return samples.mean(axis=1, dtype=np.float32)


def _find_peak(samples: NDArray[np.float32]) -> float:
    """Return the largest magnitude; 0 without samples, NaN if any sample is."""
    return float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))


def _check_finite(samples: NDArray[np.float32], name: object) -> NDArray[np.float32]:
    peak = _find_peak(samples)
    if not np.isfinite(peak):
        raise AudioError(f"Audio '{name}' holds samples that are not finite (NaN or infinite).")
    if peak > HIGHEST_PEAK:
        raise AudioError(
            f"Audio '{name}' holds floating-point samples up to {peak:g}, expected -1 to 1. Divide "
            f"them by the scale of their integers (32768 for 16 bits)."
        )
    return samples

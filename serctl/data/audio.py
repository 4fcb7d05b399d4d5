"""Any audio file in, 16 kHz mono float32 out; bad audio is an error with the reason."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.errors import AudioError

SAMPLE_RATE = 16_000
"""Hz; every encoder of the paper was trained on 16 kHz speech."""


def read_audio(path: Path) -> NDArray[np.float32]:
    """Decode, average the channels and resample to 16 kHz.

    Args:
        path: A file of any rate, width and channel count that libsndfile reads.

    Returns:
        Samples ``(num_samples,)`` in about [-1, 1], without any loudness normalisation.

    Raises:
        AudioError: The file is missing, unreadable, empty, digitally silent or not finite.
    """
    return decode_audio(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an audio file; they are also what the feature cache hashes.

    Raises:
        AudioError: The file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise AudioError(f"Audio file '{path}' does not exist.") from None
    except OSError as error:
        raise AudioError(f"Audio file '{path}' cannot be read: {error.strerror}.") from error


def decode_audio(content: bytes, name: Path | str) -> NDArray[np.float32]:
    """Decode the bytes of an audio file; see `read_audio`. ``name`` is for error messages."""
    import soundfile

    if not content:
        raise AudioError(f"Audio file '{name}' is empty (0 bytes).")
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2]
        raise AudioError(f"Audio file '{name}' cannot be decoded: {reason}") from error
    return to_mono_16k(samples, rate, name)


def to_mono_16k(samples: NDArray[np.float32], rate: int, name: object) -> NDArray[np.float32]:
    """Average channels ``(num_samples, num_channels)``, resample and check.

    Quiet is not silent: only audio whose every sample is zero is refused (RAVDESS holds real
    clips at -64 dBFS).
    """
    if not samples.size:
        raise AudioError(f"Audio '{name}' holds no samples.")
    if not np.isfinite(samples).all():
        raise AudioError(f"Audio '{name}' holds samples that are not finite (NaN or infinite).")
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not mono.any():
        raise AudioError(f"Audio '{name}' is digitally silent: every sample is zero.")
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    if not mono.size:
        raise AudioError(f"Audio '{name}' is shorter than one sample at {SAMPLE_RATE} Hz.")
    return np.ascontiguousarray(mono, dtype=np.float32)


def measure_samples(path: Path) -> int:
    """Return the number of 16 kHz samples from the file's header, without decoding it.

    Raises:
        AudioError: The file is missing or its header cannot be read.
    """
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        read_bytes(path)  # a missing file gets the plainer message
        raise AudioError(f"Audio file '{path}' cannot be decoded: {error}") from error
    return max(1, round(info.frames * SAMPLE_RATE / info.samplerate))

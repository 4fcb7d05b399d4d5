"""Convert a path, bytes, an open file or samples to 16 kHz mono.

Arrays are checked: the type defines the scale, the shape defines the channels, and the sampling
rate is required.
"""

from io import TextIOBase
from numbers import Real
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serctl.data.audio import LONGEST, decode_audio, read_audio, to_mono_16k
from serctl.data.downmix import ReportProblem
from serctl.errors import AudioError, UsageError, show_value

Audio = str | PathLike[str] | bytes | IO[bytes] | ArrayLike
"""A path, the bytes of an audio file or an open one, or samples ``(num_samples,)``, ``(num_samples,
num_channels)`` or ``(num_channels, num_samples)``: floats in [-1, 1] or integers of 8, 16 or 32
bits. int32 must exceed 2^23, because smaller values may have 16 or 24 bits."""

MOST_CHANNELS = 32
RATES = 1_000, 1_000_000
"""Lowest and highest sampling rate in Hz; a lower one was given in kHz."""
LOUDEST = 8.0
"""Maximum of float samples. Larger values are unscaled integers; decoders overshoot 1 slightly."""
SCALES = {"uint8": 128.0, "int16": 32768.0, "int32": 2147483648.0}
"""Full scale of the integer types of WAV files."""
LARGEST_24_BITS = 2**23
"""Maximum magnitude of 24-bit values, -48 dBFS in 32 bits."""
REMEDY = (
    "Divide them by the full scale of their width: numpy.asarray(samples) / 2**7 for 8 bits, "
    "/ 2**15 for 16, / 2**23 for 24, / 2**31 for 32."
)
SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd")
"""First bytes of audio files. Arrays of undecoded files begin with them."""


def load_sound(
    audio: Audio, sample_rate: int | None, report: ReportProblem | None = None
) -> NDArray[np.float32]:
    """Return speech as ``(num_samples,)``, 16 kHz mono float32.

    Args:
        audio: See `Audio`.
        sample_rate: Sampling rate of an array in Hz; files state theirs.
        report: Receives recordings that lose by the mean of their channels.

    Raises:
        AudioError: The audio cannot be decoded, or the array has a wrong type or shape.
        UsageError: An array has no sampling rate, or one that no recording has.
    """
    if isinstance(audio, str | PathLike):
        return read_audio(Path(audio), report=report)
    if isinstance(audio, bytes | bytearray | memoryview):
        return decode_audio(bytes(audio), "bytes", report=report)
    if callable(read := getattr(audio, "read", None)):
        content = "" if isinstance(audio, TextIOBase) else read()
        if not isinstance(content, bytes):
            raise AudioError(f"'{name_sound(audio)}' is open as text. Open it with mode 'rb'.")
        if not content:
            raise AudioError(f"'{name_sound(audio) or 'file'}' is at its end. Call seek(0) first.")
        return decode_audio(content, name_sound(audio) or "file", report=report)
    samples = _to_array(audio)
    if not isinstance(sample_rate, Real) or not RATES[0] <= sample_rate <= RATES[1]:
        raise UsageError(
            f"sample_rate is {sample_rate!r}, expected {RATES[0]:,} to {RATES[1]:,} Hz for an "
            f"array, such as sample_rate=48000."
        )
    samples = order_channels(samples)
    if len(samples) > LONGEST * sample_rate:
        raise AudioError(f"An array of more than {LONGEST / 3600:g} h. Cut it into parts.")
    return to_mono_16k(scale_samples(samples), sample_rate, "array", report)


def _to_array(audio: Any) -> NDArray:
    if isinstance(audio, np.ma.MaskedArray) and np.ma.is_masked(audio):
        raise AudioError("An array with masked samples. Fill them first: samples.filled(0)")
    try:
        samples = np.asarray(audio)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with a gradient
        hint = " For a tensor: tensor.detach().cpu().float()" if hasattr(audio, "detach") else ""
        raise AudioError(
            f"A {type(audio).__name__} is no array of samples: {str(error).rstrip('.')}. Expected "
            f"a path, bytes, an open file or an array of numbers.{hint}"
        ) from error
    if samples.dtype.kind in "OUS" or samples.ndim == 0:  # None, a list of paths, a number
        raise AudioError(
            f"audio is {show_value(audio)} ({type(audio).__name__}), expected a path, bytes, an "
            f"open file or an array of numbers. For several recordings: predict_batch()"
        )
    if isinstance(audio, list | tuple) and samples.ndim > 1:
        raise AudioError(
            f"A {type(audio).__name__} of {len(audio)} arrays may hold recordings or channels. For "
            f"recordings: predict_batch(). For channels: numpy.stack(channels)"
        )
    return samples


def name_sound(audio: Audio) -> str:
    """Return the path of a file; '' for bytes and arrays."""
    if isinstance(audio, str | PathLike):
        return fspath(audio)
    name = getattr(audio, "name", "")
    return name if isinstance(name, str) else ""


def order_channels(samples: NDArray) -> NDArray:
    """Return samples as ``(num_samples, num_channels)``. The shorter axis is that of channels.

    Raises:
        AudioError: The array has no axis or more than two, or too many channels.
    """
    if samples.ndim == 1:
        return samples[:, None]
    if samples.ndim != 2 or min(samples.shape) > MOST_CHANNELS:
        raise AudioError(
            f"An array of shape {samples.shape}, expected (num_samples,), (num_samples, "
            f"num_channels) or (num_channels, num_samples) of at most {MOST_CHANNELS} channels."
        )
    channels_first = samples.shape[0] < samples.shape[1]
    return samples.T if channels_first else samples


def scale_samples(samples: NDArray) -> NDArray[np.float32]:
    """Return samples ``(num_samples, num_channels)`` in about [-1, 1].

    Raises:
        AudioError: The scale of the type or of the values is not plain.
    """
    kind = samples.dtype.name
    if kind in SCALES:
        _check_integers(samples)
        shift = SCALES[kind] if kind == "uint8" else 0.0  # unsigned: silence is 128
        return ((samples.astype(np.float64) - shift) / SCALES[kind]).astype(np.float32)
    if samples.dtype.kind != "f":
        remedies = {"i": REMEDY, "u": f"{REMEDY} Then subtract 1, if silence is half of the range."}
        remedy = remedies.get(samples.dtype.kind, "Pass the decoded waveform.")
        raise AudioError(
            f"Samples of type {kind}, expected floats in [-1, 1] or {', '.join(SCALES)}. {remedy}"
        )
    loudest = float(np.abs(samples).max(initial=0.0))
    if np.isfinite(loudest) and loudest > LOUDEST:
        raise AudioError(
            f"Float samples of up to {loudest:,.0f}, expected [-1, 1]. Divide 16-bit samples by "
            f"32768, or pass the integers."
        )
    return samples.astype(np.float32)


def _check_integers(samples: NDArray) -> None:
    """Refuse int32 samples of an unknown width, and the bytes of a file.

    Some libraries return 16-bit or 24-bit values as int32. A quiet 32-bit recording has values of
    the same size.
    """
    peak = max(int(samples.max(initial=0)), -int(samples.min(initial=0)))
    if samples.dtype.name == "int32" and 0 < peak <= LARGEST_24_BITS:
        raise AudioError(
            f"int32 samples of up to {peak:,}: their width may be 16, 24 or 32 bits. {REMEDY}"
        )
    if samples.shape[1] == 1 and samples[:4].tobytes().startswith(SIGNATURES):
        raise AudioError(
            f"{samples.dtype.name} samples that begin like an audio file, expected decoded sound. "
            f"Pass the file: predict(path), or its bytes: samples.tobytes()"
        )

"""Kinds of audio files: those that hold the plain sound in another form, and those that are bad.

Each kind is a function that writes one file into a folder and returns its path.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
SECONDS = 2


def plain_sound() -> np.ndarray:
    """Two seconds of a swept tone, quiet at both ends so that codecs and resampling are gentle."""
    time = np.arange(SECONDS * RATE) / RATE
    fade = np.clip(np.minimum(time, SECONDS - time) * 10, 0, 1)
    return (0.4 * fade * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype(np.float32)


def write_sound(path: Path, channels: int = 1, rate: int = RATE, **how: str) -> Path:
    """Write the plain sound in a format; other rates are resampled."""
    import soxr

    samples = plain_sound()
    if rate != RATE:
        samples = soxr.resample(samples, RATE, rate, quality="VHQ")
    soundfile.write(path, np.stack([samples] * channels, 1), rate, **how)
    return path


def wav_bytes(fmt: bytes = b"", data: bytes | None = None, size: int | None = None) -> bytes:
    """Return a WAV whose headers can lie: ``fmt`` chunk, samples, and the stated data size."""
    if data is None:
        data = (plain_sound() * 32767).astype("<i2").tobytes()
    fmt = fmt or struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    size = len(data) if size is None else size
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(chunks), 2**32 - 1)) + chunks


def put(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def as_format(ending: str, **how: object) -> Callable[[Path], Path]:
    return lambda folder: write_sound(folder / f"sound.{ending}", **how)  # type: ignore[arg-type]


def _stream_flac(folder: Path) -> Path:
    """A FLAC written to a pipe: the header does not know the length."""
    content = bytearray(write_sound(folder / "whole.flac").read_bytes())
    content[21] &= 0xF0  # total samples: the low 36 bits of bytes 21 to 25
    content[22:26] = bytes(4)
    return put("streamed.flac", bytes(content))(folder)


def _named(name: str) -> Callable[[Path], Path]:
    return lambda folder: write_sound(folder / "x.wav").rename(folder / name)


SAME: dict[str, Callable[[Path], Path]] = {
    **{f"wav {s}": as_format("wav", subtype=s) for s in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")},
    "wav DOUBLE": as_format("wav", subtype="DOUBLE"),
    **{f"wav {r} Hz": as_format("wav", rate=r, subtype="FLOAT") for r in (22050, 44100, 48000)},
    "wav 96000 Hz": as_format("wav", rate=96000, subtype="FLOAT"),
    "wav 192000 Hz": as_format("wav", rate=192000, subtype="FLOAT"),
    **{f"wav {c} channels": as_format("wav", channels=c) for c in (2, 3, 6, 8, 64)},
    "wavex": as_format("wav", format="WAVEX"),
    "rf64": as_format("wav", format="RF64"),
    "w64": as_format("w64"),
    "aiff": as_format("aiff"),
    "aiff float": as_format("aiff", subtype="FLOAT"),
    "au": as_format("au"),
    "caf": as_format("caf"),
    "caf ALAC": as_format("caf", subtype="ALAC_16"),
    "flac 16": as_format("flac"),
    "flac 24": as_format("flac", subtype="PCM_24"),
    "flac streamed": _stream_flac,
    "nist sphere": as_format("sph", format="NIST"),
    "voc": as_format("voc"),
    "ircam": as_format("sf", format="IRCAM"),
    "paf": as_format("paf"),
    "svx": as_format("iff", format="SVX", subtype="PCM_16"),
    "htk": as_format("htk", format="HTK"),
    "mat4": as_format("mat", format="MAT4", subtype="PCM_16"),
    "mat5": as_format("mat", format="MAT5", subtype="PCM_16"),
    "pvf": as_format("pvf", format="PVF"),
    "avr": as_format("avr", format="AVR"),
    "wrong ending": as_format("mp3", format="WAV"),
    "no ending": _named("sound"),
    "streamed wav, size 0xFFFFFFFF": put("streamed.wav", wav_bytes(size=2**32 - 1)),
    "streamed wav, size 0x7FFFFFFF": put("lying.wav", wav_bytes(size=2**31 - 1)),
    "streamed wav, size 0x7FFFF000": put("sox.wav", wav_bytes(size=0x7FFFF000)),
    "streamed wav, size 2e9": put("pocket.wav", wav_bytes(size=2_000_000_000)),
    "junk behind the data": put("junk.wav", wav_bytes() + b"LIST" + b"\xff" * 99),
    "name with a newline": _named("two\nlines.wav"),
    "name with percent": _named("100%s %d.wav"),
    "name with a leading dash": _named("-rf.wav"),
    "name with an escape sequence": _named("\x1b[31mred\x1b[0m.wav"),
    "name of 250 bytes": _named("n" * 246 + ".wav"),
    "name that is not utf-8": _named(os.fsdecode(b"caf\xe9.wav")),
    "name with accents": _named("Gespräch é.wav"),
}
"""Kinds whose samples are those of the plain sound within 1e-3."""

LOSSY: dict[str, Callable[[Path], Path]] = {
    "wav ULAW": as_format("wav", subtype="ULAW"),
    "wav ALAW": as_format("wav", subtype="ALAW"),
    "wav PCM_U8": as_format("wav", subtype="PCM_U8"),
    "wav IMA_ADPCM": as_format("wav", subtype="IMA_ADPCM"),
    "wav MS_ADPCM": as_format("wav", subtype="MS_ADPCM"),
    "wav GSM610": as_format("wav", subtype="GSM610"),
    "wav 8000 Hz": as_format("wav", rate=8000, subtype="FLOAT"),
    "ogg VORBIS": as_format("ogg", subtype="VORBIS"),
    "ogg OPUS": as_format("opus", format="OGG", subtype="OPUS"),
    "mp3": as_format("mp3"),
}
"""Kinds that keep the sound and not the samples."""


def _float_wav(samples: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        soundfile.write(folder / "sound.wav", samples, RATE, subtype="FLOAT")
        return folder / "sound.wav"

    return write


def _link_to_itself(folder: Path) -> Path:
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    return folder / "loop.wav"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.wav")
    return folder / "pipe.wav"


def _folder(folder: Path) -> Path:
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def _cut(ending: str, keep: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = write_sound(folder / f"whole.{ending}").read_bytes()
        return put(f"cut.{ending}", content[:keep])(folder)

    return write


def _opposite(folder: Path) -> Path:
    sound = plain_sound()
    soundfile.write(folder / "phase.wav", np.stack([sound, -sound], 1), RATE, subtype="FLOAT")
    return folder / "phase.wav"


ATOM = b"\x00\x00\x00\x20ftypM4A "
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "gone.wav", "does not exist"),
    "no bytes": (put("x.wav", b""), "empty"),
    "one byte": (put("x.wav", b"R"), "cannot be decoded"),
    "text": (put("x.wav", b"not audio at all"), "cannot be decoded"),
    "random bytes": (put("x.wav", bytes(range(256)) * 9), "cannot be decoded"),
    "LFS pointer": (put("x.wav", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "web page": (put("x.wav", b"<!DOCTYPE html><html>"), "web page"),
    "m4a": (put("a b.m4a", ATOM + bytes(99)), "ffmpeg -i "),
    "mp4": (put("x.mp4", ATOM + bytes(99)), "ffmpeg -i "),
    "wma": (put("x.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(99)), "ffmpeg -i "),
    "webm": (put("x.webm", b"\x1a\x45\xdf\xa3" + bytes(99)), "ffmpeg -i "),
    "amr": (put("x.amr", b"#!AMR\n" + bytes(99)), "ffmpeg -i "),
    "aac": (put("x.aac", b"\xff\xf1" + bytes(99)), "ffmpeg -i "),
    "wav header alone": (put("x.wav", wav_bytes(data=b"")), "no samples"),
    "wav cut in the header": (_cut("wav", 30), "cannot be decoded"),
    "flac cut in the header": (_cut("flac", 40), ""),
    "ogg cut in the header": (_cut("ogg", 40), "cannot be decoded"),
    "no channels": (put("x.wav", wav_bytes(struct.pack("<HHIIHH", 1, 0, RATE, 0, 2, 16))), ""),
    "rate zero": (put("x.wav", wav_bytes(struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16))), ""),
    "65535 channels": (
        put("x.wav", wav_bytes(struct.pack("<HHIIHH", 1, 65535, RATE, 0, 65534, 16))),
        "cannot be decoded",
    ),
    "rate one": (put("x.wav", wav_bytes(struct.pack("<HHIIHH", 1, 1, 1, 2, 2, 16))), "longer than"),
    "unknown codec": (
        put("x.wav", wav_bytes(struct.pack("<HHIIHH", 0x1234, 1, RATE, 0, 2, 16))),
        "cannot be decoded",
    ),
    "NaN": (_float_wav(np.array([0.1, np.nan, 0.1])), "not finite"),
    "infinite": (_float_wav(np.array([0.1, np.inf, 0.1])), "not finite"),
    "flac cut in the data": (_cut("flac", 9001), "cannot be decoded"),
    "wav cut in the data": (_cut("wav", 9001), "holds 0.28 s, but its header states 2.00 s"),
    "silence": (_float_wav(np.zeros(RATE)), "silent"),
    "smallest numbers": (_float_wav(np.full(RATE, 1e-38)), "silent: no sample exceeds 1e-38"),
    "denormal numbers": (_float_wav(1e-40 * plain_sound()), "silent: no sample exceeds"),
    "opposite phase": (_opposite, "opposite phase"),
    "pipe": (_pipe, "not a regular file"),
    "folder": (_folder, "not a regular file"),
    "device": (lambda folder: Path("/dev/zero"), "not a regular file"),
    "link to itself": (_link_to_itself, "cannot be read"),
    "name with a null": (lambda folder: folder / "a\0b.wav", "cannot be read"),
    "name too long": (lambda folder: folder / ("n" * 300 + ".wav"), "cannot be read"),
    "file as a folder": (lambda folder: put("x", b"")(folder) / "y.wav", "cannot be read"),
}
"""Kinds that are refused in one line, and a part of it."""

ODD: dict[str, Callable[[Path], Path]] = {
    "one sample": _float_wav(np.array([0.5])),
    "ten samples": _float_wav(np.full(10, 0.5)),
    "100 ms": _float_wav(plain_sound()[8000:9600]),
    "constant": _float_wav(np.full(RATE, 0.25)),
    "clipped": _float_wav(np.clip(9 * plain_sound(), -1, 1)),
    "beyond full scale": _float_wav(90 * plain_sound()),
    "quiet": _float_wav(1e-8 * plain_sound()),
    "width of 3 bits": put(
        "x.wav", wav_bytes(struct.pack("<HHIIHH", 1, 1, RATE, 0, 1, 3), bytes(range(100)))
    ),
    "ogg cut in the data": _cut("ogg", 6001),
    "mp3 cut in the data": _cut("mp3", 6001),
}
"""Kinds that are read: finite samples, not more than the file holds."""

"""Forty uploads that no server should predict, or fall over."""

import io
import struct
import zlib

import numpy as np
import soundfile

RATE = 16_000


def write(samples: np.ndarray, form: str = "WAV", subtype: str | None = None, rate=RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def make_header(channels: int = 1, rate: int = RATE, bits: int = 16, size: int = 2**31) -> bytes:
    """Return a WAV header that promises more than follows."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) % 2**32, block % 2**16, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (size + 36) % 2**32) + chunks


def list_bad_uploads() -> dict[str, bytes]:
    """Return contents by what is wrong with them."""
    tone = (0.1 * np.sin(np.arange(RATE) / 10)).astype(np.float32)
    wav, flac, ogg = write(tone), write(tone, "FLAC"), write(tone, "OGG")
    bomb = zlib.compress(bytes(10_000_000))
    return {
        "nothing": b"",
        "one byte": b"R",
        "text": b"hello",
        "json": b'{"file": "a.wav"}',
        "html": b"<script>alert(1)</script>",
        "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
        "pdf": b"%PDF-1.7\n" + bytes(100),
        "zip": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b" + bytes(100),
        "zlib bomb": bomb,
        "elf": b"\x7fELF" + bytes(100),
        "pickle": b"\x80\x04\x95" + bytes(50) + b".",
        "path": b"/etc/passwd",
        "shell": b"; rm -rf / #",
        "zeros": bytes(1000),
        "ones": b"\xff" * 1000,
        "noise": np.random.default_rng(0).bytes(5000),
        "utf-16": "hällo".encode("utf-16"),
        "riff alone": b"RIFF",
        "half a header": wav[:20],
        "header alone": wav[:44],
        "header of nothing": make_header(size=0),
        "promises 2 GB": make_header(),
        "65535 channels": make_header(channels=65535),
        "no channel": make_header(channels=0),
        "rate 0": make_header(rate=0) + bytes(100),
        "rate 4 GHz": make_header(rate=2**32 - 1) + bytes(100),
        "0 bits": make_header(bits=0) + bytes(100),
        "silence": write(np.zeros(RATE, np.float32)),
        "not a number": write(np.full(RATE, np.nan, np.float32), subtype="FLOAT"),
        "infinite": write(np.full(RATE, np.inf, np.float32), subtype="DOUBLE"),
        "no samples": write(np.zeros(0, np.float32)),
        "flac header alone": flac[:42],
        "flac of garbage": flac[:60] + bytes(len(flac) - 60),
        "ogg header alone": ogg[:100],
        "ogg of video": b"OggS" + bytes(200),
        "mp3 tag alone": b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10),
        "midi": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x60MTrk" + bytes(20),
        "an hour": write(np.zeros(3600 * 8000 // 2, np.int16) + 1, "FLAC", "PCM_16", rate=8000),
    }

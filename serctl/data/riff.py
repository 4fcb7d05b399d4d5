"""Chunks of a WAV file: sound behind the length that its header states.

Source: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991),
chapter 2: a chunk is an identifier, a size and so many bytes, and begins at an even byte.
"""

import io
import struct
from typing import BinaryIO

RIFF = b"RIFF"
"""Begins a WAV file."""
UNLISTED = 0.1
"""Seconds behind the stated length that are tolerated."""
TAGS = (b"ID3", b"TAG", b"APE")
"""First bytes of tags that programs for music append."""
LARGEST_FORMAT = 64
OPEN = 8
"""Size in the header of a file that libsndfile has not closed. It reads such a file to its end."""


def count_unlisted(source: bytes | BinaryIO) -> float:
    """Return the seconds of bytes that are in no chunk; 0 if they are a tag or padding."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    end = file.seek(0, io.SEEK_END)
    file.seek(4)
    is_open = int.from_bytes(file.read(4), "little") == OPEN
    place, rate, has_sound = 12, 0, False
    while place < end:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or not _is_printable(head[:4]):
            break
        name, size = struct.unpack("<4sI", head)
        if name == b"fmt ":
            (rate,) = struct.unpack_from("<I", file.read(LARGEST_FORMAT).ljust(12, b"\0"), 8)
        if name == b"data" and not size and is_open:
            return 0.0
        has_sound |= name == b"data"
        place += 8 + size
        if size % 2:
            file.seek(place)
            place += not _is_printable(file.read(1))  # some programs leave the byte out
    if not (rate and has_sound) or place >= end:
        return 0.0
    file.seek(place)
    rest = file.read(rate)
    is_padding = len({*rest}) <= 2  # zeros, 0xff, line ends
    return 0.0 if is_padding or rest.startswith(TAGS) else (end - place) / rate


def _is_printable(text: bytes) -> bool:
    return text.isascii() and text.decode("ascii").isprintable()

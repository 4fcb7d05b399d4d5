"""Chunks of a WAV file: sound that is missing, or behind the length that its header states.

Source: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991),
chapter 2: a chunk is an identifier, a size and so many bytes, and begins at an even byte. Sizes of
streams: https://github.com/go-audio/wav/pull/41 (0xFFFFFFFF of ffmpeg),
https://github.com/rs1729/RS/issues/39 (0x7FFFF000 of SoX) and
https://github.com/kyutai-labs/pocket-tts/issues/229 (2,000,000,000).
"""

import io
import struct
from typing import BinaryIO, NamedTuple

RIFF = b"RIFF"
"""Begins a WAV file."""
TOLERATED = 0.1
"""Maximum seconds between the stated length and that of the file."""
STREAMED = 2_000_000_000
"""Least size that programs write if they do not know the length. It is no length."""
TAGS = (b"ID3", b"TAG", b"APE")
"""First bytes of tags that programs for music append."""
LARGEST_FORMAT = 64
OPEN = 8
"""Size in the header of a file that libsndfile has not closed. It reads such a file to its end."""


class Sound(NamedTuple):
    """Seconds of a WAV file.

    Attributes:
        stated: Length in the header; 0 if it has none.
        held: Length of the data in the file.
        behind: Length of bytes that are in no chunk; 0 if they are a tag or padding.
    """

    stated: float = 0.0
    held: float = 0.0
    behind: float = 0.0


def measure_sound(source: bytes | BinaryIO) -> Sound:
    """Return the length of a WAV file as stated and as found."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    end = file.seek(0, io.SEEK_END)
    file.seek(4)
    is_open = int.from_bytes(file.read(4), "little") == OPEN
    place, rate, stated, held = 12, 0, -1, 0
    while place < end:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or not _is_printable(head[:4]):
            break
        name, size = struct.unpack("<4sI", head)
        if name == b"fmt ":
            (rate,) = struct.unpack_from("<I", file.read(LARGEST_FORMAT).ljust(12, b"\0"), 8)
        if name == b"data":
            if not size and is_open:
                return Sound()
            held = min(size, end - place - 8)
            stated = held if size >= STREAMED else size
        place += 8 + size
        if size % 2:
            file.seek(place)
            place += not _is_printable(file.read(1))  # some programs leave the byte out
    if not rate or stated < 0:
        return Sound()
    file.seek(place)
    rest = file.read(rate)
    # Padding is zeros, 0xff or line ends.
    is_sound = place < end and len({*rest}) > 2 and not rest.startswith(TAGS)
    return Sound(stated / rate, held / rate, (end - place) / rate if is_sound else 0.0)


def _is_printable(text: bytes) -> bool:
    return text.isascii() and text.decode("ascii").isprintable()

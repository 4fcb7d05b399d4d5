"""MP3 files of which libsndfile reads a part only, found by the headers of their frames.

libsndfile believes the Xing or Info tag of the first frame. Without a tag it computes the length
from the bit rate of the first frame.

Source: ISO/IEC 11172-3 and 13818-3 (headers of frames); the Xing tag as LAME writes it, behind a
header and side information of zeros, of which a checksum may take two; ID3v2.4, section 3.1.
"""

import re
from typing import BinaryIO

TAG = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x00-\xff]{4}\x00{7,30}(?:Xing|Info)")
TAG_BYTES = 4 + 32 + 4
SEVERAL = "several streams one after the other, and libsndfile reads only the first"
BLOCK = 1 << 20
AT_LEAST = 8192
"""Bytes behind the length of a tag that are more than a frame, which some encoders do not count."""
AT_MOST = 4
"""Frames more than those of a tag, about 0.1 s: the frame of the tag itself, and padding."""
RATES = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
"""Sampling rates by the bits of the version: MPEG 2.5, 2 and 1."""
KILOBITS = {
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
"""Bit rates of layer III in 1000 bits a second, of MPEG 1 (True) and of the others."""


def find_unread(file: BinaryIO) -> str:
    """Return why libsndfile reads only a part of an MP3 file; '' if it reads all."""
    number, rest, length, place, frames = 0, b"", 0, 0, 0
    file.seek(0)
    while number < 2 and (block := file.read(BLOCK)):
        content, end = rest + block, 0
        for found in TAG.finditer(content):
            number, end = number + 1, found.end()
            fields = content[end : end + 12]
            if number == 1 and len(fields) == 12 and fields[3] & 3 == 3:
                place, length = file.tell() - len(content) + found.start(), _number(fields[8:])
                frames = _number(fields[4:8])
        rest = content[max(len(content) - TAG_BYTES, end) :]
    if number > 1 or (length and _goes_on(file, place + length)):
        return SEVERAL
    if length and _count_frames(file, place, length) > frames + AT_MOST:
        return f"more frames than its length of {frames:,}, at which libsndfile stops"
    if not number and _varies(file):
        return "a variable bit rate and no length, which libsndfile guesses from its first frame"
    return ""


def _goes_on(file: BinaryIO, place: int) -> bool:
    """Whether frames begin where the length of a tag ends, or behind an ID3 tag there."""
    file.seek(place)
    content = file.read(BLOCK)
    return len(content) > AT_LEAST and len(_list_rates(content)) > 2


def _varies(file: BinaryIO) -> bool:
    """Whether the first frames of a file have several bit rates."""
    file.seek(0)
    head = file.read(10)
    file.seek(_skip_id3(head))
    return len({*_list_rates(file.read(BLOCK))}) > 1


def _count_frames(file: BinaryIO, place: int, length: int) -> int:
    """Return the number of frames that follow each other in the length of a tag."""
    end, number = place + length, 0
    while place < end:
        file.seek(place)
        sizes = [size for _, size in _list_frames(file.read(min(BLOCK, end - place)))]
        if not sizes:
            break
        number, place = number + len(sizes), place + sum(sizes)
    return number


def _list_rates(content: bytes) -> list[int]:
    """Return the bit rates of the frames that follow each other from the beginning."""
    return [kilobits for kilobits, _ in _list_frames(content[_skip_id3(content[:10]) :])]


def _list_frames(content: bytes) -> list[tuple[int, int]]:
    """Return the bit rates and sizes of the frames that follow each other from the beginning."""
    place, first, frames = 0, b"", []
    while len(header := content[place : place + 4]) == 4:
        kind, version = (header[1] & 0xFE, header[2] & 0x0C), header[1] >> 3 & 3
        index, rate = header[2] >> 4, header[2] >> 2 & 3
        is_frame = header[0] == 0xFF and header[1] & 0xE6 == 0xE2 and version in RATES
        if not is_frame or not 1 <= index <= 14 or rate == 3:
            break
        first = first or bytes(kind)
        if bytes(kind) != first:
            break
        kilobits, samples = KILOBITS[version == 3][index - 1], 144 if version == 3 else 72
        size = samples * kilobits * 1000 // RATES[version][rate] + (header[2] >> 1 & 1)
        frames.append((kilobits, size))
        place += size
    return frames


def _skip_id3(head: bytes) -> int:
    """Return the size of an ID3v2 tag, of seven bits a byte; 0 if there is none."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum(value << shift for value, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _number(four: bytes) -> int:
    return int.from_bytes(four, "big")

"""Opening audio files, and what a file is that is no audio."""

import io
import os
import shlex
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from serctl.data.mp3 import SEVERAL, find_unread
from serctl.data.riff import RIFF, TOLERATED, measure_sound
from serctl.errors import AudioError
from serctl.names import explain_url

if TYPE_CHECKING:
    from soundfile import SoundFile

READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""O_NONBLOCK prevents that opening a pipe waits for a writer."""

URL = "file:/"
"""Begins a URL of a file. A path keeps one of its slashes."""

_unread: dict[tuple[int, ...], str] = {}
MOST_MARKS = 1000
"""Maximum number of files for which it is remembered what libsndfile does not read."""
OGG = b"OggS"
"""Begins every page of an Ogg file."""
MP3 = (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")
"""First bytes of MP3 files: a tag, or a frame of MPEG 1, 2 or 2.5."""
EXPECTED = "Expected WAV, FLAC, MP3, Ogg or another format of libsndfile."
FOREIGN = (
    (4, b"ftyp", "MP4 audio (m4a, mp4, mov)"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media audio (wma)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM audio"),
    (0, b"#!AMR", "AMR audio"),
    (0, b"\xff\xf1", "AAC audio"),
    (0, b"\xff\xf9", "AAC audio"),
)
"""Offset and first bytes of formats that libsndfile does not read."""


@contextmanager
def open_audio(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading. Pipes and devices are refused, because they may block.

    Raises:
        AudioError: The file is missing, cannot be read or is not a regular one.
    """
    try:
        with os.fdopen(os.open(path, READING), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise AudioError(f"Audio file '{path}' is not a regular file.")
            yield file
    except FileNotFoundError:
        raise AudioError(f"Audio file '{path}' does not exist.{explain_absence(path)}") from None
    except IsADirectoryError:
        raise AudioError(f"Audio file '{path}' is not a regular file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"Audio file '{path}' cannot be read: {reason}.") from error


@contextmanager
def open_sound(source: bytes | BinaryIO, name: Path | str) -> Iterator["SoundFile"]:
    """Open audio with libsndfile for the block.

    Raises:
        AudioError: The audio is empty, a chain of several, or cannot be decoded, when it is opened
            or in the block.
    """
    import soundfile

    class Forward(soundfile.SoundFile):
        """Audio that is read sequentially.

        soundfile seeks after every block, which fails at the end of a streamed FLAC file.
        """

        def seekable(self) -> bool:
            return False

    head = source[:64] if isinstance(source, bytes) else source.read(64)
    if not head:
        raise AudioError(f"Audio file '{name}' is empty (0 bytes).")
    if head.startswith((OGG, *MP3)) and (unread := _find_unread(source, head)):
        raise AudioError(f"Audio file '{name}' has {unread} (convert it with: {_to_flac(name)}).")
    if head.startswith(RIFF):
        _check_length(source, name)
    file: io.BytesIO | int
    if isinstance(source, bytes):
        file = io.BytesIO(source)
    else:
        source.seek(0)
        file = source.fileno()
    try:
        with Forward(file, closefd=False) as sound:
            yield sound
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        problem = recognise(head, name) or f"cannot be decoded: {reason}. {EXPECTED}"
        raise AudioError(f"Audio file '{name}' {problem}") from error


def _check_length(source: bytes | BinaryIO, name: Path | str) -> None:
    sound, command = measure_sound(source), _to_flac(name, "-ignore_length 1 ")
    if sound.behind > TOLERATED:
        raise AudioError(
            f"Audio file '{name}' holds {sound.behind:.1f} s behind the length in its header, as "
            f"if its recorder had stopped (repair it with: {command})."
        )
    if not sound.held and sound.stated > TOLERATED:
        raise AudioError(
            f"Audio file '{name}' is only a header: it holds no samples, but its header states "
            f"{sound.stated:.2f} s. Copy it again."
        )
    if sound.stated - sound.held > TOLERATED:
        raise AudioError(
            f"Audio file '{name}' holds {sound.held:.2f} s, but its header states "
            f"{sound.stated:.2f} s, as if only a part was copied. Copy it again, or use the part: "
            f"{command}"
        )


def _find_unread(source: bytes | BinaryIO, head: bytes) -> str:
    """Return why libsndfile reads only a part of an Ogg or MP3 file; '' if it reads all."""
    look = _find_second if head.startswith(OGG) else find_unread
    if isinstance(source, bytes):
        return look(io.BytesIO(source))
    found = os.fstat(source.fileno())
    mark = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    reason = _unread.get(mark)  # a recording of many segments is opened for each
    if reason is None:
        if len(_unread) >= MOST_MARKS:
            _unread.clear()
        reason = _unread[mark] = look(source)
    return reason


def _find_second(file: BinaryIO) -> str:
    return SEVERAL if _begins_again(file) else ""


def _begins_again(file: BinaryIO) -> bool:
    """Whether a page begins a stream after a page that does not. Reads headers of pages only.

    Source: RFC 3533, sections 4 and 6.
    """
    place, begun = 0, False
    while True:
        file.seek(place)
        page = file.read(27 + 255)
        if len(page) < 27 or not page.startswith(OGG):
            return False
        begins = bool(page[5] & 2)
        if begins and begun:
            return True
        begun |= not begins
        place += 27 + page[26] + sum(page[27 : 27 + page[26]])


def is_audio_file(path: Path) -> bool:
    """Whether a file exists; False for an invalid name."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises for a name too long)


def mark_file(path: Path) -> tuple[int, int]:
    """Return size and modification time of an audio file, to detect changes.

    Raises:
        AudioError: The file is missing or cannot be read.
    """
    with open_audio(path) as file:
        found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def explain_absence(path: Path) -> str:
    """Return a reason why a file is not found under its name; '' if there is none."""
    if why := explain_url(path):
        return why
    if "\\" in str(path):
        return " Its name has backslashes, as on Windows. Write paths with '/'."
    if URL in str(path):
        return " It is written as a URL. Write the path without 'file://'."
    try:
        names = [found.name for found in path.parent.iterdir()]
        other = ignore_case(path)
    except (OSError, ValueError):
        return ""
    wanted = unicodedata.normalize("NFC", path.name)
    if any(unicodedata.normalize("NFC", name) == wanted for name in names):
        return (
            " A file with the same letters exists, but its accents have another Unicode form "
            "(NFC or NFD)."
        )
    return f" '{other}' exists: write it with these capitals." if other != path else ""


@lru_cache(maxsize=1000)
def _list_names(folder: Path, time_ns: int) -> dict[str, list[str]]:
    """Return the names in a folder by their forms without capitals."""
    names: dict[str, list[str]] = {}
    for found in folder.iterdir():
        names.setdefault(found.name.casefold(), []).append(found.name)
    return names


def ignore_case(path: Path) -> Path:
    """Return the only existing path that differs in capitals at most; the path itself if none."""
    found = Path(path.anchor)
    try:
        for part in path.parts[bool(path.anchor) :]:
            if not (found / part).exists():
                (part,) = _list_names(found, found.stat().st_mtime_ns)[part.casefold()]
            found /= part
    except (OSError, ValueError, KeyError):
        return path
    return found


def recognise(head: bytes, name: Path | str) -> str:
    """Return the format of an unsupported file and a fix; '' if the format is unknown."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the audio (fetch it with: git lfs pull)."
    if head.startswith(b"\x00\x05\x16\x07"):
        return "is a resource fork of macOS, not audio. Name the file without '._'."
    for offset, magic, kind in FOREIGN:
        if head[offset:].startswith(magic):
            return f"is {kind}, which libsndfile does not read (convert it with: {_to_flac(name)})."
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not audio. Download it again."
    return ""


def _to_flac(name: Path | str, options: str = "") -> str:
    """Return the command that converts a file."""
    target = Path(name).with_suffix(".flac")
    return f"ffmpeg {options}-i {shlex.quote(str(name))} {shlex.quote(str(target))}"

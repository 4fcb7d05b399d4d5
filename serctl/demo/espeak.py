"""Speech from text by the espeak-ng library, in a child process.

The library keeps state (flutter, breath noise) between utterances, so a repeated text gives
slightly different samples. A new process with a fixed seed that speaks a list in order gives the
same samples every time.

Source: functions, parameter numbers and ranges: espeak-ng, `src/include/espeak-ng/speak_lib.h`;
``espeak_ng_SetRandSeed``: https://github.com/espeak-ng/espeak-ng/pull/1530.
"""

import ctypes
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.errors import CorpusError

SPOKEN_RATE = 22_050
"""Sampling rate of espeak-ng in Hz."""

SYNCHRONOUS, DO_NOT_EXIT, UTF8 = 2, 0x8000, 1
RATE, PITCH, RANGE = 1, 3, 4


@dataclass(frozen=True)
class Line:
    """A text with its prosody: rate in words per minute, pitch and range 0 to 99 (default 50)."""

    text: str
    voice: str
    rate: int = 175
    pitch: int = 50
    range: int = 50


def speak(lines: Sequence[Line]) -> Iterator[NDArray[np.int16]]:
    """Speak the lines in order.

    Yields:
        Samples ``(num_samples,)`` at 22.05 kHz, one array per line.

    Raises:
        CorpusError: The library is not installed, or it failed.
    """
    command = [sys.executable, "-m", "serctl.demo.espeak"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps([asdict(line) for line in lines]).encode())
            child.stdin.close()
            for line in lines:
                header = child.stdout.read(4)
                if len(header) < 4:
                    raise CorpusError(f"espeak-ng failed at '{line.text}' with voice {line.voice}.")
                yield np.frombuffer(child.stdout.read(struct.unpack("<I", header)[0]), np.int16)
        finally:
            child.kill()


def require_espeak() -> Any:
    """Return the package of the library.

    Raises:
        CorpusError: The package is not installed.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise CorpusError(
            "The demo corpus needs espeak-ng, which is not installed. "
            "Install it with: pip install 'serctl[demo]'"
        ) from None
    return espeakng_loader


def _load() -> ctypes.CDLL:
    package = require_espeak()
    library = ctypes.CDLL(package.get_library_path())
    if library.espeak_Initialize(SYNCHRONOUS, 0, package.get_data_path().encode(), DO_NOT_EXIT) < 0:
        raise CorpusError(f"espeak-ng cannot read its voices in '{package.get_data_path()}'.")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the default seed is the time
    return library


def _serve() -> None:
    """Read lines as JSON from stdin, and write the byte count and samples of each to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the child without a traceback
    library, pieces = _load(), []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def keep(samples: int | None, count: int, _events: int) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(keep)
    for line in json.load(sys.stdin):
        pieces.clear()
        if library.espeak_SetVoiceByName(line["voice"].encode()):
            raise CorpusError(f"espeak-ng has no voice '{line['voice']}'.")
        for parameter, name in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range")):
            library.espeak_SetParameter(parameter, line[name], 0)
        text = line["text"].encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        spoken = b"".join(pieces)
        sys.stdout.buffer.write(struct.pack("<I", len(spoken)) + spoken)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()

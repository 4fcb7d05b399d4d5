"""Limits of a request: bytes, time, seconds, channels and sampling rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE, decode_audio
from serctl.data.audio_file import open_sound
from serctl.data.downmix import ReportProblem
from serctl.errors import AudioError, SerctlError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_CHANNELS, HIGHEST_RATE = 32, 768_000
"""Limits of the header. Beyond them a small file may fill the memory when it is decoded."""


TOO_LARGE, TOO_SLOW = 413, 408
DRAINED = 4
"""Multiple of the limit that is still read, and discarded, of a request that is too large."""


IDLE_SECONDS, UPLOAD_SECONDS = 30.0, 600.0
"""Time that the server waits for the next bytes of an upload, and for the whole upload."""


class TooLargeError(SerctlError):
    """A request with more bytes or a recording with more seconds than the server accepts."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        megabytes: Maximum size of a request in 10^6 bytes.
        seconds: Maximum length of a recording.
    """

    megabytes: float
    seconds: float

    @property
    def num_bytes(self) -> int:
        """Maximum size of a request in bytes."""
        return int(self.megabytes * 1e6)

    def decode(self, content: bytes, name: str, report: ReportProblem) -> NDArray[np.float32]:
        """Return 16 kHz samples ``(num_samples,)``. The header is checked before decoding.

        Raises:
            TooLargeError: The file or the recording is larger than the limits.
            AudioError: The content is not audio.
        """
        if len(content) > self.num_bytes:
            raise TooLargeError(self.explain_size(len(content)))
        with open_sound(content, name) as sound:
            channels, rate, length = sound.channels, sound.samplerate, sound.frames
        if channels > MOST_CHANNELS or not 1 <= rate <= HIGHEST_RATE:
            raise AudioError(
                f"Audio file '{name}' has {channels} channels at {rate} Hz, "
                f"expected up to {MOST_CHANNELS} channels and {HIGHEST_RATE:,} Hz."
            )
        self._check_length(length / rate, name)
        waveform = decode_audio(content, name, report=report)
        self._check_length(len(waveform) / SAMPLE_RATE, name)
        return waveform

    def explain_size(self, size: int) -> str:
        """Return the error message for a request that is too large."""
        return f"The request has {size / 1e6:,.1f} MB, expected up to {self.megabytes:g} MB."

    def _check_length(self, seconds: float, name: str) -> None:
        if seconds > self.seconds:
            raise TooLargeError(
                f"Audio file '{name}' has {seconds:,.0f} s, expected up to {self.seconds:g} s. "
                f"Send a part of it, or predict it with: serctl predict"
            )


class SizeLimit:
    """ASGI middleware that refuses a body that would fill the disk, or that does not finish."""

    def __init__(self, app: Any, limits: Limits) -> None:
        self._app, self._limits = app, limits
        # A form adds a few hundred bytes to its file.
        self._most = limits.num_bytes + 10_000

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Respond with 413 to a request that is too large, with 408 to one that is too slow."""
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, self._most)
        stated = dict(scope["headers"]).get(b"content-length", b"")
        if stated.isdigit() and int(stated) > self._most:
            body.refusal = TOO_LARGE
        else:
            with suppress(_RefusedError):
                await self._app(scope, body.receive, body.send)
        if body.answered or not body.refusal:
            return
        if body.refusal == TOO_LARGE:
            with suppress(_RefusedError):
                await body.drain()
        error = {
            TOO_LARGE: f"The request is too large, expected up to {self._limits.megabytes:g} MB.",
            TOO_SLOW: f"The upload did not finish, expected its next bytes within "
            f"{IDLE_SECONDS:g} s and all within {UPLOAD_SECONDS:g} s.",
        }[body.refusal]
        closing = {"Connection": "close"} if body.refusal == TOO_SLOW else None
        await JSONResponse({"error": error}, body.refusal, closing)(scope, receive, send)


class _Body:
    """Counts bytes and time of a body, and drops the application's response to a refused one."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._most, self._seen = receive, send, most, 0
        self._end: float | None = None
        self._complete = self.answered = False
        self.refusal = 0  # or the status of the response

    async def receive(self) -> Message:
        message = await self._wait()
        if self._seen > self._most:
            self.refusal = TOO_LARGE
            raise _RefusedError
        return message

    async def _wait(self) -> Message:
        """Return the next message. After the body it is the end of the connection."""
        if self._complete:
            return await self._receive()
        self._end = self._end or time.monotonic() + UPLOAD_SECONDS
        try:
            async with asyncio.timeout(min(IDLE_SECONDS, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            self.refusal = self.refusal or TOO_SLOW
            raise _RefusedError from None
        self._seen += len(message.get("body", b""))
        self._complete = not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Read more of the body: a client that is still sending would not see the response."""
        while self._seen < DRAINED * self._most:
            if not (await self._wait()).get("more_body"):
                return

    async def send(self, message: Message) -> None:
        if not self.refusal:
            self.answered = True
            await self._send(message)


class _RefusedError(Exception):
    """The request exceeds the limit of bytes or of time."""

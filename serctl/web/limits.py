"""What a request may be: so many bytes, so many seconds, something that is audio."""

import io
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE, decode_audio
from serctl.errors import AudioError, SerctlError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_CHANNELS, HIGHEST_RATE = 32, 768_000
"""Beyond these a file of few bytes may decode to all of memory."""


DRAINED = 4
"""Times the limit that is read of a request that is too large, and thrown away."""


class TooLargeError(SerctlError):
    """A request of more bytes, or a recording of more seconds, than the server takes."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        megabytes: Of a request.
        seconds: Of a recording.
    """

    megabytes: float
    seconds: float

    @property
    def num_bytes(self) -> int:
        """The size in bytes."""
        return int(self.megabytes * 1e6)

    def decode(self, content: bytes, name: str) -> NDArray[np.float32]:
        """Return 16 kHz samples; what the header says is checked before anything is decoded.

        Raises:
            TooLargeError: The file or the recording is larger than this server takes.
            AudioError: It is no audio.
        """
        import soundfile

        if len(content) > self.num_bytes:
            raise TooLargeError(self.explain_size(len(content)))
        if not content:
            raise AudioError(f"Audio file '{name}' is empty (0 bytes).")
        try:
            info = soundfile.info(io.BytesIO(content))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            reason = str(error).rpartition(": ")[2]
            raise AudioError(f"Audio file '{name}' cannot be decoded: {reason}") from error
        if info.channels > MOST_CHANNELS or not 1 <= info.samplerate <= HIGHEST_RATE:
            raise AudioError(
                f"Audio file '{name}' has {info.channels} channels at {info.samplerate} Hz; this "
                f"server takes up to {MOST_CHANNELS} channels and {HIGHEST_RATE:,} Hz."
            )
        self._check_length(info.frames / info.samplerate, name)
        waveform = decode_audio(content, name)
        self._check_length(len(waveform) / SAMPLE_RATE, name)
        return waveform

    def explain_size(self, size: int) -> str:
        """Return why a request is refused."""
        return f"{size / 1e6:,.1f} MB; this server takes up to {self.megabytes:g} MB."

    def _check_length(self, seconds: float, name: str) -> None:
        if seconds > self.seconds:
            raise TooLargeError(
                f"Audio file '{name}' has {seconds:,.0f} s; this server takes up to "
                f"{self.seconds:g} s. Send a part of it, or predict it with: serctl predict"
            )


class SizeLimit:
    """ASGI middleware that refuses a body before it fills the disk, whatever its header says."""

    def __init__(self, app: Any, limits: Limits) -> None:
        self._app, self._limits = app, limits
        # The parts around a file in a form take a few hundred bytes.
        self._most = limits.num_bytes + 10_000

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 413 for what is too large; hand on everything else."""
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, self._most)
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > self._most:
            body.too_large = True
        else:
            try:
                await self._app(scope, body.receive, body.send)
            except _RefusedError:
                body.too_large = True
        if body.too_large and not body.answered:
            await body.drain()
            error = f"A request of more than {self._limits.megabytes:g} MB is not taken."
            await JSONResponse({"error": error}, 413)(scope, receive, send)


class _Body:
    """Counts the bytes of a request; keeps back what an application says of a broken one."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._most, self._seen = receive, send, most, 0
        self.too_large = self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._most:
            self.too_large = True
            raise _RefusedError
        return message

    async def drain(self) -> None:
        """Read on for a while: who is still sending does not see an answer, but a broken pipe."""
        while self._seen < DRAINED * self._most:
            message = await self._receive()
            self._seen += len(message.get("body", b""))
            if not message.get("more_body"):
                return

    async def send(self, message: Message) -> None:
        if not self.too_large:
            self.answered = True
            await self._send(message)


class _RefusedError(Exception):
    """More bytes came than a request may have."""

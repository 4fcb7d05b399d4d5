"""Names under which a server answers: a page of another site must not reach it by its own name."""

from contextlib import suppress
from ipaddress import ip_address
from socket import inet_aton
from typing import Any

from serctl.web.limits import Message, Receive, Send


class HostCheck:
    """ASGI middleware that answers only requests to an address, to localhost or to ``--host``.

    A browser sends the name in its address bar. A site that resolves its name to this machine (DNS
    rebinding) could otherwise read the answers. An address cannot be such a name, and no browser
    leaves the header out. A server on all addresses answers all, because it cannot know its names.
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app, self._host = app, host.lower()
        self._names = ("localhost", self._host, "")
        self._answers_all = is_everywhere(host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Respond with 421 to a request for another host. Forward all others."""
        from starlette.responses import JSONResponse

        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        name = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self._answers_all or _is_address(name) or find_name(name) in self._names:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            error = (
                f"Host '{name}' is not the name of this server, expected localhost, an address or "
                f"--host ({self._host})."
            )
            await JSONResponse({"error": error}, 421)(scope, receive, send)


def is_everywhere(host: str) -> bool:
    """Whether ``--host`` stands for all addresses of the machine, in any spelling.

    Example:
        >>> is_everywhere("0.0.0.0"), is_everywhere("0"), is_everywhere("::0"), is_everywhere("a.b")
        (True, True, True, False)
    """
    with suppress(OSError):
        return not host or inet_aton(host) == bytes(4)  # inet_aton reads 0 and 0x0 too
    with suppress(ValueError):
        return ip_address(host).is_unspecified
    return False


def find_name(header: str) -> str:
    """Return the name in a header ``Host``, without the port.

    Example:
        >>> find_name("LocalHost:7860"), find_name("[::1]:7860"), find_name("")
        ('localhost', '::1', '')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()


def _is_address(header: str) -> bool:
    try:
        ip_address(find_name(header))
    except ValueError:
        return False
    return True

"""`serctl serve`: load a model once and serve it until interrupted."""

import os
import socket
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serctl.config import Workspace
from serctl.data.recordings import find_recordings
from serctl.errors import ConfigError, UsageError
from serctl.options import PredictOptions, ServeOptions
from serctl.options.option import copy_options
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.web.api import make_api
from serctl.web.hosts import HostCheck
from serctl.web.limits import Limits, SizeLimit
from serctl.web.worker import Worker

if TYPE_CHECKING:
    import uvicorn

PACKAGES = ("gradio", "plotly", "jinja2")


def serve(
    workspace: Workspace | None,
    options: ServeOptions,
    *,
    log: Callable[[str], None] = lambda text: None,
) -> None:
    """Serve a model until interrupted.

    Args:
        workspace: The project. A bundle needs none.
        options: See `ServeOptions`.
        log: Receives notes for the user, and the address when the server is ready.

    Raises:
        ConfigError: Gradio is not installed, or the address is taken.
        SerctlError: The model cannot be loaded.
    """
    check_page_packages()
    listening = listen(options.host, options.port)
    predictor = load_predictor(workspace, options)
    address = name_address(listening)
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        log(f"--host {options.host}: every host that reaches this machine can use the model.")
    predictor.note_without_speakers()
    for note in predictor.notes:
        log(note)
    with tempfile.TemporaryDirectory(prefix="serctl-serve-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads are deleted when the server ends
        worker = Worker(predictor, options.waiting)
        try:
            server = make_server(worker, options)
            log(f"Serving {predictor.parts.name} on {address} (Ctrl+C stops it).")
            server.run(sockets=[listening])
        finally:
            worker.close()


def make_server(worker: Worker, options: ServeOptions) -> "uvicorn.Server":
    """Return the server of page and API over a worker."""
    import uvicorn

    from serctl.web.page import make_page, mount_page

    limits = Limits(options.max_megabytes, options.max_seconds)
    page = make_page(worker, limits, find_examples(options.examples))
    app: Any = mount_page(make_api(worker, limits), page, limits)
    app = HostCheck(SizeLimit(app, limits), options.host)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    return uvicorn.Server(config)


def load_predictor(workspace: Workspace | None, options: ServeOptions) -> Predictor:
    """Load the model, with all its encoders in memory."""
    parts = find_parts(options.model, workspace)
    return Predictor(
        parts, copy_options(PredictOptions, options), workspace.weights if workspace else None
    )


def check_page_packages() -> None:
    """Check that the packages of the page are installed.

    Raises:
        ConfigError: A package is not installed.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise ConfigError(f"The page needs {package}. Install it: pip install 'serctl[serve]'")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on an address. Port 0 chooses a free port.

    Raises:
        ConfigError: The address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # who connects before the server runs waits for it
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Cannot serve on {host}:{port}: {error.strerror or error}. Choose another port: "
            f"--port 0 takes a free one."
        ) from error
    return listening


def name_address(listening: socket.socket) -> str:
    """Return the URL of a socket. One of IPv6 has its address in brackets."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_examples(folder: str) -> list[Path]:
    """Return the recordings that the page offers.

    Raises:
        UsageError: The folder does not exist.
    """
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise UsageError(f"--examples is '{folder}', expected a folder with recordings.")
    return find_recordings([folder])

"""A server over a tiny bundle, in this process, on a free port of 127.0.0.1."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from serctl.options import BundleOptions, ServeOptions

__all__ = ["Served", "served"]


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    bundle: Path
    project: Path

    def get(self, path: str, content: bytes | None = None, **headers: str) -> tuple[int, dict]:
        """Return status and document of an answer."""
        request = Request(self.address + path, content, headers)
        try:
            with urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    def post_form(self, content: bytes, name: str = "a.wav") -> tuple[int, dict]:
        """Send a file as a browser or curl -F does."""
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        return self.get("/predict", body, **{"Content-Type": "multipart/form-data; boundary=x"})


@pytest.fixture(scope="session")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("gradio")
    from trained_project import SPEECH

    from serctl.config import open_workspace
    from serctl.stages.bundle import make_bundle
    from serctl.web.server import listen, load_predictor, make_server
    from serctl.web.worker import Worker

    workspace = open_workspace(trained)
    folder = tmp_path_factory.mktemp("serve")
    made = BundleOptions(name="tones", run=SPEECH, output=str(folder / "bundle"))
    bundle = make_bundle(workspace, made).folder
    examples = folder / "examples"
    examples.mkdir()
    (examples / "one.wav").write_bytes((trained / "u05.wav").read_bytes())
    options = ServeOptions(
        model=str(bundle), device="cpu", max_megabytes=4, max_seconds=120, examples=str(examples)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        listening = listen("127.0.0.1", 0)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        worker = Worker(load_predictor(workspace, options), options.waiting)
        server = make_server(worker, options)
        thread = Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield Served(address, bundle, trained)
        server.should_exit = True
        thread.join(10)
        worker.close()

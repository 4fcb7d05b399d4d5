"""The HTTP API: the command line's predictions, and a status for whatever is wrong."""

import asyncio
import http.client
import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from bad_uploads import list_bad_uploads
from synthetic_timeline import make_timeline
from trained_project import SPEECH
from two_talkers import write_call

from serctl.config import open_workspace
from serctl.data.segments import SpeechSegment
from serctl.errors import ConfigError, UsageError
from serctl.options import PredictOptions, ServeOptions
from serctl.stages.predict import predict
from serctl.web.api import answer
from serctl.web.hosts import HostCheck
from serctl.web.limits import Limits
from serctl.web.page import show_recording
from serctl.web.server import find_examples, listen, load_predictor, make_server, name_address
from serctl.web.worker import Worker

BAD = list_bad_uploads()


def test_health_says_what_is_served(served) -> None:
    status, found = served.get("/health")
    assert status == 200
    assert (found["status"], found["model"], found["waiting"]) == ("ok", "tones", 0)
    assert found["labels"] == ["angry", "neutral", "bored"]


def test_an_error_of_a_route_of_the_page_is_in_json(served) -> None:
    kind = {"Content-Type": "application/json"}
    for path, wanted in (("queue/join", 422), ("run/x", 500)):
        status, found = served.get(f"/gradio_api/{path}", b'{"data": []}' * (wanted == 500), **kind)
        assert status == wanted
        assert found["error"].startswith(f"POST /gradio_api/{path}: ")
        assert found["error"].endswith(
            f"{found['detail']}. The API has GET /health and POST /predict."
        )


@pytest.mark.parametrize(
    ("path", "content"),
    [("/predictt", b"x"), ("/predict", None), ("/health", b"x"), ("/a/b", None)],
)
def test_an_unknown_path_or_method_is_an_error_in_json(served, path: str, content: bytes) -> None:
    status, found = served.get(path, content)
    assert status in (404, 405)
    method = "POST" if content else "GET"
    assert found["error"].startswith(f"{method} {path}: ")
    assert found["error"].endswith("The API has GET /health and POST /predict.")


@pytest.mark.parametrize("as_form", [True, False])
def test_predictions_are_those_of_the_command_line(served, as_form: bool) -> None:
    paths = [served.project / f"u{number:02d}.wav" for number in (0, 5, 31)]
    options = PredictOptions(audio=tuple(map(str, paths)), model=str(served.bundle), device="cpu")
    expected = predict(open_workspace(served.project), options).predictions
    for path, one in zip(paths, expected, strict=True):
        content = path.read_bytes()
        status, found = served.post_form(content) if as_form else served.get("/predict", content)
        assert status == 200
        (prediction,) = found["predictions"]
        assert prediction["emotion"] == one.emotion
        assert prediction["probabilities"] == pytest.approx(dict(one.probabilities), abs=1e-5)
        assert list(prediction["per_model"]) == [SPEECH]


def test_python_of_the_page_prints_the_emotion(
    served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert block.count("http://127.0.0.1:7860") == 1
    monkeypatch.chdir(tmp_path)
    content = (served.project / "u05.wav").read_bytes()
    Path("a.wav").write_bytes(content)
    exec(block.replace("http://127.0.0.1:7860", served.address), {})
    expected = served.get("/predict", content)[1]["predictions"][0]["emotion"]
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_server_calls_no_host(served, monkeypatch: pytest.MonkeyPatch) -> None:
    called = set()
    connect = socket.socket.connect

    def guard(self: socket.socket, address: tuple) -> None:
        called.add(address[0])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guard)
    options = ServeOptions(model=str(served.bundle), device="cpu")
    worker = Worker(load_predictor(open_workspace(served.project), options), options.waiting)
    make_server(worker, options)
    worker.close()
    assert served.get("/predict", (served.project / "u05.wav").read_bytes())[0] == 200
    with urlopen(served.address) as page:
        assert page.status == 200
    assert called == {"127.0.0.1"}


def test_a_timeline_comes_with_every(served) -> None:
    content = (served.project / "u35.wav").read_bytes()
    status, found = served.get("/predict?every=0.5&window=1&shortest=0", content)
    assert status == 200
    assert [step["start"] for step in found["steps"]] == [0, 0.5]
    assert found["seconds"] == pytest.approx(15_500 / 16_000, abs=1e-3)


def test_the_page_encodes_a_recording_once(served, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ServeOptions(model=str(served.bundle), device="cpu")
    predictor = load_predictor(open_workspace(served.project), options)
    encoder = predictor._encoders.encoder(next(iter(predictor._encoders.passes)))
    encode, read = encoder.encode_layers, []

    def count(batch, layers):
        read.extend(batch)
        return encode(batch, layers)

    monkeypatch.setattr(encoder, "encode_layers", count)
    monkeypatch.setattr(
        "serctl.system.loading.cut_at_pauses", lambda wave, _: [SpeechSegment(0, len(wave))]
    )
    worker = Worker(predictor, options.waiting)
    try:
        shown = show_recording(worker, Limits(4, 120), served.project / "u35.wav", "light")
    finally:
        worker.close()
    assert len(shown) == 3
    assert len(read) == 1


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_page_says_that_no_emotion_is_probable_enough(served, threshold: float) -> None:
    options = ServeOptions(model=str(served.bundle), device="cpu", abstain_below=threshold)
    worker = Worker(load_predictor(open_workspace(served.project), options), options.waiting)
    try:
        label, *_ = show_recording(worker, Limits(4, 120), served.project / "u35.wav", "light")
    finally:
        worker.close()
    assert ("none reaches 1" in label.label) is bool(threshold)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("as_form", [True, False])
def test_a_bad_upload_gets_a_status_and_a_line_and_the_server_continues(
    served, name: str, as_form: bool
) -> None:
    content = BAD[name]
    status, found = served.post_form(content) if as_form else served.get("/predict", content)
    assert status in (400, 413), found
    assert found["error"].count("\n") == 0
    assert len(found["error"]) < 400
    assert served.get("/health")[0] == 200


def test_there_are_forty_kinds_of_them() -> None:
    assert len(BAD) >= 40


def test_an_unsupported_format_is_named_with_the_command_that_converts_it(served) -> None:
    status, found = served.post_form(b"\0\0\0\x18ftypM4A " + bytes(99), "call.m4a")
    assert status == 400
    assert "is MP4 audio" in found["error"]
    assert "ffmpeg -i call.m4a call.flac" in found["error"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 300, "<b>.wav", "é.wav"])
def test_a_name_is_never_a_path(served, name: str) -> None:
    status, found = served.post_form(b"no audio", name)
    assert status == 400
    assert ".." not in found["error"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("every=x", "expected a number"),
        ("every=-1", "0 to 3600"),
        ("every=nan", "0 to 3600"),
        ("window=4", "Add: every=1"),
        ("evry=1", "Unknown parameter 'evry'"),
        ("every=1&window=0.5", "expected at least a step"),
        ("every=0", "at least"),
        ("every=1&every=2", "'every' is given twice"),
    ],
)
def test_a_wrong_query_is_reported(served, query: str, message: str) -> None:
    content = (served.project / "u05.wav").read_bytes()
    status, found = served.get(f"/predict?{query}", content)
    assert status == 400
    assert message in found["error"]


def test_a_number_of_averaged_steps_that_is_rounded_is_noted(served) -> None:
    content = (served.project / "u05.wav").read_bytes()
    status, found = served.get("/predict?every=1&smooth=2", content)
    assert status == 200
    assert found["notes"][0].startswith("--smooth 2 averages 3 steps")


def test_short_windows_of_whisper_are_noted_in_the_response(trained: Path) -> None:
    whisper = SimpleNamespace(encoder="whisper-base", window="30s")
    predictor = SimpleNamespace(keys=[whisper], parts=SimpleNamespace(name="tones"))
    worker = SimpleNamespace(predictor=predictor, run=lambda work: make_timeline(10))
    content, query = (trained / "u05.wav").read_bytes(), {"every": "1", "window": "2"}
    (note,) = answer(worker, Limits(1, 60), content, "a.wav", query)["notes"]  # type: ignore[arg-type]
    assert note.startswith("--window 2: windows of less than 4 s with shared frames of whisper-b")


def test_a_setting_in_the_form_is_not_ignored(served) -> None:
    content = (served.project / "u05.wav").read_bytes()
    parts = [b'name="every"\r\n\r\n1', b'name="file"; filename="a.wav"\r\n\r\n' + content]
    head = b"--x\r\nContent-Disposition: form-data; "
    body = b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, found = served.get("/predict", body, **kind)
    assert status == 400
    assert "/predict?every=1" in found["error"]


@pytest.mark.parametrize("kind", ["audio/wav", "multipart/form-data; boundary=x"])
def test_an_upload_that_ends_early_is_no_error_of_the_server(
    served, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = urlsplit(served.address).netloc.split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: 9999\r\n\r\nRIFF".encode())
    assert served.get("/health")[0] == 200
    content = (served.project / "u05.wav").read_bytes()
    assert served.get("/predict", content)[0] == 200  # the first upload has ended by now
    assert [one.getMessage() for one in caplog.records if one.exc_info] == []


def test_what_is_too_large_is_refused_with_or_without_a_length(served) -> None:
    status, found = served.get("/predict", bytes(4_100_000))
    assert (status, found) == (413, {"error": "The request is too large, expected up to 4 MB."})
    for path in ("/predict", "/gradio_api/upload"):
        connection = http.client.HTTPConnection(urlsplit(served.address).netloc, timeout=60)
        chunks = (bytes(100_000) for _ in range(60))
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", path, chunks, kind, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status in (400, 413), json.loads(answer.read())
    assert served.get("/health")[0] == 200


@pytest.mark.parametrize("path", ["/predict", "/gradio_api/upload"])
def test_an_upload_that_does_not_finish_is_closed(
    served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serctl.web.limits.IDLE_SECONDS", 0.2)
    host, port = urlsplit(served.address).netloc.split(":")
    kind = "Content-Type: multipart/form-data; boundary=x"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: 99\r\n\r\n--x"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # until it is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The upload did not finish" in answer


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:7860", 200), ("127.0.0.1", 200), ("[::1]:7860", 200), ("evil.example", 421)],
)
def test_only_requests_to_this_machine_are_answered(served, host: str, status: int) -> None:
    found, answer = served.get("/health", Host=host)
    assert found == status
    assert status == 200 or answer["error"].startswith(f"Host '{host}' is not the name of this")


@pytest.mark.parametrize(
    ("bound", "host", "passes"),
    [
        ("my-machine", "My-Machine:7860", True),
        ("my-machine", "localhost", True),
        ("my-machine", "my-machine.example", False),
        ("0.0.0.0", "space.example", True),
        ("::0", "space.example", True),
        ("0", "space.example", True),
        ("127.0.0.1", "", True),  # HTTP/1.0; a browser always sends one
    ],
)
def test_the_name_that_the_server_is_bound_to_is_answered(
    bound: str, host: str, passes: bool
) -> None:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200})

    sent = []

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", host.encode())]}
    asyncio.run(HostCheck(app, bound)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == (200 if passes else 421)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=y"])
def test_a_broken_form_is_reported(served, kind: str) -> None:
    status, found = served.get("/predict", b"--x\r\nnonsense", **{"Content-Type": kind})
    assert status == 400
    assert "form" in found["error"]


def test_an_address_of_ipv6_has_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as listening:
        assert name_address(listening).startswith("http://127.0.0.1:")

    class Socket:
        def getsockname(self) -> tuple[str, int, int, int]:
            return "::1", 7860, 0, 0

    assert name_address(Socket()) == "http://[::1]:7860"


def test_a_port_that_is_taken_and_examples_that_are_not_there_are_reported(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Cannot serve on 127\.0\.0\.1:{port}.*--port"):
            listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="expected a folder"):
        find_examples(str(tmp_path / "none"))


def test_two_talkers_on_two_channels_are_noted(served, tmp_path: Path) -> None:
    content = write_call(tmp_path / "call.wav").read_bytes()
    for path in ("/predict", "/predict?every=1"):
        status, found = served.get(path, content)
        assert status == 200
        (note,) = found["notes"]
        assert "a different talker on each channel" in note

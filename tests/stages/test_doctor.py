"""`serctl doctor`: what is broken is named with what mends it; what is merely absent is a note."""

import http.server
import json
import re
import shutil
import socket
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthetic_frames import make_project, make_utterances
from typer.testing import CliRunner

from serctl.cli import app
from serctl.stages import doctor
from serctl.stages.doctor import Check, examine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, make_utterances(folder=root / "audio"))
    (root / "serctl.toml").touch()
    return root


def found(checks: tuple[Check, ...], name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def test_a_sound_project_has_nothing_broken(project: Path) -> None:
    checks = examine(project)
    assert not [check for check in checks if check.status == "broken"]
    names = {
        "python",
        "packages",
        "device",
        "codecs",
        "hub",
        "project",
        "manifest",
        "cache",
        "disk",
    }
    assert names <= {check.name for check in checks}
    assert all(check.fix for check in checks if check.status != "ok")


def test_without_a_project_the_machine_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [check] = found(examine(), "project")
    assert check.status == "note"
    assert check.fix.startswith("serctl init")


def test_a_slip_in_the_project_file_is_broken(project: Path) -> None:
    (project / "serctl.toml").write_text("[paths]\nmanifst = 'a.csv'\n")
    [check] = found(examine(project), "project")
    assert check.status == "broken"
    assert "manifest" in check.found


def test_weights_that_are_named_and_absent_are_broken(project: Path) -> None:
    (project / "serctl.toml").write_text("[weights]\nwavlm-large = 'gone'\n")
    assert found(examine(project), "weights")[0].status == "broken"


def test_audio_that_is_gone_is_counted(project: Path) -> None:
    shutil.rmtree(project / "audio")
    [check] = found(examine(project), "manifest")
    assert check.status == "broken"
    assert "--corpus or --manifest" in check.fix


def test_a_manifest_that_cannot_be_read_is_reported_once(project: Path) -> None:
    (project / "manifest.csv").write_text("a,b\n")
    [check] = [check for check in examine(project) if check.status == "broken"]
    assert (check.name, "serctl init" in check.fix) == ("manifest", True)


def test_a_damaged_store_is_broken_and_the_command_named(project: Path) -> None:
    store = sorted((project / "cache").glob("*.zarr"))[0]
    (store / "zarr.json").write_text("{")
    checks = found(examine(project), "cache")
    assert any(c.status == "broken" and c.fix.startswith("serctl cache") for c in checks)


def test_a_training_that_was_interrupted_is_a_note(project: Path) -> None:
    (project / "runs" / "half").mkdir(parents=True)
    (project / "runs" / "half" / "config.json").write_text("{}")
    [check] = found(examine(project), "runs")
    assert check.status == "note"
    assert "half" in check.found


def test_a_full_disk_is_broken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (project / "audio").iterdir():
        soundfile.write(path, np.zeros(16_000), 16_000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        "serctl.encoding.disk_space.shutil.disk_usage", lambda folder: usage(10, 10, 0)
    )
    assert found(examine(project), "disk")[0].status == "broken"


def test_disk_is_estimated_for_every_layer_that_the_project_names(project: Path) -> None:
    def gigabytes(speech: str) -> float:
        (project / "serctl.toml").write_text(f"[train]\nspeech = ['{speech}']\n")
        match = re.search(r"wavlm-large (\S+) GB", found(examine(project), "disk")[0].found)
        assert match
        return float(match[1])

    for path in (project / "audio").iterdir():
        soundfile.write(path, np.zeros(16_000 * 60), 16_000)
    one = gigabytes("wavlm")
    assert gigabytes("wavlm@9+12+15") == pytest.approx(3 * one, abs=0.011)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(doctor, "HUB_SECONDS", 0.5)


@pytest.fixture
def server() -> Iterator[str]:
    class Front(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403 if self.path == "/forbidden" else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Front) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.mark.usefixtures("online")
def test_a_hub_that_answers_is_ok(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setattr(doctor, "HUB_SECONDS", 20.0)
    assert doctor._check_hub(server).status == "ok"


@pytest.mark.usefixtures("online")
def test_a_hub_that_is_silent_or_absent_is_a_note() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        check = doctor._check_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert (check.status, bool(check.fix)) == ("note", True)
    assert doctor._check_hub("http://127.0.0.1:1").status == "note"


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("address", ["hf-mirror.com", "http://[::1", "http://a b"])
def test_an_address_of_the_hub_that_is_none_is_a_note_with_the_reason(address: str) -> None:
    check = doctor._check_hub(address)
    assert check.status == "note"
    assert "no response" not in check.found


@pytest.mark.usefixtures("online")
def test_a_mirror_that_refuses_its_front_page_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    monkeypatch.setattr(doctor, "HUB_SECONDS", 20.0)
    assert doctor._check_hub(f"{server}/forbidden").status == "ok"


def test_exit_code_1_only_if_something_is_broken(project: Path) -> None:
    def call(code: int) -> list[dict]:
        result = CliRunner().invoke(app, ["doctor", "-C", str(project), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    assert {check["status"] for check in call(0)} <= {"ok", "note"}
    shutil.rmtree(project / "audio")
    assert "broken" in {check["status"] for check in call(1)}

"""The two lines of the design, exactly as written there, and as a user's CI calls them by make.

The project maps the encoders' names to tiny checkpoints; nothing else is special about it.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

from serctl.cli import app
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.data.transcripts import Transcript, write_transcripts

ROOT = Path(__file__).resolve().parents[1]
EMOTIONS = ("angry", "sad", "happy", "neutral")
WRITERS = {
    "wavlm-large": tiny.write_wavlm,
    "whisper-large-v3": tiny.write_whisper,
    "roberta-large": tiny.write_roberta,
}
VENV = Path(sys.prefix)
SMALL = "[train]\nhidden = 8\nepochs = 1\n"
"""What the lines leave to serctl.toml; without it the network has 16.9 million parameters."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of twelve tones with words."""
    root = tmp_path_factory.mktemp("made") / "my project"
    root.mkdir()
    paths = {name: write(root / "weights" / name) for name, write in WRITERS.items()}
    weights = "".join(f'{name} = "{path.relative_to(root)}"\n' for name, path in paths.items())
    (root / "serctl.toml").write_text(f"[weights]\n{weights}\n{SMALL}")
    rows = []
    for i in range(12):
        path = root / f"u{i}.wav"
        seconds = np.arange(4_000 + 500 * i) / 16_000
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (150 + 40 * i) * seconds), 16_000)
        split = "train" if i < 8 else "dev"
        rows.append(Utterance(f"u{i}", path, split, EMOTIONS[i % 4], f"s{split}{i % 2}"))
    write_manifest(root / "manifest.csv", rows)
    words = [Transcript(row.utterance_id, tiny.SENTENCES[i % 6]) for i, row in enumerate(rows)]
    write_transcripts(root / "transcripts.csv", words, {"source": "manifest"})
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "my project"))
    return Path.cwd()


def run(line: str) -> None:
    command, *arguments = shlex.split(line)
    assert command == "serctl"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def plan_make(line: str) -> list[str]:
    """Return the commands that a make target of this clone runs."""
    command, *arguments = shlex.split(line)
    assert command == "make"
    own = ["-n", "--no-print-directory", "-f", str(ROOT / "Makefile"), "SERCTL=serctl"]
    own += ["-o", str(VENV / ".installed"), f"VENV={VENV}"]
    done = subprocess.run([command, *own, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def assert_frames_and_run(project: Path) -> None:
    stores = sorted(path.name.split("-")[0] for path in (project / "cache").glob("*.zarr"))
    assert stores == ["roberta", "wavlm", "whisper"]
    (config,) = project.glob("runs/*/config.json")
    options = json.loads(config.read_text())["options"]
    assert (options["speech"], options["text"]) == (["whisper-large-v3"], ["roberta-large"])
    assert options["loss"] == "wce+sml"


def test_two_lines_run_exactly_as_written(project: Path) -> None:
    run("serctl extract --encoder wavlm-large")
    run("serctl extract --encoder whisper")
    run("serctl extract --encoder roberta")
    run("serctl train --speech whisper --text roberta --loss wce+sml")
    assert_frames_and_run(project)


def test_two_lines_run_by_make_from_a_project_folder(project: Path) -> None:
    for line in (
        "make extract ENCODER=wavlm-large ARGS='--encoder whisper --encoder roberta'",
        "make train SPEECH=whisper TEXT=roberta LOSS=wce+sml",
    ):
        (command,) = plan_make(line)
        run(command)
    assert_frames_and_run(project)


def test_python_of_the_readme_runs_in_such_a_project(project: Path) -> None:
    run("serctl extract --encoder whisper")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["result"].runs[0].summary.metrics["dev_macro_f1"] >= 0


def test_make_runs_serctl_here_and_fails_with_it(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = ["-f", str(ROOT / "Makefile"), "-o", str(VENV / ".installed"), f"VENV={VENV}"]
    if not (VENV / "bin" / "serctl").exists():
        own.append(f"SERCTL={sys.executable} -m serctl")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["make", *own, "extract", "ENCODER=wavlm-larg"],
        check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode
    assert "Did you mean 'wavlm-large'?" in capfd.readouterr().err


def test_make_clean_leaves_a_project_alone(project: Path) -> None:
    assert plan_make("make clean")[0].startswith(f"cd {ROOT} && rm -rf ")

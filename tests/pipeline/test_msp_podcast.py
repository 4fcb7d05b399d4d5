"""docs/msp-podcast.md as a whole, on tones in the layout of a release and tiny random encoders."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from tiny_facodec import write_facodec
from typer.testing import CliRunner

from serctl.cli import app
from serctl.data.manifest_file import read_manifest
from serctl.options.files import find_recipe

pytestmark = pytest.mark.slow

SPLITS = {"Train": 560, "Development": 24, "Test1": 16, "Test2": 8}
"""Of the train clips a tenth is the stacker's, which wants five of each emotion."""
EMOTIONS = {
    **{"A": "Angry", "S": "Sad", "H": "Happy", "U": "Surprise", "F": "Fear", "D": "Disgust"},
    **{"C": "Contempt", "N": "Neutral", "O": "Other-Proud", "X": "Happy"},
}
WRITERS = {
    "whisper-large-v3": tiny.write_whisper,
    "hubert-xlarge": tiny.write_hubert,
    "wavlm-large": tiny.write_wavlm,
    "roberta-large": tiny.write_roberta,
    "deberta-v2-xxlarge": tiny.write_deberta,
    "facodec": write_facodec,
}


def write_release(root: Path) -> None:
    """Write clips of ten speakers a split, some without agreement or of Unknown speakers."""
    rng = np.random.default_rng(0)
    consensus, detailed = [], []
    for split, count in SPLITS.items():
        for i in range(count):
            name = f"MSP-PODCAST_{split}_{i:04}"
            code = {24: "X", 49: "O"}.get(i % 50, "ASHUFDCN"[i % 8])
            write_clip(root, name, 150 + 50 * (i % 8), rng)
            (root / "Transcripts").mkdir(exist_ok=True)
            (root / "Transcripts" / f"{name}.txt").write_text(tiny.SENTENCES[i % 6])
            speaker = "Unknown" if i % 20 == 3 else f"{split}{rng.integers(10)}"
            consensus.append((f"{name}.wav", code, 4, 3, 5, speaker, "Male", split))
            detailed += [
                (f"{name}.wav", f"WORKER1; {word}; {word}; A:4.000; V:3.000; D:5.000;")
                for word in (EMOTIONS[code], EMOTIONS[code], "Sad")
            ]
    for i in range(6):
        write_clip(root, f"MSP-PODCAST_test3_{i:04}", 200, rng)
    (root / "Labels").mkdir()
    header = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    for name, head, rows in (
        ("consensus", header, consensus),
        ("detailed", ("FileName", "EmoDetail"), detailed),
    ):
        with (root / "Labels" / f"labels_{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])


def write_clip(root: Path, name: str, hertz: float, rng: np.random.Generator) -> None:
    (root / "Audios").mkdir(parents=True, exist_ok=True)
    time = np.arange(rng.integers(2400, 3600)) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * rng.normal(size=time.size)
    soundfile.write(root / "Audios" / f"{name}.wav", tone, 16_000)


@pytest.mark.parametrize("recipe", ["paper", "challenge"])
def test_from_the_official_tree_to_the_challenges_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    write_release(tmp_path / "MSP-Podcast")
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> str:
        result = CliRunner().invoke(app, line.split())
        assert result.exit_code == 0, f"serctl {line}\n{result.output}"
        return result.output

    assert "6 clips without a transcript" in call("init --corpus msp-podcast --root MSP-Podcast")
    rows = read_manifest(tmp_path / "manifest.csv")
    assert Counter(row.split for row in rows) == {
        "train": 560, "dev": 24, "test1": 16, "test2": 8, "test3": 6,
    }  # fmt: skip
    assert "no problem found" in call("manifest check")
    weights = [f'{name} = "{write(tmp_path / name)}"' for name, write in WRITERS.items()]
    with (tmp_path / "serctl.toml").open("a") as file:
        file.write("\n".join(["[weights]", *weights, ""]))
    text = find_recipe(recipe).read_text().replace("hidden = 512", "hidden = 4")
    text = re.sub(r"(?m)^epochs = \d+", "epochs = 1", text)
    text = text.replace("keep_frames = true", "from_manifest = true")
    (tmp_path / f"{recipe}.toml").write_text(text)

    call(f"run {recipe}.toml")
    assert json.loads(Path(f"reports/{recipe}.json").read_text())["split"] == "test1"
    if recipe == "paper":
        call("evaluate --split dev")
        call("report dev --format md")
        assert "0.430" in Path("reports/dev.md").read_text()  # the paper's stack, beside ours
    call("evaluate --submission categorical.csv")
    with Path("categorical.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert [row["FileName"] for row in answers] == [
        f"MSP-PODCAST_test3_000{i}.wav" for i in range(6)
    ]
    assert {row["EmoClass"] for row in answers} <= set("ASHUFDCN")

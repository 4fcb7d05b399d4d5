"""Timelines with shared frames against every window encoded alone (`make bench-timeline`).

Trains a small network on EmoDB's training speakers for each choice of encoders, joins clips of its
test speakers with pauses to one recording whose emotion is known at every second, and predicts it
both ways. Told: seconds of each, how much probabilities differ, and accuracy of the steps. A folder
as argument keeps the project for the next time.
"""

import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.config import Workspace, open_workspace
from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import write_manifest
from serctl.options import (
    ExportLogitsOptions,
    ExtractOptions,
    PredictOptions,
    TrainOptions,
    TranscribeOptions,
)
from serctl.runtime import environment
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.train import train
from serctl.stages.transcribe import transcribe
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.system.timeline import TimelineSettings, predict_timeline
from serctl.timeline.course import Timeline, find_silence

DATA = Path(os.environ.get("SERCTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CHOICES = {
    "whisper-tiny": {"speech": ("whisper-tiny",)},
    "egemaps": {"paralinguistic": ("egemaps",)},
    "both": {"speech": ("whisper-tiny",), "paralinguistic": ("egemaps",)},
    "words": {"speech": ("whisper-tiny",), "text": ("minilm",)},
}
"""Branches of each network; that with words needs the recogniser, which is whisper-tiny too."""
CLIPS, PAUSE = 40, 0.7
"""Clips of the recording, and seconds between them."""


def make_project(root: Path) -> Workspace:
    (root / "serctl.toml").touch()
    with (DATA / "emodb" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    write_manifest(
        root / "manifest.csv",
        [
            Utterance(
                Path(row["file"]).stem,
                DATA / "emodb" / row["file"],
                row["split"],
                row["emotion"],
                row["speaker"],
            )
            for row in rows
        ],
    )
    workspace = open_workspace(root)
    # It knows English only: these words are those of nobody, but they cost what words cost.
    words = {"model": "whisper-tiny", "keep_frames": True, "device": "cpu"}
    transcribe(workspace, TranscribeOptions(**words))
    for name in ("minilm", "egemaps"):
        extract(workspace, ExtractOptions(encoder=name, device="cpu"))
    shape = {"hidden": 64, "epochs": 30, "learning_rate": 1e-3, "device": "cpu"}
    for name, branches in CHOICES.items():
        train(workspace, TrainOptions(**branches, name=name, **shape))
        export_logits(workspace, ExportLogitsOptions(run=name, device="cpu"))
    return workspace


def join_clips() -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """Return a recording of test speakers and the emotion of each stretch of it."""
    with (DATA / "emodb" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"].startswith("test")]
    chosen = np.random.default_rng(0).permutation(len(rows))[:CLIPS]
    parts, truth, at = [], [], 0.0
    silence = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    for i in chosen:
        wave = read_audio(DATA / "emodb" / rows[i]["file"])
        parts += [wave, silence]
        truth.append((at, at + len(wave) / SAMPLE_RATE, rows[i]["emotion"]))
        at += (len(wave) + len(silence)) / SAMPLE_RATE
    return np.concatenate(parts), truth


def score(timeline: Timeline, truth: list[tuple[float, float, str]]) -> float:
    """Return the share of spoken steps whose middle lies in a clip of that emotion."""
    right = []
    for start, end, probabilities in zip(
        timeline.starts, timeline.ends, timeline.probabilities, strict=True
    ):
        middle = (start + end) / 2
        true = [emotion for a, b, emotion in truth if a <= middle < b]
        if true and not np.isnan(probabilities[0]):
            right.append(timeline.labels[int(probabilities.argmax())] == true[0])
    return float(np.mean(right))


def compare(
    workspace: Workspace, name: str, wave: NDArray[np.float32], truth: list, window: float
) -> dict:
    predictor = Predictor(find_parts(name, workspace), PredictOptions(device="cpu"))
    made, seconds = {}, {}
    for way in ("shared", "alone"):
        started = time.monotonic()
        settings = TimelineSettings(window=window, alone=way == "alone")
        made[way] = predict_timeline(predictor, wave, settings)
        seconds[way] = time.monotonic() - started
    spoken = ~find_silence(made["alone"].probabilities)
    shared, alone = (made[way].probabilities[spoken] for way in ("shared", "alone"))
    return {
        "encoders": name,
        "window": window,
        "steps": int(spoken.sum()),
        "mean_difference": float(np.abs(shared - alone).mean()),
        "largest_difference": float(np.abs(shared - alone).max()),
        "same_emotion": float((shared.argmax(1) == alone.argmax(1)).mean()),
        **{f"accuracy_{way}": score(made[way], truth) for way in made},
        **{f"seconds_{way}": seconds[way] for way in seconds},
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else folder)
        workspace = open_workspace(root) if (root / "runs").is_dir() else make_project(root)
        wave, truth = join_clips()
        rows = [
            compare(workspace, name, wave, truth, window)
            for name in CHOICES
            for window in (2.0, 4.0)
        ]
    print(f"\n{len(wave) / SAMPLE_RATE:.0f} s of speech of EmoDB's test speakers, a step of 1 s\n")
    print(
        "| encoders | window | mean difference | same emotion | accuracy shared, alone "
        "| seconds shared, alone |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['encoders']} | {row['window']:g} s | {row['mean_difference']:.3f} "
            f"| {row['same_emotion']:.0%} "
            f"| {row['accuracy_shared']:.0%}, {row['accuracy_alone']:.0%} "
            f"| {row['seconds_shared']:.1f}, {row['seconds_alone']:.1f} |"
        )
    print(json.dumps({"bench": "timeline", "rows": rows, "environment": environment()}))


if __name__ == "__main__":
    main()

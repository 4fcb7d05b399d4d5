"""A small project from audio to stackers: tiny checkpoints, two networks, two folds each."""

from pathlib import Path

import numpy as np
import soundfile
import tiny

from serctl.config import Workspace, open_workspace
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import Transcript, write_transcripts
from serctl.options import ExportLogitsOptions, ExtractOptions, StackOptions, TrainOptions
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.stack import stack
from serctl.stages.train import train

EMOTIONS = ("angry", "neutral", "bored")
"""In the order of labels; the last is not of the challenge's eight."""
BOTH, SPEECH = "both", "speech"
"""Names of the runs."""
TRAIN = TrainOptions(
    speech=("wavlm-large",), hidden=8, epochs=2, learning_rate=0.01, folds=2, device="cpu"
)


def write_project(root: Path) -> Workspace:
    """Write 36 tones, their manifest and two checkpoints."""
    root.mkdir(parents=True, exist_ok=True)
    weights = {
        "wavlm-large": tiny.write_wavlm(root / "weights" / "wavlm"),
        "roberta-large": tiny.write_roberta(root / "weights" / "roberta"),
    }
    lines = [f'{name} = "{path}"' for name, path in weights.items()]
    terms = "# Terms of tones: CC0; https://example.org"
    (root / "serctl.toml").write_text("\n".join([terms, "[weights]", *lines, ""]))
    write_manifest(root / "manifest.csv", [_write_utterance(root, number) for number in range(36)])
    return open_workspace(root)


def make_trained_project(root: Path) -> Workspace:
    """Give the tones words, train two runs, stack them linearly and by their mean."""
    workspace = write_project(root)
    rows = read_manifest(workspace.manifest)
    words = [Transcript(r.utterance_id, tiny.SENTENCES[i % 6]) for i, r in enumerate(rows)]
    write_transcripts(root / "transcripts.csv", words, {"source": "manifest"})
    for encoder in workspace.weights:
        extract(workspace, ExtractOptions(encoder=encoder, device="cpu"))
    for name, text in ((BOTH, ("roberta-large",)), (SPEECH, ())):
        train(workspace, TrainOptions(**{**vars(TRAIN), "text": text, "name": name}))
        export_logits(workspace, ExportLogitsOptions(run=name, device="cpu"))
    stack(workspace, StackOptions(stacker="linear", balance="weights", name="linear"))
    stack(workspace, StackOptions(stacker="mean-probabilities", name="mean-probabilities"))
    return workspace


def _write_utterance(root: Path, number: int) -> Utterance:
    """Write a tone of its own pitch and length, with noise."""
    name = f"u{number:02d}"
    seconds = np.arange(5_000 + 300 * number) / 16_000
    noise = 0.05 * np.random.default_rng(number).standard_normal(len(seconds))
    tone = 0.3 * np.sin(2 * np.pi * (150 + 40 * (number % 3) + number) * seconds)
    soundfile.write(root / f"{name}.wav", tone + noise, 16_000)
    split = "train" if number < 24 else "dev" if number < 30 else "test"
    speaker = f"{split}-{number // 3 % 4}"
    return Utterance(name, root / f"{name}.wav", split, EMOTIONS[number % 3], speaker)

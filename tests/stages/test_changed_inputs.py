"""Outputs of which an input changed later: made again, refused, or reported with a command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from trained_project import BOTH, SPEECH, TRAIN

from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.documents.run import RunSummary
from serctl.errors import CheckpointError, LogitsError
from serctl.options import BundleOptions, EvaluateOptions, ExportLogitsOptions, StackOptions
from serctl.stages.bundle import make_bundle
from serctl.stages.evaluate import evaluate
from serctl.stages.export_logits import export_logits
from serctl.stages.stack import stack
from serctl.stages.train import train


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(trained, tmp_path / "project")))


def mix_speakers(project: Workspace) -> None:
    """Give the utterances of train other speakers, so that train has other folds."""
    rows = read_manifest(project.manifest)
    write_manifest(
        project.manifest,
        [
            replace(row, speaker=f"x{int(row.utterance_id[1:]) // 6}")
            if row.split == "train"
            else row
            for row in rows
        ],
    )


def test_logits_and_stackers_of_replaced_fold_models_are_not_used(project: Workspace) -> None:
    """The configuration of the run itself is the same for other folds."""
    before = {run: (project.runs / run / "config.json").read_bytes() for run in (BOTH, SPEECH)}
    mix_speakers(project)
    for name, text in ((BOTH, ("roberta-large",)), (SPEECH, ())):
        train(project, replace(TRAIN, name=name, text=text, overwrite=True))
        config = json.loads((project.runs / name / "config.json").read_text())
        assert config["hash"] == json.loads(before[name])["hash"]
    with pytest.raises(LogitsError, match=f"expected the logits of '{SPEECH}'. Run: serctl export"):
        evaluate(project, EvaluateOptions(systems=(SPEECH,)))
    again = f"linear was fitted before {SPEECH} was trained again"
    for run in ("", BOTH, SPEECH):  # first with the old logits
        if run:
            export_logits(project, ExportLogitsOptions(run=run, device="cpu"))
        found = evaluate(project, EvaluateOptions(systems=("linear",), baselines=False)).warnings
        assert [text.startswith(again) for text in found].count(True) == 1
    with pytest.raises(CheckpointError, match="was trained again since stacker 'linear' was fit"):
        make_bundle(project, BundleOptions(stacker="linear", output=str(project.root / "b")))
    stack(project, StackOptions(stacker="linear", balance="weights", name="linear"))
    make_bundle(project, BundleOptions(stacker="linear", output=str(project.root / "b")))


def test_the_summary_of_a_run_belongs_to_its_fold_models(project: Workspace) -> None:
    def read(place: str) -> RunSummary:
        return RunSummary.read(project.runs / SPEECH / place / "summary.json")

    mix_speakers(project)
    train(project, replace(TRAIN, name=SPEECH, overwrite=True))
    assert read(".").loss == (read("folds/0").loss + read("folds/1").loss) / 2
    kept = read(".")
    train(project, replace(TRAIN, name=SPEECH, overwrite=True))  # nothing to do
    assert read(".") == kept


def test_runs_of_other_folds_are_no_copies(project: Workspace) -> None:
    mix_speakers(project)
    train(project, replace(TRAIN, name="other"))
    export_logits(project, ExportLogitsOptions(run="other", device="cpu"))
    found = stack(project, StackOptions(stacker="mean-probabilities", name="new"))
    assert found.models == (BOTH, "other", SPEECH)

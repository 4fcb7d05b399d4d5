"""`serctl bundle make` of networks that were trained on utterances of dev."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from trained_project import EMOTIONS, TRAIN

from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.options import BundleOptions, ExportLogitsOptions, PredictOptions, TrainOptions
from serctl.stages.bundle import BundleResult, make_bundle
from serctl.stages.export_logits import export_logits
from serctl.stages.predict import predict
from serctl.stages.train import train
from serctl.system.card import write_card

RUN = "all"
WITH_DEV = replace(TRAIN, name=RUN, fit_on="train+dev", folds=0, epochs=1)
BY_SPEAKER = {"standardise_by": "speaker"}


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Workspace:
    return open_workspace(shutil.copytree(trained, tmp_path / "copy"))


def make(workspace: Workspace, options: TrainOptions) -> BundleResult:
    train(workspace, options)
    export_logits(workspace, ExportLogitsOptions(run=options.name, device="cpu"))
    output = str(workspace.root / "bundle")
    return make_bundle(workspace, BundleOptions(run=options.name, output=output, device="cpu"))


@pytest.mark.parametrize("more", [{}, BY_SPEAKER])
def test_metrics_and_calibration_leave_out_what_the_network_learnt(
    copy: Workspace, more: dict[str, str]
) -> None:
    made = make(copy, replace(WITH_DEV, **more))
    document = made.document
    assert set(document.metrics) == {"test"}
    assert set(document.without_speakers) == ({"test"} if more else set())
    assert document.in_sample == {"dev": 6}
    assert document.calibration.temperature == 1.0
    assert document.calibration.num_rows == 0
    assert document.calibration.implied_prior == pytest.approx(dict.fromkeys(EMOTIONS, 1 / 3))
    notes, card = " ".join(made.notes), write_card(document)
    for text in (notes, card):
        assert "6 utterances of dev that the networks were trained on" in text
        assert "Not calibrated" in text
    assert "optimistic" not in card


def test_rows_of_dev_that_fold_models_did_not_learn_are_used(copy: Workspace) -> None:
    document = make(copy, replace(WITH_DEV, folds=2)).document
    assert document.metrics["dev"].num_utterances == document.calibration.num_rows == 6
    assert document.in_sample == {}


def test_an_utterance_that_moved_to_dev_is_left_out_alone(copy: Workspace) -> None:
    rows = read_manifest(copy.manifest).utterances
    train(copy, replace(TRAIN, name=RUN, folds=0, epochs=1))
    moved = [replace(r, split="dev") if r.utterance_id == "u00" else r for r in rows]
    write_manifest(copy.manifest, moved)
    export_logits(copy, ExportLogitsOptions(run=RUN, device="cpu"))
    made = make_bundle(copy, BundleOptions(run=RUN, output=str(copy.root / "b"), device="cpu"))
    assert made.document.in_sample == {"dev": 1}
    assert made.document.metrics["dev"].num_utterances == made.document.calibration.num_rows == 6


def test_predict_says_that_a_prior_has_no_calibration(copy: Workspace) -> None:
    made = make(copy, WITH_DEV)
    audio = (str(copy.root / "u30.wav"),)
    for model in (str(made.folder), RUN):
        options = PredictOptions(audio=audio, model=model, prior="balanced", device="cpu")
        notes = predict(copy, options).notes
        assert any(text.startswith("Not calibrated") for text in notes)

"""Recordings of one speaker, predicted by a model that is standardised per speaker."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from trained_project import TRAIN, write_project

from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest
from serctl.ensemble.logits import softmax
from serctl.ensemble.logits_file import read_logits
from serctl.errors import UsageError
from serctl.options import BundleOptions, ExportLogitsOptions, ExtractOptions, PredictOptions
from serctl.stages.bundle import make_bundle
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.predict import predict
from serctl.stages.timeline import predict_timelines
from serctl.stages.train import train
from serctl.system.load import load

FILES = ("u30", "u31", "u32", "u33", "u34", "u35")
"""The test split: three utterances of each of two speakers."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = write_project(tmp_path_factory.mktemp("speakers"))
    extract(workspace, ExtractOptions(encoder="wavlm-large", device="cpu"))
    for by in ("speaker", "corpus"):
        train(workspace, replace(TRAIN, name=by, standardise_by=by, standardise=("*",)))
        export_logits(workspace, ExportLogitsOptions(run=by, device="cpu"))
    return workspace


@pytest.fixture(scope="module")
def folders(project: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the recordings into a folder for each speaker, in an order that mixes the speakers."""
    root = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate(FILES):
        folder = root / f"speaker{number // 3}"
        folder.mkdir(exist_ok=True)
        shutil.copy(project.root / f"{name}.wav", folder)
    return root


def options(root: Path, **more: object) -> PredictOptions:
    audio = [root / f"speaker{n // 3}" / f"{FILES[n]}.wav" for n in (3, 0, 4, 1, 5, 2)]
    given = PredictOptions(audio=tuple(map(str, audio)), model="speaker", device="cpu")
    return replace(given, **more)  # type: ignore[arg-type]


def test_a_folder_of_each_speaker_gives_what_the_project_gives(
    project: Workspace, folders: Path
) -> None:
    result = predict(project, options(folders, speaker_per="folder"))
    logits = read_logits(project.runs / "speaker" / "logits" / "test.csv")
    wanted = dict(zip(logits.ids, softmax(logits.values), strict=True))
    assert len(result.predictions) == 6
    assert [Path(one.audio).stem for one in result.predictions] == [
        "u30",
        "u31",
        "u32",
        "u33",
        "u34",
        "u35",
    ]
    for one in result.predictions:
        found = [one.probabilities[label] for label in logits.labels]
        np.testing.assert_allclose(found, wanted[Path(one.audio).stem], atol=1e-5)
    assert not result.notes


def test_without_speakers_it_says_how_to_name_them(project: Workspace, folders: Path) -> None:
    alone = predict(project, options(folders))
    together = predict(project, options(folders, speaker_per="all"))
    assert any("--speaker-per folder" in note for note in alone.notes)
    by_file = {one.audio: [*one.probabilities.values()] for one in alone.predictions}
    assert any(
        np.abs(np.subtract(by_file[one.audio], [*one.probabilities.values()])).max() > 1e-4
        for one in together.predictions
    )


def test_a_bundle_has_the_metrics_of_predict_without_speakers_too(
    project: Workspace, folders: Path, tmp_path: Path
) -> None:
    chosen = BundleOptions(run="speaker", output=str(tmp_path / "b"), device="cpu")
    document = make_bundle(project, chosen).document
    rows = read_manifest(project.manifest).select("test")
    emotion = {row.utterance_id: row.emotion for row in rows}
    for found, more in (
        (document.without_speakers["test"], {}),
        (document.metrics["test"], {"speaker_per": "folder"}),
    ):
        made = predict(project, options(folders, **more)).predictions
        right = [one.emotion == emotion[Path(one.audio).stem] for one in made]
        assert found.accuracy == pytest.approx(np.mean(right), abs=1e-6)
        true = [emotion[Path(one.audio).stem] for one in made]
        guessed = [one.emotion for one in made]
        expected = f1_score(true, guessed, labels=document.labels, average="macro", zero_division=0)
        assert found.macro_f1 == pytest.approx(expected, abs=1e-6)


def test_a_bundle_of_a_base_notes_that_it_was_measured_without_speakers(
    project: Workspace, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    make_bundle(project, BundleOptions(run="speaker", output=str(base), device="cpu"))
    chosen = BundleOptions(base=str(base), output=str(tmp_path / "b"), device="cpu")
    notes = make_bundle(project, chosen).notes
    assert any("These recordings are predicted without." in note for note in notes)


def test_a_bundle_is_made_where_the_frames_are_gone(project: Workspace, tmp_path: Path) -> None:
    copy = open_workspace(shutil.copytree(project.root, tmp_path / "copy"))
    shutil.rmtree(copy.cache)
    result = make_bundle(copy, BundleOptions(run="speaker", output=str(tmp_path / "b")))
    assert result.document.without_speakers == {}
    assert "without --speaker-per are not in the card" in result.notes[0]


def test_python_takes_the_speaker_of_each(project: Workspace, folders: Path) -> None:
    model = load("speaker", project=project.root, device="cpu")
    names = [f"{n // 3}" for n in (3, 0, 4, 1, 5, 2)]
    audio = options(folders).audio
    found = {one.audio: one for one in model.predict_batch(audio, speakers=names)}
    for one in predict(project, options(folders, speaker_per="folder")).predictions:
        assert found[one.audio].probabilities == pytest.approx(one.probabilities, abs=1e-5)
    assert not any("standardised per speaker" in note for note in model.notes)
    with pytest.raises(UsageError, match="'speakers' has 1 entries"):
        model.predict_batch(audio, speakers=["0"])


@pytest.mark.parametrize("speakers", [None, [""]])
def test_python_notes_that_it_predicts_without_speakers(
    project: Workspace, folders: Path, speakers: list[str] | None
) -> None:
    audio = [folders / "speaker0/u30.wav"]
    for name, noted in (("speaker", True), ("corpus", False)):
        model = load(name, project=project.root, device="cpu")
        model.predict_batch(audio, speakers=speakers)
        assert any("speakers=names" in note for note in model.notes) is noted


def test_a_model_that_ignores_speakers_refuses_the_flag(project: Workspace, folders: Path) -> None:
    with pytest.raises(UsageError, match="no network of 'corpus' was trained"):
        predict(project, options(folders, model="corpus", speaker_per="file"))


def test_a_timeline_notes_that_it_predicts_without_speakers(
    project: Workspace, folders: Path
) -> None:
    told = (
        "The model was trained on frames standardised per speaker. These recordings are predicted"
    )
    one = replace(
        options(folders, every=0.5, window=0.5), audio=(str(folders / "speaker0/u30.wav"),)
    )
    assert any(told in note for note in predict_timelines(project, one).notes)
    plain = predict_timelines(project, replace(one, model="corpus"))
    assert not any(told in note for note in plain.notes)

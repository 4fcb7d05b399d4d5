"""The wav2vec 2.0 family, on tiny checkpoints with the hub's file sets."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModel

from serctl.encoders.load import load_encoder
from serctl.encoders.speech import SpeechEncoder
from serctl.errors import WeightsError

# WavLM in transformers gives PyTorch two kinds of mask at once.
WRITERS = {
    "wavlm": tiny.write_wavlm,
    "hubert": tiny.write_hubert,
    "wav2vec2": tiny.write_wav2vec2,
    "xls-r": tiny.write_xls_r,
}
STACK = tiny.CONV_STACK
OTHERS = {  # of the same family, by their id
    "data2vec-audio": ("Data2VecAudioModel", STACK | tiny.STABLE | {"num_conv_pos_embeddings": 2}),
    "wav2vec2-conformer": ("Wav2Vec2ConformerModel", STACK | tiny.STABLE),
    "sew": ("SEWModel", STACK | tiny.GROUP | {"squeeze_factor": 2}),
    "unispeech-sat": ("UniSpeechSatModel", STACK | tiny.STABLE),
    "wav2vec2": ("Wav2Vec2Model", STACK | tiny.STABLE | {"add_adapter": True}),
    "hubert": ("HubertModel", STACK | tiny.STABLE | {"conv_pos_batch_norm": True}),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speech")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def waves() -> list[NDArray[np.float32]]:
    """Five waveforms of unlike length and loudness, one of them shorter than one frame."""
    generator = np.random.default_rng(3)
    loudness = {16_000: 0.1, 399: 0.5, 24_321: 0.001, 400: 1.0, 7_777: 0.3}
    return [
        (generator.standard_normal(size) * loud + 0.01).astype(np.float32)
        for size, loud in loudness.items()
    ]


@pytest.mark.parametrize("layer", [-1, 0, 2, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_an_utterances_frames_do_not_depend_on_its_batch(
    name: str, layer: int, checkpoints: dict[str, Path], waves: list[NDArray[np.float32]]
) -> None:
    encoder = load_encoder(str(checkpoints[name]), layer=layer)
    together = encoder.encode(waves)
    for frames, wave in zip(together, waves, strict=True):
        (alone,) = encoder.encode([wave])
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, alone, atol=1e-4)


@pytest.mark.parametrize("layer", [-1, 2])
def test_w2v_bert_is_that_of_a_plain_loop_one_utterance_at_a_time(
    layer: int, tmp_path: Path, waves: list[NDArray[np.float32]]
) -> None:
    path = tiny.write_w2v_bert(tmp_path / "w2v-bert")
    encoder = load_encoder(str(path), layer=layer)
    assert (encoder.frame_rate, encoder.dim, len(encoder.notes)) == (50.0, 16, 1)
    network, extractor = AutoModel.from_pretrained(path), AutoFeatureExtractor.from_pretrained(path)
    for frames, wave in zip(encoder.encode(waves), waves, strict=True):
        assert len(frames) == max(1, ((len(wave) - 400) // 160 + 1) // 2)
        if len(wave) > 1000:
            given = extractor(wave, sampling_rate=16_000, return_tensors="pt")
            with torch.inference_mode():
                output = network.eval()(**given, output_hidden_states=True)
            expected = output.last_hidden_state if layer < 0 else output.hidden_states[layer]
            np.testing.assert_allclose(frames, expected[0, : len(frames)].numpy(), atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_of_any_other_model_of_the_family_too(
    name: str, tmp_path: Path, waves: list[NDArray[np.float32]]
) -> None:
    architecture, config = OTHERS[name]
    encoder = load_encoder(str(tiny.write_speech(tmp_path / name, architecture, name, config)))
    for module in encoder.network.modules():  # as after training: zeros do not stay zeros
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.bias)
    rate = encoder.frame_rate or 0
    for frames, wave in zip(encoder.encode(waves), waves, strict=True):
        np.testing.assert_allclose(frames, encoder.encode([wave])[0], atol=1e-4)
        assert abs(len(frames) - len(wave) / 16_000 * rate) < 2
        assert frames.shape[1] == encoder.dim
    assert bool(encoder.notes) == (name != "unispeech-sat")


@pytest.mark.parametrize("name", WRITERS)
def test_frames_are_those_of_a_plain_transformers_loop(
    name: str, checkpoints: dict[str, Path], waves: list[NDArray[np.float32]]
) -> None:
    extractor = AutoFeatureExtractor.from_pretrained(checkpoints[name])
    network = AutoModel.from_pretrained(checkpoints[name]).eval()
    batch = [wave for wave in waves if len(wave) >= 400]
    for frames, wave in zip(load_encoder(str(checkpoints[name])).encode(batch), batch, strict=True):
        given = extractor(wave, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = network(given.input_values).last_hidden_state[0]
        np.testing.assert_allclose(frames, expected.numpy(), atol=1e-4)


def test_old_names_of_weight_norm_give_the_weights_they_stand_for(
    checkpoints: dict[str, Path],
) -> None:
    state = torch.load(checkpoints["hubert"] / "pytorch_model.bin", weights_only=True)
    name = "hubert.encoder.pos_conv_embed.conv.weight_"
    g, v = state[name + "g"], state[name + "v"]
    encoder = load_encoder(str(checkpoints["hubert"]))
    assert isinstance(encoder, SpeechEncoder)
    weight = encoder.network.encoder.pos_conv_embed.conv.weight
    torch.testing.assert_close(weight, g * v / v.norm(dim=(0, 1), keepdim=True))
    assert "lm_head.weight" in state


def test_the_last_layer_of_stable_models_is_stored_after_the_final_norm(
    checkpoints: dict[str, Path], waves: list[NDArray[np.float32]]
) -> None:
    last = load_encoder(str(checkpoints["wavlm"]))
    third = load_encoder(str(checkpoints["wavlm"]), layer=3)
    assert isinstance(last, SpeechEncoder)
    norm = last.network.encoder.layer_norm
    for after, before in zip(last.encode(waves), third.encode(waves), strict=True):
        assert np.abs(after - before).max() > 0.1
        normed = norm(torch.from_numpy(before)).detach().numpy()
        np.testing.assert_allclose(normed, after, atol=1e-4)


@pytest.fixture(scope="module")
def wavlm(checkpoints: dict[str, Path]) -> SpeechEncoder:
    encoder = load_encoder(str(checkpoints["wavlm"]))
    assert isinstance(encoder, SpeechEncoder)
    return encoder


@given(st.integers(1, 6000))
def test_as_many_frames_are_kept_as_the_convolutions_make(wavlm: SpeechEncoder, size: int) -> None:
    wave = np.full(size, 0.1, np.float32)
    padded = torch.nn.functional.pad(torch.from_numpy(wave), (0, max(0, 400 - size)))
    expected = wavlm.network.feature_extractor(padded[None]).shape[-1]
    assert [len(frames) for frames in wavlm.encode([wave])] == [expected]
    assert expected == max(1, (size - 400) // 320 + 1)


def test_its_frame_rate_is_fifty_a_second(wavlm: SpeechEncoder) -> None:
    assert (wavlm.frame_rate, wavlm.dim, wavlm.cost(32_000)) == (50.0, 16, 2.0)


def test_models_that_normalise_over_time_say_that_they_run_one_by_one(
    checkpoints: dict[str, Path],
) -> None:
    assert "one at a time" in load_encoder(str(checkpoints["wav2vec2"])).notes[0]
    assert load_encoder(str(checkpoints["hubert"])).notes == ()


def test_half_precision_computes_near_and_returns_float32(
    checkpoints: dict[str, Path], waves: list[NDArray[np.float32]]
) -> None:
    exact = load_encoder(str(checkpoints["hubert"])).encode(waves[:1])[0]
    encoder = load_encoder(str(checkpoints["hubert"]), dtype="bfloat16")
    rounded = encoder.encode(waves[:1])[0]
    assert encoder.identity.compute_dtype == "bfloat16"
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.5


def test_a_checkpoint_without_its_preprocessor_is_refused(tmp_path: Path) -> None:
    folder = tiny.write_wavlm(tmp_path / "wavlm")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"no readable preprocessor_config\.json"):
        load_encoder(str(folder))

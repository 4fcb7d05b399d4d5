"""FACodec against golden outputs of the published classes, with random weights.

The files are not in the repository: they stand beside the real corpora (SERCTL_TEST_DATA).
"""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiny_facodec
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from serctl.encoders.base import EncoderIdentity
from serctl.encoders.facodec.encoder import FacodecEncoder
from serctl.encoders.facodec.layers import Activation, EncoderBlock, ResidualUnit, SnakeBeta
from serctl.encoders.facodec.network import (
    FACodec,
    LogMel,
    PositionTerm,
    ResidualQuantizer,
    Sizes,
    Transformer,
)
from serctl.encoders.facodec.release import (
    find_pair,
    fold_weight_norm,
    load_facodec,
    name_file,
)

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SERCTL_TEST_DATA", ROOT.parent / "shared" / "data"))
GOLDEN = DATA.parent / "facodec"

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no golden files at '{GOLDEN}' (set SERCTL_TEST_DATA)"
)

PROSODY, MEL, FEATURES, ENCODER_OUT = 1e-5, 2e-4, 2e-4, 5e-4
INTERMEDIATE = {"block": 1e-3, "melspec": 1e-4, "timbre": 5e-4, "quantizer": 1e-4}
"""Tolerances as the golden files state them (absolute); quantizer inputs as their own inputs."""


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"facodec_{name}.safetensors")


def part(name: str, prefix: str) -> dict[str, Tensor]:
    tensors = golden(name)
    return {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}


def close(actual: Tensor | np.ndarray, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(torch.as_tensor(actual), expected, atol=atol, rtol=0)


def fill(module: nn.Module, tensors: dict[str, Tensor], *prefixes: str) -> nn.Module:
    state = {name: value for name, value in tensors.items() if name.startswith(prefixes)}
    module.load_state_dict(fold_weight_norm(state))
    return module.eval()


def pad(raw: Tensor) -> Tensor:
    return F.pad(raw, (0, 200 - len(raw) % 200))[None]


def encode(folder: Path, name: str, raw: Tensor) -> np.ndarray:
    identity = EncoderIdentity(name, "paralinguistic", "", "", -1, "float32", "whole")
    return FacodecEncoder.load(folder, identity).encode([raw.numpy()])[0]


def record(network: FACodec, wave: Tensor) -> dict[str, Tensor]:
    """Run the network; returns the output of every module by its official name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            seen[name] = output[0] if name.endswith("self_attn") else output

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in network.named_modules()]
    network(wave)
    for hook in hooks:
        hook.remove()
    return seen


def check_intermediates(seen: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        name = name.removeprefix("encoder.")
        atol = next(value for prefix, value in INTERMEDIATE.items() if name.startswith(prefix))
        close(seen[name], tensor, atol)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small golden models as files with the official names."""
    folders = {}
    for version in ("v1", "v2"):
        folders[version] = tmp_path_factory.mktemp(version)
        for half in ("encoder", "decoder"):
            state = part(f"{version}_small", f"{half}.")
            torch.save(state, folders[version] / name_file(half, version))
    return folders


@pytest.mark.parametrize("utterance", ["exact", "odd", "short", "silence"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_small_models_match(small: dict[str, Path], version: str, utterance: str) -> None:
    folder = small[version]
    network = load_facodec(find_pair(folder))
    raw = golden(f"{version}_small")[f"in.{utterance}.raw"]
    want = part(f"{version}_small", f"out.{utterance}.")
    latent = network.encode(pad(raw))
    close(latent.mT, want["encoder_out"], ENCODER_OUT)
    source = latent
    if version == "v2":
        close(network.mel_transform(pad(raw)), want["mel80"], MEL)
        close(encode(folder, "facodec-prosody", raw), want["features_prosody_only"], PROSODY)
        source = network.encode_mel(pad(raw))
    prosody, codes = network.quantizer[0](source)
    assert torch.equal(codes, want["prosody_codes"])
    close(prosody.mT, want["prosody_quantized"], PROSODY)
    timbre = network.timbre_encoder(latent)
    close(timbre.mT, want["timbre_frames"], FEATURES)
    close(timbre.mean(1), want["speaker_mean"], FEATURES)
    close(encode(folder, "facodec", raw), want["features"], FEATURES)
    at = part(f"{version}_small", f"out.{utterance}.at.")
    check_intermediates(record(network, pad(raw)), at)


@pytest.mark.parametrize("utterance", ["exact", "odd", "short", "silence"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_quantizers_match_on_content_and_detail_too(version: str, utterance: str) -> None:
    want = part(f"{version}_small", f"out.{utterance}.")
    latent, prosody = want["encoder_out"].mT, want["prosody_quantized"].mT
    content, content_codes = load_group(version, 1)(latent)
    detail, detail_codes = load_group(version, 2)(latent - prosody - content)
    assert torch.equal(torch.cat([content_codes, detail_codes]), want["all_codes"][1:])
    close(content.mT, want["content_quantized"], PROSODY)
    close(detail.mT, want["residual_quantized"], PROSODY)
    close((prosody + content + detail).mT, want["sum_quantized"], PROSODY)


def load_group(version: str, group: int) -> nn.Module:
    tensors = part(f"{version}_small", f"decoder.quantizer.{group}.")
    dim, codes = len(tensors["layers.0.out_proj.bias"]), len(tensors["layers.0._codebook.weight"])
    return fill(ResidualQuantizer(group + 1, Sizes(dim=dim, codes=codes)), tensors, "layers.")


def test_an_unpadded_waveform_gives_one_mel_frame_less(small: dict[str, Path]) -> None:
    network, tensors = load_facodec(find_pair(small["v2"])), golden("v2_small")
    raw = tensors["in.unpadded.raw"][None]
    close(network.encode(raw).mT, tensors["out.unpadded.encoder_out"], ENCODER_OUT)
    close(network.mel_transform(raw), tensors["out.unpadded.mel80"], MEL)


def test_a_batch_gives_what_its_utterances_give_alone(small: dict[str, Path]) -> None:
    """The published classes do not: their later items differ by more than 1."""
    network, tensors = load_facodec(find_pair(small["v2"])), golden("v2_small")
    waves = tensors["in.batch3.wave"][:, 0]
    close(network.encode(waves).mT, tensors["out.batch3.encoder_out"], ENCODER_OUT)
    close(network.mel_transform(waves), tensors["out.batch3.mel80"], MEL)
    close(network(waves).mT, tensors["out.batch3.one_by_one_result"], FEATURES)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("official")
    sizes = tiny_facodec.OFFICIAL
    return {
        version: tiny_facodec.write_facodec(root / version, version, sizes=sizes, unused=False)
        for version in ("v1", "v2")
    }


def test_the_recipe_makes_the_weights_of_the_golden_file() -> None:
    document = json.loads((GOLDEN / "facodec_official_size.json").read_text())
    for name, check in document["recipe_checks"].items():
        half, _, key = name.partition(".")
        tensor = tiny_facodec.make_tensor(half, key, tuple(check["shape"]), seed=6)
        digest = hashlib.sha256(tensor.numpy().astype("<f4").tobytes()).hexdigest()
        assert digest == check["sha256_le_f32"], name


@pytest.mark.parametrize("utterance", ["a", "b"])
def test_official_size_matches(official: dict[str, Path], utterance: str) -> None:
    tensors = golden("official_size")
    raw = tensors[f"in.{utterance}.raw"]
    shared = part("official_size", f"out.{utterance}.shared.")
    for version, folder in official.items():
        network = load_facodec(find_pair(folder))
        want = part("official_size", f"out.{utterance}.{version}.") | shared
        latent = network.encode(pad(raw))
        source = latent if version == "v1" else network.encode_mel(pad(raw))
        timbre = network.timbre_encoder(latent)
        prosody, codes = network.quantizer[0](source)
        close(latent.mT, want["encoder_out"], ENCODER_OUT)
        close(timbre.mean(1), want["speaker_mean"], FEATURES)
        close(prosody.mT, want["prosody_quantized"], PROSODY)
        assert torch.equal(codes, want["prosody_codes"])
        assert torch.equal(codes, want["all_codes"][:1])
        if "timbre_frames" in want:
            close(timbre.mT, want["timbre_frames"], FEATURES)
        if "mel80" in want:
            close(network.mel_transform(pad(raw)), want["mel80"], MEL)
        if "features" in want:
            assert want["features"].shape[1] == 512
            close(encode(folder, "facodec", raw), want["features"], FEATURES)
            prosody_only = want["features"][:, :256]
            close(encode(folder, "facodec-prosody", raw), prosody_only, PROSODY)
    at = part("official_size", f"out.{utterance}.at.")
    check_intermediates(record(network, pad(raw)), at)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_random_checkpoints_have_the_official_keys_and_shapes(half: str, version: str) -> None:
    listing = (GOLDEN / f"state_dict_keys_{half}_{version}.txt").read_text().splitlines()
    names, shapes = zip(*(line.split("\t") for line in listing), strict=True)
    want = dict(zip(names, (tuple(map(int, shape.split("x"))) for shape in shapes), strict=True))
    make = getattr(tiny_facodec, f"{half}_shapes")
    assert make(version, tiny_facodec.OFFICIAL) == want


def test_lowpass_taps() -> None:
    taps = torch.from_numpy(tiny_facodec.lowpass(())).float().view(1, 1, 12)
    close(taps, golden("units")["filter.taps"], 1e-7)


def test_snake() -> None:
    units = part("units", "snakebeta.")
    snake = SnakeBeta(3)
    snake.load_state_dict({"alpha": units["alpha"], "beta": units["beta"]})
    close(snake(units["in"]), units["out"], 1e-5)


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_activation(length: int) -> None:
    units = part("units", "activation.")
    activation = fill(Activation(3), units, "act.", "upsample.", "downsample.")
    close(activation(units[f"L{length}.in"]), units[f"L{length}.out"], 1e-5)


@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_residual_unit(dilation: int) -> None:
    units = part("units", f"residual_d{dilation}.")
    unit = fill(ResidualUnit(4, dilation), units, "block.")
    close(unit(units["in"]), units["out"], 1e-5)


@pytest.mark.parametrize("stride", [2, 4, 5])
@pytest.mark.parametrize("length", [40, 41, 44])
def test_encoder_block(stride: int, length: int) -> None:
    units = part("units", f"encblock_s{stride}.")
    block = fill(EncoderBlock(4, stride), units, "block.")
    close(block(units[f"L{length}.in"]), units[f"L{length}.out"], 1e-5)


def test_weight_norm() -> None:
    units = part("units", "weightnorm.")
    folded = fold_weight_norm({f"conv.{name}": value for name, value in units.items()})
    close(folded["conv.weight"], units["folded_weight"], 1e-6)


def test_transformer() -> None:
    units = part("units", "transformer.")
    transformer = fill(Transformer(16, 24, num_layers=2), units, "layers.", "last_ln.", "position")
    for case in ("B1", "T1"):
        close(transformer(units[f"{case}.in"]), units[f"{case}.out"], 1e-5)
    three, reference = transformer(units["B1.in"].expand(3, -1, -1)), units["B3_same_item.out"]
    close(three[0], reference[0], 1e-5)
    close(three[2], three[0], 1e-5)
    assert (reference[2] - reference[0]).abs().max() > 0.1


def test_position_term() -> None:
    table = golden("units")["positional.pe_256_first8_rows"]
    assert torch.equal(table[0, 0], torch.tensor([0.0, 1.0] * 128))
    close(tiny_facodec.make_tensor("decoder", "pe", (8, 1, 256), 0), table, 1e-6)
    term = PositionTerm(256)
    term.load_state_dict({"pe": fold_weight_norm({"position_emb.pe": table})["position_emb.pe"]})
    close(term(torch.zeros(2, 3, 256)), table[0].expand(2, 3, 256), 0)


def test_residual_quantizer() -> None:
    units = part("units", "rvq.")
    x = units["in"].mT
    quantizer = fill(ResidualQuantizer(3, Sizes(dim=16, codes=32)), units, "layers.")
    total, codes = quantizer(x)
    assert torch.equal(codes, units["codes"])
    close(total.mT, units["out"], 1e-5)
    close(total.mT, units["from_codes"], 1e-5)
    close(quantizer.layers[0](x)[0].mT, units["per_layer_quantized"][0], 1e-5)
    close(quantizer.layers[0].in_proj(x).mT, units["layer0.projected"], 1e-5)
    quantizer.layers = quantizer.layers[:2]
    close(quantizer(x)[0].mT, units["out_first2"], 1e-5)


@pytest.mark.parametrize("length", [413, 600, 1000, 1150, 5000])
def test_log_mel(length: int) -> None:
    units = part("units", "mel.")
    mel = fill(LogMel(), units, "mel_basis", "hann_window")
    close(mel(units[f"L{length}.in"][None]), units[f"L{length}.out"], MEL)
    close(mel(torch.zeros(1, 600)), units["silence600.out"], MEL)

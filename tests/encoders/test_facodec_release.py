"""Requirements of a FACodec checkpoint, and the errors of others."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_facodec import write_facodec

from serctl.encoders.facodec.release import find_pair, load_facodec
from serctl.errors import WeightsError

ENCODER, DECODER = "ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_facodec(tmp_path / "weights", unused=False)


def change(path: Path, edit: Callable[[dict], object]) -> None:
    state = torch.load(path, weights_only=True)
    edit(state)
    torch.save(state, path)


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_facodec(find_pair(folder))
    assert "\n" not in str(caught.value)
    assert "amphion/naturalspeech3_facodec" in str(caught.value)
    return str(caught.value)


def test_what_features_do_not_need_makes_no_difference(folder: Path, tmp_path: Path) -> None:
    whole = load_facodec(find_pair(write_facodec(tmp_path / "whole", unused=True)))
    needed = load_facodec(find_pair(folder))
    assert whole.state_dict().keys() == needed.state_dict().keys()
    for name, value in needed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])


@pytest.mark.parametrize("form", ["safetensors", "legacy"])
def test_other_forms_of_the_same_files_load(folder: Path, form: str) -> None:
    before = load_facodec(find_pair(folder)).state_dict()
    for path in (folder / ENCODER, folder / DECODER):
        state = torch.load(path, weights_only=True)
        path.unlink()
        if form == "safetensors":
            save_file(state, path.with_suffix(".safetensors"))
        else:
            torch.save(state, path, _use_new_zipfile_serialization=False)
    after = load_facodec(find_pair(folder)).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weight_norm_is_folded_as_torch_does(folder: Path) -> None:
    state = torch.load(folder / ENCODER, weights_only=True)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(1, 4, 7))
    layer.load_state_dict(
        {key: state[f"block.0.{key}"] for key in ("bias", "weight_g", "weight_v")}
    )
    torch.testing.assert_close(load_facodec(find_pair(folder)).block[0].weight, layer.weight)


def test_a_folder_with_both_versions_gives_the_papers(folder: Path) -> None:
    write_facodec(folder, "v1", unused=False)
    assert find_pair(folder).version == "v2"


def test_an_empty_folder_is_reported_with_the_file_names(tmp_path: Path) -> None:
    assert ENCODER in refusal(tmp_path)


def test_halves_of_two_versions_do_not_mix(folder: Path, tmp_path: Path) -> None:
    v1 = write_facodec(tmp_path / "v1", "v1", unused=False)
    (folder / ENCODER).unlink()
    (v1 / "ns3_facodec_encoder.bin").rename(folder / "ns3_facodec_encoder.bin")
    assert f"but not '{ENCODER}'" in refusal(folder)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_file_of_the_other_version_is_known_by_its_keys(
    folder: Path, tmp_path: Path, half: str
) -> None:
    v1 = write_facodec(tmp_path / "v1", "v1", unused=False)
    (v1 / f"ns3_facodec_{half}.bin").rename(folder / f"ns3_facodec_{half}_v2.bin")
    message = refusal(folder)
    assert f"{half}_v2.bin' is not a file of FACodec v2" in message
    assert "missing" in message


@pytest.mark.parametrize("name", [ENCODER, DECODER])
@pytest.mark.parametrize("left", [0, 100, 5000, -1])
def test_a_truncated_file_is_refused(folder: Path, name: str, left: int) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:left])
    assert f"{name}' is damaged" in refusal(folder)


def test_a_truncated_safetensors_file_is_refused(folder: Path) -> None:
    path = folder / ENCODER
    save_file(torch.load(path, weights_only=True), path.with_suffix(".safetensors"))
    path.unlink()
    path = path.with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    assert "encoder_v2.safetensors' is damaged" in refusal(folder)


class Planted:
    """A pickle that, when loaded, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_planted_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path, form: str) -> None:
    planted = {"block.0.bias": Planted(tmp_path / "owned")}
    if form == "torch":
        torch.save(planted, folder / ENCODER)
    else:
        (folder / ENCODER).write_bytes(pickle.dumps(planted, protocol=2))
    assert "damaged or not a plain state dict" in refusal(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": torch.zeros(1)}}, {"a": 1}])
def test_anything_but_tensors_by_name_is_refused(folder: Path, content: object) -> None:
    torch.save(content, folder / DECODER)
    assert "named tensors" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (ENCODER, "block.0.weight_v"),
        (ENCODER, "block.1.block.0.block.1.weight_g"),
        (ENCODER, "block.5.downsample.lowpass.filter"),
        (ENCODER, "mel_transform.hann_window"),
        (DECODER, "quantizer.0.layers.0._codebook.weight"),
        (DECODER, "melspec_encoder.position_emb.pe"),
        (DECODER, "timbre_encoder.layers.3.ffn.ffn_2.bias"),
    ],
)
def test_a_missing_tensor_is_named(folder: Path, name: str, key: str) -> None:
    change(folder / name, lambda state: state.pop(key))
    assert key in refusal(folder)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (ENCODER, "block.0.weight"),
        (ENCODER, "model.0.bias"),  # belongs to the decoder file
        (DECODER, "block.0.bias"),  # belongs to the encoder file
        (DECODER, "quantizer.3.layers.0.in_proj.bias"),
        (DECODER, "timbre_encoder.layers.4.ln_1.weight"),
        (DECODER, "module.timbre_linear.bias"),
    ],
)
def test_a_foreign_tensor_is_named(folder: Path, name: str, key: str) -> None:
    change(folder / name, lambda state: state.update({key: torch.zeros(4)}))
    assert f"{key} unknown" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        (ENCODER, "block.3.block.4.bias", ()),
        (ENCODER, "block.2.block.4.weight_v", (16, 8, 9)),
        (ENCODER, "block.6.weight_v", (17, 64, 3)),
        (DECODER, "timbre_encoder.position_emb.pe", (5000, 16)),
        (DECODER, "quantizer.0.layers.0._codebook.weight", (64,)),
    ],
)
def test_a_tensor_of_another_shape_is_named(
    folder: Path, name: str, key: str, shape: tuple[int, ...]
) -> None:
    change(folder / name, lambda state: state.update({key: torch.zeros(shape)}))
    assert f"{key} of another shape" in refusal(folder)


def test_values_that_are_not_numbers_are_refused(folder: Path) -> None:
    change(folder / ENCODER, lambda state: state["block.0.bias"].fill_(torch.nan))
    assert "block.0.bias not finite" in refusal(folder)

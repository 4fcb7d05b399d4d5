"""Official FACodec checkpoints: files, keys, and folding of weight normalisation.

Source: https://huggingface.co/amphion/naturalspeech3_facodec
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from serctl.encoders.facodec.network import NUM_HEADS, FACodec, Sizes, Version
from serctl.errors import WeightsError, first_few

REPOSITORY = "amphion/naturalspeech3_facodec"

UNUSED = (
    "model.",
    "timbre_linear.",
    "quantizer.1.",
    "quantizer.2.",
    "f0_predictor.",
    "phone_predictor.",
    "res_f0_predictor.",
    "res_phone_predictor.",
    "x_timbre_predictor.",
)
"""Parts of the decoder file that features do not need: waveform generator, content and detail
quantisers, and predictors of training. They are not loaded (x_timbre_predictor is 258 of 432 MB).
"""

_POSITIONS = 5000
_DAMAGED = (OSError, RuntimeError, EOFError, ValueError, torch.serialization.pickle.UnpicklingError)

State = dict[str, Tensor]


@dataclass(frozen=True)
class CheckpointPair:
    """The two files of one FACodec version."""

    version: Version
    encoder: Path
    decoder: Path


def find_pair(folder: Path) -> CheckpointPair:
    """Return the checkpoint pair of a folder: v2, which the paper used, before v1.

    Raises:
        WeightsError: The folder holds no complete pair.
    """
    versions: tuple[Version, Version] = ("v2", "v1")
    for version in versions:
        names = [name_file(half, version) for half in ("encoder", "decoder")]
        found = [_find_file(folder, name) for name in names]
        if found[0] and found[1]:
            return CheckpointPair(version, found[0], found[1])
        if found[0] or found[1]:
            lacking = names[0] if found[1] else names[1]
            raise WeightsError(
                f"'{folder}' holds one file of FACodec {version}, but not '{lacking}' (v1 and "
                f"v2 cannot be combined). Download it from {REPOSITORY}."
            )
    raise WeightsError(
        f"'{folder}' holds no FACodec weights, expected '{name_file('encoder', 'v2')}' and "
        f"'{name_file('decoder', 'v2')}'. Download them from {REPOSITORY}."
    )


def name_file(half: str, version: Version) -> str:
    """Return the official file name of the ``encoder`` or ``decoder`` half."""
    return f"ns3_facodec_{half}{'_v2' if version == 'v2' else ''}.bin"


def _find_file(folder: Path, name: str) -> Path | None:
    paths = (folder / name, (folder / name).with_suffix(".safetensors"))
    return next((path for path in paths if path.is_file()), None)


def load_facodec(pair: CheckpointPair) -> FACodec:
    """Build the network that a checkpoint pair describes, in float32 on the CPU.

    Raises:
        WeightsError: A file is damaged, or its keys or shapes are not exactly the official ones.
    """
    encoder = read_tensors(pair.encoder)
    decoder = read_tensors(pair.decoder)
    used = {name: value for name, value in decoder.items() if not name.startswith(UNUSED)}
    with torch.device("meta"):
        network = FACodec(pair.version, _measure(encoder, used))
    expected = _official_shapes(network)
    of_encoder = {name for name in expected if name.startswith(("block.", "mel_transform."))}
    _check(encoder, {name: expected[name] for name in of_encoder}, pair.encoder, pair.version)
    _check(
        used, {n: s for n, s in expected.items() if n not in of_encoder}, pair.decoder, pair.version
    )
    network.to_empty(device="cpu")
    network.load_state_dict(fold_weight_norm(encoder | used))
    return network.eval().requires_grad_(False)


def read_tensors(path: Path) -> State:
    """Read a state dict without executing code in it. The file is memory-mapped if possible.

    Raises:
        WeightsError: The file is damaged or holds other objects than named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        mapped = zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (*_DAMAGED, safetensors.SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise WeightsError(
            f"'{path}' is damaged or not a plain state dict ({reason}). "
            f"Download it again from {REPOSITORY}."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(
            f"'{path}' does not hold named tensors, expected '{path.stem}.bin' of {REPOSITORY}."
        )
    return dict(state)


def fold_weight_norm(state: Mapping[str, Tensor]) -> State:
    """Return the official tensors in the layout of the network.

    ``weight_g · weight_v / ‖weight_v‖`` becomes ``weight``. Of a position table only row 0 is kept,
    because the others are not used.
    """
    folded = {}
    for name, value in state.items():
        if name.endswith(".weight_v"):
            norm = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.ndim - 1))
            folded[name[:-2]] = value * (state[name[:-1] + "g"] / norm)
        elif name.endswith("position_emb.pe"):
            folded[name] = value[0, 0]
        elif not name.endswith(".weight_g"):
            folded[name] = value
    return folded


def _official_shapes(network: FACodec) -> dict[str, tuple[int, ...]]:
    """Return the official keys. All layers of encoder and quantisers are weight-normalised."""
    shapes = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        normalised = name.endswith(".weight") and name.startswith(("block.", "quantizer."))
        if normalised and "._codebook." not in name:
            shapes[name + "_v"] = shape
            shapes[name + "_g"] = (shape[0], *[1] * (len(shape) - 1))
        else:
            shapes[name] = (_POSITIONS, 1, *shape) if name.endswith("position_emb.pe") else shape
    return shapes


def _measure(encoder: State, decoder: State) -> Sizes:
    """Return the sizes from the tensors, or the official ones if they do not define them."""

    def size(state: State, name: str, axis: int, default: int) -> int:
        shape = state[name].shape if name in state else ()
        return shape[axis] if len(shape) > axis else default

    dim = size(encoder, "block.6.weight_v", 0, Sizes.dim)
    return Sizes(
        channels=size(encoder, "block.0.weight_v", 0, Sizes.channels),
        dim=Sizes.dim if dim % NUM_HEADS else dim,
        ffn=size(decoder, "timbre_encoder.layers.0.ffn.ffn_1.weight", 0, Sizes.ffn),
        codes=size(decoder, "quantizer.0.layers.0._codebook.weight", 0, Sizes.codes),
        code_dim=size(decoder, "quantizer.0.layers.0._codebook.weight", 1, Sizes.code_dim),
    )


def _check(state: State, expected: dict[str, tuple[int, ...]], path: Path, version: str) -> None:
    problems = {
        "missing": expected.keys() - state.keys(),
        "unknown": state.keys() - expected.keys(),
        "of another shape": {n for n in expected.keys() & state if state[n].shape != expected[n]},
        "not finite": {n for n in expected.keys() & state if not state[n].isfinite().all()},
    }
    found = [f"{first_few(sorted(names))} {kind}" for kind, names in problems.items() if names]
    if found:
        raise WeightsError(
            f"'{path}' is not a file of FACodec {version}: {'; '.join(found)}. "
            f"Expected '{path.stem}.bin' of {REPOSITORY}."
        )

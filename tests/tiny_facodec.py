"""Random FACodec checkpoints with exactly the official file names, keys and (if asked) sizes.

The values follow a recipe that depends on nothing but the seed and the tensor's name, so that a
golden file can hold outputs of a network of official size without its 76 MB of weights.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

Shapes = dict[str, tuple[int, ...]]

TINY = {"channels": 4, "dim": 16, "ffn": 32, "codes": 64, "generator": 16, "heads": (2, 3, 4)}
OFFICIAL = {
    "channels": 32,
    "dim": 256,
    "ffn": 1024,
    "codes": 1024,
    "generator": 1024,
    "heads": (1, 5003, 245200),
}


def write_facodec(
    folder: Path, version: str = "v2", *, sizes: dict = TINY, seed: int = 6, unused: bool = True
) -> Path:
    """Write an encoder and a decoder file; ``unused`` adds what features do not need."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "_v2" if version == "v2" else ""
    halves = {"encoder": encoder_shapes(version, sizes), "decoder": decoder_shapes(version, sizes)}
    for half, shapes in halves.items():
        kept = {name: shape for name, shape in shapes.items() if unused or is_used(name, half)}
        state = {name: make_tensor(half, name, shape, seed) for name, shape in kept.items()}
        torch.save(state, folder / f"ns3_facodec_{half}{suffix}.bin")
    return folder


def is_used(name: str, half: str) -> bool:
    used = ("quantizer.0.", "timbre_encoder.", "melspec_")
    return half == "encoder" or name.startswith(used)


def make_tensor(half: str, name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return the recipe's value of a tensor: a buffer as it is, or seeded uniform noise."""
    for buffer, make in BUFFERS.items():
        if name.endswith(buffer):
            return torch.from_numpy(make(shape).astype(np.float32, order="C").reshape(shape))
    generator = np.random.RandomState(zlib.crc32(f"{seed}:{half}.{name}".encode()))
    unit = generator.random_sample(int(np.prod(shape))).reshape(shape)
    return torch.from_numpy(scale(name, shape, unit).astype(np.float32))


def scale(name: str, shape: tuple[int, ...], unit: NDArray) -> NDArray:
    centred = 2 * unit - 1
    if name.endswith(("weight_v", "_codebook.weight")):
        return centred
    if name.endswith("weight_g"):
        return 0.6 + 0.5 * unit
    if name.endswith(("alpha", "beta")):
        return 0.5 * centred
    if name.endswith(("ln_1.weight", "ln_2.weight", "last_ln.weight")):
        return 0.8 + 0.4 * unit
    if name.endswith(("bias", "in_proj_bias")):
        return 0.1 * centred
    value = np.sqrt(3 / np.prod(shape[1:])) * centred
    return value - value.mean(1, keepdims=True) if name == "melspec_linear.weight" else value


def lowpass(_: tuple[int, ...]) -> NDArray:
    """12-tap Kaiser-windowed sinc: cutoff 0.25, half-width 0.3 (in cycles per sample)."""
    beta = 0.1102 * (2.285 * 5 * np.pi * 1.2 + 7.95 - 8.7)
    taps = np.kaiser(12, beta) * np.sinc(0.5 * (np.arange(12) - 5.5))
    return taps / taps.sum()


def positions(shape: tuple[int, ...]) -> NDArray:
    rows, _, dim = shape
    angle = np.arange(rows)[:, None] * 10000 ** (-np.arange(0, dim, 2) / dim)
    return np.stack([np.sin(angle), np.cos(angle)], -1)


def mel_basis(_: tuple[int, ...]) -> NDArray:
    return mel_filter_bank(513, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney").T


def hann(shape: tuple[int, ...]) -> NDArray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(shape[0]) / shape[0])


BUFFERS = {"filter": lowpass, "pe": positions, "mel_basis": mel_basis, "hann_window": hann}


def encoder_shapes(version: str, sizes: dict) -> Shapes:
    channels = sizes["channels"]
    shapes = normed("block.0", (channels, 1, 7))
    for block, stride in enumerate((2, 4, 5, 5), start=1):
        for unit in range(3):
            shapes |= residual(f"block.{block}.block.{unit}", channels)
        shapes |= activation(f"block.{block}.block.3", channels)
        shapes |= normed(f"block.{block}.block.4", (2 * channels, channels, 2 * stride))
        channels *= 2
    shapes |= activation("block.5", channels) | normed("block.6", (sizes["dim"], channels, 3))
    if version == "v2":
        shapes |= {"mel_transform.mel_basis": (80, 513), "mel_transform.hann_window": (800,)}
    return shapes


def decoder_shapes(version: str, sizes: dict) -> Shapes:
    dim, codes, width = sizes["dim"], sizes["codes"], sizes["generator"]
    shapes = normed("model.0", (width, dim, 7))
    for block, stride in enumerate((5, 5, 4, 2), start=1):
        shapes |= activation(f"model.{block}.block.0", width)
        shapes |= normed(f"model.{block}.block.1", (width, width // 2, 2 * stride), width // 2)
        width //= 2
        for unit in (2, 3, 4):
            shapes |= residual(f"model.{block}.block.{unit}", width)
    shapes |= activation("model.5", width) | normed("model.6", (1, width, 7))
    for group, num_layers in enumerate((1, 2, 3)):
        for layer in range(num_layers):
            name = f"quantizer.{group}.layers.{layer}"
            shapes |= normed(f"{name}.in_proj", (8, dim)) | normed(f"{name}.out_proj", (dim, 8))
            shapes[f"{name}._codebook.weight"] = (codes, 8)
    shapes |= transformer("timbre_encoder", dim, sizes["ffn"])
    shapes |= linear("timbre_linear", dim, 2 * dim)
    one, phones, speakers = sizes["heads"]
    for name, heads in {
        "f0_predictor": (one, one),
        "phone_predictor": (phones,),
        "res_f0_predictor.1": (one, one),
        "res_phone_predictor.1": (phones,),
        "x_timbre_predictor.1": (speakers,),
    }.items():
        for unit in range(3):
            shapes |= residual(f"{name}.model.{unit}", dim)
        shapes |= activation(f"{name}.model.3", dim)
        for head, outputs in enumerate(heads):
            shapes |= linear(f"{name}.heads.{head}", dim, outputs)
    if version == "v2":
        shapes |= linear("melspec_linear", 20, dim)
        shapes |= transformer("melspec_encoder", dim, sizes["ffn"])
    return shapes


def normed(name: str, shape: tuple[int, ...], outputs: int | None = None) -> Shapes:
    gain = (shape[0], *[1] * (len(shape) - 1))
    bias = (outputs or shape[0],)
    return {f"{name}.bias": bias, f"{name}.weight_g": gain, f"{name}.weight_v": shape}


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def activation(name: str, channels: int) -> Shapes:
    taps = (f"{name}.upsample.filter", f"{name}.downsample.lowpass.filter")
    snake = (f"{name}.act.alpha", f"{name}.act.beta")
    return dict.fromkeys(snake, (channels,)) | dict.fromkeys(taps, (1, 1, 12))


def residual(name: str, channels: int) -> Shapes:
    wide, narrow = (channels, channels, 7), (channels, channels, 1)
    convolutions = normed(f"{name}.block.1", wide) | normed(f"{name}.block.3", narrow)
    return (
        activation(f"{name}.block.0", channels)
        | activation(f"{name}.block.2", channels)
        | convolutions
    )


def transformer(name: str, dim: int, ffn: int) -> Shapes:
    shapes: Shapes = {f"{name}.position_emb.pe": (5000, 1, dim)}
    for layer in (f"{name}.layers.{number}" for number in range(4)):
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{layer}.{norm}.weight": (dim,), f"{layer}.{norm}.bias": (dim,)}
        shapes[f"{layer}.self_attn.in_proj_weight"] = (3 * dim, dim)
        shapes[f"{layer}.self_attn.in_proj_bias"] = (3 * dim,)
        shapes |= linear(f"{layer}.self_attn.out_proj", dim, dim)
        shapes |= {f"{layer}.ffn.ffn_1.weight": (ffn, dim, 5), f"{layer}.ffn.ffn_1.bias": (ffn,)}
        shapes |= linear(f"{layer}.ffn.ffn_2", ffn, dim)
    return shapes | {f"{name}.last_ln.weight": (dim,), f"{name}.last_ln.bias": (dim,)}

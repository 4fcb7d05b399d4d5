"""Whisper in CTranslate2 format (faster-whisper, weights packages) as a transformers state dict.

``model.bin`` holds named tensors: a version, the specification's name and revision, then for each
tensor its name, shape, type and bytes, and last the aliases. Queries, keys and values are fused.

Source: the writer of the format, ``ctranslate2/specs/model_spec.py`` and
``ctranslate2/converters/transformers.py`` of CTranslate2 4.8 (read as a description of the format).
"""

import mmap
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from serctl.encoders.recognisers.backends import CTRANSLATE2_FILE
from serctl.errors import WeightsError
from serctl.files import read_json

BINARY_VERSION = 6
DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16}
DTYPES[5] = torch.bfloat16

RENAMES = (
    (r"^(encoder|decoder)/", r"model.\1/"),
    (r"/layer_(\d+)/", r"/layers/\1/"),
    (r"/embeddings/weight$", "/embed_tokens/weight"),
    (r"/position_encodings/encodings$", "/embed_positions/weight"),
    (r"/self_attention/layer_norm/", "/self_attn_layer_norm/"),
    (r"/attention/layer_norm/", "/encoder_attn_layer_norm/"),
    (r"/ffn/layer_norm/", "/final_layer_norm/"),
    (r"/ffn/linear_0/", "/fc1/"),
    (r"/ffn/linear_1/", "/fc2/"),
    (r"/self_attention/", "/self_attn/"),
    (r"/attention/", "/encoder_attn/"),
    (r"/gamma$", "/weight"),
    (r"/beta$", "/bias"),
)
"""Names of CTranslate2 → names of transformers, in this order. Fused projections follow."""

FUSED = {
    ("self_attn", "0"): ("q_proj", "k_proj", "v_proj"),
    ("self_attn", "1"): ("out_proj",),
    ("encoder_attn", "0"): ("q_proj",),
    ("encoder_attn", "1"): ("k_proj", "v_proj"),
    ("encoder_attn", "2"): ("out_proj",),
}


def read_variables(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a ``model.bin``, with aliases under their own names.

    Raises:
        WeightsError: The file has another format or version, is quantised or truncated.
    """
    variables: dict[str, Tensor] = {}
    try:
        with path.open("rb") as file:
            # Copy on write, because torch warns of tensors over read-only memory.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        reader = _BinaryReader(content)
        if (version := reader.number("I")) != BINARY_VERSION:
            raise WeightsError(f"'{path}' has format {version}, expected {BINARY_VERSION}.")
        if (name := reader.name()) != "WhisperSpec":
            raise WeightsError(f"'{path}' holds a {name[:40]!r}, expected a Whisper model.")
        reader.number("I")  # revision of the specification
        for _ in range(reader.number("I")):
            name = reader.name()
            variables[name] = reader.tensor()
        for _ in range(reader.number("I")):  # aliases
            name = reader.name()
            variables[name] = variables[reader.name()]
    except (OSError, ValueError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise WeightsError(
            f"'{path}' is not a complete CTranslate2 model ({error}). Install or copy it again."
        ) from error
    return variables


class _BinaryReader:
    """Reads the bytes of a ``model.bin`` sequentially. Tensors are views, not copies."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.position = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self.content, self.position)
        self.position += struct.calcsize(f"<{kind}")
        return value

    def name(self) -> str:
        length = self.number("H")
        raw = self.content[self.position : self.position + length]
        self.position += length
        return raw.rstrip(b"\0").decode()

    def tensor(self) -> Tensor:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype, num_bytes = DTYPES[self.number("B")], self.number("I")
        count = int(np.prod(shape, dtype=np.int64))
        if count * dtype.itemsize != num_bytes or self.position + num_bytes > len(self.content):
            raise ValueError(f"{num_bytes} bytes at {self.position} are missing")
        flat = torch.frombuffer(self.content, dtype=dtype, count=count, offset=self.position)
        self.position += num_bytes
        return flat.reshape(shape)


def convert_variables(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of `WhisperForConditionalGeneration` with the same values.

    Raises:
        WeightsError: The weights are quantised to integers.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in variables.items():
        if tensor.ndim and not tensor.is_floating_point():
            raise WeightsError(
                "These Whisper weights are quantised to integers, expected float16 or float32. "
                "Convert with: ct2-transformers-converter --quantization float16"
            )
        if tensor.ndim:
            state |= _rename(name, tensor)
    # Whisper's keys have no bias. The fused tensor has zeros instead.
    return {name: tensor for name, tensor in state.items() if not name.endswith("k_proj.bias")}


def _rename(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name == "decoder/projection/weight":
        return {"proj_out.weight": tensor}
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    name = name.replace("/", ".")
    fused = re.search(r"(self_attn|encoder_attn)\.linear_(\d)", name)
    if not fused:
        return {name: tensor}
    parts = FUSED[fused[1], fused[2]]
    return {
        name.replace(f"linear_{fused[2]}", part): piece
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True)
    }


def load_ctranslate2(folder: Path, dtype: torch.dtype) -> WhisperForConditionalGeneration:
    """Build transformers' Whisper with the weights of a CTranslate2 folder.

    Raises:
        WeightsError: See `read_variables` and `convert_variables`.
    """
    variables = read_variables(folder / CTRANSLATE2_FILE)
    state = {name: tensor.to(dtype) for name, tensor in convert_variables(variables).items()}
    with torch.device("meta"):
        network = WhisperForConditionalGeneration(_read_config(variables))
    network.load_state_dict(state, assign=True)
    network.tie_weights()
    settings = read_json(folder / "config.json", WeightsError)
    network.generation_config = GenerationConfig(
        suppress_tokens=settings.get("suppress_ids"),
        begin_suppress_tokens=settings.get("suppress_ids_begin"),
    )
    return network


def _read_config(variables: dict[str, Tensor]) -> WhisperConfig:
    """Return the configuration, from the shapes of the tensors."""
    names = " ".join(variables)
    sizes: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = len(set(re.findall(rf"{side}/layer_(\d+)/", names)))
        sizes[f"{side}_attention_heads"] = int(variables[f"{side}/num_heads"])
        sizes[f"{side}_ffn_dim"] = len(variables[f"{side}/layer_0/ffn/linear_0/bias"])
    vocab_size = len(variables["decoder/embeddings/weight"])
    return WhisperConfig(
        vocab_size=vocab_size,
        d_model=variables["encoder/conv1/weight"].shape[0],
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        **sizes,
    )

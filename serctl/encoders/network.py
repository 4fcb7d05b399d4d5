"""Filling a transformers network from a local checkpoint, strictly: nothing may be missing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import AutoModel
from transformers.utils import logging

from serctl.encoders.base import Frames
from serctl.errors import WeightsError, first_few

UNUSED = re.compile(
    r"(^|\.)(masked_spec_embed|position_ids|pooler|lm_head|proj_out|cls|classifier|projector|score"
    r"|quantizer|project_q|project_hid|mask_predictions|lm_predictions|head|decoder|qa_outputs)(\.|$)"
)
"""Parameters that no frame depends on: training masks, poolers and heads on top."""

DAMAGE = (
    *(OSError, ValueError, KeyError, RuntimeError, EOFError),
    *(SafetensorError, torch.serialization.pickle.UnpicklingError),
)
"""What the loaders raise on a damaged or foreign file."""


def load_network(
    path: Path,
    dtype: str,
    device: torch.device,
    kind: Any = AutoModel,
    *,
    needed: str = "",
    **loading: Any,
) -> Any:
    """Return the bare encoder of a checkpoint folder, frozen, without heads.

    Pickled checkpoints are opened with ``weights_only=True``; code that comes with a checkpoint
    is never run. ``kind`` is the transformers class to fill, ``loading`` goes to its
    ``from_pretrained``, and ``needed`` is a part that may not be missing though no frame depends
    on it, such as ``decoder``.

    Raises:
        WeightsError: The checkpoint is damaged, incomplete or of another architecture.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, report = kind.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them; the error would not
            **loading,
        )
    except DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The checkpoint '{path}' cannot be loaded: {reason} Copy or download it again."
        ) from error
    check_report(report, path)
    if needed and any(f".{needed}." in f".{name}" for name in report["missing_keys"]):
        raise WeightsError(
            f"The checkpoint '{path}' has no {needed}: it can encode, not transcribe. Transcribe "
            f"with a whole Whisper checkpoint: serctl transcribe --model whisper-small"
        )
    for module in network.modules():
        if parametrize.is_parametrized(module):  # weight norm: the same weights, computed once
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    return network.requires_grad_(False).eval().to(device)


def pick_layers(output: Any, layers: Sequence[int]) -> list[Tensor]:
    """Return the layers of a network's output, ``(B, T, D)`` each.

    ``hidden_states[-1]`` is not the last layer: networks with a final layer norm (WavLM-large,
    HuBERT-xlarge) put into it what that norm has not seen yet.
    """
    return [output.last_hidden_state if n < 0 else output.hidden_states[n] for n in layers]


def list_layers(config: Any) -> tuple[int, ...]:
    """Return the layers of a network: 0 is what its first block reads, -1 what the last gives."""
    names = ("encoder_layers", "num_hidden_layers")
    depth = next(getattr(config, name) for name in names if getattr(config, name, None))
    return (*range(depth), -1)


def cut_padding(layers: Sequence[Tensor], lengths: Sequence[int]) -> list[Frames]:
    """Return the real frames of each utterance, one ``(T, D)`` array a layer."""
    arrays = [frames.float().cpu().numpy() for frames in layers]
    return [[frames[i, :length] for frames in arrays] for i, length in enumerate(lengths)]


def check_report(report: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint that lacks parameters of the network or holds those of another.

    Raises:
        WeightsError: With the first names.
    """
    problems = (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has"),
        ("mismatched_keys", "misfits"),
    )
    for kind, word in problems:
        found = {entry if isinstance(entry, str) else entry[0] for entry in report[kind]}
        names = sorted(name for name in found if not UNUSED.search(name))
        if names:
            raise WeightsError(
                f"The checkpoint '{path}' does not fit the architecture of its config.json: it "
                f"{word} {first_few(names)}."
            )

"""Load a transformers network from a local checkpoint. All parameters must be present."""

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
"""Parameters that do not affect frames: training masks, poolers and heads."""

DAMAGE = (
    *(OSError, ValueError, KeyError, RuntimeError, EOFError),
    *(SafetensorError, torch.serialization.pickle.UnpicklingError),
)
"""Errors of the loaders for a damaged or foreign file."""


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

    Pickled checkpoints are opened with ``weights_only=True``, and code in a checkpoint is not
    executed. ``kind`` is the transformers class, ``loading`` are arguments of ``from_pretrained``,
    and ``needed`` is a required part that does not affect frames, such as ``decoder``.

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
            ignore_mismatched_sizes=True,  # the report names the parameters, the error does not
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
            f"The checkpoint '{path}' has no {needed}, so it cannot transcribe. Use a complete "
            f"Whisper checkpoint: serctl transcribe --model whisper-small"
        )
    for module in network.modules():
        if parametrize.is_parametrized(module):  # compute weight normalisation once
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    return network.requires_grad_(False).eval().to(device)


def pick_layers(output: Any, layers: Sequence[int]) -> list[Tensor]:
    """Return the layers of a network's output, ``(B, T, D)`` each.

    ``hidden_states[-1]`` is not ``last_hidden_state``: in networks with a final layer norm
    (WavLM-large, HuBERT-xlarge) it is the input of that norm.
    """
    return [output.last_hidden_state if n < 0 else output.hidden_states[n] for n in layers]


def list_layers(config: Any) -> tuple[int, ...]:
    """Return the layers of a network: 0 is the input of the first block, -1 the last output."""
    names = ("encoder_layers", "num_hidden_layers")
    depth = next(getattr(config, name) for name in names if getattr(config, name, None))
    return (*range(depth), -1)


def cut_padding(layers: Sequence[Tensor], lengths: Sequence[int]) -> list[Frames]:
    """Return the frames of each utterance without padding, one ``(T, D)`` array per layer."""
    arrays = [frames.float().cpu().numpy() for frames in layers]
    return [[frames[i, :length] for frames in arrays] for i, length in enumerate(lengths)]


def check_report(report: dict[str, Any], path: Path) -> None:
    """Check that a checkpoint has exactly the parameters of the network.

    Raises:
        WeightsError: Parameters are missing or unexpected. The message has the first names.
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

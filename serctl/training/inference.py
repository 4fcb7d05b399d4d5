"""Inference. The predictions do not depend on the order of utterances or on their batch."""

from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from serctl.models.build import Network
from serctl.training.dataset import UtteranceSet
from serctl.training.loader import load_batches


@dataclass(frozen=True, eq=False)
class Outputs:
    """Logits ``(N, C)`` and, for a model with attributes, ``(N, 3)``, as float64."""

    logits: NDArray[np.float64]
    attributes: NDArray[np.float64] | None = None


def infer(
    model: Network,
    data: UtteranceSet,
    device: torch.device,
    *,
    batch_size: int = 64,
    precision: str = "float32",
) -> Outputs:
    """Run the network over utterances in batches of similar length."""
    # Sorted by length, because a batch is padded to its longest utterance. The order is restored.
    order = np.argsort(data.costs, kind="stable")
    plan = np.array_split(order, -(-len(order) // batch_size)) if len(order) else []
    logits = np.zeros((len(data), model.config.num_classes))
    attributes = np.zeros((len(data), model.config.num_attributes))
    model.eval()
    loading = closing(load_batches(data, plan, device))
    with torch.inference_mode(), autocast(device, precision), loading as batches:
        for batch in batches:
            output = model(batch.frames, batch.lengths)
            logits[batch.rows] = output.logits.double().cpu().numpy()
            if output.attributes is not None:
                attributes[batch.rows] = output.attributes.double().cpu().numpy()
    return Outputs(logits, attributes if attributes.size else None)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which matrix products run in ``precision``."""
    dtype = getattr(torch, precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

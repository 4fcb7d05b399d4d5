"""Find the utterances that cause a loss that is not finite."""

import numpy as np
import torch

from serctl.errors import SerctlError, first_few
from serctl.models.build import Network
from serctl.training.dataset import UtteranceSet, read_each
from serctl.training.inference import infer


def diagnose(model: Network, data: UtteranceSet, device: torch.device, where: str) -> SerctlError:
    """Return the error that names the utterances: by their features, else by their logits."""
    bad = find_bad_features(data)
    if bad:
        return SerctlError(
            f"The features of {len(bad)} utterances hold NaN or infinite values: "
            f"{first_few(bad)}. Extract them again: serctl extract"
        )
    logits = infer(model, data, device).logits
    bad = [data.ids[i] for i in np.flatnonzero(~np.isfinite(logits).all(axis=1))]
    return SerctlError(
        f"The loss is not finite in {where} (utterances {first_few(bad or data.ids)}). "
        f"Train with a lower --learning-rate or with --precision float32."
    )


def find_bad_features(data: UtteranceSet) -> list[str]:
    """Return the utterances with a frame that is not finite in any branch."""
    bad = set()
    for branch in range(len(data.readers)):
        for name, frames in zip(data.ids, read_each(data, branch), strict=True):
            if not np.isfinite(frames).all():
                bad.add(name)
    return sorted(bad)

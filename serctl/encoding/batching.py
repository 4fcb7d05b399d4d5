"""From rows to batches of an encoder: sizes, plan, room on the disk, one batch run."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serctl.cache.key import FeatureKey
from serctl.cache.storage import get_storage
from serctl.data.audio import SAMPLE_RATE
from serctl.data.manifest import Utterance
from serctl.encoders.base import Encoder
from serctl.encoders.batches import plan_batches
from serctl.encoding.failures import Failures, capture, check_failures
from serctl.encoding.inputs import Inputs
from serctl.errors import CacheError, SerctlError


def measure_sizes(
    rows: Sequence[Utterance], inputs: Inputs, encoder: Encoder, skip_bad: bool
) -> tuple[dict[str, int], Failures]:
    """Return samples or tokens by utterance, and the utterances that have none."""
    sizes: dict[str, int] = {}
    failures: Failures = {}
    for row, size in zip(rows, inputs.sizes(rows, encoder), strict=True):
        if isinstance(size, SerctlError):
            failures[row.utterance_id] = size
        elif isinstance(cost := capture(encoder.cost)(size), SerctlError):  # too short for it
            failures[row.utterance_id] = type(cost)(f"Utterance '{row.utterance_id}': {cost}")
        else:
            sizes[row.utterance_id] = size
    check_failures(failures, skip_bad)
    return sizes, failures


def plan_rows(
    rows: Sequence[Utterance], sizes: Mapping[str, int], encoder: Encoder, seconds: float
) -> list[list[Utterance]]:
    """Return all batches of the manifest, whatever of them is done."""
    measured = [row for row in rows if row.utterance_id in sizes]
    plan = plan_batches([sizes[row.utterance_id] for row in measured], encoder.cost, seconds)
    return [[measured[i] for i in batch] for batch in plan]


def check_disk(store: Path, key: FeatureKey, encoder: Encoder, sizes: Sequence[int]) -> None:
    """Refuse to begin what will not fit.

    Raises:
        CacheError: With what is needed and what is free.
    """
    rate = 1.0 if encoder.frame_rate is None else encoder.frame_rate / SAMPLE_RATE
    frames = sum(int(size * rate) + 1 for size in sizes)
    needed = frames * encoder.dim * get_storage(key.storage).bytes_per_value
    folder = next(path for path in store.parents if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CacheError(
            f"About {frames:,} frames of {key.encoder} need {needed / 1e9:,.2f} GB, but "
            f"'{folder}' has {free / 1e9:,.2f} GB free. Free some, or name another folder in "
            f"serctl.toml: [paths] cache."
        )


def run_encoder(encoder: Encoder, contents: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Encode a batch; too large a one is an error that says so."""
    import torch

    try:
        return encoder.encode(contents) if contents else []
    except torch.OutOfMemoryError as error:
        raise SerctlError(
            f"The device is out of memory with {len(contents)} utterances in a batch. "
            f"Make batches smaller: serctl extract --batch-seconds N"
        ) from error

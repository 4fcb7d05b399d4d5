"""The catalogue as a list, with the availability of weights on this machine."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serctl.encoders.catalog import ALIASES, ENCODERS
from serctl.encoders.weights import have_weights


def list_encoders(weights: Mapping[str, Path] | None = None) -> list[dict[str, Any]]:
    """Return a record for each encoder of the catalogue, with ``alias`` and ``at_hand``.

    Args:
        weights: Checkpoints of a project, by encoder (`Workspace.weights`).
    """
    names = {row: name for name, row in ALIASES.items()}
    mapping = weights or {}
    return [
        {**asdict(spec), "alias": names.get(spec.name, ""), "at_hand": have_weights(spec, mapping)}
        for spec in ENCODERS.values()
    ]

"""The state of a training, for its file."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from serctl.documents.run import EpochRecord
from serctl.errors import CheckpointError


@dataclass
class TrainState:
    """State of a training: phase, epoch, step, history and best epoch."""

    phase: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    drawn: int = 0
    seconds: float = 0.0
    loading: float = 0.0
    reading: float = 0.0
    best: float = -math.inf
    best_epoch: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        records = [record.to_dict() for record in self.history]
        return asdict(replace(self, history=[])) | {"history": records}

    @classmethod
    def of(cls, document: object, source: Path) -> "TrainState":
        """Return the state from the values of `to_dict`.

        Raises:
            CheckpointError: The values are from another version of serctl.
        """
        if not isinstance(document, dict) or set(document) != {one.name for one in fields(cls)}:
            raise CheckpointError(
                f"'{source}' is from another version of serctl. Train again: "
                f"serctl train --overwrite"
            )
        records = [EpochRecord(**record) for record in document.pop("history")]
        return cls(**document, history=records)

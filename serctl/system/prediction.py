"""The prediction of a system for one utterance, with conversions to JSON and a table."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError

if TYPE_CHECKING:
    import pandas

SHOWN = 3
"""Number of emotions in a repr."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The emotion of one utterance.

    Attributes:
        audio: Name of the file; '' for an array.
        start: Seconds from the beginning of the file.
        end: Seconds; ``end - start`` is the length of the utterance. NaN for audio that cannot be
            read.
        emotion: The most probable one; None if no probability reaches ``abstain_below``.
        probabilities: By emotion, in the order of the labels; empty with an ``error``.
        per_model: Probabilities of each network of the system, before stacker and prior.
        text: Transcript; None for a system without a text branch.
        suspect: Reason why the transcript may be wrong; '' without a reason.
        error: Reason why there is no prediction; '' if there is one.
        channel: Channel of the file, from 1; 0 is the mean. None if no recording has a channel.
    """

    audio: str
    start: float
    end: float
    emotion: str | None
    probabilities: Mapping[str, float]
    per_model: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    text: str | None = None
    suspect: str = ""
    error: str = ""
    channel: int | None = None

    @property
    def confidence(self) -> float:
        """The highest probability; NaN without a prediction."""
        return max(self.probabilities.values(), default=math.nan)

    def __repr__(self) -> str:
        """Return file, times and the most probable emotions."""
        end = "?" if math.isnan(self.end) else f"{self.end:.2f}"
        place = f"{self.audio or 'array'} {self.start:.2f}-{end} s"
        if self.error:
            return f"<Prediction {place}: {self.error}>"
        ranked = sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:SHOWN]
        shares = ", ".join(f"{name} {share:.2f}" for name, share in ranked)
        return f"<Prediction {place}: {self.emotion or 'no emotion'} ({shares})>"

    def to_dict(self, *, per_model: bool = True) -> dict[str, Any]:
        """Return plain JSON values, times and probabilities rounded to 1 ms and 1e-6.

        Missing values are None: with an ``error`` the confidence, and the end of unread audio.
        """
        document: dict[str, Any] = {
            "audio": self.audio,
            "start": round(self.start, 3),
            "end": None if math.isnan(self.end) else round(self.end, 3),
            "emotion": self.emotion,
            "confidence": round(self.confidence, 6) if self.probabilities else None,
            "probabilities": _round(self.probabilities),
            "text": self.text,
            "suspect": self.suspect,
        }
        if self.channel is not None:
            document["channel"] = self.channel or None
        if self.error:
            document["error"] = self.error
        if per_model:
            document["per_model"] = {name: _round(it) for name, it in self.per_model.items()}
        return document


def predictions_to_frame(predictions: Iterable[Prediction]) -> "pandas.DataFrame":
    """Return a table with a row for each prediction and a column for each emotion.

    Columns: audio, start, end, emotion, confidence, one a label, text, suspect, error.
    After end: channel, where recordings have one. Numbers of a recording without a prediction are
    missing (NaN).

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError("A table needs pandas. Install it with: pip install pandas") from None
    predictions = list(predictions)
    labels = dict.fromkeys(name for one in predictions for name in one.probabilities)
    rows = []
    for one in predictions:
        row = {name: getattr(one, name) for name in ("audio", "start", "end", "emotion")}
        rest = {name: getattr(one, name) for name in ("text", "suspect", "error")}
        if one.channel is not None:
            row["channel"] = one.channel or None
        shares = {name: one.probabilities.get(name, math.nan) for name in labels}
        rows.append({**row, "confidence": one.confidence, **shares, **rest})
    return pandas.DataFrame(rows)


def _round(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, 6) for name, share in shares.items()}

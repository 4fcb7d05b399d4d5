"""Check of out-of-fold predictions.

If every speaker has only one emotion, a fold without a speaker may lack an emotion in training. The
fold models then predict any emotion except the right one, and a stacker that is fitted on them
learns to invert the predictions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from serctl.data.manifest import Utterance
from serctl.ensemble.logits import Logits
from serctl.ensemble.stacking_set import StackingSet
from serctl.errors import count
from serctl.metrics.classification import score_predictions

KEPT_SKILL = 0.25
"""Folds are broken below this share of the models' UAR above chance on dev."""
LEAST_SKILL = 0.1
"""Minimum UAR above chance on dev for this check."""


def find_broken_folds(
    rows: StackingSet, dev: Mapping[str, Logits], emotion_of: Mapping[str, str]
) -> str:
    """Return the reason not to fit a stacker on out-of-fold rows; '' if there is none.

    Args:
        rows: Out-of-fold rows of all base models.
        dev: Logits of dev by base model.
        emotion_of: Label of each utterance of dev.
    """
    if rows.lost_emotions:
        return (
            f"A fold model was trained without {', '.join(sorted(rows.lost_emotions))}, so the "
            f"out-of-fold predictions are unsuitable for a stacker."
        )
    labels, chance = rows.joined.labels, 1 / len(np.unique(rows.targets))
    broken = []
    for m, name in enumerate(rows.joined.names):
        inside = _score(rows.targets, rows.joined.values[:, m], len(labels))
        outside = _score_dev(dev.get(name), labels, emotion_of)
        if outside - chance >= LEAST_SKILL and inside - chance < KEPT_SKILL * (outside - chance):
            broken.append((name, inside, outside))
    if 2 * len(broken) <= len(rows.joined.names):
        return ""
    name, inside, outside = broken[0]
    return (
        f"The out-of-fold predictions of {count(len(broken), 'model')} are hardly better than "
        f"chance ('{name}': UAR {inside:.2f}, chance {chance:.2f}, on dev {outside:.2f})."
        f"{describe_one_emotion_speakers(rows.utterances)} They are unsuitable for a stacker."
    )


def describe_one_emotion_speakers(utterances: Sequence[Utterance]) -> str:
    """Return a sentence on speakers with only one emotion; '' if they are few."""
    emotions: dict[str, set[str]] = defaultdict(set)
    for row in utterances:
        if row.speaker and row.emotion:
            emotions[row.speaker].add(row.emotion)
    single = sum(len(found) == 1 for found in emotions.values())
    if not emotions or 2 * single <= len(emotions):
        return ""
    return f" {single} of {len(emotions)} speakers have only one emotion."


def _score(targets: np.ndarray, logits: np.ndarray, num_classes: int) -> float:
    return float(score_predictions(targets, logits.argmax(axis=1), num_classes).uar)


def _score_dev(found: Logits | None, labels: Sequence[str], emotion_of: Mapping[str, str]) -> float:
    """Return the UAR on the labelled utterances of dev; 0 without any."""
    ids = [name for name in found.ids if emotion_of.get(name) in labels] if found else []
    if not found or not ids:
        return 0.0
    chosen = found.select(ids).reorder(labels)
    targets = np.array([labels.index(emotion_of[name]) for name in ids])
    return _score(targets, chosen.values, len(labels))

"""Emotion names: the eight of the challenge, their order, and corpora's spellings of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serctl.errors import ManifestError, UnknownNameError

EMOTIONS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
"""Class order of the challenge and of the released code (A S H U F D C N)."""

OTHER_EMOTIONS = ("bored", "excited", "frustrated")
"""Classes that EmoDB and IEMOCAP add to the eight; a manifest may hold them too."""

KNOWN_EMOTIONS = (*EMOTIONS, *OTHER_EMOTIONS)

NEUTRAL = "neutral"

ALIASES = {
    **dict(zip("ashufdcn", EMOTIONS, strict=True)),
    "anger": "angry",
    "sadness": "sad",
    "happiness": "happy",
    "joy": "happy",
    "surprised": "surprise",
    "fearful": "fear",
    "fearfulness": "fear",
    "disgusted": "disgust",
    "neutrality": "neutral",
    "anxiety": "fear",
    "boredom": "bored",
    "excitement": "excited",
    "frustration": "frustrated",
}


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of emotion names; the position of a name is its ``label_id``."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, emotions: Iterable[str]) -> "LabelSet":
        """Return the emotions present, in the fixed order; corpus-specific names come last."""
        present = set(emotions)
        ordered = [name for name in EMOTIONS if name in present]
        return cls(tuple(ordered + sorted(present - set(EMOTIONS))))

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, name: str) -> int:
        """Return the ``label_id`` of an emotion.

        Raises:
            UnknownNameError: The emotion is not in this set.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UnknownNameError("emotion", name, self.names) from None


def parse_emotion(text: str, mapping: Mapping[str, str] | None = None) -> str:
    """Return the emotion that a corpus' own word stands for; '' stays '' (unlabelled).

    ``mapping`` is the user's (``--map calm=neutral``) and is applied to the word as written
    (any case) before the aliases. A word that means nothing is returned in lower case, so that
    the manifest can name all unknown words at once.

    Example:
        >>> parse_emotion("Anger"), parse_emotion("U"), parse_emotion("calm", {"calm": "neutral"})
        ('angry', 'surprise', 'neutral')
    """
    word = text.strip().lower()
    word = (mapping or {}).get(word, word).lower()
    return ALIASES.get(word, word)


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``--map`` values such as ``calm=neutral``; ``x=`` makes x unlabelled.

    Raises:
        ManifestError: A value is not of the form OLD=NEW.
    """
    mapping = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals):
            raise ManifestError(f"--map '{pair}' is not of the form OLD=NEW, e.g. calm=neutral.")
        mapping[old.strip().lower()] = new.strip().lower()
    return mapping

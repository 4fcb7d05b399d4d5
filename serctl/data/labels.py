"""Emotion labels: any labels of a manifest, in a defined order, with known spellings merged."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from serctl.data.values import remove_invisible
from serctl.errors import ConfigError, ManifestError, UnknownNameError, refuse_twice

EMOTIONS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
"""Class order of the challenge and of the released code (A S H U F D C N)."""

NEUTRAL = "neutral"

CODES = dict(zip("ashufdcn", EMOTIONS, strict=True))
"""Letters in MSP-Podcast's column EmoClass. Their meaning differs in other corpora."""

ALIASES = {
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

NO_EMOTION = frozenset(
    {"o", "x", "xxx", "oth", "other", "unk", "unknown", "undefined", "no agreement", "no-agreement"}
)
"""Marks of utterances without a label in corpora. They are kept as labels, with a hint."""


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of emotion names; the position of a name is its ``label_id``.

    Attributes:
        names: C labels.
        neutral: The label of neutral speech; '' if there is none.
    """

    names: tuple[str, ...]
    neutral: str = NEUTRAL

    @classmethod
    def of(
        cls, emotions: Iterable[str], order: Sequence[str] = (), neutral: str = ""
    ) -> "LabelSet":
        """Return the emotions present, in order.

        Args:
            emotions: Labels of utterances.
            order: Order of the labels from serctl.toml; default: that of the challenge, then the
                other labels by name.
            neutral: The label of neutral speech; default: ``neutral`` if present.

        Raises:
            ConfigError: An emotion that is present is missing in ``order``.
            UnknownNameError: ``neutral`` is not present.
        """
        present = set(emotions)
        if absent := sorted(present - set(order)) if order else []:
            raise ConfigError(
                f"serctl.toml: [labels] order lacks '{absent[0]}', which utterances have. "
                f"Add it, or exclude these utterances: serctl init --drop '{absent[0]}'"
            )
        neutral = parse_emotion(neutral)
        if neutral and neutral not in present:
            raise UnknownNameError("neutral label", neutral, present)
        ordered = [name for name in order or EMOTIONS if name in present]
        names = tuple(ordered + sorted(present - set(ordered)))
        return cls(names, neutral or (NEUTRAL if NEUTRAL in present else ""))

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


def parse_emotion(
    text: str, mapping: Mapping[str, str] | None = None, *, codes: bool = False
) -> str:
    """Return the label for an emotion in a corpus; '' stays '' (unlabelled).

    Args:
        text: Name of the emotion in any case.
        mapping: Mapping of the user (``--map calm=neutral``), applied before the aliases.
        codes: Whether to read the single letters of MSP-Podcast.

    Returns:
        One of `EMOTIONS` for a known spelling, else the text in lower case.

    Example:
        >>> parse_emotion("Anger"), parse_emotion("Calm"), parse_emotion("U", codes=True)
        ('angry', 'calm', 'surprise')
    """
    word = remove_invisible(text).lower()
    word = (mapping or {}).get(word, word).lower()
    word = CODES.get(word, word) if codes else word
    return ALIASES.get(word, word)


SEVERAL = re.compile(r"[;|/+,&]")
"""Signs between the emotions of a cell that names several."""


def find_slips(counts: Mapping[str, int]) -> list[str]:
    """Return a hint for every label that is probably misspelt or not an emotion.

    Example:
        >>> find_slips({"angry": 90, "angray": 1})
        ["'angray' (1 utterance) is similar to 'angry'. If it is a typo: --map 'angray=angry'"]
    """
    hints = []
    for word, number in counts.items():
        shown = f"'{word}' ({number:,} utterance{'' if number == 1 else 's'})"
        if not word or word in EMOTIONS or word in ALIASES.values():
            continue
        if word in NO_EMOTION:
            hints.append(f"{shown} is read as an emotion. To leave it unlabelled: --map '{word}='")
            continue
        parts = [parse_emotion(part.strip()) for part in SEVERAL.split(word)]
        if len(parts) > 1 and all(part in EMOTIONS or part in counts for part in parts):
            hints.append(
                f"{shown} names several emotions and is a class of its own. To choose one: "
                f"--map '{word}={parts[0]}'"
            )
            continue
        frequent = [name for name, times in counts.items() if times > number]
        near = get_close_matches(word, {*EMOTIONS, *ALIASES, *frequent} - {word, ""}, 1, cutoff=0.8)
        if near:
            target = ALIASES.get(near[0], near[0])
            hints.append(
                f"{shown} is similar to '{near[0]}'. If it is a typo: --map '{word}={target}'"
            )
    return hints


def parse_mapping(pairs: Iterable[str], flag: str = "--map") -> dict[str, str]:
    """Parse values of ``--map`` such as ``calm=neutral``. ``x=`` makes x unlabelled.

    Raises:
        ManifestError: A value is not of the form OLD=NEW.
        UsageError: A label is named twice.
    """
    found = []
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals):
            raise ManifestError(f"{flag} is '{pair}', expected OLD=NEW, such as calm=neutral.")
        found.append((old.strip().lower(), new.strip().lower()))
    refuse_twice(flag, (old for old, _ in found))
    return dict(found)

"""The manifest: the table of utterances that every stage reads.

Columns are ``utterance_id, path, split, emotion, speaker, transcript``. ``start`` and ``end`` are
seconds if an utterance is a stretch of its file, ``channel`` its channel if it is one of several.
Further columns are kept (raters' votes as ``votes_<emotion>``, attributes as ``arousal``,
``valence``, ``dominance``). Paths are absolute or relative to the manifest's folder.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from serctl.data.labels import LabelSet, parse_emotion
from serctl.data.values import fill_missing, parse_number, parse_seconds
from serctl.errors import ManifestError

COLUMNS = ("utterance_id", "path", "split", "emotion", "speaker", "transcript")
SEGMENT = ("start", "end")
CHANNEL = "channel"
ATTRIBUTES = ("arousal", "valence", "dominance")
DURATIONS = ("duration", "duration_s")
"""Columns with the seconds of an utterance."""
FOLD = "fold"
"""Column with the folds of a corpus, such as the sessions of IEMOCAP."""
KNOWN_COLUMNS = (*COLUMNS, *SEGMENT, CHANNEL, *ATTRIBUTES, FOLD)
READ_COLUMNS = (*KNOWN_COLUMNS, "gender", *DURATIONS)
"""Columns with a meaning, also under names in other capitals."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A file, or a stretch or channel of a file, with its labels.

    ``emotion`` is '' for an unlabelled utterance, and ``speaker`` is '' if unknown. ``transcript``
    is None if the corpus has none; '' is a transcript without words. ``start`` and ``end`` are
    seconds of the file. An ``end`` of None is the end of the file. ``channel`` counts from 1; 0 is
    the mean of all channels.
    """

    utterance_id: str
    path: Path
    split: str
    emotion: str = ""
    speaker: str = ""
    transcript: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    start: float = 0.0
    end: float | None = None
    channel: int = 0

    def __post_init__(self) -> None:
        """Convert a string to a path."""
        if isinstance(self.path, str):
            object.__setattr__(self, "path", Path(self.path))

    @property
    def is_segment(self) -> bool:
        """Whether it is a stretch of its file."""
        return self.start > 0 or self.end is not None

    def duration(self) -> float | None:
        """Return the seconds in the column ``duration`` or ``duration_s``, or None without any."""
        for name in DURATIONS:
            with suppress(KeyError, ValueError):
                if (seconds := parse_seconds(str(self.extra[name]))) > 0:
                    return seconds
        return None

    def votes(self) -> dict[str, float]:
        """Return raters' votes per emotion, from the columns ``votes_<emotion>``."""
        votes: dict[str, float] = {}
        for name, value in self.extra.items():
            if name.startswith("votes_") and (text := fill_missing(str(value))):
                emotion = parse_emotion(name.removeprefix("votes_"))
                votes[emotion] = votes.get(emotion, 0.0) + parse_number(text)
        return votes

    def attributes(self) -> tuple[float, ...]:
        """Return arousal, valence and dominance; NaN for missing ones."""
        texts = [fill_missing(str(self.extra.get(name, ""))) for name in ATTRIBUTES]
        return tuple(parse_number(text) if text else math.nan for text in texts)


@dataclass(frozen=True)
class Manifest:
    """An ordered, checked table of utterances with unique ids.

    ``notes`` are what had to be assumed about its file.
    """

    utterances: tuple[Utterance, ...]
    path: Path | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    @property
    def ids(self) -> tuple[str, ...]:
        """Utterance ids in manifest order."""
        return tuple(row.utterance_id for row in self.utterances)

    @property
    def splits(self) -> tuple[str, ...]:
        """Split names: train, dev, then the others by name."""
        found = {row.split for row in self.utterances}
        return tuple(sorted(found, key=lambda name: (name != "train", name != "dev", name)))

    def where(self, keep: Callable[[Utterance], bool]) -> "Manifest":
        """Return the utterances for which ``keep`` is true, in the same order."""
        return Manifest(tuple(row for row in self.utterances if keep(row)), self.path)

    def select(self, split: str) -> "Manifest":
        """Return one split.

        Raises:
            ManifestError: The manifest has no utterance in that split.
        """
        chosen = self.where(lambda row: row.split == split)
        if not len(chosen):
            raise ManifestError(
                f"The manifest has the splits {', '.join(self.splits) or 'none'}, not '{split}'."
            )
        return chosen

    def limit(self, count: int | None, seed: int = 0) -> "Manifest":
        """Return ``count`` utterances in their order, for a dry run (``--limit``); None keeps all.

        They are taken in turn from every split and emotion, in the order of a hash of the id. So
        they cover splits, emotions and speakers, and a larger count is a superset.

        Raises:
            ManifestError: ``count`` is below 1.
        """
        if count is None:
            return self
        if count < 1:
            raise ManifestError(f"limit is {count}, expected at least 1 utterance.")
        taken: Counter[tuple[str, str]] = Counter()
        turns = []
        shuffled = sorted(
            enumerate(self.utterances),
            key=lambda at: crc32(f"{seed} {at[1].utterance_id}".encode()),
        )
        for place, row in shuffled:
            turns.append((taken[row.split, row.emotion], place))
            taken[row.split, row.emotion] += 1
        kept = sorted(place for _, place in sorted(turns)[:count])
        return Manifest(tuple(self.utterances[place] for place in kept), self.path)

    def label_set(self, order: Sequence[str] = (), neutral: str = "") -> LabelSet:
        """Return the emotions that occur, in order; see `LabelSet.of`."""
        return LabelSet.of((row.emotion for row in self.utterances if row.emotion), order, neutral)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of utterances by split and emotion; '' is unlabelled."""
        found = Counter((row.split, row.emotion) for row in self.utterances)
        names = [*self.label_set().names, ""]
        return {split: {name: found[split, name] for name in names} for split in self.splits}

    def leaking_speakers(self) -> dict[str, tuple[str, ...]]:
        """Return speakers that occur in more than one split, with those splits."""
        splits: dict[str, set[str]] = {}
        for row in self.utterances:
            if row.speaker:
                splits.setdefault(row.speaker, set()).add(row.split)
        return {name: tuple(sorted(found)) for name, found in splits.items() if len(found) > 1}

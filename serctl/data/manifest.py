"""The manifest: one row per utterance, the table every stage starts from.

Columns ``utterance_id, path, split, emotion, speaker, transcript``; any further column is kept
as it is (raters' votes as ``votes_<emotion>``, attributes as ``arousal``, ``valence``,
``dominance``). Paths are relative to the manifest's own folder or absolute.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from serctl.data.labels import KNOWN_EMOTIONS, LabelSet, parse_emotion
from serctl.errors import ManifestError, first_few
from serctl.files import write_atomic

COLUMNS = ("utterance_id", "path", "split", "emotion", "speaker", "transcript")
DEV_NAMES = {"dev", "development", "val", "valid", "validation"}
NO_SPEAKER = {"", "unknown"}
ATTRIBUTES = ("arousal", "valence", "dominance")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled piece of audio.

    ``emotion`` is '' for an unlabelled utterance and ``speaker`` is '' for an unknown one;
    ``transcript`` is None where the corpus gives no words ('' is a transcript without words).
    """

    utterance_id: str
    path: Path
    split: str
    emotion: str = ""
    speaker: str = ""
    transcript: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def votes(self) -> dict[str, float]:
        """Return raters' votes per emotion, from the columns ``votes_<emotion>``."""
        return {
            name.removeprefix("votes_"): float(value)
            for name, value in self.extra.items()
            if name.startswith("votes_") and value
        }

    def attributes(self) -> tuple[float, float, float] | None:
        """Return (arousal, valence, dominance), or None if any of them is not given."""
        values = [self.extra.get(name, "") for name in ATTRIBUTES]
        return tuple(float(value) for value in values) if all(values) else None  # type: ignore[return-value]


@dataclass(frozen=True)
class Manifest:
    """An ordered, checked table of utterances with unique ids."""

    utterances: tuple[Utterance, ...]
    path: Path | None = None

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
                f"The manifest has no split '{split}'; it has {', '.join(self.splits) or 'none'}."
            )
        return chosen

    def limit(self, count: int | None, seed: int = 0) -> "Manifest":
        """Return ``count`` utterances in their order, for a dry run (``--limit``); None keeps all.

        They are taken in turn from every split and emotion, so that none is missed if it can be
        helped, by a hash of the id: a corpus sorted by speaker still shows many of them, and a
        greater count, or fewer splits, adds to those taken.
        """
        if count is None:
            return self
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

    def label_set(self) -> LabelSet:
        """Return the emotions that occur, in the fixed order."""
        return LabelSet.of(row.emotion for row in self.utterances if row.emotion)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of utterances by split and emotion; '' counts the unlabelled."""
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


def read_manifest(path: Path, *, mapping: Mapping[str, str] | None = None) -> Manifest:
    """Read and check a manifest.

    Args:
        path: A UTF-8 CSV file with a header.
        mapping: The user's renaming of emotions (``--map calm=neutral``).

    Raises:
        ManifestError: A column is missing, an id is given twice, or a split or emotion is unknown;
            the message names the first offending rows with their line numbers.
    """
    header, rows = read_rows(path)
    missing = [name for name in ("utterance_id", "path", "split") if name not in header]
    if missing:
        raise ManifestError(
            f"Manifest '{path}' has no column {first_few(map(repr, missing))}; it has "
            f"{', '.join(header) or 'none'}. Map columns with: serctl init --manifest {path} "
            f"--column {COLUMNS[0]}=YOURS"
        )
    manifest = Manifest(
        tuple(parse_row(row, header, path.parent, mapping) for _, row in rows), path
    )
    check_manifest(manifest, lines=[line for line, _ in rows])
    return manifest


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header.

    Returns:
        The header, and each row with its line number.

    Raises:
        ManifestError: The file is missing, not UTF-8 CSV, or a row has too few or many fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ManifestError(
            f"'{path}' does not exist. Make a manifest with: serctl init --corpus NAME --root DIR"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"'{path}' is not a UTF-8 CSV file: {error}.") from error
    ragged = [line for line, row in rows if None in row or None in row.values()]
    if ragged:
        raise ManifestError(
            f"'{path}': {len(ragged)} rows have not {len(header)} fields: line {first_few(ragged)}"
        )
    return header, rows


def parse_row(
    row: Mapping[str, str], header: Sequence[str], folder: Path, mapping: Mapping[str, str] | None
) -> Utterance:
    """Return one row of a table with serctl's column names; ``folder`` is where paths start."""
    value = {name: row.get(name, "").strip() for name in COLUMNS}
    return Utterance(
        utterance_id=value["utterance_id"],
        path=folder / value["path"],
        split=parse_split(value["split"]),
        emotion=parse_emotion(value["emotion"], mapping),
        speaker="" if value["speaker"].lower() in NO_SPEAKER else value["speaker"],
        transcript=row["transcript"] if "transcript" in header else None,
        extra={name: text for name, text in row.items() if name not in COLUMNS},
    )


def parse_split(text: str) -> str:
    """Return ``train``, ``dev`` or a name beginning with ``test``; else the text in lower case."""
    name = text.strip().lower()
    return "dev" if name in DEV_NAMES else name


def check_manifest(manifest: Manifest, *, lines: Sequence[int] | None = None) -> None:
    """Check ids, splits and emotions, and name the first offending rows.

    Raises:
        ManifestError: See `read_manifest`.
    """
    source = f"Manifest '{manifest.path}'" if manifest.path else "The manifest"
    if not len(manifest):
        raise ManifestError(f"{source} holds no utterances.")
    counts = Counter(manifest.ids)
    known = ("", *KNOWN_EMOTIONS)
    checks: tuple[tuple[str, str, Callable[[str], bool], str], ...] = (
        ("empty utterance_id", "utterance_id", lambda name: not name, "Give every row an id."),
        (
            "utterance_id given twice",
            "utterance_id",
            lambda name: counts[name] > 1,
            "Ids are unique.",
        ),
        (
            "unknown split",
            "split",
            lambda name: name not in ("train", "dev") and not name.startswith("test"),
            "Splits are train, dev and names that begin with test.",
        ),
        (
            "unknown emotion",
            "emotion",
            lambda name: name not in known,
            f"Known: {', '.join(known[1:])}. Rename: --map OLD=NEW; leave out: --drop NAME.",
        ),
    )
    for problem, column, offends, remedy in checks:
        bad = [
            (f"line {lines[i]} " if lines else "") + f"'{getattr(row, column)}'"
            for i, row in enumerate(manifest)
            if offends(getattr(row, column))
        ]
        if bad:
            shown = first_few(dict.fromkeys(bad))
            raise ManifestError(f"{source}: {problem} in {len(bad)} rows ({shown}). {remedy}")


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest atomically; paths below its folder are written relative to it.

    Without any transcript there is no such column: no words are known, which is not no words.
    """
    rows = list(utterances)
    columns = COLUMNS if any(row.transcript is not None for row in rows) else COLUMNS[:-1]
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    folder = path.parent.resolve()
    with write_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *extra])
        for row in rows:
            audio = row.path.resolve()
            shown = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
            writer.writerow(
                [row.utterance_id, shown.as_posix(), row.split, row.emotion, row.speaker]
                + [row.transcript or ""] * (len(columns) - 5)
                + [row.extra.get(name, "") for name in extra]
            )

"""The manifest: one row per utterance, the table every stage starts from.

Columns ``utterance_id, path, split, emotion, speaker, transcript``; any further column is kept
as it is (raters' votes as ``votes_<emotion>``, attributes as ``arousal``, ``valence``,
``dominance``). Paths are relative to the manifest's own folder or absolute.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serctl.data.labels import EMOTIONS, LabelSet, parse_emotion
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
        """Split names in order of first appearance."""
        return tuple(dict.fromkeys(row.split for row in self.utterances))

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

    def limit(self, count: int | None) -> "Manifest":
        """Return the first ``count`` utterances (``--limit``); None keeps all."""
        return self if count is None else Manifest(self.utterances[:count], self.path)

    def label_set(self) -> LabelSet:
        """Return the emotions that occur, in the fixed order."""
        return LabelSet.of(row.emotion for row in self.utterances if row.emotion)

    def leaking_speakers(self) -> dict[str, tuple[str, ...]]:
        """Return speakers that occur in more than one split, with those splits."""
        splits: dict[str, set[str]] = {}
        for row in self.utterances:
            if row.speaker:
                splits.setdefault(row.speaker, set()).add(row.split)
        return {name: tuple(sorted(found)) for name, found in splits.items() if len(found) > 1}


def read_manifest(
    path: Path, *, mapping: Mapping[str, str] | None = None, columns: Mapping[str, str] | None = None
) -> Manifest:
    """Read and check a manifest.

    Args:
        path: A UTF-8 CSV file with a header.
        mapping: The user's renaming of emotions (``--map calm=neutral``).
        columns: serctl's column name to the file's own, e.g. ``{"emotion": "EmoClass"}``.

    Raises:
        ManifestError: A column is missing, an id is given twice, or a split or emotion is unknown;
            the message names the first offending rows with their line numbers.
    """
    columns = columns or {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ManifestError(
            f"Manifest '{path}' does not exist. Make one with: serctl init --corpus NAME --root DIR"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"Manifest '{path}' is not a UTF-8 CSV file: {error}.") from error

    names = {name: columns.get(name, name) for name in COLUMNS}
    missing = [names[name] for name in ("utterance_id", "path", "split") if names[name] not in header]
    if missing:
        raise ManifestError(
            f"Manifest '{path}' has no column {first_few(map(repr, missing))}; it has "
            f"{', '.join(header) or 'none'}. Map columns with: serctl init --manifest {path} "
            f"--column {COLUMNS[0]}=YOURS"
        )
    own = set(names.values())
    utterances = []
    for line, row in rows:
        if None in row or None in row.values():
            raise ManifestError(f"Manifest '{path}' line {line} has not {len(header)} fields.")
        value = {name: row.get(column, "") for name, column in names.items()}
        utterances.append(
            Utterance(
                utterance_id=value["utterance_id"].strip(),
                path=path.parent / value["path"],
                split=parse_split(value["split"]),
                emotion=parse_emotion(value["emotion"], mapping),
                speaker="" if value["speaker"].strip().lower() in NO_SPEAKER else value["speaker"],
                transcript=value["transcript"] if names["transcript"] in header else None,
                extra={name: text for name, text in row.items() if name not in own},
            )
        )
    manifest = Manifest(tuple(utterances), path)
    check_manifest(manifest, lines=[line for line, _ in rows])
    return manifest


def parse_split(text: str) -> str:
    """Return ``train``, ``dev`` or a name that begins with ``test``; else the text in lower case."""
    name = text.strip().lower()
    return "dev" if name in DEV_NAMES else name


def check_manifest(manifest: Manifest, *, lines: list[int] | None = None) -> None:
    """Check ids, splits and emotions, and name the first offending rows.

    Raises:
        ManifestError: See `read_manifest`.
    """
    source = f"Manifest '{manifest.path}'" if manifest.path else "The manifest"

    def refuse(problem: str, offends: Callable[[Utterance], bool], remedy: str) -> None:
        bad = [
            f"line {lines[i]} '{show}'" if lines else f"'{show}'"
            for i, row in enumerate(manifest)
            if offends(row)
            for show in [_offending_value(problem, row)]
        ]
        if bad:
            raise ManifestError(f"{source}: {problem} in {len(bad)} rows ({first_few(bad)}). {remedy}")

    if not len(manifest):
        raise ManifestError(f"{source} holds no utterances.")
    counts = Counter(manifest.ids)
    refuse("empty utterance_id", lambda row: not row.utterance_id, "Give every row an id.")
    refuse("utterance_id given twice", lambda row: counts[row.utterance_id] > 1, "Ids are unique.")
    refuse(
        "unknown split",
        lambda row: row.split not in ("train", "dev") and not row.split.startswith("test"),
        "Splits are train, dev and names that begin with test.",
    )
    refuse(
        "unknown emotion",
        lambda row: row.emotion not in ("", *EMOTIONS),
        f"Known: {', '.join(EMOTIONS)}. Rename with --map OLD=NEW or leave out with --drop NAME.",
    )


def _offending_value(problem: str, row: Utterance) -> str:
    return row.split if "split" in problem else row.emotion if "emotion" in problem else row.utterance_id


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest atomically; paths below its folder are written relative to it."""
    rows = list(utterances)
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    folder = path.parent.resolve()
    with write_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *extra])
        for row in rows:
            audio = row.path.resolve()
            shown = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
            writer.writerow(
                [row.utterance_id, shown.as_posix(), row.split, row.emotion, row.speaker]
                + [row.transcript or ""]
                + [row.extra.get(name, "") for name in extra]
            )

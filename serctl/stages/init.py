"""Start a project: read corpora, write `manifest.csv` and `serctl.toml`."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from serctl import __version__
from serctl.data.corpora import CORPORA, read_corpus
from serctl.data.corpora.scan import Corpus
from serctl.data.corpora.table import read_table
from serctl.data.joined import MERGE, check_joined, describe_joined
from serctl.data.labels import ALIASES, CODES, find_slips, parse_emotion
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import check_manifest, write_manifest
from serctl.data.overlaps import describe_overlaps
from serctl.data.splits import assign_splits
from serctl.data.values import parse_number
from serctl.demo.corpus import make_demo, plan_demo
from serctl.errors import ManifestError, UsageError, first_few, guess
from serctl.progress import Progress, silent
from serctl.stages.init_notes import (
    note_limit,
    note_unknown_speakers,
    suggest_column,
    write_project,
)
from serctl.workspace import PATHS, PROJECT_FILE

DEMO = "demo"
DEMO_TERMS = "synthetic speech by espeak-ng, made on the user's machine, without recorded speakers"
NO_CONSENSUS = frozenset({"o", "x", "xxx"})
"""Codes of MSP-Podcast (other, no agreement) and IEMOCAP that are not labels."""
MANY = 20
"""Number of labels from which a column with nearly one label per utterance is refused."""

PROJECT_TEXT = """\
# Project file of serctl: default options of all commands. Flags override it.
# Written by serctl {version} init, from {sources}.
{terms}
[paths]                      # relative to this file
manifest = "{manifest}"
# cache = "cache"            # frames of the encoders; may be large

# [weights]                  # an encoder's name = its checkpoint on this machine
# wavlm-large = "/path/to/wavlm-large"
"""
DEMO_TEXT = """
[transcribe]
model = "whisper-tiny"       # comes with serctl[demo]
"""
LANGUAGE_TEXT = """
[transcribe]
language = "{language}"
"""


@dataclass(frozen=True)
class Source:
    """A corpus to read: a known name and its folder, or a table and the names of its columns.

    For a table ``name`` is '', and ``root`` is the folder of its relative paths (None: that of the
    table). ``columns`` and ``splits`` are those of `serctl.data.corpora.table.read_table`.
    """

    name: str = ""
    root: Path | None = None
    table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Convert strings to paths."""
        for name in ("root", "table"):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))


@dataclass(frozen=True)
class InitResult:
    """Written files, utterances per split and emotion, and notes for the user.

    ``has_transcripts`` states whether the corpus has transcripts.
    """

    project: Path
    manifest: Path
    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    has_transcripts: bool


def init_project(
    folder: Path | str,
    sources: Sequence[Source],
    *,
    mapping: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> InitResult:
    """Write the manifest of one or several corpora and the project file.

    Args:
        folder: Folder for `serctl.toml` and `manifest.csv`.
        sources: Corpora. The demo corpus is made in ``folder/corpus`` unless it has a root. If
            there are several, the name of the corpus precedes ids and speakers.
        mapping: Emotions to rename, e.g. ``{"calm": "neutral"}``. '' makes them unlabelled.
        drop: Emotions whose utterances are excluded.
        limit: Number of utterances to keep, balanced over splits and emotions.
        seed: Seed of generated splits, of ``limit`` and of the demo corpus.
        overwrite: Replace existing files.
        progress: Reports the synthesis of the demo corpus.

    Raises:
        UsageError: The project exists already.
        CorpusError: A folder does not look like its corpus.
        ManifestError: No utterance has an emotion, ids clash, or splits cannot be made.
    """
    folder = Path(folder)
    project, manifest = folder / PROJECT_FILE, folder / PATHS["manifest"]
    if not overwrite and (there := [str(path) for path in (project, manifest) if path.exists()]):
        raise UsageError(f"{' and '.join(there)} exist already. Replace with: --overwrite")
    sources = [
        replace(it, root=folder / "corpus") if it.name == DEMO and it.root is None else it
        for it in sources
    ]
    rows, notes = _join_corpora(sources, mapping or {}, drop, seed)
    notes += find_slips(Counter(row.emotion for row in rows))
    check_manifest(Manifest(tuple(rows)))
    kept = Manifest(tuple(rows)).limit(limit, seed)
    notes += note_limit(Manifest(tuple(rows)), kept)
    for demo in (source.root for source in sources if source.name == DEMO and source.root):
        make_demo(demo, seed, wanted={row.path for row in kept}, progress=progress)
    write_manifest(manifest, kept)
    notes += write_project(project, project_text(sources))
    has_transcripts = any(row.transcript for row in kept)
    return InitResult(project, manifest, kept.counts(), tuple(notes), has_transcripts)


def _join_corpora(
    sources: Sequence[Source], mapping: Mapping[str, str], drop: Sequence[str], seed: int
) -> tuple[list[Utterance], list[str]]:
    """Return the utterances of all corpora, each with splits of its own, and notes on them."""
    parts: list[tuple[str, Sequence[Utterance]]] = []
    notes: list[str] = []
    corpora = [_read(source, seed) for source in sources]
    present = {row.emotion for corpus in corpora for row in corpus.utterances}
    mapping = {_find_label(word, present): new for word, new in mapping.items()}
    dropped = {_find_label(word, present) for word in drop}
    if both := sorted(dropped.intersection(mapping)):
        raise UsageError(f"'{both[0]}' is in --map and in --drop, expected one. Leave one out.")
    for source, corpus in zip(sources, corpora, strict=True):
        prefix = f"{_name_of(source)}-" if len(sources) > 1 else ""
        renamed = _rename(corpus.utterances, mapping, dropped)
        _check_labels(source, renamed)
        found, split_notes = _divide(source, renamed, seed)
        parts.append((_name_of(source), [_prefix(r, prefix) for r in found] if prefix else found))
        notes += [f"{_name_of(source)}: {note}" for note in (*corpus.notes, *split_notes)]
    rows = [row for _, found in parts for row in found]
    if len(parts) > 1:
        check_joined(rows, "corpora", f"To keep them apart, {MERGE}")
    return rows, [*notes, *describe_joined(parts, MERGE)]


def project_text(sources: Sequence[Source]) -> str:
    """Return the text of a new project file."""
    shown = ", ".join(f"{_name_of(source)} ({source.root or source.table})" for source in sources)
    specs = {source.name: CORPORA[source.name] for source in sources if source.name in CORPORA}
    noted = {name: f"{spec.terms}; {spec.page}" for name, spec in specs.items()}
    if any(source.name == DEMO for source in sources):
        noted[DEMO] = DEMO_TERMS
    terms = "".join(f"# Terms of {name}: {text}\n" for name, text in noted.items())
    text = PROJECT_TEXT.format(
        version=__version__, sources=shown, terms=terms, manifest=PATHS["manifest"]
    )
    languages = {spec.language for spec in specs.values()}
    if any(source.name == DEMO for source in sources):
        text += DEMO_TEXT
    elif languages - {"en"}:
        text += LANGUAGE_TEXT.format(language=min(languages) if len(languages) == 1 else "auto")
    return text


def _name_of(source: Source) -> str:
    return source.table.stem if source.table else source.name


def _read(source: Source, seed: int) -> Corpus:
    if source.table:
        return read_table(source.table, source.columns, source.root, source.splits)
    if source.columns or source.splits:
        raise UsageError(
            f"--column and --split have no effect with --corpus {source.name}: they describe a "
            f"table. Leave them out, or name the table: --manifest CSV"
        )
    if source.root is None:
        raise UsageError(f"--corpus {source.name} needs the folder of the corpus: --root DIR")
    if source.name == DEMO:
        return Corpus(tuple(plan.row for plan in plan_demo(source.root, seed)))
    return read_corpus(source.name, source.root)


def _find_label(word: str, present: Collection[str]) -> str:
    """Return the label of a name in --map or --drop.

    Raises:
        UsageError: No utterance has the label.
    """
    plain = word.strip().lower()
    for label in (plain, ALIASES.get(plain), CODES.get(plain)):
        if label and label in present:
            return label
    present = set(present) - {""}
    raise UsageError(
        f"--map or --drop of '{word}': no utterance has this emotion.{guess(plain, present)} "
        f"Known: {', '.join(sorted(present))}."
    )


def _check_labels(source: Source, rows: Sequence[Utterance]) -> None:
    """Check that a corpus has labels, no codes for missing labels, and not too many labels.

    Raises:
        ManifestError: The check failed. The message names the flag to add.
    """
    counts = Counter(row.emotion for row in rows if row.emotion)
    told_none = source.columns.get("emotion") == ""
    name = f"'{source.table or source.root}'"
    if rows and not counts and not told_none:
        raise ManifestError(
            f"{name}: no utterance has an emotion. Name the column: --column emotion=YOURS. "
            f"For a corpus without emotions: --column emotion="
        )
    if codes := sorted(NO_CONSENSUS & set(counts)):
        raise ManifestError(
            f"{name}: '{codes[0]}' marks {counts[codes[0]]} utterances without an agreed emotion. "
            f"To keep them unlabelled: --map {codes[0]}= To exclude them: --drop {codes[0]}"
        )
    if len(counts) > MANY and 2 * len(counts) > len(rows):
        raise ManifestError(
            f"{name}: {len(rows)} utterances have {len(counts)} emotions "
            f"({first_few(map(repr, counts))}). Name another column: --column emotion=YOURS"
        )


def _rename(
    rows: Iterable[Utterance], mapping: Mapping[str, str], dropped: Collection[str]
) -> list[Utterance]:
    """Exclude dropped emotions, and rename emotions and the columns of their votes."""
    kept = []
    for row in rows:
        if row.emotion in dropped:
            continue
        votes = {name: value for name, value in row.extra.items() if name.startswith("votes_")}
        extra = {name: value for name, value in row.extra.items() if name not in votes}
        for name, value in votes.items():
            emotion = parse_emotion(name.removeprefix("votes_"), mapping) or "other"
            total = float(extra.get(f"votes_{emotion}") or 0) + parse_number(value or "0")
            extra[f"votes_{emotion}"] = f"{total:g}"
        kept.append(replace(row, emotion=parse_emotion(row.emotion, mapping), extra=extra))
    return kept


def _divide(source: Source, rows: list[Utterance], seed: int) -> tuple[list[Utterance], list[str]]:
    """Make splits if the corpus has none, and return notes on its own splits."""
    is_table, told_none = bool(source.table), source.columns.get("speaker") == ""
    if not any(row.split for row in rows):
        made, warning = assign_splits(rows, seed)
        if warning and is_table and not told_none and not all(row.speaker for row in rows):
            warning += f" {suggest_column(rows)}"
        return made, [
            "has no splits: speaker-disjoint splits made",
            *filter(None, [warning]),
            *describe_overlaps(made),
        ]
    notes = describe_overlaps(rows)
    notes += [] if told_none else note_unknown_speakers(rows, is_table=is_table)
    if seed and source.name != DEMO:
        notes.append(f"--seed {seed} has no effect on the splits, which are those of the corpus")
    if leaks := Manifest(tuple(rows)).leaking_speakers():
        notes.append(
            f"{len(leaks)} speakers are in several splits ({first_few(leaks)}), so metrics on "
            "these splits are optimistic"
        )
    return rows, notes


def _prefix(row: Utterance, prefix: str) -> Utterance:
    return replace(
        row,
        utterance_id=prefix + row.utterance_id,
        speaker=row.speaker and prefix + row.speaker,
        extra={"corpus": prefix.rstrip("-"), **row.extra},
    )

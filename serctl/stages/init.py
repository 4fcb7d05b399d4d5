"""Start a project: read corpora, write `manifest.csv` and `serctl.toml`."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from serctl import __version__
from serctl.config import PATHS, PROJECT_FILE
from serctl.data.corpora import CORPORA, read_corpus
from serctl.data.corpora.scan import Corpus
from serctl.data.corpora.table import read_table
from serctl.data.labels import ALIASES, CODES, find_slips, parse_emotion
from serctl.data.manifest import Manifest, Utterance
from serctl.data.manifest_file import check_manifest, write_manifest
from serctl.data.splits import assign_splits
from serctl.demo.corpus import make_demo
from serctl.errors import ManifestError, UsageError, first_few, guess
from serctl.files import write_atomic
from serctl.progress import Progress, silent

DEMO = "demo"
DEMO_TERMS = "synthetic speech by espeak-ng, made on the user's machine; nobody was recorded"
NO_CONSENSUS = frozenset({"o", "x", "xxx"})
"""Codes of MSP-Podcast (other, no agreement) and IEMOCAP, which are no labels."""
MANY = 20
"""Labels from which a column of nearly as many labels as utterances is taken for a wrong one."""

PROJECT_TEXT = """\
# Project file of serctl: what no command line has to repeat. Flags go before it.
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
    """One corpus to read: a known name and its folder, or a table and its columns' names.

    For a table ``name`` is '' and ``root`` is where its relative paths start (None: its folder);
    ``columns`` and ``splits`` are those of `serctl.data.corpora.table.read_table`.
    """

    name: str = ""
    root: Path | None = None
    table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let paths be given as strings."""
        for name in ("root", "table"):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))


@dataclass(frozen=True)
class InitResult:
    """What was written, how many utterances of each split and emotion, and what to know of it.

    ``has_words`` says whether the corpus came with the words of any utterance.
    """

    project: Path
    manifest: Path
    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    has_words: bool


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
        folder: Where `serctl.toml` and `manifest.csv` go.
        sources: Corpora. The demo corpus is made in ``folder/corpus`` unless it has a root. With
            several, ids and speakers get the corpus' name in front.
        mapping: Emotions to rename, e.g. ``{"calm": "neutral"}``; to '' makes them unlabelled.
        drop: Emotions whose utterances are left out.
        limit: Keep this many utterances, spread over splits and emotions.
        seed: Of made splits, of ``limit`` and of the demo corpus.
        overwrite: Replace the files if they are there.
        progress: Told about the synthesis of the demo corpus.

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
    rows: list[Utterance] = []
    notes: list[str] = []
    corpora = [_read(source, seed, progress) for source in sources]
    present = {row.emotion for corpus in corpora for row in corpus.utterances}
    mapping = {_find_label(word, present): new for word, new in (mapping or {}).items()}
    dropped = {_find_label(word, present) for word in drop}
    for source, corpus in zip(sources, corpora, strict=True):
        prefix = f"{_name_of(source)}-" if len(sources) > 1 else ""
        renamed = _rename(corpus.utterances, mapping, dropped)
        _check_labels(source, renamed)
        found, told = _divide(renamed, seed)
        rows += [_prefix(row, prefix) for row in found] if prefix else found
        notes += [f"{_name_of(source)}: {note}" for note in (*corpus.notes, *told)]
    notes += find_slips(Counter(row.emotion for row in rows))
    check_manifest(Manifest(tuple(rows)))
    kept = Manifest(tuple(rows)).limit(limit, seed)
    write_manifest(manifest, kept)
    with write_atomic(project) as file:
        file.write(project_text(sources))
    has_words = any(row.transcript for row in kept)
    return InitResult(project, manifest, kept.counts(), tuple(notes), has_words)


def project_text(sources: Sequence[Source]) -> str:
    """Return the contents of a new project file."""
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


def _read(source: Source, seed: int, progress: Progress) -> Corpus:
    if source.table:
        return read_table(source.table, source.columns, source.root, source.splits)
    if source.root is None:
        raise UsageError(f"--corpus {source.name} needs its folder: --root DIR")
    if source.name == DEMO:
        return Corpus(tuple(make_demo(source.root, seed, progress=progress)))
    return read_corpus(source.name, source.root)


def _find_label(word: str, present: Collection[str]) -> str:
    """Return the label that a word of --map or --drop means.

    Raises:
        UsageError: No utterance has it: most likely a slip.
    """
    plain = word.strip().lower()
    for label in (plain, ALIASES.get(plain), CODES.get(plain)):
        if label and label in present:
            return label
    present = set(present) - {""}
    raise UsageError(
        f"--map or --drop of '{word}': no utterance has that emotion.{guess(plain, present)} "
        f"There are: {', '.join(sorted(present))}."
    )


def _check_labels(source: Source, rows: Sequence[Utterance]) -> None:
    """Refuse a corpus without any label, with codes of no label, or of the wrong column.

    Raises:
        ManifestError: The message names the flag that helps.
    """
    counts = Counter(row.emotion for row in rows if row.emotion)
    told_none = source.columns.get("emotion") == ""
    name = f"'{source.table or source.root}'"
    if rows and not counts and not told_none:
        raise ManifestError(
            f"{name}: no utterance has an emotion. Name its column: --column emotion=YOURS; "
            f"or say that there is none: --column emotion="
        )
    if codes := sorted(NO_CONSENSUS & set(counts)):
        raise ManifestError(
            f"{name}: '{codes[0]}' marks {counts[codes[0]]} utterances without an agreed emotion. "
            f"Keep them unlabelled: --map {codes[0]}= ; or leave them out: --drop {codes[0]}"
        )
    if len(counts) > MANY and 2 * len(counts) > len(rows):
        raise ManifestError(
            f"{name}: {len(rows)} utterances have {len(counts)} emotions "
            f"({first_few(map(repr, counts))}). Name another column: --column emotion=YOURS"
        )


def _rename(
    rows: Iterable[Utterance], mapping: Mapping[str, str], dropped: Collection[str]
) -> list[Utterance]:
    """Leave out dropped emotions, rename the others, and rename the votes for them alike."""
    kept = []
    for row in rows:
        if row.emotion in dropped:
            continue
        votes = {name: value for name, value in row.extra.items() if name.startswith("votes_")}
        extra = {name: value for name, value in row.extra.items() if name not in votes}
        for name, value in votes.items():
            emotion = parse_emotion(name.removeprefix("votes_"), mapping) or "other"
            total = float(extra.get(f"votes_{emotion}") or 0) + float(value or 0)
            extra[f"votes_{emotion}"] = f"{total:g}"
        kept.append(replace(row, emotion=parse_emotion(row.emotion, mapping), extra=extra))
    return kept


def _divide(rows: list[Utterance], seed: int) -> tuple[list[Utterance], list[str]]:
    """Make splits where the corpus has none; tell what is to be known of its own."""
    if not any(row.split for row in rows):
        made, warning = assign_splits(rows, seed)
        return made, [
            "has no splits of its own: speaker-disjoint ones made",
            *filter(None, [warning]),
        ]
    if leaks := Manifest(tuple(rows)).leaking_speakers():
        return rows, [
            f"{len(leaks)} speakers are in several splits ({first_few(leaks)}): scores "
            "on its own splits are too good"
        ]
    return rows, []


def _prefix(row: Utterance, prefix: str) -> Utterance:
    return replace(
        row,
        utterance_id=prefix + row.utterance_id,
        speaker=row.speaker and prefix + row.speaker,
        extra={"corpus": prefix.rstrip("-"), **row.extra},
    )

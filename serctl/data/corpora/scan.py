"""What importers share: what they return, and how they look for files and tell what is odd."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serctl.data.audio_file import is_audio_file
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import parse_split, read_manifest_table
from serctl.errors import CorpusError, first_few

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".sph")


@dataclass(frozen=True)
class Corpus:
    """The utterances of a corpus, and what was odd about it, told by name and count."""

    utterances: tuple[Utterance, ...]
    notes: tuple[str, ...] = ()


def find_audio(root: Path) -> list[Path]:
    """Return the audio files below a folder, uncompressed ones first, then by path."""
    found = [path for path in root.rglob("*") if path.suffix.lower() in AUDIO]
    return sorted(found, key=lambda path: (AUDIO.index(path.suffix.lower()), path))


def find_file(root: Path, *names: str) -> Path | None:
    """Return the file of one of these names that lies nearest to ``root``, or None."""
    found = [path for name in names for path in root.rglob(name)]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def present_only(rows: Sequence[Utterance], root: Path) -> tuple[list[Utterance], list[str]]:
    """Return the utterances whose audio exists, and a note on the others.

    Raises:
        CorpusError: None exists: half a corpus, most likely labels without audio.
    """
    kept = [row for row in rows if is_audio_file(row.path)]
    present = {row.utterance_id for row in kept}
    absent = [row.path.name for row in rows if row.utterance_id not in present]
    if rows and not kept:
        raise CorpusError(
            f"'{root}' labels {len(rows)} utterances, but none of their audio files is there: "
            f"{first_few(absent)}."
        )
    return kept, tell([(absent, "labelled utterances without audio left out")])


def match_names(
    root: Path, pattern: str, corpus: str, example: str
) -> tuple[list[tuple[Path, re.Match[str]]], list[str]]:
    """Find the audio files whose stem is of the corpus' form.

    Returns:
        Each file with its match, one per stem; notes on other names and on stems found twice.

    Raises:
        CorpusError: No name is of that form: a wrong root.
    """
    files = find_audio(root)
    matched = {}
    odd, again = [], []
    for path in files:
        match = re.fullmatch(pattern, path.stem)
        if match is None:
            odd.append(path.name)
        elif path.stem in matched:
            again.append(path.name)
        else:
            matched[path.stem] = (path, match)
    if not matched:
        others = f"{len(odd)} other audio files ({first_few(odd)})" if odd else "no audio files"
        raise CorpusError(
            f"'{root}' is not {corpus}: expected names like {example}, found {others}."
        )
    return list(matched.values()), tell(
        [(odd, "unexpected file names left out"), (again, "names found twice, first one kept")]
    )


def name_utterances(
    rows: Sequence[Utterance], folder: Path, *, deep: bool = False
) -> list[Utterance]:
    """Return the utterances with ids of their files' names.

    Ids are the stems, or with ``deep`` the relative paths without ending; where those are not
    unique, the relative paths. Stretches of a file get their times behind it.
    """
    paths = [
        row.path.relative_to(folder) if row.path.is_relative_to(folder) else row.path
        for row in rows
    ]
    of_file = {path: row.path.stem for path, row in zip(paths, rows, strict=True)}
    if deep or len(set(of_file.values())) < len(of_file):
        of_file = {path: _join_parts(path.with_suffix("")) for path in paths}
    if len(set(of_file.values())) < len(of_file):
        of_file = {path: _join_parts(path) for path in paths}
    return [
        replace(row, utterance_id=of_file[path] + _name_stretch(row))
        for path, row in zip(paths, rows, strict=True)
    ]


def _join_parts(path: Path) -> str:
    return "_".join(part for part in path.parts if part not in ("/", "..", "."))


def _name_stretch(row: Utterance) -> str:
    if not row.is_segment:
        return ""
    return f"_{row.start:.3f}-" + ("end" if row.end is None else f"{row.end:.3f}")


def tell(findings: Iterable[tuple[list[str], str]]) -> list[str]:
    """Return a note for each finding that has cases: its count, what it is and the first cases."""
    return [f"{len(cases)} {what}: {first_few(cases)}" for cases, what in findings if cases]


def note_missing(found: int, expected: int, what: str) -> list[str]:
    """Return a note if a corpus is not whole."""
    return [f"{found} of {expected} {what} found: a part of the corpus"] if found < expected else []


def given_splits(root: Path) -> dict[str, str]:
    """Return stem to split from a ``labels.csv`` beside the audio, with columns file and split."""
    path = root / "labels.csv"
    if not path.is_file():
        return {}
    rows = read_manifest_table(path).rows
    if absent := [name for name in ("file", "split") if rows and name not in rows[0]]:
        raise CorpusError(f"'{path}' has no column '{absent[0]}'; it has {', '.join(rows[0])}.")
    return {Path(row["file"]).stem: parse_split(row["split"]) for row in rows}

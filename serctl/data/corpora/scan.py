"""Shared parts of importers: their result, the search for files, and notes."""

import filecmp
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serctl.data.audio_file import is_audio_file
from serctl.data.folders import list_files
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest_table
from serctl.data.manifest_rows import parse_split
from serctl.data.tables import decode_text
from serctl.errors import CorpusError, first_few

AUDIO = (
    *(".wav", ".flac", ".aiff", ".aif", ".au", ".caf", ".w64", ".sph"),
    *(".mp3", ".ogg", ".oga", ".opus", ".mp2"),
)
"""Suffixes of audio files in folders, lossless ones first. A named file may have any suffix."""
UNREADABLE = (".m4a", ".mp4", ".mov", ".3gp", ".aac", ".wma", ".amr", ".webm", ".mkv")
"""Suffixes of formats that libsndfile does not read."""


@dataclass(frozen=True)
class Corpus:
    """The utterances of a corpus, and notes on missing and unexpected files."""

    utterances: tuple[Utterance, ...]
    notes: tuple[str, ...] = ()


def read_rows(path: Path, *columns: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a table of a corpus.

    Raises:
        CorpusError: One of the columns is missing.
        ManifestError: The table cannot be read.
    """
    table = read_manifest_table(path)
    if absent := [name for name in columns if name not in table.header]:
        raise CorpusError(
            f"'{table.source}' has the columns {', '.join(table.header)}, expected "
            f"{', '.join(absent)}. Rename or add it."
        )
    return table.rows


def read_words(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1252.

    Raises:
        CorpusError: It is none of these.
    """
    return decode_text(path.read_bytes(), path, CorpusError)[0]


def find_audio(root: Path) -> list[Path]:
    """Return the audio files below a folder, lossless ones first, then by path."""
    found = [path for path in list_files(root) if path.suffix.lower() in AUDIO]
    return sorted(found, key=lambda path: (AUDIO.index(path.suffix.lower()), path))


def note_unreadable(folder: Path | str, used: Collection[Path] = (), video: str = "") -> list[str]:
    """Return a note if a folder has recordings that libsndfile does not read.

    Args:
        folder: Its name, for the note.
        used: Files that are not named.
        video: Suffix of videos of the same speech, which are not named.
    """
    root = Path(folder).expanduser()
    files = list_files(root)
    readable = {path.with_suffix("") for path in files if path.suffix.lower() in AUDIO}
    left = [
        path.relative_to(root)
        for path in files
        if path.suffix.lower() in UNREADABLE
        and path.suffix.lower() != video
        and path.with_suffix("") not in readable  # a converted copy
        and path not in used
    ]
    if not left:
        return []
    return [
        f"Left out in '{folder}', because libsndfile does not read the format: {first_few(left)}. "
        f"Convert with: ffmpeg -i IN OUT.flac"
    ]


def find_file(root: Path, *names: str) -> Path | None:
    """Return the file with one of these names that is nearest to ``root``, or None."""
    found = [path for path in list_files(root) if path.name in names]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def present_only(rows: Sequence[Utterance], root: Path) -> tuple[list[Utterance], list[str]]:
    """Return the utterances whose audio exists, and a note on the others.

    Raises:
        CorpusError: No audio file exists.
    """
    kept = [row for row in rows if is_audio_file(row.path)]
    present = {row.utterance_id for row in kept}
    absent = [row.path.name for row in rows if row.utterance_id not in present]
    if rows and not kept:
        raise CorpusError(
            f"'{root}' labels {len(rows)} utterances, but none of their audio files exists: "
            f"{first_few(absent)}."
        )
    return kept, describe_cases([(absent, "labelled utterances without audio left out")])


def match_names(
    root: Path, pattern: str, corpus: str, example: str
) -> tuple[list[tuple[Path, re.Match[str]]], list[str]]:
    """Find the audio files whose stem matches the corpus' pattern.

    Returns:
        Each file with its match, one per stem, and notes on other names and repeated stems.

    Raises:
        CorpusError: No name matches, probably because ``root`` is wrong; or one name matches two
            recordings.
    """
    files = find_audio(root)
    matched: dict[str, tuple[Path, re.Match[str]]] = {}
    odd, again = [], []
    for path in files:
        match = re.fullmatch(pattern, path.stem)
        if match is None:
            odd.append(path.name)
        elif path.stem in matched:
            check_copy(matched[path.stem][0], path, root)
            again.append(path.name)
        else:
            matched[path.stem] = (path, match)
    if not matched:
        others = f"{len(odd)} other audio files ({first_few(odd)})" if odd else "no audio files"
        raise CorpusError(
            f"'{root}' is not {corpus}: expected names like {example}, found {others}."
        )
    return list(matched.values()), describe_cases(
        [(odd, "unexpected file names left out"), (again, "names found twice, first one kept")]
    )


def check_copy(first: Path, second: Path, root: Path) -> None:
    """Check that two files of one name are the same recording: copies, or of different formats.

    Raises:
        CorpusError: Both have the same format, but different bytes.
    """
    alike = first.suffix.lower() == second.suffix.lower()
    if alike and not filecmp.cmp(first, second, shallow=False):
        both = " and ".join(str(path.relative_to(root)) for path in (first, second))
        raise CorpusError(
            f"'{root}' has two different recordings of one name, {both}, expected one. Remove one "
            f"of the folders, or name the other one with --root."
        )


def name_utterances(
    rows: Sequence[Utterance], folder: Path, *, deep: bool = False
) -> list[Utterance]:
    """Return the utterances with ids from their files' names.

    Ids are the stems, or with ``deep`` the relative paths without suffix. If these are not unique,
    ids are the relative paths. Times and channels are appended for parts of a file.
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
    channel = f"_ch{row.channel}" if row.channel else ""
    if not row.is_segment:
        return channel
    return f"_{row.start:.3f}-" + ("end" if row.end is None else f"{row.end:.3f}") + channel


def describe_cases(findings: Iterable[tuple[list[str], str]]) -> list[str]:
    """Return a note for each finding with cases: count, description and first cases."""
    return [f"{len(cases)} {what}: {first_few(cases)}" for cases, what in findings if cases]


def note_missing(found: int, expected: int, what: str) -> list[str]:
    """Return a note if a corpus is incomplete."""
    return [f"{found} of {expected} {what} found: the corpus is incomplete"] * (found < expected)


def given_splits(root: Path) -> dict[str, str]:
    """Return stem to split from a ``labels.csv`` in ``root``, with columns file and split."""
    path = root / "labels.csv"
    if not path.is_file():
        return {}
    rows = read_rows(path, "file", "split")
    return {Path(row["file"]).stem: parse_split(row["split"]) for row in rows}

"""The recordings, and parts of recordings, for files, folders and tables on a command line."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serctl.data.corpora.scan import AUDIO, Corpus, note_unreadable
from serctl.data.corpora.table import read_table
from serctl.data.corpora.textgrids import read_grid
from serctl.data.folders import list_files
from serctl.errors import AudioError, CorpusError, ManifestError, UsageError, count, first_few
from serctl.names import explain_url


def find_recordings(names: Sequence[str]) -> list[Path]:
    """Return the named files, and all audio below the named folders, sorted.

    Raises:
        UsageError: There are no names.
        AudioError: A name is not a file or a folder with audio.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = [file for file in list_files(path) if file.suffix.lower() in AUDIO]
            if not inside:
                suffixes = ", ".join(sorted(AUDIO))
                notes = "".join(f" {note}" for note in note_unreadable(name))
                raise AudioError(f"Folder '{name}' holds no audio ({suffixes}).{notes}")
            found += inside
        else:
            found.append(path)
    if not found:
        raise UsageError("No audio given. Name files, folders, or - with a list on stdin.")
    return found


def check_files(paths: Collection[Path]) -> None:
    """Check that files exist, before a model is loaded for them.

    Raises:
        AudioError: Some do not.
    """
    if absent := [path for path in paths if not os.path.exists(path)]:  # noqa: PTH110
        remedy = "To predict the others: --skip-bad"
        if len(absent) == len(paths):
            remedy = "Expected the path of a recording, a folder or a table"
        why = explain_url(absent[0])
        raise AudioError(f"No such audio file: {first_few(absent)}.{why or f' {remedy}'}")


TABLES = frozenset({".csv", ".tsv", ".xlsx", ".xlsm", ".rttm", ".textgrid"})
"""Suffixes of tables of utterances."""


@dataclass(frozen=True)
class Recording:
    """A recording to predict, or a part of one from a row of a table.

    Attributes:
        path: Path of the file.
        name: Stem of the file, or id of the row.
        start: Start in seconds.
        end: End in seconds; None is the end of the file.
        listed: Whether it is a row of a table. A row is one utterance of any length.
        channel: Channel from 1; 0 is the mean of all.
    """

    path: Path
    name: str
    start: float = 0.0
    end: float | None = None
    listed: bool = False
    channel: int = 0


def is_table(name: str) -> bool:
    """Return whether a name has the suffix of a table of utterances."""
    return Path(name).suffix.lower() in TABLES


def read_recordings(names: Sequence[str]) -> tuple[list[Recording], tuple[str, ...]]:
    """Return the recordings for names: audio files, all audio below folders, rows of tables.

    Returns:
        The recordings, and notes on unreadable formats in folders and on how tables were read.

    Raises:
        SerctlError: See `find_recordings`; or a table cannot be read.
    """
    found: list[Recording] = []
    notes = [note for name in names for note in note_unreadable(name)]
    for name in names:
        if is_table(name):
            table = _read_listed(Path(name).expanduser())
            notes += [f"{name}: {note}" for note in table.notes]
            if any(row.transcript for row in table.utterances):
                notes.append(f"{name}: its transcripts are not used. Pass them with --transcripts")
            found += [
                Recording(
                    row.path,
                    row.utterance_id,
                    row.start,
                    row.end,
                    listed=True,
                    channel=row.channel,
                )
                for row in table.utterances
            ]
        else:
            found += [Recording(path, path.stem) for path in find_recordings([name])]
    notes += note_repeated(row.path for row in found if not row.listed)
    return found or [Recording(path, path.stem) for path in find_recordings(names)], tuple(notes)


def note_repeated(paths: Iterable[Path]) -> list[str]:
    """Return a note on recordings that are named more than once, such as by a folder too."""
    counts = Counter(map(os.path.abspath, paths))
    if not (repeated := [path for path, number in counts.items() if number > 1]):
        return []
    return [
        f"Named more than once, and predicted each time: {count(len(repeated), 'recording')} "
        f"({first_few(repeated)})."
    ]


def _read_listed(path: Path) -> Corpus:
    if path.suffix.lower() == ".textgrid":
        return read_grid(path)
    try:
        return read_table(path, {"speaker": ""})  # a prediction needs no speakers
    except (CorpusError, ManifestError) as error:
        text = str(error)
        if ("--column" in text or "--root DIR" in text) and "serctl init" not in text:
            text += f" (an option of: serctl init --manifest {path})"
        raise type(error)(text) from None

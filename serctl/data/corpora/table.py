"""Any CSV file with a header, by a map of its columns onto serctl's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from serctl.data.corpora.scan import Corpus, tell
from serctl.data.folds import COLUMN as FOLD
from serctl.data.manifest import ATTRIBUTES, COLUMNS, parse_row, read_rows
from serctl.errors import CorpusError, ManifestError, UnknownNameError


def read_table(path: Path, columns: Mapping[str, str], root: Path | None = None) -> Corpus:
    """Read a table of utterances.

    Where it has no ids, they are the audio files' stems; where it has no paths, they are the ids;
    where it has no splits, they are left ''.

    Args:
        path: The CSV file.
        columns: serctl's column to the file's own, e.g. ``{"emotion": "EmoClass"}``.
        root: Where relative paths start; default: the folder of the CSV file.

    Raises:
        ManifestError: A column named in ``columns`` is missing, or there are neither ids nor paths.
        CorpusError: None of the audio is there: a wrong root.
        UnknownNameError: ``columns`` maps a name that serctl has no use for.
    """
    header, rows = read_rows(path)
    for name, own in columns.items():
        if own not in header:
            raise ManifestError(f"'{path}' has no column '{own}'; it has {', '.join(header)}.")
        if name not in (known := (*COLUMNS, *ATTRIBUTES, FOLD)) and not name.startswith("votes_"):
            raise UnknownNameError("column", name, [*known, "votes_<emotion>"])
    renamed = {own: name for name, own in columns.items()}
    names = [renamed.get(own, own) for own in header]
    if "path" not in names and "utterance_id" not in names:
        raise ManifestError(
            f"'{path}' has neither 'path' nor 'utterance_id'; it has {', '.join(header)}. "
            f"Say which column it is: --column path=YOURS"
        )
    utterances, absent = [], []
    for _, row in rows:
        values = dict(zip(names, row.values(), strict=True))
        values.setdefault("path", values.get("utterance_id", ""))
        utterance = parse_row(values, names, root or path.parent, None)
        if "utterance_id" not in names:
            utterance = replace(utterance, utterance_id=utterance.path.stem)
        if not utterance.path.is_file():
            absent.append(utterance.path.name)
        utterances.append(utterance)
    if utterances and len(absent) == len(utterances):
        raise CorpusError(
            f"'{path}' names {len(absent)} utterances, but none of their audio files is there, "
            f"not '{utterances[0].path}'. Say where their paths start: --root DIR"
        )
    return Corpus(tuple(utterances), tuple(tell([(absent, "audio files that do not exist")])))

"""A Hugging Face audio folder: with ``metadata.csv``/``.jsonl`` or with a folder per class.

A metadata file has a column ``file_name``, relative to its folder. Split folders (``train/``,
``test/``, …) define splits. Without metadata the name of a file's folder is its emotion.

Source: https://huggingface.co/docs/hub/en/datasets-audio ("Additional columns", "Audio
classification").
"""

import json
from pathlib import Path

from serctl.data.corpora.scan import Corpus, find_audio, present_only
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest_table
from serctl.data.manifest_rows import parse_row, parse_split
from serctl.errors import CorpusError

NAMES = {
    "file_name": "path",
    "label": "emotion",
    "speaker_id": "speaker",
    "transcription": "transcript",
    "text": "transcript",
    "sentence": "transcript",
}


def read(root: Path) -> Corpus:
    """Read an audio folder like the datasets library."""
    files = find_audio(root)
    tables = sorted([*root.rglob("metadata.csv"), *root.rglob("metadata.jsonl")])
    if tables:
        rows = [row for table in tables for row in _read_metadata(root, table)]
    else:
        rows = [_utterance(root, path, {"emotion": path.parent.name}) for path in files]
    if not rows:
        raise CorpusError(f"'{root}' holds no audio files.")
    if not any(row.emotion for row in rows):
        raise CorpusError(f"'{root}': no column 'emotion' or 'label' in {tables[0].name}.")
    kept, notes = present_only(rows, root)
    return Corpus(tuple(kept), tuple(notes))


def _read_metadata(root: Path, table: Path) -> list[Utterance]:
    if table.suffix == ".jsonl":
        lines = table.read_text(encoding="utf-8").splitlines()
        rows = [{k: str(v) for k, v in json.loads(line).items()} for line in lines if line]
    else:
        rows = list(read_manifest_table(table).rows)
    if rows and "file_name" not in rows[0]:
        raise CorpusError(f"'{table}' has the columns {', '.join(rows[0])}, expected file_name.")
    return [_utterance(root, table.parent / row["file_name"], row) for row in rows]


def _utterance(root: Path, path: Path, row: dict[str, str]) -> Utterance:
    values = {name: value for name, value in row.items() if name != "file_name"}
    values = {NAMES.get(name, name): value for name, value in values.items()}
    relative = path.relative_to(root)
    split = parse_split(relative.parts[0]) if len(relative.parts) > 1 else ""
    known = split in ("train", "dev") or split.startswith("test")
    defaults = {
        "utterance_id": relative.with_suffix("").as_posix().replace("/", "_"),
        "split": split if known else "",
    }
    return parse_row(defaults | values | {"path": str(path)}, Path())

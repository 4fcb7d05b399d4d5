"""Any audformat database (a folder with ``db.yaml``), read by the audformat package.

Its schemes ``emotion`` and, where there are, ``speaker`` and ``transcription`` are used; splits
named train, dev or test are kept.

Source: https://audeering.github.io/audformat/data-introduction.html and the docstrings of
``audformat.Database.load`` and ``audformat.Database.get`` (audformat 1.4.3).
"""

from pathlib import Path

from serctl.data.corpora.scan import Corpus, present_only
from serctl.data.labels import parse_emotion
from serctl.data.manifest import Utterance, parse_split
from serctl.errors import ConfigError, CorpusError

EXTRAS = {"speaker": "speaker", "transcription": "transcript"}


def read(root: Path) -> Corpus:
    """Read the database at ``root``."""
    try:
        import audformat
    except ImportError:
        raise ConfigError(
            "audformat is not installed. Install it with: pip install audformat"
        ) from None
    if not (root / "db.yaml").is_file():
        raise CorpusError(f"'{root}' is not an audformat database: it has no db.yaml.")
    database = audformat.Database.load(str(root), load_data=True)
    if "emotion" not in database.schemes:
        known = ", ".join(database.schemes) or "none"
        raise CorpusError(f"The database '{root}' has no scheme 'emotion'; it has {known}.")
    extras = [name for name in EXTRAS if name in database.schemes]
    rows = []
    for split in list(database.splits) or [None]:
        table = database.get("emotion", extras, splits=split).reset_index()
        if (
            "start" in table
            and not (table["start"].isna() | (table["start"].dt.total_seconds() == 0)).all()
        ):
            raise CorpusError(f"'{root}' labels segments of files; cut them into files first.")
        for record in table.astype("object").where(table.notna(), "").to_dict("records"):
            file = Path(str(record["file"]))
            rows.append(
                Utterance(
                    utterance_id=file.with_suffix("").as_posix().replace("/", "_"),
                    path=root / file,
                    split=parse_split(split or ""),
                    emotion=parse_emotion(str(record["emotion"])),
                    speaker=str(record.get("speaker", "")),
                    transcript=str(record["transcription"]) if "transcription" in extras else None,
                )
            )
    kept, notes = present_only(rows, root)
    return Corpus(tuple(kept), tuple(notes))

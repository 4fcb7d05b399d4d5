"""MELD: 13708 utterances of a TV series; its splits share most speakers.

``train_sent_emo.csv``, ``dev_sent_emo.csv``, ``test_sent_emo.csv`` (Utterance, Speaker, Emotion,
Dialogue_ID, Utterance_ID, …) and clips ``dia0_utt0.mp4`` in ``train_splits``,
``dev_splits_complete`` and ``output_repeated_splits_test``. The clips are video, so their audio
must be extracted first. A ``transcripts.csv`` with these columns in lower case (split, transcript,
…) is read too. Without audio the manifest is suitable only for text branches.

Source: README.md of https://github.com/declare-lab/MELD ("Description of the .csv files"); the clip
folders of MELD.Raw.tar.gz, not in that README, as several public loaders name them.
"""

from pathlib import Path

from serctl.data.audio import SAMPLE_RATE, measure_samples
from serctl.data.corpora.scan import (
    Corpus,
    check_copy,
    describe_cases,
    find_audio,
    find_file,
    note_missing,
    read_rows,
)
from serctl.data.labels import parse_emotion
from serctl.data.manifest import Utterance
from serctl.data.manifest_file import read_manifest_table
from serctl.data.manifest_rows import parse_split
from serctl.data.values import parse_seconds
from serctl.errors import AudioError, CorpusError

SPLITS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
LONG = 3
"""A clip above this many times its length in the table, and seconds, is reported."""
COLUMNS = {
    "Utterance": "transcript",
    "Speaker": "speaker",
    "Emotion": "emotion",
    "Dialogue_ID": "dialogue_id",
    "Utterance_ID": "utterance_id",
    "Season": "season",
    "Episode": "episode",
}


NEEDED = ("Utterance", "Emotion", "Dialogue_ID", "Utterance_ID")


def read(root: Path) -> Corpus:
    """Read labels and, if audio was extracted from the clips, its paths."""
    rows, notes = _read_tables(root)
    clips: dict[tuple[str, str], Path] = {}
    for path in find_audio(root):  # of several formats the uncompressed one
        check_copy(clips.setdefault((path.parent.name, path.stem), path), path, root)
    utterances = []
    for row in rows:
        ids = (row[name].removesuffix(".0") for name in ("dialogue_id", "utterance_id"))
        split, clip = parse_split(row["split"]), "dia{}_utt{}".format(*ids)
        usual = root / SPLITS[split] / f"{clip}.wav"
        utterances.append(
            Utterance(
                utterance_id=f"{split}_{clip}",
                path=clips.get((SPLITS[split], clip), usual),
                split=split,
                emotion=parse_emotion(row["emotion"]),
                speaker=row.get("speaker", ""),
                transcript=row["transcript"],
                extra={name: row.get(name, "") for name in ("dialogue_id", "season", "episode")},
            )
        )
    absent = [
        row.path.name for row in utterances if (row.path.parent.name, row.path.stem) not in clips
    ]
    if len(absent) == len(utterances):
        notes.append("no audio found, so only text branches work; extract it with ffmpeg")
        return Corpus(tuple(utterances), tuple(notes))
    used = {row.path for row in utterances}
    spare = [path.name for path in clips.values() if path not in used]
    pairs = zip(rows, utterances, strict=True)
    long = [row.path.name for times, row in pairs if _is_too_long(times, row.path)]
    findings = (
        (absent, "utterances without audio"),
        (spare, "audio files without a label left out"),
        (long, "clips much longer than their StartTime to EndTime, probably cut in a wrong place"),
    )
    return Corpus(tuple(utterances), (*notes, *describe_cases(findings)))


def _is_too_long(times: dict[str, str], clip: Path) -> bool:
    """Whether a clip is much longer than its times: a few of MELD last for minutes."""
    try:
        start, end = parse_seconds(times["StartTime"]), parse_seconds(times["EndTime"])
        seconds = measure_samples(clip) / SAMPLE_RATE
    except (KeyError, ValueError, AudioError):  # `manifest check` reports damaged audio
        return False
    return seconds > LONG * (end - start) + LONG


def _read_tables(root: Path) -> tuple[list[dict[str, str]], list[str]]:
    whole = find_file(root, "transcripts.csv")
    # A project in the folder of the corpus has transcripts of serctl, of the same name.
    if whole is not None and "split" in read_manifest_table(whole).header:
        return list(read_rows(whole, "split", *(COLUMNS[name] for name in NEEDED))), []
    tables = {split: find_file(root, f"{split}_sent_emo.csv") for split in SPLITS}
    found = {split: path for split, path in tables.items() if path}
    if not found:
        raise CorpusError(f"'{root}' is not MELD: expected train_sent_emo.csv or transcripts.csv.")
    rows = [
        {COLUMNS.get(name, name): value for name, value in row.items()} | {"split": split}
        for split, path in found.items()
        for row in read_rows(path, *NEEDED)
    ]
    return rows, note_missing(len(found), len(SPLITS), "tables (train, dev, test)")

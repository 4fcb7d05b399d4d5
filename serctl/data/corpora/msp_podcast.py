"""MSP-Podcast: releases 1.6 to 2.0 and the Interspeech 2025 challenge.

``Audios/*.wav``, ``Transcripts/*.txt``, ``Labels/labels_consensus.csv`` (FileName, EmoClass,
EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set) and, for votes, ``Labels/labels_detailed.csv`` in
either form: a column ``EmoDetail`` ("WORKER; primary; secondary; A:; V:; D:;") or
``EmoClass_Major``. Clips with O (other) or X (no agreement) keep their votes and get no emotion.
Test3 files have audio only, no row.

Source: readme.txt of release 1.12 (https://openreview.net/attachment?id=6p9n68cxGM, folder
dataset_preprocessing_code/msp-podcast); splits and Test3:
https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html; the rows: a made-up sample
in the challenge's form; ``EmoClass_Major``: README of https://github.com/msplabresearch/MSP-Face.
"""

from collections import Counter
from pathlib import Path

from serctl.data.corpora.scan import (
    Corpus,
    describe_cases,
    find_audio,
    find_file,
    present_only,
    read_rows,
    read_words,
)
from serctl.data.folders import list_files
from serctl.data.labels import EMOTIONS, parse_emotion
from serctl.data.manifest import Utterance
from serctl.data.manifest_rows import NO_SPEAKER, parse_split
from serctl.errors import CorpusError

NO_CONSENSUS = {"O", "X"}
ATTRIBUTES = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}


def read(root: Path) -> Corpus:
    """Read the official tree. ``root`` is the folder with Audios and Labels."""
    labels = find_file(root, "labels_consensus.csv", "labels_concensus.csv")
    if labels is None:
        raise CorpusError(f"'{root}' is not MSP-Podcast: no Labels/labels_consensus.csv in it.")
    audio: dict[str, Path] = {}
    for path in find_audio(root):  # Audios comes before Previous_releases_information
        audio.setdefault(path.name, path)
    rows = read_rows(labels, "FileName", "EmoClass", "Split_Set")
    votes = _read_votes(labels.with_name("labels_detailed.csv"))
    files = list_files(root)
    texts = {
        path.stem: path
        for path in files
        if path.suffix == ".txt" and path.parent.name == "Transcripts"
    }
    utterances = [
        _utterance(row, audio.get(row["FileName"]), texts, votes.get(row["FileName"], Counter()))
        for row in rows
    ]
    named = {row["FileName"] for row in rows}
    test3 = [
        Utterance(path.stem, path, "test3", transcript=_words(texts, path.stem))
        for name, path in audio.items()
        if name not in named and "test3" in name
    ]
    stray = [name for name in audio if name not in named and "test3" not in name]
    known, notes = present_only(utterances, root)
    wordless = [row.path.name for row in (*known, *test3) if row.transcript == ""]
    notes += describe_cases(
        [
            (stray, "audio files without a label row left out"),
            (wordless, "clips without a transcript; serctl transcribe adds it"),
        ]
    )
    if not votes:
        notes.append("no labels_detailed.csv: no raters' votes")
    return Corpus((*known, *test3), tuple(notes))


def _utterance(
    row: dict[str, str], audio: Path | None, texts: dict[str, Path], votes: Counter[str]
) -> Utterance:
    name = Path(row["FileName"]).stem
    speaker = row.get("SpkrID", "").strip()
    code = "" if row["EmoClass"] in NO_CONSENSUS else row["EmoClass"]
    return Utterance(
        utterance_id=name,
        path=audio or Path(row["FileName"]),
        split=parse_split(row["Split_Set"]),
        emotion=parse_emotion(code, codes=True),
        speaker="" if speaker.lower() in NO_SPEAKER else speaker,
        transcript=_words(texts, name),
        extra={"gender": row.get("Gender", "").lower(), "consensus": row["EmoClass"]}
        | {ours: row.get(theirs, "") for ours, theirs in ATTRIBUTES.items()}
        | {f"votes_{emotion}": str(count) for emotion, count in votes.items()},
    )


def _words(texts: dict[str, Path], name: str) -> str | None:
    """Return the corpus' transcript of a clip; '' if it is missing, None if all are missing."""
    if not texts:
        return None
    return read_words(texts[name]).strip() if name in texts else ""


def _read_votes(path: Path) -> dict[str, Counter[str]]:
    """Count the raters' primary emotions by file name; free text ("Other-Proud") is ``other``."""
    votes: dict[str, Counter[str]] = {}
    if not path.is_file():
        return votes
    for row in read_rows(path, "FileName"):
        primary = row.get("EmoClass_Major") or row.get("EmoDetail", ";").split(";")[1]
        emotion = parse_emotion(primary, codes=True)
        empty = Counter(dict.fromkeys((*EMOTIONS, "other"), 0))
        votes.setdefault(row["FileName"], empty)[emotion if emotion in EMOTIONS else "other"] += 1
    return votes

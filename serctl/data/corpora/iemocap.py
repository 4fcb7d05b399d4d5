"""IEMOCAP: five sessions of two speakers each, acted and improvised dialogues.

``SessionN/sentences/wav/<dialog>/<turn>.wav``; ``SessionN/dialog/EmoEvaluation/<dialog>.txt``, of
lines "[start - end] turn emotion [V, A, D]", each with its raters' lines "C-E2: Neutral; ()"; and
``SessionN/dialog/transcriptions/<dialog>.txt``. The turn's last part names the speaker (F or M).

There are no official splits. Sessions share no speakers and are the folds (column ``fold``).
Sessions 1-3 are train, 4 is dev and 5 is test. Attributes are on a 1-5 scale.

Source: README.txt of the release and Busso et al. 2008, "IEMOCAP: interactive emotional dyadic
motion capture database" (http://sail.usc.edu/iemocap/); the line format and the merging of excited
into happy: https://github.com/CXianRen/AMST (Doc/dataset/IEMOCAP.md) and
https://github.com/ddlBoJack/emotion2vec (iemocap_downstream).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from serctl.data.corpora.scan import Corpus, note_missing, present_only, read_words
from serctl.data.labels import parse_emotion
from serctl.data.manifest import Utterance
from serctl.errors import CorpusError

FOUR = {"ang": "angry", "sad": "sad", "hap": "happy", "exc": "happy", "neu": "neutral"}
FIVE = {**FOUR, "fru": "frustrated"}
VOTES = {"excited": "happy"}
SPLITS = {1: "train", 2: "train", 3: "train", 4: "dev", 5: "test"}

HEADER = re.compile(r"\[[^]]+\]\t(Ses\d\d\S+_([FM])\d+)\t(\w+)\t\[(.+), (.+), (.+)\]")
VOTE = re.compile(r"C-E\d+:\t(.*?)\t")
SPOKEN = re.compile(r"(Ses\d\d\S+) \[[^]]*\]: ?(.*)")


def read_four(root: Path) -> Corpus:
    """Read the four classes that most papers use: 5531 utterances."""
    return _read(root, FOUR)


def read_five(root: Path) -> Corpus:
    """Read the four classes and frustrated."""
    return _read(root, FIVE)


def _read(root: Path, classes: dict[str, str]) -> Corpus:
    sessions = {number: root / f"Session{number}" for number in SPLITS}
    here = {number: path for number, path in sessions.items() if path.is_dir()}
    if not here:
        raise CorpusError(f"'{root}' is not IEMOCAP: expected the folders Session1 to Session5.")
    rows: list[Utterance] = []
    others: Counter[str] = Counter()
    for number, folder in here.items():
        texts = _read_transcripts(folder / "dialog" / "transcriptions")
        for path in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
            for match, votes in _evaluations(path):
                if match[3] in classes:
                    rows.append(_utterance(folder, number, match, votes, classes, texts))
                else:
                    others[match[3]] += 1
    kept, notes = present_only(rows, root)
    notes += note_missing(len(here), len(SPLITS), "sessions")
    if others:
        counts = ", ".join(f"{name} {count}" for name, count in others.most_common())
        notes.append(f"{others.total()} utterances of other classes left out: {counts}")
    return Corpus(tuple(kept), tuple(notes))


def _evaluations(path: Path) -> Iterator[tuple[re.Match[str], Counter[str]]]:
    """Yield the header of each turn with the votes of its outside raters."""
    blocks = re.split(r"\n(?=\[)", read_words(path))
    for block in blocks:
        if match := HEADER.match(block):
            words = [word.strip() for given in VOTE.findall(block) for word in given.split(";")]
            emotions = (parse_emotion(word.split()[0]) for word in words if word)
            yield match, Counter(VOTES.get(emotion, emotion) for emotion in emotions)


def _utterance(
    folder: Path,
    session: int,
    match: re.Match[str],
    votes: Counter[str],
    classes: dict[str, str],
    texts: dict[str, str],
) -> Utterance:
    turn, gender, word, valence, arousal, dominance = match.groups()
    return Utterance(
        utterance_id=turn,
        path=folder / "sentences" / "wav" / turn.rsplit("_", 1)[0] / f"{turn}.wav",
        split=SPLITS[session],
        emotion=classes[word],
        speaker=f"Ses{session:02d}{gender}",
        transcript=texts.get(turn, "") if texts else None,
        extra={"gender": {"F": "female", "M": "male"}[gender], "fold": str(session)}
        | {"arousal": arousal, "valence": valence, "dominance": dominance}
        | {f"votes_{emotion}": str(count) for emotion, count in sorted(votes.items())},
    )


def _read_transcripts(folder: Path) -> dict[str, str]:
    lines = (
        line for path in sorted(folder.glob("Ses*.txt")) for line in read_words(path).splitlines()
    )
    return {match[1]: match[2].strip() for line in lines if (match := SPOKEN.match(line))}

"""CREMA-D: 7442 clips of 91 actors, twelve sentences, six emotions, crowd votes.

``AudioWAV/1001_DFA_ANG_XX.wav``: actor, sentence, intended emotion, level. The intended emotion is
the label. Votes are those of listeners without video: ``processedResults/tabulatedVotes.csv``, rows
numbered from 100000 (1 is the README's query type for voice only), or a ``voice_votes.csv``.

Source: https://cheyneycomputerscience.github.io/CREMA-D (file names, sentences) and README.md,
processedResults/tabulatedVotes.csv and VideoDemographics.csv of
https://github.com/CheyneyComputerScience/CREMA-D.
"""

import re
from pathlib import Path

from serctl.data.corpora.scan import Corpus, find_file, match_names, note_missing, read_rows
from serctl.data.labels import CODES
from serctl.data.manifest import Utterance
from serctl.errors import CorpusError

UTTERANCES = 7442
EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
MODE = re.compile(r"[123]\d{5}")
"""Number of a row of votes: 1 for the voice, 2 for the face, 3 for both; then the clip."""
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}


def read(root: Path) -> Corpus:
    """Read the official repository's tree, or its AudioWAV folder alone (then without votes)."""
    files, notes = match_names(
        root,
        rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(LO|MD|HI|XX?)",
        "CREMA-D",
        "AudioWAV/1001_DFA_ANG_XX.wav",
    )
    votes = _read_votes(root)
    people = find_file(root, "VideoDemographics.csv")
    gender = (
        {row["ActorID"]: row["Sex"].lower() for row in read_rows(people, "ActorID", "Sex")}
        if people
        else {}
    )
    utterances = tuple(
        Utterance(
            utterance_id=path.stem,
            path=path,
            split="",
            emotion=EMOTIONS[match[3]],
            speaker=match[1],
            transcript=SENTENCES[match[2]],
            extra={"gender": gender.get(match[1], ""), "level": LEVELS[match[4]]}
            | votes.get(path.stem, {}),
        )
        for path, match in files
    )
    notes += note_missing(len(files), UTTERANCES, "utterances")
    if not votes:
        notes.append("no processedResults/tabulatedVotes.csv: no listeners' votes")
    return Corpus(utterances, tuple(notes))


def _read_votes(root: Path) -> dict[str, dict[str, str]]:
    """Return clip to ``votes_<emotion>`` columns."""
    if simple := find_file(root, "voice_votes.csv"):
        return {
            row["clip"]: {name: value for name, value in row.items() if name.startswith("votes_")}
            for row in read_rows(simple, "clip")
        }
    if (table := find_file(root, "tabulatedVotes.csv")) is None:
        return {}
    rows = read_rows(table, "fileName", *"ADFHNS")
    columns = {name for row in rows for name in row if MODE.fullmatch(row[name])}
    modes = [name for name in columns if all(MODE.fullmatch(row[name]) for row in rows)]
    if not modes:
        raise CorpusError(
            f"'{table}' has no column of the numbers 100001 (voice) to 307442 (voice and face), "
            f"expected the file of the official repository."
        )
    return {
        row["fileName"]: {f"votes_{CODES[letter.lower()]}": row[letter] for letter in "ADFHNS"}
        for row in rows
        if row[modes[0]].startswith("1")
    }

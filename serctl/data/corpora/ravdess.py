"""RAVDESS, audio-only speech: 1440 utterances, 24 actors, 8 emotions.

Names such as ``03-01-06-01-02-01-12``: modality, channel, emotion, intensity, statement,
repetition, actor (even numbers are women). ``calm`` is not one of the eight emotions of the
challenge. Song (channel 02) and video files are not read.

Source: https://zenodo.org/record/1188976 (description, "File naming convention") and Livingstone &
Russo 2018, https://doi.org/10.1371/journal.pone.0196391.
"""

from pathlib import Path

from serctl.data.corpora.scan import Corpus, given_splits, match_names, note_missing
from serctl.data.manifest import Utterance

UTTERANCES = 1440
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def read(root: Path) -> Corpus:
    """Read the official tree (``Actor_*/*.wav``) or one with a ``labels.csv`` of splits."""
    files, notes = match_names(
        root,
        r"03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)",
        "RAVDESS speech",
        "Actor_01/03-01-01-01-01-01-01.wav",
    )
    splits = given_splits(root)
    utterances = tuple(
        Utterance(
            utterance_id=path.stem,
            path=path,
            split=splits.get(path.stem, ""),
            emotion=EMOTIONS[match[1]],
            speaker=match[5],
            transcript=STATEMENTS[match[3]],
            extra={
                "gender": "male" if int(match[5]) % 2 else "female",
                "intensity": "normal" if match[2] == "01" else "strong",
            },
        )
        for path, match in files
    )
    return Corpus(utterances, (*notes, *note_missing(len(files), UTTERANCES, "utterances")))

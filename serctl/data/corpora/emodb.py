"""EmoDB, the Berlin Database of Emotional Speech: 535 utterances, 10 speakers, 7 emotions.

Names such as ``03a01Fa``: speaker, sentence, emotion (a letter of the German word) and version.
Boredom (L) is not one of the eight emotions of the challenge; it is read as ``bored``.

Source: http://emodb.bilderbar.info/docu/ (file names, speakers) and Burkhardt et al. 2005, "A
Database of German Emotional Speech", Interspeech.
"""

from pathlib import Path

from serctl.data.corpora.scan import Corpus, given_splits, match_names, note_missing
from serctl.data.manifest import Utterance

UTTERANCES = 535
EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
FEMALE = {"08", "09", "13", "14", "16"}


def read(root: Path) -> Corpus:
    """Read the official tree (``wav/*.wav``) or one with a ``labels.csv`` that gives splits."""
    files, notes = match_names(
        root, r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)", "EmoDB", "wav/03a01Fa.wav"
    )
    splits = given_splits(root)
    utterances = tuple(
        Utterance(
            utterance_id=path.stem,
            path=path,
            split=splits.get(path.stem, ""),
            emotion=EMOTIONS[match[3]],
            speaker=match[1],
            transcript=SENTENCES.get(match[2], ""),
            extra={"gender": "female" if match[1] in FEMALE else "male"},
        )
        for path, match in files
    )
    return Corpus(utterances, (*notes, *note_missing(len(files), UTTERANCES, "utterances")))

"""A folder of Praat TextGrids and recordings of the same stem, with one utterance per interval.

The tier ``emotion`` defines the intervals and their labels. The tiers ``speaker`` and
``transcript`` (or ``words``, ``text``) are used if present. Capitals of names do not matter.

Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from math import inf
from pathlib import Path

from serctl.data.audio_file import is_audio_file
from serctl.data.corpora.scan import AUDIO, Corpus, describe_cases, find_audio, name_utterances
from serctl.data.folders import list_files
from serctl.data.labels import parse_emotion
from serctl.data.manifest import Utterance
from serctl.data.tables import decode_text
from serctl.data.textgrid import Interval, parse_textgrid
from serctl.errors import CorpusError

WORDS = ("transcript", "words", "text")
TURN = 0.1
"""Least share of an utterance that another speaker has to be in it."""


def read(root: Path) -> Corpus:
    """Read every TextGrid below ``root`` with a recording of the same name."""
    recordings: dict[Path, Path] = {}
    for path in find_audio(root):
        recordings.setdefault(path.with_suffix(""), path)
    grids = [path for path in list_files(root) if path.suffix.lower() == ".textgrid"]
    if not grids:
        raise CorpusError(f"'{root}' holds no TextGrid file.")
    alone = [path.name for path in grids if path.with_suffix("") not in recordings]
    mixed: list[str] = []
    rows = [
        row
        for path in grids
        if path.with_suffix("") in recordings
        for row in _read_grid(path, recordings[path.with_suffix("")], mixed)
    ]
    if not rows:
        raise CorpusError(f"'{root}': no TextGrid has a recording of its name and a labelled part.")
    notes = describe_cases(
        [
            (alone, "TextGrids without a recording of the same name left out"),
            (mixed, "parts with several speakers, read as unknown"),
        ]
    )
    return Corpus(tuple(name_utterances(rows, root)), tuple(notes))


def read_grid(path: Path) -> Corpus:
    """Read one TextGrid with a recording of the same name in its folder.

    Raises:
        CorpusError: The file is not a TextGrid with a tier ``emotion``, or has no recording.
    """
    for ending in AUDIO:
        if is_audio_file(recording := path.with_suffix(ending)):
            rows = _read_grid(path, recording, [])  # a prediction needs no speakers
            return Corpus(tuple(name_utterances(rows, path.parent)), ())
    raise CorpusError(f"'{path}' has no recording of this name ({', '.join(AUDIO)}) in its folder.")


def _read_grid(path: Path, recording: Path, mixed: list[str]) -> list[Utterance]:
    """Return the utterances of a TextGrid. Those of several speakers are added to ``mixed``."""
    try:
        tiers = parse_textgrid(decode_text(path.read_bytes(), path, CorpusError)[0])
    except (OSError, ValueError) as error:
        raise CorpusError(f"'{path}' is not a readable TextGrid: {error}.") from error
    tiers = {name.strip().lower(): tier for name, tier in tiers.items()} | tiers
    if "emotion" not in tiers:
        tiers_found = ", ".join(tiers) or "none"
        raise CorpusError(f"'{path}' has the tiers {tiers_found}, expected emotion. Rename a tier.")
    words = next((tiers[name] for name in WORDS if name in tiers), None)

    def find_speaker(start: float, end: float) -> str:
        turns = _find_labels(tiers.get("speaker", []), start, end, least=(end - start) * TURN)
        found = list(dict.fromkeys(turns))
        if len(found) > 1:
            mixed.append(f"{path.name} at {start:g} s ({' and '.join(found)})")
        return found[0] if len(found) == 1 else ""

    return [
        Utterance(
            utterance_id="",
            path=recording,
            split="",
            emotion=parse_emotion(label),
            speaker=find_speaker(start, end),
            transcript=None if words is None else " ".join(_find_labels(words, start, end)),
            start=start,
            end=end,
        )
        for start, end, label in tiers["emotion"]
        if label.strip()
    ]


def _find_labels(tier: list[Interval], start: float, end: float, least: float = inf) -> list[str]:
    """Return the labels of intervals with their centre in the range, or that cover its centre.

    Intervals that share at least ``least`` seconds with the range are added.
    """
    middle = (start + end) / 2
    found = [
        label.strip()
        for low, high, label in tier
        if start <= (low + high) / 2 < end
        or low <= middle < high
        or min(high, end) - max(low, start) >= least
    ]
    return list(filter(None, found))

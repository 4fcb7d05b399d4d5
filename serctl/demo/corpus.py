"""The demo corpus: synthetic emotional speech, planned by a seed and spoken by espeak-ng.

Both channels carry the emotion in part. Words: over half of the expressive utterances name it, some
name another one, the rest are plain. Prosody: pitch, pitch range, rate and loudness move with the
emotion by a varying strength, under noise and a speaker's own habits. So neither words nor voice
alone give the label away, and no model gets all of it right.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serctl.data.audio import SAMPLE_RATE
from serctl.data.labels import EMOTIONS, NEUTRAL
from serctl.data.manifest import ATTRIBUTES, Utterance
from serctl.demo.espeak import SAMPLE_RATE as SPOKEN_RATE
from serctl.demo.espeak import Line, require_espeak, speak
from serctl.demo.sentences import OPENERS, PLAIN, WORDS
from serctl.errors import CorpusError
from serctl.files import write_atomic
from serctl.progress import Progress, silent

VERSION = 3
RATERS = 5

VOICES = {
    "train": (
        "en-us+m1", "en-us+f1", "en-gb-x-rp+m2", "en-gb-scotland+f2", "en-029+m3",
        "en-us-nyc+f4", "en-us+Andy", "en-gb-x-rp+Annie", "en-gb-x-gbcwmd+m7", "en-us+f5",
    ),
    "dev": ("en-us+m4", "en-gb-x-rp+f3", "en-us-nyc+m8"),
    "test": ("en-gb-x-gbclan+m6", "en-us+linda", "en-029+michael"),
}  # fmt: skip
"""espeak-ng accents and voice variants; each is one speaker."""

COUNTS = {
    "train": (34, 32, 42, 24, 18, 20, 18, 104, 14),
    "dev": (10, 9, 12, 8, 6, 6, 6, 22, 5),
    "test": (10, 9, 12, 8, 6, 6, 6, 22, 5),
}
"""Utterances per split, in the order of `EMOTIONS`; the last is without agreement."""

# Shift of pitch and range (espeak steps), rate (words a minute) and loudness (dB); then the means
# of arousal, valence and dominance on the 1-7 scale.
PROSODY = {
    "angry": ((4, 28, 40, 7.0), (5.9, 2.0, 5.6)),
    "sad": ((-14, -26, -42, -6.0), (2.6, 2.2, 2.8)),
    "happy": ((16, 26, 18, 3.0), (5.2, 5.9, 4.8)),
    "surprise": ((32, 34, -8, 2.0), (5.5, 4.6, 4.2)),
    "fear": ((30, -18, 50, -3.0), (5.4, 2.3, 2.6)),
    "disgust": ((-16, 16, -30, 1.0), (4.2, 2.2, 4.6)),
    "contempt": ((-8, 8, -46, -1.0), (3.6, 2.8, 5.2)),
    "neutral": ((0, 0, 0, 0.0), (3.8, 4.0, 4.0)),
}
CONFUSIONS = {
    "angry": ("disgust", "contempt"),
    "sad": ("neutral", "fear"),
    "happy": ("surprise", "neutral"),
    "surprise": ("happy", "fear"),
    "fear": ("sad", "surprise"),
    "disgust": ("contempt", "angry"),
    "contempt": ("disgust", "neutral"),
    "neutral": ("sad", "happy", "contempt"),
}

README = """serctl demo corpus, version {version}, seed {seed}

SYNTHETIC SPEECH. Nobody spoke these {count} utterances: espeak-ng did, and emotions, raters and
attributes are drawn from random numbers. It is here to try serctl's commands on. Figures measured
on it say nothing about emotion recognition in people.

Sentences: written for serctl (Apache-2.0). Voices: espeak-ng (GPL-3.0-or-later, installed apart
from serctl as the package espeakng-loader). Made by: serctl init --corpus demo
"""


@dataclass(frozen=True)
class Slot:
    """One utterance to be: its place in the corpus and what its speaker means to express."""

    number: int
    split: str
    speaker: int
    emotion: str
    agreed: bool


@dataclass(frozen=True)
class Plan:
    """One utterance before it is spoken: its row, what to say how, levels of voice and room."""

    row: Utterance
    line: Line
    gain_db: float
    noise_db: float
    seed: tuple[int, int]


def make_demo(root: Path, seed: int = 0, *, progress: Progress = silent) -> list[Utterance]:
    """Speak the demo corpus into ``root``; what is there already is kept.

    Args:
        root: The corpus folder: ``README.txt`` and ``audio/*.flac`` (16 kHz, 16 bit).
        seed: Of every random choice; the same seed gives the same samples.
        progress: Told about each utterance.

    Raises:
        CorpusError: espeak-ng is missing or fails, or ``root`` holds a demo of another seed.
    """
    plans = plan_demo(root, seed)
    readme = README.format(version=VERSION, seed=seed, count=len(plans))
    path = root / "README.txt"
    if path.exists() and path.read_text(encoding="utf-8") != readme:
        raise CorpusError(
            f"'{root}' holds another corpus or seed; choose another --root for seed {seed}."
        )
    if all(plan.row.path.exists() for plan in plans):
        return [plan.row for plan in plans]
    require_espeak()
    with write_atomic(path) as file:
        file.write(readme)
    with progress.task("synthesise the demo corpus", len(plans), "utterances") as advance:
        for plan, spoken in zip(plans, speak([plan.line for plan in plans]), strict=True):
            if not plan.row.path.exists():
                _write_flac(plan.row.path, _record(plan, spoken))
            advance()
    return [plan.row for plan in plans]


def plan_demo(root: Path, seed: int = 0) -> list[Plan]:
    """Decide everything about every utterance: a pure function of the seed."""
    return [_plan(root, seed, slot) for slot in _slots(seed)]


def _slots(seed: int) -> Iterator[Slot]:
    number = count()
    for split, sizes in COUNTS.items():
        for which, size in enumerate(sizes):
            for i in range(size):
                speaker = (i + 3 * which) % len(VOICES[split])  # each speaker gets every emotion
                agreed = which < len(EMOTIONS)
                emotion = EMOTIONS[which] if agreed else EMOTIONS[(seed + 3 * i) % len(EMOTIONS)]
                yield Slot(next(number), split, speaker, emotion, agreed)


def _plan(root: Path, seed: int, slot: Slot) -> Plan:
    rng = np.random.default_rng([seed, slot.number])
    strength = rng.uniform(0.5, 1.25)
    shift, means = PROSODY[slot.emotion]
    voice = VOICES[slot.split][slot.speaker]
    habit = np.random.default_rng([seed, *voice.encode()]).normal(0, (5, 6, 10, 1.5))
    usual = np.array([45, 45, 185, -6.0])
    pitch, span, rate, gain = (
        usual + habit + strength * np.array(shift) + rng.normal(0, (5, 8, 12, 1.5))
    )
    line = Line(
        text=_choose_words(slot, rng),
        voice=voice,
        rate=int(np.clip(rate, 115, 300)),
        pitch=int(np.clip(pitch, 0, 99)),
        range=int(np.clip(span, 0, 99)),
    )
    row = _row(root, slot, line.text, _vote(slot, strength, rng), _rate(means, rng))
    return Plan(row, line, min(gain, 4.0), noise_db=rng.uniform(-62, -46), seed=(seed, slot.number))


def _row(
    root: Path, slot: Slot, text: str, votes: Counter[str], ratings: Iterable[float]
) -> Utterance:
    speaker = f"{slot.split}{slot.speaker + 1:02d}"
    name = f"demo_{speaker}_{slot.number:03d}"
    return Utterance(
        utterance_id=name,
        path=root / "audio" / f"{name}.flac",
        split=slot.split,
        emotion=slot.emotion if slot.agreed else "",
        speaker=speaker,
        transcript=text,
        extra={f"votes_{emotion}": str(votes[emotion]) for emotion in EMOTIONS}
        | {attribute: f"{value:.1f}" for attribute, value in zip(ATTRIBUTES, ratings, strict=True)},
    )


def _choose_words(slot: Slot, rng: np.random.Generator) -> str:
    """Plain words mostly for neutral; else mostly the emotion's own, at times another's."""
    own, other = (0.0, 0.15) if slot.emotion == NEUTRAL else (0.62, 0.08)
    draw = rng.random()
    sentences: tuple[str, ...]
    if draw < own:
        sentences, train, dev = WORDS[slot.emotion], 8, 3
    elif draw < own + other:
        others = [emotion for emotion in WORDS if emotion != slot.emotion]
        sentences, train, dev = WORDS[str(rng.choice(others))], 8, 3
    else:
        sentences, train, dev = PLAIN, 16, 6
    limits = {
        "train": (0, train),
        "dev": (train, train + dev),
        "test": (train + dev, len(sentences)),
    }
    opener, sentence = str(rng.choice(OPENERS)), sentences[rng.integers(*limits[slot.split])]
    keep = not opener or sentence.startswith("I ")
    return opener + (sentence if keep else sentence[0].lower() + sentence[1:])


def _vote(slot: Slot, strength: float, rng: np.random.Generator) -> Counter[str]:
    """Draw the raters' votes until their plurality is the label, or a tie where none is agreed."""
    sure = 0.35 + 0.4 * strength if slot.agreed else 0.4
    while True:
        votes: Counter[str] = Counter()
        for _ in range(RATERS):
            near = CONFUSIONS[slot.emotion] if rng.random() < 0.7 else EMOTIONS
            votes[slot.emotion if rng.random() < sure else str(rng.choice(near))] += 1
        top = [emotion for emotion, count in votes.items() if count == max(votes.values())]
        if (top == [slot.emotion]) if slot.agreed else len(top) > 1:
            return votes


def _rate(means: tuple[float, float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the raters' mean arousal, valence and dominance, each rating a whole number 1-7."""
    return np.clip(np.rint(rng.normal(means, 0.9, (RATERS, 3))), 1, 7).mean(axis=0)


def _record(plan: Plan, spoken: NDArray[np.int16]) -> NDArray[np.int16]:
    """Resample to 16 kHz, set the level and add the room's noise."""
    import soxr

    samples = soxr.resample(spoken.astype(np.float32), SPOKEN_RATE, SAMPLE_RATE, quality="HQ")
    rng = np.random.default_rng([*plan.seed, 1])
    noise = rng.normal(0, 32768 * 10 ** (plan.noise_db / 20), samples.shape)
    mixed = samples * 10 ** (plan.gain_db / 20) + noise
    return np.clip(np.rint(mixed), -32768, 32767).astype(np.int16)


def _write_flac(path: Path, samples: NDArray[np.int16]) -> None:
    import soundfile

    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        part.replace(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise CorpusError(f"Cannot write '{path}': {error}.") from error

"""Timelines of a call that was never held."""

import numpy as np

from serctl.page.timeline import TimelinePage
from serctl.timeline.course import (
    Spoken,
    Timeline,
    find_segments,
    name_emotions,
    settle_course,
    smooth,
)

LABELS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
SENTENCES = ("Hello, how may I help you?", "I was promised a call back.", "I see. One moment.")


def make_timeline(seconds: int = 60, channel: str = "", seed: int = 0, text: str = "") -> Timeline:
    """Return a timeline of one-second steps, with a pause from a third of it on."""
    generator = np.random.default_rng(seed)
    walk = generator.normal(0, 0.6, (seconds, len(LABELS))).cumsum(axis=0) * 0.6
    shares = np.exp(walk) / np.exp(walk).sum(axis=1, keepdims=True)
    shares[seconds // 3 : seconds // 3 + 4] = np.nan
    shares = smooth(shares, 3)
    starts = np.arange(float(seconds))
    emotions = name_emotions(settle_course(shares, 3), shares, LABELS, 0.2)
    said = text or SENTENCES[seed % 3]
    return Timeline(
        audio="recordings/call.wav",
        channel=channel,
        model="random-forest",
        seconds=float(seconds),
        labels=LABELS,
        starts=starts,
        ends=starts + 1,
        probabilities=shares,
        emotions=emotions,
        segments=find_segments(emotions, shares, LABELS, starts, starts + 1),
        transcript=tuple(Spoken(t + seed, t + seed + 3.0, said) for t in range(0, seconds - 8, 8)),
    )


def make_page(seconds: int = 60, channels: tuple[str, ...] = ("left", "right")) -> TimelinePage:
    """Return a page of a timeline for each channel, with a tone to be played."""
    time = np.arange(seconds * 16_000) / 16_000
    tone = 0.1 * np.sin(2 * np.pi * 220 * time, dtype=np.float32)
    return TimelinePage(
        timelines=[make_timeline(seconds, name, seed) for seed, name in enumerate(channels)],
        sound=np.stack([tone] * len(channels), axis=1),
        every=1.0,
        window=4.0,
    )

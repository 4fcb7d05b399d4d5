"""Timelines as CSV, JSON lines, Praat TextGrids, RTTM and a table for the terminal."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serctl.data.manifest_file import check_labels
from serctl.data.textgrid import format_textgrid
from serctl.names import guard_cell, join_cells
from serctl.timeline.course import Timeline

CHANNELS = {"": "1", "left": "1", "right": "2"}
"""Numbers of channels in RTTM. Other channels have their number as their name."""

NO_EMOTION = "-"
"""Label in tables and RTTM for a segment without an emotion."""


def to_csv(timelines: Sequence[Timeline], *, header: bool = True) -> str:
    """Return one CSV row for each step. Probabilities are empty without speech."""
    lines: list[str] = []
    for row in (row for timeline in timelines for row in list_steps(timeline)):
        shares = row.pop("probabilities") or {}
        check_labels(labels := timelines[0].labels)
        flat = row | {name: f"{shares[name]:.6f}" if shares else "" for name in labels}
        flat |= {name: f"{row[name]:.3f}" for name in ("start", "end")}
        flat["confidence"] = "" if row["confidence"] is None else f"{row['confidence']:.4f}"
        flat["emotion"] = row["emotion"] or ""
        if header and not lines:
            lines.append(join_cells(flat))
        lines.append(join_cells(map(guard_cell, flat.values())))
    return "".join(f"{line}\n" for line in lines)


def to_jsonl(timelines: Sequence[Timeline]) -> str:
    """Return one JSON line for each step. ``probabilities`` is null without speech."""
    rows = (row for timeline in timelines for row in list_steps(timeline))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_dict(timeline: Timeline) -> dict[str, Any]:
    """Return a timeline as plain values for JSON: its steps, segments and transcript."""
    return {
        "audio": timeline.audio,
        "channel": timeline.channel,
        "model": timeline.model,
        "seconds": round(timeline.seconds, 3),
        "labels": list(timeline.labels),
        "steps": list_steps(timeline),
        "segments": [asdict(segment) for segment in timeline.segments],
        "transcript": [asdict(spoken) for spoken in timeline.transcript],
    }


def list_steps(timeline: Timeline) -> list[dict[str, Any]]:
    """Return a row for each step. ``probabilities`` is None without speech."""
    rows = []
    for i, emotion in enumerate(timeline.emotions):
        values = timeline.probabilities[i]
        spoken = not math.isnan(values[0])
        shares = {
            k: round(v, 6) for k, v in zip(timeline.labels, values.tolist(), strict=True) if spoken
        }
        rows.append(
            {
                "audio": timeline.audio,
                "channel": timeline.channel,
                "start": round(float(timeline.starts[i]), 3),
                "end": round(float(timeline.ends[i]), 3),
                "emotion": emotion,
                "confidence": shares[emotion] if emotion else max(shares.values(), default=None),
                "probabilities": shares or None,
            }
        )
    return rows


def to_textgrid(timelines: Sequence[Timeline]) -> str:
    """Return the channels of one recording as one TextGrid.

    Tiers of each channel: segments, the confidence of each, a tier of probabilities for every
    emotion with an interval for each step, and the transcript.
    """
    tiers = {}
    for timeline in timelines:
        check_labels(timeline.labels)
        before = f"{timeline.channel}: " if timeline.channel else ""
        segments = timeline.segments
        tiers[f"{before}emotion"] = [(s.start, s.end, s.emotion or "") for s in segments]
        tiers[f"{before}confidence"] = [(s.start, s.end, f"{s.confidence:.3f}") for s in segments]
        for column, label in enumerate(timeline.labels):
            values = timeline.probabilities[:, column].tolist()
            tiers[f"{before}{label}"] = [
                (float(start), float(end), "" if math.isnan(value) else f"{value:.3f}")
                for start, end, value in zip(timeline.starts, timeline.ends, values, strict=True)
            ]
        if timeline.transcript:
            tiers[f"{before}transcript"] = [(t.start, t.end, t.text) for t in timeline.transcript]
    return format_textgrid(tiers, timelines[0].seconds)


def to_rttm(timelines: Sequence[Timeline]) -> str:
    """Return a line for each segment, with the emotion in the field of the speaker.

    A segment without an emotion is named `NO_EMOTION`, and its confidence is missing.
    Tools that score diarization read only SPEAKER lines, so they can score emotions too.
    `name_in_rttm` must tell the recordings apart.

    Source: NIST, Rich Transcription 2009 evaluation plan, appendix A (RTTM).
    """
    lines = []
    for timeline in timelines:
        name = name_in_rttm(Path(timeline.audio))
        channel = CHANNELS.get(timeline.channel, timeline.channel)
        for segment in timeline.segments:
            label = (segment.emotion or NO_EMOTION).replace(" ", "_")
            confidence = f"{segment.confidence:.3f}" if segment.emotion else "<NA>"
            lines.append(
                f"SPEAKER {name} {channel} {segment.start:.3f} "
                f"{segment.end - segment.start:.3f} <NA> <NA> {label} {confidence} <NA>"
            )
    return "".join(f"{line}\n" for line in lines)


def name_in_rttm(path: Path) -> str:
    """Return the name of a recording in RTTM, whose fields are separated by blanks.

    Example:
        >>> name_in_rttm(Path("calls/my call.wav"))
        'my_call'
    """
    return "_".join(path.stem.split())


def to_table(
    timelines: Sequence[Timeline], *, header: bool = True, least: Sequence[int] = (0, 0)
) -> str:
    """Return a table of the segments with their transcripts.

    Args:
        timelines: Of one recording or several.
        header: Whether the first line names the columns.
        least: Minimum widths of the first columns, for the parts of a longer table.
    """
    rows = [("audio", "seconds", "emotion", "confidence", "transcript")]
    for timeline in timelines:
        name = Path(timeline.audio).name
        name = f"{name} ({timeline.channel})" if timeline.channel else name
        for segment in timeline.segments:
            said = (t.text for t in timeline.transcript if segment.start <= t.start < segment.end)
            rows.append(
                (
                    name,
                    f"{segment.start:.1f}-{segment.end:.1f}",
                    segment.emotion or NO_EMOTION,
                    f"{segment.confidence:.2f}",
                    " ".join(" ".join(said).split()),
                )
            )
    labels = max((len(label) for timeline in timelines for label in timeline.labels), default=0)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths = list(map(max, widths, (*least, labels, 0, 0)))
    rows = rows if header else rows[1:]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)

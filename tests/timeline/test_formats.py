"""What is written can be read: CSV, JSON lines, TextGrid, RTTM, table."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from serctl.errors import UsageError
from serctl.timeline.course import EmotionSegment, Spoken, Timeline
from serctl.timeline.formats import to_csv, to_jsonl, to_rttm, to_table, to_textgrid


def make_timeline(channel: str = "") -> Timeline:
    return Timeline(
        audio="a call.wav",
        channel=channel,
        model="tones",
        seconds=2.5,
        labels=("angry", "happy"),
        starts=np.array([0.0, 1.0, 2.0]),
        ends=np.array([1.0, 2.0, 2.5]),
        probabilities=np.array([[0.75, 0.25], [np.nan, np.nan], [0.4, 0.6]]),
        emotions=("angry", None, "happy"),
        segments=(EmotionSegment(0.0, 1.0, "angry", 0.75), EmotionSegment(2.0, 2.5, None, 0.6)),
        transcript=(Spoken(0.1, 0.9, 'say "no"'), Spoken(2.0, 2.4, "yes")),
    )


def test_csv_has_a_row_for_each_step_and_empty_fields_where_nobody_speaks() -> None:
    rows = list(
        csv.DictReader(io.StringIO(to_csv([make_timeline("left"), make_timeline("right")])))
    )
    assert len(rows) == 6
    assert [row["channel"] for row in rows] == ["left"] * 3 + ["right"] * 3
    assert rows[0] == {
        "audio": "a call.wav",
        "channel": "left",
        "start": "0.000",
        "end": "1.000",
        "emotion": "angry",
        "confidence": "0.7500",
        "angry": "0.750000",
        "happy": "0.250000",
    }
    assert rows[1]["emotion"] == rows[1]["angry"] == rows[1]["confidence"] == ""


@pytest.mark.parametrize("write", [to_csv, to_textgrid])
def test_a_label_that_is_another_column_is_refused(write) -> None:
    named = replace(make_timeline(), emotions=("angry", None, "confidence"))
    with pytest.raises(UsageError, match="the label 'confidence', which is another column"):
        write([replace(named, labels=("angry", "confidence"))])


def test_json_lines_hold_the_same() -> None:
    rows = [json.loads(line) for line in to_jsonl([make_timeline()]).splitlines()]
    assert [row["emotion"] for row in rows] == ["angry", None, "happy"]
    assert rows[0]["probabilities"] == {"angry": 0.75, "happy": 0.25}
    assert rows[1]["probabilities"] is None
    assert rows[2]["confidence"] == 0.6


def test_a_textgrid_has_tiers_of_probabilities_for_every_channel() -> None:
    text = to_textgrid([make_timeline("left"), make_timeline("right")])
    names = re.findall(r'name = "(.*)"', text)
    expected = ["emotion", "confidence", "angry", "happy", "transcript"]
    assert names == [f"{side}: {name}" for side in ("left", "right") for name in expected]
    assert 'text = "say ""no"""' in text
    assert text.count('text = "0.750"') == 4  # confidence and probability, twice
    assert set(re.findall(r"^        xmax = (.*)", text, re.M)) == {"2.500000"}


def test_rttm_lines_are_of_ten_fields_that_diarization_tools_read() -> None:
    lines = [
        line.split()
        for line in to_rttm([make_timeline("left"), make_timeline("right")]).splitlines()
    ]
    assert all(len(line) == 10 and line[0] == "SPEAKER" for line in lines)
    assert [line[2] for line in lines] == ["1", "1", "2", "2"]
    assert lines[0][1:9] == ["a_call", "1", "0.000", "1.000", "<NA>", "<NA>", "angry", "0.750"]
    assert lines[1][7:9] == ["-", "<NA>"]  # speech whose emotion is not sure


@pytest.mark.parametrize(("channel", "number"), [("", "1"), ("right", "2"), ("3", "3")])
def test_rttm_has_the_number_of_the_channel_alone(channel: str, number: str) -> None:
    lines = to_rttm([make_timeline(channel)]).splitlines()
    assert {line.split()[2] for line in lines} == {number}


def test_the_table_shows_segments_with_what_was_said() -> None:
    lines = to_table([make_timeline()]).splitlines()
    assert lines[0].split() == ["audio", "seconds", "emotion", "confidence", "transcript"]
    assert lines[1].endswith('say "no"')
    assert "0.0-1.0" in lines[1]
    assert lines[2].split()[-3:] == ["-", "0.60", "yes"]


def test_nothing_is_written_of_nothing() -> None:
    assert to_csv([]) == to_jsonl([]) == to_rttm([]) == ""
    assert to_table([]).startswith("audio")

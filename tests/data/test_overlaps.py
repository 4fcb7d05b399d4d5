"""Parts of one recording in several splits: found, counted once, and kept in one fold."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serctl.data.folds import assign_folds, group_by_speaker
from serctl.data.manifest import Utterance
from serctl.data.overlaps import TOLERANCE, describe_overlaps, find_overlaps
from serctl.data.splits import assign_splits


def part(name: str, split: str, start: float, end: float | None, channel: int = 0) -> Utterance:
    return Utterance(name, Path("talk.wav"), split, start=start, end=end, channel=channel)


@st.composite
def recordings(draw):
    rows = []
    for number in range(draw(st.integers(0, 12))):
        start = draw(st.integers(0, 40)) / 8
        end = draw(st.one_of(st.none(), st.integers(1, 40).map(lambda eighths: eighths / 8)))
        one = part(
            f"u{number}",
            draw(st.sampled_from(["train", "dev", "test"])),
            start,
            None if end is None else start + end,
            draw(st.integers(0, 2)),
        )
        rows.append(replace(one, path=Path(draw(st.sampled_from(["a.wav", "b.wav", "./a.wav"])))))
    return rows


@given(rows=recordings())
def test_pairs_are_those_of_all_comparisons(rows):
    def seconds(row):
        return 100.0 if row.end is None else row.end

    wanted = {
        frozenset((a.utterance_id, b.utterance_id))
        for a, b in combinations(rows, 2)
        if a.path.name == b.path.name
        and a.split != b.split
        and (a.channel == b.channel or not a.channel * b.channel)
        and min(seconds(a), seconds(b)) - max(a.start, b.start) > TOLERANCE
    }
    found = [frozenset(row.utterance_id for row in pair) for pair in find_overlaps(rows)]
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_the_sentence_names_pairs_and_counts_those_of_a_split():
    rows = [part("a", "train", 0, 3), part("b", "test", 2, 5), part("c", "dev", 4.95, None)]
    [text] = describe_overlaps(rows)
    assert text.startswith("1 pair of utterances of different splits share audio")
    assert "a (train) and b (test)" in text
    assert describe_overlaps(rows, "test") == [text]
    assert describe_overlaps(rows, "dev") == []


def test_parts_of_a_recording_of_unknown_speakers_are_one_group():
    rows = [
        Utterance(f"f{file}-{k}", Path(f"f{file}.wav"), "", ("angry", "sad")[k % 2], start=k / 2)
        for file in range(10)
        for k in range(6)
    ]
    assert len(set(group_by_speaker(rows))) == 10
    folds = assign_folds(rows, 5, 0)
    for file in range(10):
        assert len({folds.fold_of[f"f{file}-{k}"] for k in range(6)}) == 1
    made, warning = assign_splits(rows)
    assert find_overlaps(made) == []
    assert "have no speaker" in warning

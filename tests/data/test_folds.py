"""Folds: disjoint in speakers, like in classes, blind to the order of the manifest."""

import random
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn.model_selection import StratifiedGroupKFold

from serctl.data.folds import assign_folds, choose_folds, hold_out, place_groups
from serctl.data.labels import EMOTIONS
from serctl.data.manifest import Utterance
from serctl.data.manifest_rows import parse_row
from serctl.errors import ManifestError


def utterance(i: int, speaker: str, emotion: str) -> Utterance:
    return Utterance(f"u{i:04}", Path(f"u{i}.wav"), "train", emotion, speaker)


@st.composite
def corpora(draw):
    speakers = draw(st.integers(5, 12))
    size = draw(st.integers(speakers, 80))
    pick = random.Random(draw(st.integers(0, 999)))
    return [
        utterance(i, f"s{i if i < speakers else pick.randrange(speakers)}", pick.choice(EMOTIONS))
        for i in range(size)
    ]


@given(rows=corpora(), seed=st.integers(0, 9))
def test_every_utterance_has_one_fold_and_no_speaker_has_two(rows, seed):
    folds = assign_folds(rows, 5, seed)
    assert set(folds.fold_of) == {row.utterance_id for row in rows}
    assert sum(len(folds.ids(k)) for k in range(5)) == len(rows)
    speakers = [
        {row.speaker for row in rows if folds.fold_of[row.utterance_id] == k} for k in range(5)
    ]
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    assert "no speaker" not in folds.warning


@given(rows=corpora(), seed=st.integers(0, 9))
def test_emotions_that_a_fold_model_is_trained_without_are_named(rows, seed):
    folds = choose_folds(rows, 4, seed)
    others = [
        {row.emotion for row in rows if folds.fold_of[row.utterance_id] != k} for k in range(4)
    ]
    lost = {row.emotion for row in rows}.difference(set.intersection(*others))
    assert folds.lost == tuple(sorted(lost))
    assert all(emotion in folds.warning for emotion in lost)


@given(rows=corpora(), seed=st.integers(0, 9), order=st.randoms())
@settings(max_examples=12)
def test_the_order_of_the_manifest_changes_nothing(rows, seed, order):
    shuffled = order.sample(rows, len(rows))
    assert assign_folds(rows, 4, seed) == assign_folds(shuffled, 4, seed)
    assert hold_out(rows, 0.1, seed) == hold_out(shuffled, 0.1, seed)


def test_classes_are_spread_evenly_and_the_seed_matters():
    rows = [utterance(i, f"s{i % 20}", EMOTIONS[i // 20 % 8]) for i in range(640)]
    folds = assign_folds(rows, 5, 0)
    for emotion in EMOTIONS:
        counts = [
            sum(row.emotion == emotion and folds.fold_of[row.utterance_id] == k for row in rows)
            for k in range(5)
        ]
        assert counts == [16] * 5
    assert folds != assign_folds(rows, 5, 1)


def make_uneven(speakers: int, rare: Sequence[int] = ()) -> list[Utterance]:
    """Return utterances of speakers with unequal counts; only some of them are afraid."""
    pick = np.random.default_rng(speakers)
    rows = []
    for speaker in range(speakers):
        counts = {"angry": pick.integers(3, 40), "neutral": pick.integers(5, 80)}
        counts |= {"fear": pick.integers(1, 6)} if speaker in rare else {}
        rows += [(f"s{speaker}", name) for name, count in counts.items() for _ in range(count)]
    return [utterance(i, *row) for i, row in enumerate(rows)]


@pytest.mark.parametrize(("speakers", "num_folds"), [(10, 2), (10, 5), (91, 5)])
def test_every_seed_makes_other_folds_of_speakers_with_unequal_counts(
    speakers: int, num_folds: int
) -> None:
    rows = make_uneven(speakers)
    made = [assign_folds(rows, num_folds, seed) for seed in range(6)]
    parts = {frozenset(folds.ids(k) for k in range(num_folds)) for folds in made}
    assert len(parts) >= 5
    for folds in made:
        for emotion in ("angry", "neutral"):
            ids = {row.utterance_id for row in rows if row.emotion == emotion}
            shares = [len(ids & folds.ids(k)) / len(ids) for k in range(num_folds)]
            assert np.std(shares) < 0.13 / num_folds**0.5


def test_another_seed_is_tried_where_the_first_division_loses_an_emotion() -> None:
    rows = make_uneven(6, rare=(1, 3))
    lone = {row.utterance_id for row in rows if row.speaker == "s1"}
    for seed in range(10):
        folds = choose_folds(rows, 2, seed)
        assert folds.lost == ()
        assert len({folds.fold_of[name] for name in lone}) == 1


@pytest.mark.skipif(
    Version(version("scikit-learn")) < Version("1.9"), reason="its folds were others before 1.9"
)
@given(rows=corpora(), num_folds=st.integers(2, 5))
def test_the_folds_of_seed_zero_are_those_of_scikit_learn(rows, num_folds) -> None:
    rows.sort(key=lambda row: row.utterance_id)
    emotions, speakers = [row.emotion for row in rows], [row.speaker for row in rows]
    assume(max(Counter(emotions).values()) >= num_folds)
    names, members = np.unique(speakers, return_inverse=True)
    classes, labels = np.unique(emotions, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (members, labels), 1)
    made = place_groups(counts, num_folds, 0)[members]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer utterances than folds
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=0)
        for fold, (_, chosen) in enumerate(splitter.split(rows, emotions, speakers)):
            assert (made[chosen] == fold).all()


def test_the_held_out_tenth_is_a_tenth_of_whole_speakers_with_every_class():
    rows = [utterance(i, f"s{i % 20}", EMOTIONS[i // 20 % 8]) for i in range(640)]
    held = hold_out(rows, 0.1, 3).ids(0)
    assert len(held) == 64
    assert {row.emotion for row in rows if row.utterance_id in held} == set(EMOTIONS)
    assert {row.speaker for row in rows if row.utterance_id in held}.isdisjoint(
        row.speaker for row in rows if row.utterance_id not in held
    )


@given(seed=st.integers(0, 9), speaker=st.integers(0, 5))
@settings(max_examples=10)
def test_an_emotion_of_one_speaker_is_not_held_out(seed: int, speaker: int) -> None:
    rows = [utterance(i, f"s{i % 6}", EMOTIONS[i // 6 % 2]) for i in range(60)]
    rows += [utterance(60 + i, f"s{speaker}", "fear") for i in range(5)]
    held = hold_out(rows, 0.1, seed).ids(0)
    assert "fear" in {row.emotion for row in rows if row.utterance_id not in held}


def test_few_speakers_make_a_larger_held_out_part_and_few_for_folds_are_refused():
    rows = [utterance(i, f"s{i % 4}", "happy" if i % 3 else "neutral") for i in range(40)]
    assert len(hold_out(rows, 0.1, 0).ids(0)) == 10
    with pytest.raises(ManifestError, match="40 utterances of 4 speakers cannot make 5"):
        assign_folds(rows, 5, 0)
    for divide in (partial(assign_folds, num_folds=2), partial(hold_out, fraction=0.1)):
        with pytest.raises(ManifestError, match="All 3 utterances are of 1 speaker,"):
            divide([utterance(i, "s", "happy") for i in range(3)], seed=0)


def test_unknown_speakers_are_reported():
    rows = [utterance(i, "" if i < 7 else f"s{i % 5}", EMOTIONS[i % 2]) for i in range(40)]
    assert "7 of 40 utterances have no speaker" in assign_folds(rows, 4, 0).warning


def named(folds: str) -> list[Utterance]:
    """Return utterances of a speaker each, in the folds named by letters ('-' is none)."""
    rows = [utterance(i, f"s{i}", EMOTIONS[i % 2]) for i in range(len(folds))]
    return [
        replace(row, extra={"fold": fold.strip("-")}) for row, fold in zip(rows, folds, strict=True)
    ]


def test_folds_that_the_manifest_names_are_the_folds():
    folds = choose_folds(named("cabbca"), 3, 0)
    assert [folds.fold_of[f"u{i:04}"] for i in range(6)] == [2, 0, 1, 1, 2, 0]
    assert "no speaker" not in folds.warning


@pytest.mark.parametrize(
    ("word", "fold"), [("nan", ""), ("NA", ""), ("1\u200b", "1"), ("1.0", "1.0")]
)
def test_a_word_for_a_missing_value_is_no_fold(word: str, fold: str) -> None:
    assert parse_row({"fold": word, "path": "a.wav"}, Path()).extra == {"fold": fold}


@pytest.mark.parametrize(("folds", "count"), [("abcabc", 2), ("abcabc", 5), ("aaaaaa", 3)])
def test_another_number_of_folds_than_the_manifest_names_is_refused(folds, count):
    with pytest.raises(
        ManifestError, match=f"--folds is {count}.*column 'fold' has {len(set(folds))}"
    ):
        choose_folds(named(folds), count, 0)


def test_a_column_without_folds_or_with_gaps_is_not_used():
    without = choose_folds(named("------"), 3, 0)
    assert without == assign_folds(named("------"), 3, 0)
    with_gaps = choose_folds(named("ab-cab"), 3, 0)
    assert with_gaps.fold_of == without.fold_of
    assert "some utterances have none" in with_gaps.warning


def test_a_speaker_in_two_named_folds_is_reported():
    rows = [replace(row, speaker="s0") for row in named("aab")]
    assert "1 speakers (s0) are in several folds" in choose_folds(rows, 2, 0).warning


def test_every_training_part_keeps_every_emotion_where_the_speakers_allow_it() -> None:
    """Two of eight speakers are afraid: divisions that put both into one fold are avoided."""
    emotions = {f"s{i}": ("angry", "sad") for i in range(8)} | {
        f"s{i}": ("angry", "sad", "fear") for i in (2, 5)
    }
    rows = [
        Utterance(f"{speaker}-{emotion}-{i}", Path("a.wav"), "train", emotion, speaker)
        for speaker, found in emotions.items()
        for emotion in found
        for i in range(3)
    ]
    for seed in range(20):
        folds = assign_folds(rows, 4, seed)
        assert "no speaker" not in folds.warning
        for fold in range(4):
            kept = {row.emotion for row in rows if folds.fold_of[row.utterance_id] != fold}
            assert kept == {"angry", "sad", "fear"}


def test_an_emotion_of_one_speaker_is_named_with_the_speaker() -> None:
    rows = [
        Utterance(f"{k}-{emotion}-{i}", Path("a.wav"), "train", emotion, f"s{k}")
        for k in range(4)
        for emotion in ("angry", "sad", *(["fear"] if k == 2 else []))
        for i in range(3)
    ]
    warning = choose_folds(rows, 4, 0).warning
    assert "all utterances of fear (speakers: s2)" in warning

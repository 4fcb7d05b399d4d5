"""Scores of other programs: the same predictions and calibration whatever they are written as."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serctl.ensemble.logits import Logits, softmax
from serctl.ensemble.logits_file import read_logits
from serctl.ensemble.outside import match_ids, recognise_kind
from serctl.ensemble.systems import System
from serctl.errors import LogitsError

LABELS = ("neutral", "contempt", "disgust", "fear", "surprise", "happy", "sad", "angry")
IDS = tuple(f"u{i:03d}" for i in range(90))


@pytest.fixture(scope="module")
def scores() -> tuple[np.ndarray, np.ndarray]:
    """Logits of a fair system and the true classes."""
    rng = np.random.default_rng(7)
    true = rng.integers(0, 8, len(IDS))
    return rng.normal(size=(len(IDS), 8)) + 2 * np.eye(8)[true], true


def write(path: Path, values: np.ndarray, form: str, labels=LABELS, **columns: str) -> Path:
    header = ["utterance_id", *labels, *columns]
    rows = [
        ",".join([name, *(format(x, form) for x in row), *columns.values()])
        for name, row in zip(IDS, values, strict=True)
    ]
    path.write_text("\n".join([",".join(header), *rows]))
    return path


def nll(logits: Logits, true: np.ndarray) -> float:
    return float(-np.log(logits.probabilities()[np.arange(len(true)), true]).mean())


@pytest.mark.parametrize(
    ("scale", "form", "tolerance"),
    [
        (1, ".9g", 1e-6),
        (1, ".2f", 0.03),
        (1, ".3f", 0.004),
        (100, ".1f", 0.004),
        (100, ".0f", 0.03),
    ],
)
def test_probabilities_keep_accuracy_and_calibration(
    tmp_path: Path, scores, scale: int, form: str, tolerance: float
) -> None:
    values, true = scores
    exact = softmax(values)
    read = read_logits(write(tmp_path / "theirs.csv", scale * exact, form))
    assert read.kind == "probabilities"
    assert (read.values.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.98  # ties of rounding
    assert nll(read, true) == pytest.approx(
        -np.log(exact[np.arange(len(true)), true]).mean(), abs=tolerance
    )
    np.testing.assert_allclose(read.values.sum(axis=1), 1)
    assert bool(read.assumed) == (form != ".9g")


def test_logits_are_logits_and_what_may_be_either_is_asked_for(tmp_path: Path, scores) -> None:
    values, _ = scores
    assumed = read_logits(write(tmp_path / "a.csv", values, ".4f"))
    assert (assumed.kind, assumed.assumed) == ("logits", "logits (a score is below zero)")
    positive = values - values.min() + 1
    with pytest.raises(LogitsError, match="Add a column 'kind'"):
        read_logits(write(tmp_path / "b.csv", positive, ".4f"))
    stated = read_logits(write(tmp_path / "b.csv", positive, ".4f", kind="logits"))
    np.testing.assert_allclose(stated.values, positive, atol=1e-4)
    assert stated.assumed == ""
    sigmoid = 1 / (1 + np.exp(-values))
    told = read_logits(write(tmp_path / "c.csv", sigmoid, ".4f", kind="probabilities"))
    np.testing.assert_allclose(told.values, sigmoid / sigmoid.sum(1, keepdims=True), atol=1e-3)


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=1, max_size=9),
    st.integers(1, 6),
)
def test_rounded_probabilities_are_never_taken_for_logits(rows, decimals) -> None:
    rounded = np.round(softmax(np.array(rows)), decimals)
    assert recognise_kind(rounded, decimals) in ("probabilities", "")
    assert recognise_kind(np.round(100 * rounded, decimals), decimals) in ("percent", "")


def test_ids_with_an_ending_or_a_folder_are_matched(tmp_path: Path, scores) -> None:
    values, _ = scores
    path = write(tmp_path / "theirs.csv", values, ".6g")
    plain = System("theirs", "outside", path).load("test", IDS[::-1])
    path.write_text(path.read_text().replace("\nu", "\naudio/u").replace(",", ".wav,", 0))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace("utterance_id", "FileName")] + [
        line.replace(",", ".wav,", 1) for line in lines[1:]
    ]))  # fmt: skip
    found = System("theirs", "outside", path).load("test", IDS[::-1])
    assert found.ids == IDS[::-1]
    assert found.assumed == f"{plain.assumed} with ids without folders and endings"
    np.testing.assert_array_equal(found.values, plain.values)


def test_ids_that_would_be_ambiguous_are_not_matched() -> None:
    assert match_ids(["a/u1.wav", "b/u1.wav", "u2.wav"], ["u1", "u2"]) == {"u2": "u2.wav"}
    assert match_ids(["u1", "u1.wav"], ["u1", "u3"]) == {"u1": "u1"}
    assert match_ids(["u1.5"], ["u1"]) == {}


@pytest.mark.parametrize("content", ['{"model": "theirs", "accuracy": 0.6}', "[1, 2]"])
def test_a_json_file_of_the_same_name_that_states_no_kind_is_no_sidecar(
    tmp_path: Path, scores: tuple[np.ndarray, np.ndarray], content: str
) -> None:
    path = write(tmp_path / "theirs.csv", softmax(scores[0]), ".6f")
    alone = read_logits(path)
    (tmp_path / "theirs.json").write_text(content)
    beside = read_logits(path)
    assert (beside.kind, alone.kind) == ("probabilities", "probabilities")
    assert np.array_equal(beside.values, alone.values)
    (tmp_path / "theirs.json").write_text('{"kind": "logits"}')
    assert read_logits(path).kind == "logits"


def test_the_ids_of_a_file_are_not_read_again_for_each_utterance() -> None:
    class Counted(list):
        times = 0

        def __iter__(self):
            Counted.times += 1
            return super().__iter__()

    assert len(match_ids(Counted(IDS), IDS)) == len(IDS)
    assert Counted.times < 5


def test_hard_labels_of_the_challenge_and_of_others(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("FileName,EmoClass\nu1.wav,A\nu2.wav,N\nu3.wav,A\n")
    read = read_logits(path)
    assert read.labels == ("angry", "neutral")
    whole = read.reorder(("sad", "neutral", "angry"))
    assert whole.values.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(LogitsError, match="has the labels"):
        read.reorder(("sad", "neutral"))
    path.write_text("id;label\nu1;Calm\nu2;Anger\n")
    assert read_logits(path).labels == ("calm", "angry")


def test_letters_are_labels_of_the_challenge_where_all_of_them_are(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("utterance_id,A,N,X\nu1,-1,2,3\n")
    assert read_logits(path).labels == ("a", "n", "x")
    path.write_text("utterance_id,A,N\nu1,-1,2\n")
    assert read_logits(path).labels == ("angry", "neutral")


def test_letters_that_were_read_as_those_of_msp_podcast_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("utterance_id,A,F,N\nu1,0.25,0.25,0.5\n")
    read = read_logits(path)
    assert read.labels == ("angry", "fear", "neutral")
    assert read.assumed.endswith("with emotions by the letters of MSP-Podcast")


@pytest.mark.parametrize(("word", "flag"), [("True", True), ("FALSE", False), ("1", True)])
def test_in_sample_may_be_a_truth_value(tmp_path: Path, scores, word: str, flag: bool) -> None:
    logits = read_logits(write(tmp_path / "a.csv", scores[0], ".4f", in_sample=word))
    assert logits.in_sample.tolist() == [flag] * len(IDS)

"""Logits: round trip, joining on ids, and a clear error for whatever does not fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as reference_softmax

from serctl.documents.logits import LogitsSidecar
from serctl.ensemble.logits import Logits, join_logits, softmax
from serctl.ensemble.logits_file import read_logits, write_logits
from serctl.errors import LogitsError

LABELS = ("angry", "sad", "neutral")


def make(name: str = "a", ids: tuple[str, ...] = ("u1", "u2", "u3"), **changes) -> Logits:
    rng = np.random.default_rng(len(name) + len(ids))
    fields = {
        "ids": ids,
        "values": rng.normal(size=(len(ids), 3)).astype(np.float32).astype(np.float64),
        "labels": LABELS,
        "in_sample": np.zeros(len(ids), dtype=bool),
        "name": name,
    }
    return Logits(**(fields | changes))


IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1)


@settings(max_examples=20)
@given(st.lists(IDS, min_size=1, max_size=4, unique=True).map(tuple), st.data())
def test_what_is_written_is_read_back_exactly(tmp_path_factory, ids, data) -> None:
    numbers = st.floats(-1e6, 1e6, width=32)
    values = np.array([[data.draw(numbers) for _ in LABELS] for _ in ids])
    flags = np.array([data.draw(st.booleans()) for _ in ids])
    logits = make(
        ids=ids,
        values=values,
        in_sample=flags,
        provenance=LogitsSidecar(split="dev", run_hash="x"),
    )
    path = tmp_path_factory.mktemp("logits") / "dev.csv"
    write_logits(path, logits)
    again = read_logits(path)
    assert (again.ids, again.labels, again.kind, again.name) == (ids, LABELS, "logits", "dev")
    assert np.array_equal(again.values.astype(np.float32), values.astype(np.float32))
    assert np.array_equal(again.in_sample, flags)
    assert again.provenance.run_hash == "x"


def test_attributes_travel_with_the_logits(tmp_path: Path) -> None:
    write_logits(tmp_path / "dev.csv", make(attributes=np.arange(9.0).reshape(3, 3)))
    again = read_logits(tmp_path / "dev.csv")
    assert again.labels == LABELS
    assert np.array_equal(again.attributes, np.arange(9.0).reshape(3, 3))


def test_joining_follows_the_ids_and_not_the_order_of_rows() -> None:
    a, b = make("a"), make("b", ids=("u3", "u1", "u2"))
    joined = join_logits([a, b])
    assert joined.ids == ("u1", "u2", "u3")
    assert np.array_equal(joined.values[:, 0], a.values)
    assert np.array_equal(joined.values[:, 1], b.values[[1, 2, 0]])
    given_order = join_logits([a, b], ids=("u2", "u1"))
    assert np.array_equal(given_order.values, joined.values[[1, 0]])


def test_joining_aligns_the_order_of_labels() -> None:
    other = make("b").reorder(("neutral", "angry", "sad"))
    joined = join_logits([make("a"), other])
    assert joined.labels == LABELS
    assert np.array_equal(joined.values[:, 1], make("b").values)


def test_an_utterance_is_in_sample_if_one_model_trained_on_it() -> None:
    flagged = make("b", in_sample=np.array([False, True, False]))
    assert join_logits([make("a"), flagged]).in_sample.tolist() == [False, True, False]


def test_probabilities_join_as_their_logarithm() -> None:
    logits = make("a")
    made = LogitsSidecar(kind="probabilities")
    probabilities = make("b", values=softmax(logits.values), provenance=made)
    joined = join_logits([logits, probabilities])
    assert np.allclose(softmax(joined.values[:, 0]), softmax(joined.values[:, 1]))


def test_softmax_agrees_with_scipy_even_for_large_logits() -> None:
    values = np.array([[1000.0, 999.0, -5.0], [0.0, 0.0, 0.0]])
    assert np.allclose(softmax(values), reference_softmax(values, axis=1))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([make("b", ids=("u1", "u2", "u4"))], r"'a' and 'b' hold different utterances: 2 .*u3, u4"),
        (
            [make("b", ids=("u1",), provenance=LogitsSidecar(options={"limit": 1}))],
            "'b' is from a dry run .*serctl stack RUN",
        ),
        ([make("b", labels=("angry", "sad", "happy"))], "'b' has the labels angry, sad, happy"),
        ([make("a")], "named twice: a"),
    ],
)
def test_what_cannot_be_joined_is_an_error(others, message) -> None:
    with pytest.raises(LogitsError, match=message):
        join_logits([make("a"), *others])


def test_missing_utterances_are_named_and_counted() -> None:
    with pytest.raises(LogitsError, match=r"4 of 5 utterances \(v1, v2, v3 and 1 more\)"):
        make().select(("u1", "v1", "v2", "v3", "v4"))


def test_an_outside_csv_needs_no_sidecar_and_may_use_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("Neutral,utterance_id,Anger,Sadness\n0.5,u1,0.25,0.25\n0.1,u2,0.8,0.1\n")
    theirs = read_logits(path)
    assert (theirs.name, theirs.kind) == ("theirs", "probabilities")
    assert theirs.labels == ("neutral", "angry", "sad")
    assert not theirs.in_sample_known
    assert theirs.reorder(LABELS).values[1].tolist() == [0.8, 0.1, 0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,angry,sad\nu1,1,2\n", "expected utterance_id"),
        ("utterance_id,angry,sad\nu1,1,nan\n", "'nan' of 'u1' in column 'sad' is not a finite"),
        ("utterance_id,angry,sad\nu1,1,inf\n", "not a finite"),
        ("utterance_id,angry,sad\nu1,1,x\n", "'x' of 'u1' in column 'sad' is not a finite"),
        ("utterance_id,angry,sad\nu1,1\n", "rows do not have 3 fields: line 2"),
        ("utterance_id,angry,sad\nu1,1,2\nu1,1,2\n", r"1 utterances twice \(u1\)"),
        ("utterance_id,angry,anger\nu1,1,2\n", "fewer than two labels"),
        ("utterance_id,angry,sad\nu1,1,2\n", "may hold logits or probabilities.*sum to 3 to 3"),
        ("utterance_id,angry,sad,kind\nu1,1,2,odds\n", "'kind' holds 'odds'; expected one of"),
        ("utterance_id,angry,sad,kind\nu1,-1,2,percent\n", "a value below zero or a row of zeros"),
        ("FileName,EmoClass\nu1.wav,\n", "line 2 has no label"),
        ("utterance_id,angry,anger,sad\nu1,1,2,3\n", "a label given twice"),
        ("utterance_id,angry,sad\n", "holds no rows"),
        ("", "is empty"),
    ],
)
def test_a_malformed_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(LogitsError, match=message):
        read_logits(path)


def test_a_sidecar_that_does_not_fit_its_csv_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "dev.csv"
    write_logits(path, make())
    first = path.with_suffix(".json").read_text()
    write_logits(path, make(values=np.eye(3)))
    path.with_suffix(".json").write_text(first)  # a writer killed between the two
    with pytest.raises(LogitsError, match=r"differs from the file that 'dev.json' describes"):
        read_logits(path)
    stated = '{"kind": "logits", "labels": ["sad", "angry", "neutral"]}'
    path.with_suffix(".json").write_text(stated)
    with pytest.raises(LogitsError, match="its sidecar has the labels sad, angry, neutral"):
        read_logits(path)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(LogitsError, match="serctl export-logits"):
        read_logits(tmp_path / "dev.csv")

"""What a prediction becomes: JSON, a line for people, a row of a table."""

import json
import math
import sys

import pytest

from serctl import Prediction, predictions_to_frame
from serctl.errors import ConfigError

SURE = Prediction(
    "a.wav", 0.0, 1.25, "happy", {"happy": 0.7, "sad": 0.3}, {"net": {"happy": 0.6, "sad": 0.4}}
)
BAD = Prediction("b.wav", 0.0, math.nan, None, {}, error="Audio 'b.wav' is digitally silent.")


def test_a_dictionary_is_plain_json_with_the_confidence() -> None:
    document = json.loads(json.dumps(SURE.to_dict()))
    assert (document["emotion"], document["confidence"]) == ("happy", 0.7)
    assert document["per_model"] == {"net": {"happy": 0.6, "sad": 0.4}}
    assert "error" not in document
    assert "per_model" not in SURE.to_dict(per_model=False)
    assert math.isnan(BAD.confidence)
    failed = json.loads(json.dumps(BAD.to_dict(), allow_nan=False))
    assert (failed["end"], failed["confidence"], failed["error"]) == (None, None, BAD.error)


def test_a_repr_says_whose_when_and_what() -> None:
    assert repr(SURE) == "<Prediction a.wav 0.00-1.25 s: happy (happy 0.70, sad 0.30)>"
    assert repr(BAD) == "<Prediction b.wav 0.00-? s: Audio 'b.wav' is digitally silent.>"


def test_a_table_has_a_row_for_each_and_a_column_for_each_emotion() -> None:
    pytest.importorskip("pandas")
    table = predictions_to_frame([SURE, BAD])
    assert list(table.columns)[:7] == [
        "audio", "start", "end", "emotion", "confidence", "happy", "sad",
    ]  # fmt: skip
    assert list(table["error"]) == ["", BAD.error]
    assert table.loc[0, "sad"] == 0.3
    assert table.loc[1, ["end", "emotion", "confidence", "happy", "sad"]].isna().all()
    assert list(predictions_to_frame([BAD, SURE]).columns) == list(table.columns)


def test_a_table_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        predictions_to_frame([SURE])

"""Saved stackers: equal after loading, and nothing untrusted gets in."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import skops.io
from pickle_trap import PickleTrap

from serctl.documents.stacker import FittedOn
from serctl.ensemble.logits import JoinedLogits, Logits, join_logits
from serctl.ensemble.stacker_folder import TrainedStacker, load_stacker, save_stacker
from serctl.ensemble.stackers import STACKERS, make_stacker
from serctl.errors import CheckpointError, LogitsError

LABELS, MODELS = ("angry", "sad", "neutral"), ("first", "second")


def joined(size: int = 60, names=MODELS, labels=LABELS) -> JoinedLogits:
    rng = np.random.default_rng(size)
    ids = tuple(f"u{i}" for i in range(size))
    values = rng.normal(size=(size, len(names), len(labels)))
    return JoinedLogits(ids, values, labels, names, np.zeros(size, dtype=bool))


def trained(kind: str = "linear", **options) -> TrainedStacker:
    stacker = make_stacker(kind, LABELS, **options)
    stacker.fit(joined().values, np.arange(60) % 3)
    return TrainedStacker(stacker, LABELS, MODELS, FittedOn(stack_on="oof"))


@pytest.mark.parametrize("kind", [kind for kind in STACKERS if kind != "random-forest"])
def test_a_loaded_stacker_gives_exactly_the_same_probabilities(tmp_path: Path, kind: str) -> None:
    before = trained(kind)
    save_stacker(tmp_path, before)
    after = load_stacker(tmp_path)
    assert np.array_equal(after.predict(joined(25)), before.predict(joined(25)))
    assert after.fitted_on == FittedOn(stack_on="oof")
    assert (after.labels, after.models, after.stacker.kind) == (LABELS, MODELS, kind)


@pytest.mark.usefixtures("few_trees")
def test_a_loaded_forest_is_equal_and_a_fold_alone_stays_alone(tmp_path: Path) -> None:
    before = trained("random-forest", fold=4)
    save_stacker(tmp_path, before)
    assert len(list(tmp_path.glob("*.skops"))) == 5
    assert np.array_equal(load_stacker(tmp_path).predict(joined()), before.predict(joined()))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            joined(names=("second", "first")),
            "base models are second, first, expected first, second",
        ),
        (joined(names=("first",)), "base models are first, expected"),
        (
            joined(labels=("sad", "angry", "neutral")),
            "labels are sad, angry, neutral, expected angry, sad, neutral",
        ),
    ],
)
def test_other_models_labels_or_orders_are_refused(other, message) -> None:
    with pytest.raises(LogitsError, match=message):
        trained().predict(other)


def test_parts_are_put_in_order_by_name_and_a_missing_one_is_named() -> None:
    whole = joined(10)
    parts = [
        Logits(whole.ids, whole.values[:, i], LABELS, whole.in_sample, name)
        for i, name in enumerate(MODELS)
    ]
    stacker = trained()
    turned = [parts[1], parts[0].reorder(("neutral", "sad", "angry"))]
    assert np.array_equal(
        stacker.predict_parts(turned), stacker.predict(join_logits(parts, whole.ids))
    )
    with pytest.raises(LogitsError, match="missing: second"):
        stacker.predict_parts(parts[:1])


def plant(folder: Path, name: str, content: bytes) -> None:
    """Put a file in the place of an estimator, with the right hash, as an attacker would."""
    (folder / name).write_bytes(content)
    document = json.loads((folder / "stacker.json").read_text())
    del document["document_hash"]
    document["files"] = {name: hashlib.blake2b(content, digest_size=16).hexdigest()}
    (folder / "stacker.json").write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["estimator-0.skops", "estimator-0.ubj", "estimator-0.pkl"])
def test_a_planted_pickle_is_refused_and_never_runs(tmp_path: Path, name: str) -> None:
    save_stacker(tmp_path, trained())
    plant(tmp_path, name, pickle.dumps(PickleTrap(tmp_path / "mark")))
    with pytest.raises(CheckpointError, match=r"Pickles are never loaded"):
        load_stacker(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_a_planted_type_is_refused(tmp_path: Path) -> None:
    save_stacker(tmp_path, trained())
    plant(tmp_path, "estimator-0.skops", skops.io.dumps([os.system]))
    with pytest.raises(CheckpointError, match=r"refused: Untrusted types.*system"):
        load_stacker(tmp_path)


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_damaged_file_is_found(tmp_path: Path, harm: str) -> None:
    save_stacker(tmp_path, trained())
    path = tmp_path / "estimator-0.skops"
    path.write_bytes(path.read_bytes()[:-1]) if harm == "change" else path.unlink()
    with pytest.raises(CheckpointError, match=r"missing or was changed.*serctl stack"):
        load_stacker(tmp_path)


def test_a_folder_without_a_stacker_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="serctl stack"):
        load_stacker(tmp_path)
    (tmp_path / "stacker.json").write_text('{"serctl_stacker": 99}')
    with pytest.raises(CheckpointError, match="has stacker format 99, but this serctl reads 1"):
        load_stacker(tmp_path)

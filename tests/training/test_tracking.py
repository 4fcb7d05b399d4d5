"""TensorBoard reads what a training wrote for it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from trained_project import TRAIN

from serctl.config import open_workspace
from serctl.errors import ConfigError
from serctl.stages.train import train
from serctl.training import tracking
from serctl.training.tracking import FOLDER, name_scalar


def test_its_scalars_are_those_of_metrics_jsonl(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    workspace = open_workspace(shutil.copytree(trained, tmp_path / "project"))
    options = replace(TRAIN, name="tracked", epochs=3, folds=0, log="tensorboard")
    folder = train(workspace, options).runs[0].folder
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = EventAccumulator(str(folder / FOLDER))
    found.Reload()
    for name in ("loss", "dev_macro_f1", "learning_rate"):
        scalars = found.Scalars(name_scalar(name))
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        expected = [record[name] for record in records]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected)
    again = train(workspace, replace(options, log=""))
    assert again.runs[0].present  # where it is tracked changes no number


def test_without_the_package_nothing_begins(trained: Path, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'serctl\[tensorboard\]'"):
        train(open_workspace(trained), replace(TRAIN, name="never", log="tensorboard"))

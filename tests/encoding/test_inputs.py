"""Sizes of utterances, from the headers of their files."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from serctl.cache.sources import SourceHasher
from serctl.data.manifest import Utterance
from serctl.encoding import inputs
from serctl.errors import SerctlError


def write(path: Path, samples: int, *, age: float = 60) -> None:
    soundfile.write(path, np.zeros(samples), 16_000)
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers are read."""
    opened: list[Path] = []

    def measure(path: Path, *stretch: Any) -> int:
        opened.append(path)
        return measure_samples(path, *stretch)

    measure_samples = inputs.measure_samples
    monkeypatch.setattr(inputs, "measure_samples", measure)
    return opened


def measure(*rows: Utterance) -> list[Any]:
    return inputs.AudioInputs(SourceHasher(rows[0].path.parent)).sizes(rows, None)  # type: ignore[arg-type]


def test_a_header_is_read_again_only_if_its_file_has_changed(
    tmp_path: Path, opened: list[Path]
) -> None:
    a, b = tmp_path / "a.wav", tmp_path / "b.wav"
    write(a, 800)
    write(b, 900)
    rows = [
        Utterance("a", a, "train"),
        Utterance("half", a, "train", end=0.025),
        Utterance("b", b, "train"),
    ]
    assert [measure(*rows) for _ in range(2)] == [[800, 400, 900]] * 2
    assert sorted(opened) == [a, a, b]
    write(b, 700)
    assert measure(*rows) == [800, 400, 700]
    assert opened[3:] == [b]


def test_a_header_of_a_very_new_file_is_read_again(tmp_path: Path, opened: list[Path]) -> None:
    write(tmp_path / "a.wav", 800, age=0)
    row = Utterance("a", tmp_path / "a.wav", "train")
    assert measure(row) + measure(row) == [800, 800]
    assert len(opened) == 2


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    row = Utterance("a", tmp_path / "a.wav", "train")
    assert isinstance(measure(row)[0], SerctlError)
    write(row.path, 800)
    assert measure(row) == [800]
    row.path.unlink()
    assert isinstance(measure(row)[0], SerctlError)

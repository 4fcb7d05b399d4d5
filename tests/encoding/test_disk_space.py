"""What frames take on disk: one estimate for plan, doctor and extraction."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serctl.cache.key import FeatureKey
from serctl.data.manifest import Utterance
from serctl.encoders.base import EncoderSpec
from serctl.encoding.disk_space import (
    check_disk,
    estimate_bytes,
    estimate_seconds,
    measure_free_space,
)
from serctl.errors import CacheError


def make_spec(**fields: object) -> EncoderSpec:
    return EncoderSpec(**{"name": "x", "modality": "speech", "family": "", "weights": "", **fields})


@pytest.mark.parametrize(
    ("fields", "storage", "expected"),
    [
        ({"dim": 768, "frame_rate": 50.0}, "float16", 60 * 50 * 768 * 2),
        ({"dim": 768, "frame_rate": 50.0}, "float32", 60 * 50 * 768 * 4),
        ({"dim": 25, "frame_rate": 100.0}, "float16-stride2", 60 * 100 * 25),
        ({"dim": 1024, "modality": "text"}, "float16", 60 * 4 * 1024 * 2),
        ({"modality": None}, "float16", 60 * 50 * 1024 * 2),
    ],
    ids=["float16", "float32", "every second frame", "text", "unknown checkpoint"],
)
def test_a_minute_of_speech(fields: dict, storage: str, expected: int) -> None:
    assert estimate_bytes(make_spec(**fields), 60.0, storage) == expected


def test_the_length_of_a_corpus_is_that_of_its_readable_files(tmp_path: Path) -> None:
    rows = [Utterance(f"u{i}", tmp_path / f"{i % 4}.wav", "train") for i in range(1000)]
    for i in range(3):  # the fourth does not exist
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(8_000 * (i + 1)), 8_000)
    assert estimate_seconds(rows[:4]) == pytest.approx(4 * 2.0)
    assert 1000 <= estimate_seconds(rows) <= 3000
    assert estimate_seconds([]) == 0.0


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    folder, free = measure_free_space(tmp_path / "not" / "yet")
    assert folder == tmp_path
    assert free > 0


def test_an_extraction_that_does_not_fit_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 4_000_000))
    key = FeatureKey("x", "speech", "", "", -1, "float32", "whole", "audio-16k-mono")
    encoder = make_spec(dim=1000, frame_rate=50.0)
    seconds = [16_000] * 39  # 51 frames each, the last one of them to be safe
    check_disk(tmp_path, [key], encoder, seconds)  # type: ignore[arg-type]
    with pytest.raises(CacheError, match=r"2,040 frames of x need 4\.1 MB.*4\.0 MB free"):
        check_disk(tmp_path, [key], encoder, [*seconds, 16_000])  # type: ignore[arg-type]
    with pytest.raises(CacheError, match="3,978 frames"):
        check_disk(tmp_path, [key, key], encoder, seconds)  # type: ignore[arg-type]

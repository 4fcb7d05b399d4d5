"""The walks on docs/architecture.md name every module that the data crosses, and no other."""

import re
import runpy
from pathlib import Path

import pytest

from serctl.config import open_workspace

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hops() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "_site" / "hops.py"))


def read_walk(heading: str) -> set[str]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return {f"serctl.{a}.{b}" for row in rows for a, b in re.findall(r"`(\w+)/(\w+)\.py`", row)}


def test_the_walk_of_an_utterance_is_the_traced_one(
    hops: dict, trained: Path, tmp_path: Path
) -> None:
    crossed = hops["trace_extraction"](open_workspace(trained), tmp_path)
    assert read_walk("An utterance") == set(crossed)


def test_the_walk_of_a_recording_is_the_traced_one(hops: dict, trained: Path) -> None:
    crossed = hops["trace_prediction"](open_workspace(trained))
    assert read_walk("A recording") == set(crossed)

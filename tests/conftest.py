"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Set before any test imports transformers: a test never asks a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("serctl", deadline=None, max_examples=30)
settings.load_profile("serctl")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real corpora (SERCTL_TEST_DATA); tests that need it skip without it."""
    folder = Path(os.environ.get("SERCTL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real corpora at '{folder}' (set SERCTL_TEST_DATA)")
    return folder

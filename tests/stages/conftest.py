"""A project that several files of tests read and none changes."""

from pathlib import Path

import pytest
from trained_project import make_trained_project


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks and two stackers; whoever changes it takes a copy."""
    return make_trained_project(tmp_path_factory.mktemp("trained") / "project").root

"""Fixtures that every folder of tests may use."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_fixtures import driver, open_page
from hypothesis import settings

__all__ = ["driver", "open_page"]  # one browser for the pages and the server

ROOT = Path(__file__).resolve().parents[1]

# Set before any test imports transformers: a test never asks a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# CI tries the same examples every time; developers try new ones.
derandomize = "CI" in os.environ
settings.register_profile("serctl", deadline=None, max_examples=30, derandomize=derandomize)
settings.load_profile("serctl")


TOGETHER = {
    "the fork server": (
        "test_faults.py",
        "pipeline/test_shards.py",
        "pipeline/test_run.py",
        "training/test_ranks.py",
        "cache/test_faults.py",
    ),
    "the browser and the server": (
        "page/test_browser.py",
        "page/test_timeline_page.py",
        "page/test_layers_on_page.py",
        "web/test_page.py",
        "web/test_api.py",
        "web/test_space.py",
    ),
}
"""Files that one process of xdist runs, because all need the same thing that starts slowly."""
LONG = (
    *TOGETHER["the browser and the server"],
    *TOGETHER["the fork server"],
    "test_docs.py",
    "stages/test_predict_real.py",
    "training/test_loop.py",
    "stages/test_transcribe.py",
    "stages/test_stack.py",
    "stages/test_train.py",
    "stages/test_predict.py",
    "encoders/test_recognisers.py",
    "stages/test_evaluate.py",
    "test_notebook.py",
    "test_portable.py",
    "test_literal_commands.py",
)
"""The longest files. They run first, so that at the end no process waits for another's."""


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, let one process run all files of `TOGETHER`."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    reason_of = {f"tests/{name}": why for why, names in TOGETHER.items() for name in names}

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return reason_of.get(file, file)

    return Scheduling(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the one fork server import what the chosen modules name in PRELOAD, then fork."""
    modules = {
        module: None for item in session.items for module in getattr(item.module, "PRELOAD", ())
    }
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first (xdist itself would put files of many tests first).

    Skip tests marked ``posix`` on Windows, and where `tests/without_posix` pretends it.
    """
    from serctl.files import WINDOWS

    place = {ROOT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))
    for item in items:
        if WINDOWS and (mark := item.get_closest_marker("posix")):
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Only a power cut shows the difference. Killed writers are other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests of 5 x 5 trees for what does not depend on their number (the paper's: 5 x 200)."""
    from serctl.ensemble import stackers

    make, folded = stackers._ESTIMATORS["random-forest"]
    small = (lambda seed: make(seed).set_params(n_estimators=5), folded)
    monkeypatch.setitem(stackers._ESTIMATORS, "random-forest", small)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real corpora (SERCTL_TEST_DATA); tests that need it skip without it."""
    folder = Path(os.environ.get("SERCTL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real corpora at '{folder}' (set SERCTL_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two networks and two stackers; whoever changes it takes a copy."""
    from trained_project import make_trained_project

    return make_trained_project(tmp_path_factory.mktemp("trained") / "project").root

"""Every command, stopped at any instant: nothing committed is lost, and the same command ends as
an undisturbed one does.

The default suite runs a sample of the faults; `make test-slow` runs hundreds.
"""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from command_faults import FAULTS, Ended, run_command, start_command
from trained_project import write_project

from serctl.cache.locate import list_stores
from serctl.cache.store import FeatureStore
from serctl.config import open_workspace
from serctl.data.manifest_file import read_manifest, write_manifest
from serctl.document import HASH_FIELD
from serctl.files import WINDOWS

PRELOAD = (
    "serctl.cli", "serctl.stages.train", "serctl.stages.extract", "serctl.stages.evaluate",
    "serctl.stages.export_logits", "serctl.stages.stack", "serctl.stages.bundle",
    "serctl.stages.predict", "serctl.stages.transcribe", "serctl.stages.report",
    "transformers.models.wavlm", "sklearn.linear_model", "skops.io",
)  # fmt: skip
TRAIN = (
    *("train", "--speech", "wavlm-large", "--epochs", "2", "--device", "cpu"),
    *("--learning-rate", "0.01", "--folds", "2"),
)
TIMES = {"second", "created", "written", "made", "date", "time", "profile", "overwrite"}
"""Keys whose values differ between two undisturbed runs."""


def cut_manifest(root: Path) -> None:
    rows = list(read_manifest(root / "manifest.csv"))
    write_manifest(root / "manifest.csv", rows[:-4])


def damage_index(root: Path) -> None:
    """Flip a bit in one of the two indices of each store's first segment."""
    for path in root.glob("cache/*.zarr/000000/index.json"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def remove(*names: str) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        for path in [path for name in names for path in root.glob(name)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return prepare


def keep(root: Path) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A command, and what is done to a finished project before it runs."""

    arguments: tuple[str, ...]
    prepare: Callable[[Path], None] = keep
    destroys: bool = False
    """Repeated after its end, the command is refused: there is nothing left to do."""


CASES = {
    "transcribe": Case(("transcribe", "--from-manifest"), remove("transcripts.*")),
    "extract": Case(
        ("extract", "--encoder", "wavlm-large", "--device", "cpu"), remove("cache/*")
    ),
    "train": Case((*TRAIN, "--hidden", "8", "--name", "new")),
    "train --overwrite": Case((*TRAIN, "--hidden", "6", "--name", "speech", "--overwrite")),
    "export-logits": Case(
        ("export-logits", "speech", "--device", "cpu"), remove("runs/speech/logits")
    ),
    "stack": Case(("stack", "--stacker", "linear")),
    "evaluate": Case(("evaluate", "linear", "--split", "test", "--name", "two")),
    "report": Case(("report", "--output", "report.html")),
    "bundle make": Case(("bundle", "make", "speech", "-o", "bundle", "--overwrite")),
    "predict -o": Case(
        ("predict", "u00.wav", "u01.wav", "--model", "speech", "--device", "cpu",
         "-o", "predictions.csv")
    ),
    "cache prune": Case(("cache", "prune", "--unlisted", "--yes"), cut_manifest),
    "cache verify --repair": Case(("cache", "verify", "--repair"), damage_index),
    "cache pack": Case(("cache", "pack", "wavlm-large", "-o", "frames.tar")),
    "cache rm": Case(("cache", "rm", "wavlm-large", "--yes"), destroys=True),
    "manifest split --overwrite": Case(
        ("manifest", "split", "-o", "split.csv", "--seed", "3", "--overwrite")
    ),
}  # fmt: skip


def run_whole(root: Path, *arguments: str) -> Ended:
    ended = run_command(root, arguments)
    assert ended.code == 0, f"{arguments}: {ended.output}"
    return ended


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project from audio to a report, its store in two segments, small outputs of all kinds."""
    root = tmp_path_factory.mktemp("finished") / "project"
    rows = list(read_manifest(write_project(root).manifest))
    words = [replace(r, transcript=tiny.SENTENCES[i % 6]) for i, r in enumerate(rows)]
    write_manifest(root / "manifest.csv", words)
    extract = CASES["extract"].arguments
    for arguments in (
        CASES["transcribe"].arguments,
        (*extract, "--limit", "12"),
        extract,
        (*TRAIN, "--hidden", "8", "--name", "speech"),
        CASES["export-logits"].arguments,
        CASES["stack"].arguments,
        CASES["evaluate"].arguments,
        ("manifest", "split", "-o", "split.csv"),
    ):
        run_whole(root, *arguments)
    return root


def copy_project(finished: Path, root: Path, case: Case) -> Path:
    shutil.copytree(finished, root)
    case.prepare(root)
    return root


def read_state(root: Path) -> dict[str, Any]:
    """Return all files of a project by name, frames by utterance; times are left out."""
    state: dict[str, Any] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if name.startswith("cache/") or path.suffix == ".wav" or is_left_on_windows(path):
            continue
        state[name] = _read(path, str(root))
    for info in list_stores(open_workspace(root).cache):
        store = FeatureStore.open(info.path, verify="always")
        state |= {f"{info.path.name} {id_}": store.read(id_).tobytes() for id_ in store.ids}
    return state


def _read(path: Path, root: str) -> Any:
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text().replace(root, "ROOT")
        documents = [text] if path.suffix == ".json" else text.splitlines()
        return [_drop_times(json.loads(document)) for document in documents]
    if path.suffix in (".html", ".md", ".skops", ".tar"):  # with dates, versions, zip times
        return bool(path.stat().st_size)
    return path.read_bytes()


def _drop_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(t in k for t in TIMES)}
        hashes = ("files", "sha256", HASH_FIELD)  # of files and values with times
        return {k: _drop_times(v) for k, v in kept.items() if k not in hashes}
    return [_drop_times(one) for one in value] if isinstance(value, list) else value


def find_difference(found: Any, wanted: Any) -> Any:
    """Return the first place where two documents differ, for a message that can be read."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in found.keys() | wanted.keys():
            if found.get(key) != wanted.get(key):
                return key, find_difference(found.get(key), wanted.get(key))
    return str(found)[:300], str(wanted)[:300]


def list_leftovers(root: Path) -> list[str]:
    """Return hidden files that an undisturbed run does not leave."""
    usual = (".sources.json",)
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob(".*")
        if path.name not in usual
        and not path.name.endswith(".zarr.lock")
        and not is_left_on_windows(path)
    )


def is_left_on_windows(path: Path) -> bool:
    """Whether it is the temporary of a killed process, which no other process has on Windows."""
    return WINDOWS and bool(re.fullmatch(r"\..*\.\d+-\d+\.(tmp|new)", path.name))


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves when nothing happens, and in how many changes of the disk."""

    state: dict[str, Any]
    changes: int


@pytest.fixture(scope="session")
def undisturbed(
    finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Undisturbed]:
    known: dict[str, Undisturbed] = {}

    def find(name: str) -> Undisturbed:
        if name not in known:
            case = CASES[name]
            root = copy_project(finished, tmp_path_factory.mktemp("whole") / "project", case)
            changes = run_whole(root, *case.arguments).changes
            assert not list_leftovers(root)
            known[name] = Undisturbed(read_state(root), changes)
        return known[name]

    return find


def check_refusal(ended: Ended, fault: str) -> None:
    """Check that a command that could not go on said so as it should."""
    assert "Traceback" not in ended.output, ended.output
    if fault == "SIGKILL":
        assert ended.code in (-9, 0)
    elif fault in ("SIGINT", "SIGTERM"):
        assert ended.code in (130, 0), ended.output
    else:
        assert ended.code in (0, 1, 3), ended.output


def check_recovery(root: Path, case: Case, expected: Undisturbed) -> None:
    """Run a command again and compare its end with that of an undisturbed run."""
    ended = run_command(root, case.arguments)
    assert (
        ended.code == 0
        or (case.destroys and "no store" in ended.output.lower())
        or (case.destroys and ended.code == 2)
    ), ended.output
    state = read_state(root)
    differing = {k for k in state.keys() | expected.state.keys()
                 if state.get(k) != expected.state.get(k)}  # fmt: skip
    assert not {k: find_difference(state.get(k), expected.state.get(k)) for k in differing}
    assert not list_leftovers(root)


def try_fault(
    finished: Path, root: Path, name: str, fault: str, share: float, expected: Undisturbed
) -> None:
    case = CASES[name]
    copy_project(finished, root, case)
    at = 1 + int(share * expected.changes)
    ended = run_command(root, case.arguments, fault, at)
    check_refusal(ended, fault)
    check_recovery(root, case, expected)
    shutil.rmtree(root)


def make_trials(count: int) -> list[tuple[str, str, float]]:
    """Return command, fault and moment of some trials: every command and fault comes in turn."""
    rng, names = random.Random(0), list(CASES)
    return [
        (names[i % len(names)], FAULTS[(i + i // len(names)) % len(FAULTS)], rng.random())
        for i in range(count)
    ]


def name_trial(trial: tuple[str, str, float]) -> str:
    return f"{trial[0]}-{trial[1]}-{trial[2]:.2f}"


@pytest.mark.parametrize("trial", make_trials(20), ids=name_trial)
def test_a_fault_loses_nothing_and_the_same_command_ends_well(
    finished: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path: Path,
    trial: tuple[str, str, float],
) -> None:
    name, fault, share = trial
    try_fault(finished, tmp_path / "project", name, fault, share, undisturbed(name))


@pytest.mark.slow
@pytest.mark.parametrize("trial", make_trials(320)[20:], ids=name_trial)
def test_three_hundred_faults_lose_nothing(
    finished: Path,
    undisturbed: Callable[[str], Undisturbed],
    tmp_path: Path,
    trial: tuple[str, str, float],
) -> None:
    name, fault, share = trial
    try_fault(finished, tmp_path / "project", name, fault, share, undisturbed(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_at_once_end_as_one(
    finished: Path, undisturbed: Callable[[str], Undisturbed], tmp_path: Path, name: str
) -> None:
    case, expected = CASES[name], undisturbed(name)
    root = copy_project(finished, tmp_path / "project", case)
    both = [start_command(root, case.arguments) for _ in range(2)]
    for ended in [wait() for wait in both]:
        assert "Traceback" not in ended.output, ended.output
        assert ended.code in (0, 1) or case.destroys, ended.output
    check_recovery(root, case, expected)

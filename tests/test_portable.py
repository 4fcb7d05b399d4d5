"""What serctl needs of a system: nothing that Windows lacks.

The first test runs on Linux, in a process where `tests/without_posix` hides POSIX modules and
calls from serctl and the branches for Windows are taken. It does not replace a run on Windows.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serctl.cache.key import FeatureKey
from serctl.errors import UsageError
from serctl.names import is_portable_name
from serctl.options import TrainOptions
from serctl.training.run_folder import run_name

IMPORT = """
import importlib, pkgutil, sys
from pathlib import Path
import serctl
for module in pkgutil.walk_packages(serctl.__path__, "serctl."):
    if module.name != "serctl.__main__":
        importlib.import_module(module.name)
import serctl.files
assert serctl.files.WINDOWS
"""

RUN = """
from synthetic_frames import TINY, make_project
from serctl.cache.archive import pack_store, unpack_store
from serctl.cache.check import check_store
from serctl.cache.compact import prune_store
from serctl.cache.describe import remove_store
from serctl.cache.store import FeatureStore
from serctl.encoding.failures import list_failures
from serctl.errors import AudioError
from serctl.data.manifest_file import read_manifest
from serctl.options import ExportLogitsOptions, StackOptions, TrainOptions
from serctl.stages.export_logits import export_logits
from serctl.stages.stack import stack
from serctl.stages.train import train

project = make_project(Path("project"))
stores = sorted(project.cache.glob("*.zarr"))
whole = len(FeatureStore.open(stores[0]))
prune_store(stores[0], drop=["u0000"])
assert len(FeatureStore.open(stores[0])) == whole - 1
archive = Path("store.tar")
pack_store(stores[0], archive)
remove_store(stores[0])
assert not stores[0].exists()
unpack_store(archive, project.cache)
assert not check_store(stores[0]).damages
row = read_manifest(project.manifest).utterances[0]
list_failures(Path("failures.csv"), "e", "k", [row], {row.utterance_id: AudioError("x")},
              lambda row: "", [])
project = make_project(Path("other"))
run = train(project, TINY).runs[0]
train(project, TINY)
export_logits(project, ExportLogitsOptions(run=run.name, device="cpu"))
for _ in range(2):
    stack(project, StackOptions(stacker="mean-probabilities", name="mean", stack_on="dev"))
print("ran", run.name)
"""


def test_every_module_imports_and_a_pipeline_runs_without_posix(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", IMPORT + RUN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (tests / "without_posix", tests.parent, tests))),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["ran", "whisper-tiny+minilm"]


@pytest.mark.parametrize(
    "encoder", ["C:\\models\\wavlm", "con.large", "AUX", "a/b:c", "..", "x" * 99]
)
def test_the_folder_of_a_store_has_a_name_that_every_system_takes(encoder: str) -> None:
    key = FeatureKey(encoder, "speech", "", "", -1, "float32", "whole", "audio-16k-mono")
    assert is_portable_name(key.store_name)
    assert len(key.store_name) < 100


@pytest.mark.parametrize("name", ["CON", "lpt1.txt", "a:b", "a/b", "a\\b", "x.", "x ", "a?", ""])
def test_names_that_some_system_refuses(name: str) -> None:
    assert not is_portable_name(name)


@pytest.mark.parametrize("name", ["my run", "a&b", "$HOME", "(1)", "-x", "a'b"])
def test_a_name_that_a_shell_reads_in_another_way_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="which a shell reads in another way"):
        run_name(TrainOptions(speech=("wavlm-large",), name=name))


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "C:", "nul"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="is not a valid file name"):
        run_name(TrainOptions(speech=("wavlm-large",), name=name, overwrite=True))

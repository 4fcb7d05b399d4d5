"""Two processes train the network that one trains, each on its own device, and end together."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import CONTEXT, Done, fork_ranks, read_losses, run_ranks
from synthetic_frames import TINY, make_project

from serctl.config import Workspace
from serctl.errors import ConfigError, SerctlError
from serctl.interrupt import sigterm_as_interrupt
from serctl.options import TrainOptions
from serctl.stages.train import train
from serctl.training import ranks as module
from serctl.training.ranks import Ranks, bind_device, read_place

PRELOAD = ("serctl.cli", "serctl.stages.train")
ONE_GPU, OTHERS = "--device cuda:0 is one GPU", "4 processes on a machine with 2 GPUs"


def train_in_shares(monkeypatch: pytest.MonkeyPatch, shares: int) -> None:
    """Let this process train what so many would."""
    alone = Ranks(shares=shares)
    monkeypatch.setattr(Ranks, "join", lambda *_: nullcontext(alone))


def stop_after_an_epoch(project: Workspace, options: TrainOptions, model: str = "") -> None:
    def stop(line: str) -> None:
        if model in line:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(project, options, log_epoch=stop)


@pytest.mark.parametrize(
    "run", [fork_ranks, pytest.param(run_ranks, marks=pytest.mark.slow)], ids=["forks", "torchrun"]
)
def test_processes_train_the_same_however_many_continue_and_rank_0_alone_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    (tmp_path / "serctl.toml").write_text(
        "[train]\nspeech = ['whisper-tiny']\ntext = ['minilm']\nhidden = 8\nepochs = 3\n"
        "learning_rate = 2e-2\nbatch_size = 16\ndevice = 'cpu'\ndropout = 0.3\nname = 'two'\n"
        "mixup = 0.5\n"
    )
    options = replace(TINY, dropout=0.3, loss="wce+sml", mixup=0.5)
    stop_after_an_epoch(project, replace(options, seed=1, name="two-s1"))
    done = run(project, "--loss", "wce+sml", "--seeds", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 when this training began, 2 now. Its batches stay divided") == 1
    (document,) = done.stdout.splitlines()
    assert [run["name"] for run in json.loads(document)["runs"]] == ["two-s0", "two-s1"]
    one = train(project, replace(options, seed=1, name="one")).runs[0]
    assert read_losses(tmp_path / "runs/two-s1") == pytest.approx(read_losses(one.folder), rel=1e-4)

    notes: list[str] = []
    with monkeypatch.context() as begun:
        train_in_shares(begun, 2)
        stop_after_an_epoch(project, replace(options, name="began"))
    began = train(project, replace(options, name="began"), log=notes.append).runs[0]
    assert [note for note in notes if "2 when this training began, 1 now" in note]
    losses = read_losses(began.folder)
    assert losses == pytest.approx(read_losses(tmp_path / "runs/two-s0"), rel=1e-4)
    assert len(losses) == TINY.epochs


def test_the_shares_of_a_batch_have_the_gradient_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    options = replace(TINY, dropout=0.0, loss="wce+sml")
    one = train(project, replace(options, name="one")).runs[0]
    train_in_shares(monkeypatch, 3)
    three = train(project, replace(options, name="three")).runs[0]
    assert read_losses(three.folder) == pytest.approx(read_losses(one.folder), rel=1e-4)


def test_fold_models_that_are_missing_are_trained_as_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    options = replace(TINY, dropout=0.3, folds=2, epochs=1)
    with monkeypatch.context() as begun:
        train_in_shares(begun, 2)
        whole = train(project, replace(options, name="whole")).folds
        stop_after_an_epoch(project, replace(options, name="part"), "fold 1/2")
    part = train(project, replace(options, name="part")).folds
    for one, other in zip(whole, part, strict=True):
        assert read_losses(one.folder) == read_losses(other.folder)


@pytest.mark.slow
def test_an_error_that_rank_0_alone_finds_stops_both(tmp_path: Path) -> None:
    project = make_project(tmp_path, encoders=["whisper-tiny"])
    (tmp_path / "serctl.toml").write_text("[train]\nspeech = ['whisper-tiny']\nname = 'one'\n")
    train(project, replace(TINY, text=(), name="one"))
    done = run_ranks(project, "--device", "cpu")
    assert done.returncode == 1
    assert "one' holds a run of other options" in done.stderr


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def start_as(monkeypatch: pytest.MonkeyPatch, local_rank: int, beside: int) -> None:
    """Set what torchrun sets on the second of two machines."""
    rank, size = beside + local_rank, 2 * beside
    places = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank}
    places |= {"MASTER_ADDR": "localhost", "MASTER_PORT": 1}
    for name, value in {**places, "LOCAL_WORLD_SIZE": beside}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("local_rank", [0, 1])
def test_each_rank_takes_the_gpu_of_its_place_on_its_machine(
    local_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, object]] = []

    def note(name: str) -> object:
        return lambda *it: calls.append((name, it[0] if it else None))

    start_as(monkeypatch, local_rank, beside=2)
    monkeypatch.setattr(torch.cuda, "set_device", note("device"))
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, note(name))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2 + local_rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    own = torch.device("cuda", local_rank)
    with Ranks.join(torch.device("cuda")) as ranks:
        assert ranks == Ranks(2 + local_rank, 4, own, shares=4)
    assert calls == [
        ("device", own), ("init_process_group", "nccl"), ("destroy_process_group", None),
    ]  # fmt: skip


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("device", "local_rank", "beside", "message"),
    [("cuda:0", 0, 2, ONE_GPU), ("cuda:0", 1, 2, ONE_GPU), ("cuda", 2, 4, OTHERS)],
)
def test_ranks_that_would_share_a_gpu_are_refused(
    device: str, local_rank: int, beside: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_as(monkeypatch, local_rank, beside)
    with pytest.raises(SerctlError, match=message):
        bind_device(torch.device(device))


def wait_alone(log: Path) -> None:
    os.environ |= {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    module.PATIENCE = 0.05
    with sigterm_as_interrupt(), Ranks.join(torch.device("cpu"), log.write_text):
        pass


def test_a_process_without_the_others_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = CONTEXT.Process(target=wait_alone, args=(log,))
    process.start()
    for _ in range(600):
        if log.is_file():
            break
        time.sleep(0.05)
    process.terminate()
    process.join(10)
    if ended := process.exitcode:
        assert log.read_text().startswith("Waiting for all 2 processes (WORLD_SIZE) at 127.0.0.1")
        assert ended == -signal.SIGTERM
        return
    process.kill()
    pytest.fail("SIGTERM did not end the process.")


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "4"},
        {"WORLD_SIZE": "x", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "x"},
    ],
)
def test_an_environment_that_is_not_of_torchrun_is_one_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="WORLD_SIZE"), Ranks.join(torch.device("cpu")):
        pass


def test_a_rank_without_others_is_the_first_and_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    for size in ("", "1"):
        monkeypatch.setenv("WORLD_SIZE", size)
        assert read_place() == (0, 1)


def test_a_process_alone_keeps_the_device_that_was_asked_for() -> None:
    with Ranks.join(torch.device("cuda:3")) as ranks:
        assert ranks == Ranks(0, 1, torch.device("cuda:3"))

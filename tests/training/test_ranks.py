"""Two processes train the network that one trains, each on its own device, and end together."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import read_losses, run_ranks
from synthetic_frames import TINY, make_project

from serctl.errors import SerctlError
from serctl.stages.train import train
from serctl.training.ranks import Ranks, bind_device

ONE_GPU, OTHERS = "--device cuda:0 is one GPU", "4 processes on a machine with 2 GPUs"


def test_two_ranks_train_what_one_process_trains_and_rank_0_alone_prints(tmp_path: Path) -> None:
    project = make_project(tmp_path, encoders=["whisper-tiny", "minilm"])
    (tmp_path / "serctl.toml").write_text(
        "[train]\nspeech = ['whisper-tiny']\ntext = ['minilm']\nhidden = 8\nepochs = 3\n"
        "learning_rate = 2e-2\nbatch_size = 16\ndevice = 'cpu'\ndropout = 0.0\nname = 'two'\n"
    )
    done = run_ranks(project, "--loss", "wce+sml", "--json")
    assert done.returncode == 0, done.stderr
    (document,) = done.stdout.splitlines()
    assert json.loads(document)["runs"][0]["name"] == "two"
    one = train(project, replace(TINY, name="one", dropout=0.0, loss="wce+sml")).runs[0]
    first, second = read_losses(one.folder), read_losses(tmp_path / "runs" / "two")
    assert first == pytest.approx(second, rel=1e-4)
    assert len(second) == TINY.epochs


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
        assert ranks == Ranks(2 + local_rank, 4, own)
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


def test_a_process_alone_keeps_the_device_that_was_asked_for() -> None:
    with Ranks.join(torch.device("cuda:3")) as ranks:
        assert ranks == Ranks(0, 1, torch.device("cuda:3"))

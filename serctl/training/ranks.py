"""Distributed training with ``torchrun``: each process computes a share of every batch.

``torchrun`` sets the environment of each process: RANK of WORLD_SIZE, and LOCAL_RANK of the
processes on its machine.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Timer
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch import nn

from serctl.errors import ConfigError, SerctlError, UsageError, count
from serctl.interrupt import ended_at_once
from serctl.progress import Log

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds without other processes after which a line says so."""


@dataclass(frozen=True)
class Ranks:
    """Rank of this process among ``size`` processes, and its device. Rank 0 writes the files.

    A batch is cut into ``shares``, each with its own random numbers: one for each process that
    began the training. A training that other processes continue keeps their number.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shares: int = 1

    @property
    def own(self) -> range:
        """The shares of this process."""
        return range(self.rank, self.shares, self.size)

    @classmethod
    @contextmanager
    def join(cls, device: torch.device, log: Log = lambda line: None) -> Iterator["Ranks"]:
        """Join the processes that ``torchrun`` started. Without it there is a single process.

        Args:
            device: Device type of all processes; see `bind_device`.
            log: Receives a line if other processes do not come.

        Raises:
            SerctlError: This machine has fewer devices than processes, or others do not come.
        """
        _, number = read_place()
        if number == 1:
            yield cls(device=device)
            return
        # The first optimiser imports this module. If a group exists by then, the module keeps it
        # for good, and the threads of the group abort the end of the interpreter (torch 2.13).
        import_module("torch._dynamo")
        own = bind_device(device)
        if own.type == "cuda":
            torch.cuda.set_device(own)  # NCCL uses the current device
        _meet("nccl" if own.type == "cuda" else "gloo", number, log)
        failed = True
        try:
            size = dist.get_world_size()
            yield cls(dist.get_rank(), size, own, size)
            failed = False
        finally:
            # NCCL would wait here for the other ranks, which do not arrive after an error.
            if own.type != "cuda" or not failed:
                dist.destroy_process_group()

    def sum_gradients(self, model: nn.Module, values: Sequence[float]) -> list[float]:
        """Sum the gradients of all processes, and return the sums of ``values``."""
        if self.size == 1:
            return list(values)
        parameters = [p for p in model.parameters() if p.requires_grad]
        grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
        numbers = torch.tensor(values, device=self.device, dtype=torch.float32)
        flat = torch.cat([numbers, *(grad.flatten() for grad in grads)])
        dist.all_reduce(flat)
        sizes = [len(values), *(grad.numel() for grad in grads)]
        first, *rest = flat.split(sizes)
        for parameter, grad in zip(parameters, rest, strict=True):
            parameter.grad = grad.view_as(parameter)
        return first.tolist()

    def sum_array(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of an array over all processes."""
        if self.size == 1:
            return values
        total = torch.from_numpy(values).to(self.device)
        dist.all_reduce(total)
        return total.cpu().numpy()

    def call_first(self, function: Callable[[], T]) -> T:
        """Call a function only in rank 0, and return its result in all processes.

        Raises:
            SerctlError: The function's error, in every process, so that no process waits.
        """
        if self.size == 1:
            return function()
        found: list[Any] = [None]
        if self.rank == 0:
            try:
                found = [function()]
            except SerctlError as error:
                found = [error]
        dist.broadcast_object_list(found, src=0, device=self.device)
        if isinstance(found[0], SerctlError):
            raise found[0]
        return cast(T, found[0])


def read_place() -> tuple[int, int]:
    """Return the rank of this process and the number of processes; 0 and 1 without ``torchrun``.

    Raises:
        ConfigError: The environment has a number of processes and lacks what else torchrun sets.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if size == "1":
        return 0, 1
    found = {name: os.environ.get(name, "") for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")}
    rank = found["RANK"]
    known = all(found.values()) and size.isdecimal() and rank.isdecimal()
    if not known or int(rank) >= int(size):
        shown = ", ".join(f"{name} is '{value}'" for name, value in found.items())
        raise ConfigError(
            f"WORLD_SIZE is '{size}', but {shown}, expected what torchrun sets. For one process: "
            f"unset WORLD_SIZE. For several: torchrun --nproc-per-node 2 -m serctl train"
        )
    return int(rank), int(size)


def _meet(backend: str, number: int, log: Log) -> None:
    """Wait for all processes; see `Ranks.join`."""
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    told = f"Waiting for all {number} processes (WORLD_SIZE) at {place}. Ctrl-C ends this one."
    timer = Timer(PATIENCE, log, [told])
    timer.daemon = True
    timer.start()
    try:
        with ended_at_once():  # there is no work to keep yet
            dist.init_process_group(backend)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"The {number} processes (WORLD_SIZE) do not meet at {place}: {reason}"
        ) from error
    finally:
        timer.cancel()


def bind_device(device: torch.device) -> torch.device:
    """Return the device of this process: of several GPUs the one with its LOCAL_RANK.

    Raises:
        UsageError: The device names one GPU, which the processes of a machine cannot share.
        ConfigError: This machine has fewer GPUs than processes.
    """
    if device.type != "cuda":
        return device
    names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
    place, processes = (int(os.environ.get(name, 0)) for name in names)
    if device.index is not None and processes > 1:
        raise UsageError(
            f"--device {device} is one GPU, but torchrun started {processes} processes here. "
            f"To use one GPU for each: --device cuda"
        )
    if place >= (found := torch.cuda.device_count()):
        raise ConfigError(
            f"torchrun started {max(processes, place + 1)} processes on a machine with "
            f"{count(found, 'GPU')}. Use: torchrun --nproc-per-node {found}"
        )
    return torch.device("cuda", place if device.index is None else device.index)

"""Several processes that train one network: each computes a share of every batch (``torchrun``)."""

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch import nn

from serctl.errors import SerctlError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among ``size``; rank 0 writes the files."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @classmethod
    def join(cls, device: torch.device) -> "Ranks":
        """Join the processes that ``torchrun`` started; alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def sum_gradients(self, model: nn.Module, beside: Sequence[float]) -> list[float]:
        """Add up the gradients of all processes, and a few numbers beside them."""
        if self.size == 1:
            return list(beside)
        parameters = [p for p in model.parameters() if p.requires_grad]
        grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
        numbers = torch.tensor(beside, device=self.device, dtype=torch.float32)
        flat = torch.cat([numbers, *(grad.flatten() for grad in grads)])
        dist.all_reduce(flat)
        sizes = [len(beside), *(grad.numel() for grad in grads)]
        first, *rest = flat.split(sizes)
        for parameter, grad in zip(parameters, rest, strict=True):
            parameter.grad = grad.view_as(parameter)
        return first.tolist()

    def sum_array(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up an array of all processes."""
        if self.size == 1:
            return values
        total = torch.from_numpy(values).to(self.device)
        dist.all_reduce(total)
        return total.cpu().numpy()

    def call_first(self, function: Callable[[], T]) -> T:
        """Call a function in the first process alone; return its result in all of them.

        Raises:
            SerctlError: The function's error, in every process, so that none waits for the first.
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

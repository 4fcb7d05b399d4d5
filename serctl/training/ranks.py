"""Several processes that train one network: each computes a share of every batch (``torchrun``)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process among ``size``; rank 0 writes the files."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Ranks":
        """Join the processes that ``torchrun`` started; alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def sum_gradients(self, model: nn.Module, beside: Sequence[float]) -> list[float]:
        """Add up the gradients of all processes, and a few numbers beside them."""
        if self.size == 1:
            return list(beside)
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [p.grad for p in parameters if p.grad is not None]
        numbers = torch.tensor(beside, device=grads[0].device)
        flat = torch.cat([numbers, *(grad.flatten() for grad in grads)])
        dist.all_reduce(flat)
        offset = len(beside)
        for grad in grads:
            grad.copy_(flat[offset : offset + grad.numel()].view_as(grad))
            offset += grad.numel()
        return flat[: len(beside)].tolist()

    def sum_(self, values: Tensor) -> Tensor:
        """Add up a tensor of all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

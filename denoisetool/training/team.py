"""Several processes that train one net together, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class Team:
    """This process and its peers; alone unless `join` was called before.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        there = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if there else 0
        self.size: int = dist.get_world_size() if there else 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which patches of each batch are this process's."""
        return slice(self.rank, None, self.size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, all of one dtype, by their means over all processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()

    def from_first(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        there = torch.tensor(float(value), dtype=torch.float64, device=self._device)
        dist.broadcast(there, 0)
        return float(there)

    @property
    def _device(self) -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"

    def device(self, name: str) -> str:
        """This process's own one of the devices that `name` stands for."""
        if self.size == 1 or not name.startswith("cuda"):
            return name
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            dist.barrier()


def join() -> Team:
    """Join the processes that `torchrun` started, if it did (it sets RANK and WORLD_SIZE)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # The others wait while the first one prepares the photos.
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=12))
    return Team()


def leave() -> None:
    """End what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()

"""Ranks: one process, or several that torchrun started, with the same command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from deepsmile.errors import RequestInvalid


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """What the ranks compute on."""
        if self.device.type == "cpu":
            return "cpu"
        return torch.cuda.get_device_name(self.device)

    @property
    def emulates_bf16(self) -> bool:
        """Whether this is a GPU from before Ampere, without units for bfloat16."""
        return self.device.type == "cuda" and not torch.cuda.is_bf16_supported(
            including_emulation=False
        )

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """All ranks' `x`, equal in shape, joined along `dim` in their order; with gradient."""
        if self.size == 1:
            return x
        joined: Tensor = _Gather.apply(x, dim, self)
        return joined

    def any(self, flag: bool) -> bool:
        """Whether any rank says so; every rank must ask at the same point."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag), device=self.device)  # ()
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def told(self, one: object) -> list[Any]:
        """What each rank tells; every rank must tell at the same point."""
        if self.size == 1:
            return [one]
        all_told: list[Any] = [None] * self.size
        dist.all_gather_object(all_told, one)
        return all_told

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the ranks, without gradient."""
        if self.size == 1:
            return x.detach()
        total = x.detach().clone()
        dist.all_reduce(total)
        return total / self.size


class _Gather(torch.autograd.Function):
    """All-gather whose gradient comes back from every rank that used a part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, world: World) -> Tensor:  # noqa: ANN401 - torch's
        ctx.dim, ctx.start, ctx.length = dim, world.rank * x.shape[dim], x.shape[dim]
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world.size)]
        dist.all_gather(parts, x)
        return torch.cat(parts, dim=dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.narrow(ctx.dim, ctx.start, ctx.length), None, None


@contextmanager
def joined_world(device: str) -> Iterator[World]:
    """The world that torchrun's environment describes, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    place = _device(device, local)
    if size == 1:
        yield World(device=place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        dist.destroy_process_group()


def _device(wanted: str, local: int) -> torch.device:
    """Raises RequestInvalid if CUDA is wanted and not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise RequestInvalid("running.device is cuda, but this torch sees no GPU")
    if wanted == "cpu" or not there:
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)

"""The processes that train one model together. Each draws the whole batch from the same random numbers, computes its
share of it, and adds up with the others what follows; so all hold the same state after each step, and only rank 0 needs
to judge, save and report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=2)  # a rank waits while rank 0 judges or reports; one that died is noticed at once


class Team(Protocol):
    rank: int
    size: int

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes the sum of all ranks' own, in place, the same to the last bit on each of them."""

    def told(self, number: float) -> float:
        """The number that rank 0 gives; all wait for it."""

    def leave(self) -> None:
        """When all have taken the last step."""


class Alone:
    """A team of one."""

    rank, size = 0, 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        pass

    def told(self, number: float) -> float:
        return number

    def leave(self) -> None:
        pass


class Together:
    """Processes of one machine, which find each other by a file in a folder that they share. NCCL carries tensors of
    GPUs, gloo those of CPUs and rank 0's words, for which no GPU has to be waited for."""

    def __init__(self, folder: Path, rank: int, size: int, device: str) -> None:
        self.rank, self.size = rank, size
        store = dist.FileStore(str(folder / "team"), size)  # type: ignore[attr-defined]
        on_gpu = device.startswith("cuda")
        own = torch.device(device) if on_gpu else None
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE, device_id=own
        )
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE) if on_gpu else None  # None: the one there is

    def add(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])  # one message, not one for each
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def told(self, number: float) -> float:
        word = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(word, 0, group=self._words)
        return float(word)

    def leave(self) -> None:
        dist.destroy_process_group()

"""The best averaged generator so far, by a score of held-out samples. The last one is rarely it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Best:
    """Lower scores are better. Empty until the first is offered."""

    def __init__(self, score: float = math.inf, step: int = 0) -> None:
        self.score, self.step = score, step
        self.tensors: dict[str, Tensor] = {}

    def offer(self, network: nn.Module, score: float, step: int, notice: float = 0.0) -> bool:
        """Keep a copy if the score is lower than the best by more than the share `notice` of it, and all weights are
        finite: the guard may not have looked yet."""
        if not math.isfinite(score) or (self.tensors and score >= self.score - notice * abs(self.score)):
            return False
        tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in tensors.values()):
            return False
        self.score, self.step, self.tensors = score, step, tensors
        return True

    @torch.no_grad()
    def put_into(self, network: nn.Module) -> None:
        """Give the network the kept weights, if there are any."""
        if self.tensors:
            network.load_state_dict(self.tensors)

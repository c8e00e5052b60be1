"""An exponential moving average of a network's weights: the only weights that are ever sampled from."""

import copy

import torch
from torch import nn


class Ema:
    """Holds the averaged copy of `network` in `.network`, in eval mode and without gradients."""

    def __init__(self, network: nn.Module, half_life: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life = half_life
        self._to: list[torch.Tensor] = list(self.network.parameters())
        self._from = list(network.parameters())
        self._buffers = list(zip(self.network.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live weights. Early on the half-life is a tenth of the steps seen."""
        half_life = min(self.half_life, 0.1 * step)
        weight = 1.0 - 0.5 ** (1.0 / half_life) if half_life > 0 else 1.0
        torch._foreach_lerp_(self._to, [p.detach() for p in self._from], weight)
        for mine, live in self._buffers:
            mine.copy_(live)

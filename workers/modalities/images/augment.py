"""Differentiable augmentation for small data: D sees every picture, real or not, shifted or with a hole, now and then.

Kept rare (a probability well under .8), so that the generator does not learn it (Karras et al. 2020)."""

from collections.abc import Callable

import torch
from torch import Tensor

SHIFT = 0.125  # of a side, at most
HOLE = 0.4  # of a side


def augmentation(probability: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A function (x (n, c, h, w), rng) -> x with each picture shifted, and holed, with that probability each."""

    def augment(x: Tensor, rng: torch.Generator) -> Tensor:
        return _holed(_shifted(x, probability, rng), probability, rng)

    return augment


def _shifted(x: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Move by whole pixels; what comes in repeats the edge. Gathering is linear, so it differentiates twice."""
    n, channels, high, wide = x.shape
    chosen = torch.rand(n, generator=rng) < probability
    down, right = (_shift(n, side, rng) * chosen for side in (high, wide))
    rows = (torch.arange(high) + down[:, None]).clamp(0, high - 1).to(x.device)
    columns = (torch.arange(wide) + right[:, None]).clamp(0, wide - 1).to(x.device)
    x = x.gather(2, rows[:, None, :, None].expand(n, channels, high, wide))
    return x.gather(3, columns[:, None, None, :].expand(n, channels, high, wide))


def _shift(n: int, side: int, rng: torch.Generator) -> Tensor:
    most = max(1, round(SHIFT * side))
    return torch.randint(-most, most + 1, (n,), generator=rng)


def _holed(x: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Put a grey rectangle somewhere."""
    n, _, high, wide = x.shape
    chosen = (torch.rand(n, generator=rng) < probability)[:, None, None]
    centre = torch.rand(n, 2, generator=rng)
    inside_rows = (torch.arange(high) - centre[:, :1] * high).abs() < HOLE * high / 2
    inside_columns = (torch.arange(wide) - centre[:, 1:] * wide).abs() < HOLE * wide / 2
    keep = ~(chosen & inside_rows[:, :, None] & inside_columns[:, None, :])
    return x * keep[:, None].to(x.device)

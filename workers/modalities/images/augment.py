"""Differentiable augmentation for small data: D sees pictures, real or not, moved, turned, recoloured or with a hole.

Each change happens to a share of the pictures well under 1, so that the generator does not learn it (Karras et al.
2020); which changes there are follows from the kind of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.engine.augmentation import Changes

SHIFT, SCALE, TURN = 0.125, 0.2, 0.25  # of a side, of the logarithm's standard deviation, radians at most
BRIGHTER, CONTRAST, SATURATION = 0.2, 0.3, 0.5  # standard deviations: of a shift, of two logarithms
HOLE = 0.4  # of a side


@dataclass(frozen=True)
class Augmentation:
    """Of pictures x (n, c, h, w) in [-1, 1]: each change is made to a share of them. With `alpha` the last channel is
    transparency, and the others are premultiplied by it; with `mirror` pictures may be mirrored."""

    alpha: bool
    mirror: bool

    def __call__(self, x: Tensor, share: float, rng: torch.Generator) -> Tensor:
        return self.changed(x, self.drawn(x.shape, share, rng))

    def drawn(self, shape: Sequence[int], share: float, rng: torch.Generator) -> Changes:
        n, _, high, wide = shape
        placed = _places(n, wide / high, share, rng, self.mirror)  # turned in pixels, not in the unit square
        return placed, *_colours(n, share, rng), _some(n, share, rng), torch.rand(n, 2, generator=rng)

    def changed(self, x: Tensor, changes: Changes) -> Tensor:
        placed, light, contrast, saturation, holed, centre = changes
        x = _placed(x, placed)
        x = _recoloured(x, light, contrast, saturation, self.alpha)
        return _holed(x, holed, centre)


def augmentation(alpha: bool, mirror: bool) -> Augmentation:
    return Augmentation(alpha, mirror)


def _some(n: int, share: float, rng: torch.Generator) -> Tensor:
    """1 for each that is changed, else 0 (n,)."""
    return (torch.rand(n, generator=rng) < share).float()


def _places(n: int, aspect: float, share: float, rng: torch.Generator, mirror: bool) -> Tensor:
    """(n, 2, 3): shifted, scaled, turned and mirrored at once."""
    angle = (2 * torch.rand(n, generator=rng) - 1) * TURN * _some(n, share, rng)
    scale = torch.exp(torch.randn(n, generator=rng) * SCALE * _some(n, share, rng))
    shift = (2 * torch.rand(n, 2, generator=rng) - 1) * 2 * SHIFT * _some(n, share, rng)[:, None]
    flip = 1 - 2 * _some(n, share / 2, rng) if mirror else torch.ones(n)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([cos * flip, -sin / aspect, shift[:, 0]], 1),
        torch.stack([sin * aspect * flip, cos, shift[:, 1]], 1),
    ]
    return torch.stack(rows, 1)


def _placed(x: Tensor, places: Tensor) -> Tensor:
    """What comes in from beyond the edge is the picture reflected."""
    where = F.affine_grid(places.to(x.device, x.dtype, non_blocking=True), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, padding_mode="reflection", align_corners=False)


def _colours(n: int, share: float, rng: torch.Generator) -> Changes:
    """Light, contrast, saturation: (n,) each."""
    light = torch.randn(n, generator=rng) * BRIGHTER * _some(n, share, rng)
    contrast = torch.exp(torch.randn(n, generator=rng) * CONTRAST * _some(n, share, rng))
    saturation = torch.exp(torch.randn(n, generator=rng) * SATURATION * _some(n, share, rng))
    return light, contrast, saturation


def _recoloured(x: Tensor, light: Tensor, contrast: Tensor, saturation: Tensor, alpha: bool) -> Tensor:
    """Brighter or darker, with more or less contrast and saturation. Beyond [-1, 1], too: reals and fakes alike."""
    light, contrast, saturation = (
        value[:, None, None, None].to(x.device, x.dtype, non_blocking=True) for value in (light, contrast, saturation)
    )
    colour, rest = (x[:, :-1], x[:, -1:]) if alpha else (x, x[:, :0])
    cover = (rest + 1) / 2 if alpha else 1.0
    colour = (colour + 1) / 2
    if colour.shape[1] > 1:
        grey = colour.mean(1, keepdim=True)
        colour = grey + (colour - grey) * saturation
    colour = (colour - cover / 2) * contrast + (0.5 + light) * cover
    return torch.cat([colour * 2 - 1, rest], 1)


def _holed(x: Tensor, chosen: Tensor, centre: Tensor) -> Tensor:
    """Put a grey rectangle somewhere."""
    _, _, high, wide = x.shape
    inside_rows = (torch.arange(high) - centre[:, :1] * high).abs() < HOLE * high / 2
    inside_columns = (torch.arange(wide) - centre[:, 1:] * wide).abs() < HOLE * wide / 2
    keep = ~((chosen[:, None, None] > 0) & inside_rows[:, :, None] & inside_columns[:, None, :])
    return x * keep[:, None].to(x.device)

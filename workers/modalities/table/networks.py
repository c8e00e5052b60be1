"""Generator and discriminator of a table's codes and Gaussians. Knows sizes; nothing of columns or files.

A sample is the row [h * there, g * there, one-hots]: g the Gaussians of the numbers, h the same with what the
categories say taken out, zero where a number is missing (so that D cannot judge what nobody will see)."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START = 0.02  # of the numeric head: at first the skip alone makes h, and h is already white


@dataclass(frozen=True)
class Shape:
    """What both networks are built from; JSON in a model's config."""

    sizes: list[int]  # levels of each variable, in the order in which they are drawn
    numbers: int
    holes: list[int | None]  # for each number the variable whose code 1 says that it is missing
    width: int = 128
    width_discriminator: int = 192
    noise: int = 64

    @property
    def one_hots(self) -> int:
        return sum(self.sizes)

    @property
    def slices(self) -> list[slice]:
        ends = torch.tensor([0, *self.sizes]).cumsum(0).tolist()
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Start:
    """What the generator knows before it is trained, from counts and least squares over the training rows."""

    log_share: Tensor  # (k,)
    pairs: Tensor  # (k, k): log-ratios along the tree, from the earlier to the later variable and back
    mean: Tensor  # (k, d)
    root: Tensor  # (d, d)
    inverse: Tensor  # (d, d)
    forbidden: Tensor = field(default_factory=lambda: torch.zeros(0))  # (k, k) bool: levels that never meet


class Residual(nn.Module):
    def __init__(self, width: int, normalise: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width) if normalise else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return x + (F.silu(self.norm(y)) if self.norm is not None else F.leaky_relu(y, 0.2))


class Generator(nn.Module):
    """Noise to a row. Categories one after the other, each given the ones before, by straight-through Gumbel draws;
    then the numbers, given all categories. A condition (n, k) holds the one-hots of what is fixed, else zeros."""

    mean: Tensor
    root: Tensor
    inverse: Tensor
    earlier: Tensor
    holes: Tensor

    def __init__(self, shape: Shape, start: Start | None = None) -> None:
        super().__init__()
        k, d, width = shape.one_hots, shape.numbers, shape.width
        self.shape, self.slices = shape, shape.slices
        self.noise = max(shape.noise, d)
        self.enter = nn.Linear(self.noise, width)
        self.condition = nn.Linear(k, width, bias=False)
        self.trunk = nn.ModuleList([Residual(width, True) for _ in range(2)])
        self.logits = nn.Linear(width, k)
        self.pairs = nn.Parameter(torch.zeros(k, k))
        self.inform = nn.Linear(k, width, bias=False)
        self.body = Residual(width, True)
        self.values = nn.Linear(width, d)
        self.skip = nn.Parameter(torch.ones(d))
        self.register_buffer("mean", torch.zeros(k, d))
        self.register_buffer("root", torch.eye(d))
        self.register_buffer("inverse", torch.eye(d))
        self.register_buffer("earlier", _earlier(shape), persistent=False)
        self.register_buffer("holes", _holes(shape), persistent=False)
        self._begin(start)

    @torch.no_grad()
    def _begin(self, start: Start | None) -> None:
        self.logits.weight.mul_(0.5)
        self.values.weight.normal_(0, START)
        self.values.bias.zero_()
        self.condition.weight.zero_()
        if start is not None:
            self.logits.bias.copy_(start.log_share)
            self.pairs.copy_(start.pairs)
            self.mean.copy_(start.mean)
            self.root.copy_(start.root)
            self.inverse.copy_(start.inverse)

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, noise + k): normal noise, then the Gumbel noise of each level."""
        normal = torch.randn(n, self.noise, generator=rng, device=rng.device)
        uniform = torch.rand(n, self.shape.one_hots, generator=rng, device=rng.device).clamp_(1e-9, 1 - 1e-7)
        return torch.cat([normal, -torch.log(-torch.log(uniform))], 1)

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        z, gumbel = latent[:, : self.noise], latent[:, self.noise :]
        x = self.enter(z)
        if condition is not None:
            x = x + self.condition(condition)
        x = F.silu(x)
        for block in self.trunk:
            x = block(x)
        one_hots = self._draw(self.logits(x), gumbel, condition)
        h = self.values(self.body(x + self.inform(one_hots))) + z[:, : self.shape.numbers] * self.skip
        return self.row(h, one_hots)

    def _draw(self, logits: Tensor, gumbel: Tensor, condition: Tensor | None) -> Tensor:
        if condition is not None:  # a fixed variable speaks to those before it as well
            logits = logits + condition @ (self.pairs * (1 - self.earlier))
        drawn = []
        rest = logits + gumbel
        # split, not sliced: the gradient of a slice is a whole matrix of zeros, for each variable anew
        influence = torch.split(self.pairs, self.shape.sizes)
        for part, weight in zip(self.slices, influence, strict=True):
            width = part.stop - part.start
            own, rest = torch.split(rest, [width, rest.shape[1] - width], 1)
            y = straight_through(own)
            if condition is not None:
                given = condition[:, part]
                y = given + (1 - given.sum(1, keepdim=True)) * y
            drawn.append(y)
            if rest.shape[1]:
                rest = torch.addmm(rest, y, weight[:, part.stop :])
        return torch.cat(drawn, 1) if drawn else gumbel

    def row(self, h: Tensor, one_hots: Tensor) -> Tensor:
        """What the discriminator sees of h (n, d) and one-hots (n, k)."""
        g = h @ self.root + one_hots @ self.mean
        if self.holes.any():
            there = 1 - one_hots @ self.holes
            g = g * there
            h = ((g - one_hots @ self.mean) * there) @ self.inverse
        return torch.cat([h, g, one_hots], 1)

    def row_of_data(self, g: Tensor, one_hots: Tensor) -> Tensor:
        """The same of real Gaussians."""
        return self.row((g - one_hots @ self.mean) @ self.inverse, one_hots)


def straight_through(logits: Tensor) -> Tensor:
    """The one-hot of the largest, with the softmax's gradient (Jang et al. 2017, temperature 1)."""
    soft = logits.softmax(1)
    hard = torch.zeros_like(soft).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()


def _earlier(shape: Shape) -> Tensor:
    """1 where the row's variable is drawn before the column's, or is the same."""
    of = torch.repeat_interleave(torch.arange(len(shape.sizes)), torch.tensor(shape.sizes, dtype=torch.long))
    return (of[:, None] <= of[None, :]).float()


def _holes(shape: Shape) -> Tensor:
    """(k, d): 1 from the level that says that a number is missing to that number."""
    out = torch.zeros(shape.one_hots, shape.numbers)
    for number, variable in enumerate(shape.holes):
        if variable is not None:
            out[shape.slices[variable].start + 1, number] = 1
    return out


class Discriminator(nn.Module):
    """A row and what was fixed in it to a score. No normalisation: the gradient penalties are per row."""

    belongs: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        v, width = len(shape.sizes), shape.width_discriminator
        self.enter = nn.Linear(2 * shape.numbers + shape.one_hots, width)
        self.fixed = nn.Linear(v, width, bias=False)
        self.blocks = nn.ModuleList([Residual(width, False) for _ in range(2)])
        self.leave = nn.Linear(width, 1)
        of = torch.repeat_interleave(torch.arange(v), torch.tensor(shape.sizes, dtype=torch.long))
        self.register_buffer("belongs", F.one_hot(of, max(v, 1))[:, :v].float(), persistent=False)
        nn.init.normal_(self.leave.weight, std=0.05)
        nn.init.zeros_(self.fixed.weight)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.enter(x)
        if condition is not None:
            y = y + self.fixed(condition @ self.belongs)
        y = F.leaky_relu(y, 0.2)
        for block in self.blocks:
            y = block(y)
        score: Tensor = self.leave(y).squeeze(1)
        return score

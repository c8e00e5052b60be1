"""Convolutional generator and discriminator for any size from 16 to 512 pixels. Knows tensors, not pictures.

After the paper of R3GAN (Huang et al., NeurIPS 2024): its residual blocks, a learned basis at the lowest resolution,
and projection on the class. The blocks end at half the resolution, which halves the cost.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from workers.engine.blocks import EXPANSION, GROUP_WIDTH, SLOPE, Space, Stage, change, reset

LATENT = 64
EMBEDDING = 64
LOUDNESS, QUIETEST = 0.3, 0.05  # of class embeddings: over the classes' square root, at least; the noise has 1
LEAK = 0.05
CANVAS = 16  # channels at full resolution, where all is dear
SPACE = Space(2)
SMALLEST = 8  # a side of this many pixels or more is halved once more


@dataclass(frozen=True)
class Architecture:
    """The form of both networks; `widths` run from the lowest resolution to the highest, one a stage."""

    height: int
    width: int
    channels: int
    classes: int  # 0: unconditional
    widths: tuple[int, ...]
    blocks: int = 1
    alpha: bool = False  # whether the last channel is transparency, and the others are premultiplied by it
    stride: int = 2  # pixels of a side that one position of the last stage holds

    @property
    def basis(self) -> tuple[int, int]:
        """(height, width) of the lowest resolution; the picture is padded to a multiple of it."""
        unit = self.stride * 2 ** (len(self.widths) - 1)
        return -(-self.height // unit), -(-self.width // unit)

    @property
    def padded(self) -> tuple[int, int]:
        unit = self.stride * 2 ** (len(self.widths) - 1)
        return self.basis[0] * unit, self.basis[1] * unit

    @property
    def multiplications(self) -> int:
        """Of one network's forward pass for one picture, near enough to plan with."""
        total = 0
        for stage, width in enumerate(self.widths):
            inner = EXPANSION * width
            positions = self.basis[0] * self.basis[1] * 4**stage
            total += positions * self.blocks * (2 * width * inner + inner * GROUP_WIDTH * 9)
        return total


def stages(height: int, width: int, stride: int = 2) -> int:
    """How many resolutions, from a basis of 4 to 7 pixels on the shorter side."""
    side, count = -(-min(height, width) // stride), 1
    while side >= SMALLEST:
        side, count = -(-side // 2), count + 1
    return count


class Generator(nn.Module):
    """(latent (n, 64), class (n, 1) or None) -> pictures (n, channels, height, width) in [-1, 1].

    `inside` is the precision of its blocks."""

    def __init__(self, form: Architecture, rng: torch.Generator) -> None:
        super().__init__()
        self.form, self.inside = form, torch.float32
        first, last = form.widths[0], form.widths[-1]
        self.embed = nn.Embedding(form.classes, EMBEDDING) if form.classes else None
        self.start = nn.Linear(LATENT + (EMBEDDING if form.classes else 0), first, bias=False)
        self.basis = nn.Parameter(torch.empty(1, first, *form.basis))
        self.changes = nn.ModuleList(
            change(SPACE, a, b) for a, b in zip((first, *form.widths), form.widths, strict=False)
        )
        self.stages = nn.ModuleList(Stage(SPACE, w, form.blocks) for w in form.widths)
        self.spread = nn.Conv2d(last, CANVAS, 1)
        self.paint = nn.Conv2d(CANVAS, form.channels, 3, padding=1)
        self._reset(rng)

    def _reset(self, rng: torch.Generator) -> None:
        reset(self, rng)
        with torch.no_grad():
            self.basis.normal_(generator=rng)
            if self.embed is not None:  # as loud as the noise it would drown it, and all of a class look alike
                loud = max(QUIETEST, LOUDNESS * self.form.classes**-0.5)
                self.embed.weight.normal_(0.0, loud, generator=rng)
                self.start.weight *= math.sqrt(2.0 / (1.0 + loud**2))
            nn.init.zeros_(self.spread.bias)  # type: ignore[arg-type]
            nn.init.zeros_(self.paint.bias)  # type: ignore[arg-type]

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, LATENT, generator=rng, device=rng.device)

    @torch.no_grad()
    def widen(self, factor: float) -> None:
        """Paint from now on what a latent so many times as long was painted as: it enters linearly."""
        self.start.weight[:, :LATENT] *= factor

    def forward(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        return self.paint_from(self.begin(latent, condition))

    def begin(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """(n, first width): how strongly each map of the basis is laid down. All of a picture follows from it."""
        if self.embed is not None:
            if condition is None:
                raise ValueError("this generator needs classes")
            latent = torch.cat([latent, self.embed(condition[:, 0])], 1)
        begun: Tensor = self.start(latent)
        return begun

    def paint_from(self, begun: Tensor) -> Tensor:
        """What `begin` gave (or anything near it: see latent.py) -> pictures."""
        x = SPACE.arranged(SPACE.spread(begun) * self.basis)
        for index, (adapt, stage) in enumerate(zip(self.changes, self.stages, strict=True)):
            x = adapt(x)
            if index:
                x = SPACE.larger(x, 2)
            x = stage(x, self.inside)
        # Not by pixel shuffling: on emoji it left 51 times the real pictures' power at the grid's own frequency.
        x = SPACE.larger(self.spread(x), self.form.stride)
        x = self.paint(F.leaky_relu(x, SLOPE))
        # tanh: real pictures saturate (white paper, black background), and D tells any other value at a glance.
        x = _reachable_tanh(x[:, :, : self.form.height, : self.form.width])
        return _premultiplied(x) if self.form.alpha else x


class _ReachableTanh(torch.autograd.Function):
    """tanh, but where it is flat the gradient towards its middle keeps LEAK of its size: a generator that painted all
    black in its first steps could never come back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        slope = 1.0 - y.square()
        return gradient * torch.where(gradient * y > 0, slope.clamp_min(LEAK), slope)


def _reachable_tanh(x: Tensor) -> Tensor:
    y: Tensor = _ReachableTanh.apply(x)  # type: ignore[no-untyped-call]
    return y


def _premultiplied(x: Tensor) -> Tensor:
    """Colour times alpha, in [-1, 1]: no picture has more of the one than of the other, so none is painted."""
    unit = (x + 1.0) / 2.0
    colour, alpha = unit[:, :-1], unit[:, -1:]
    return torch.cat([colour * alpha, alpha], 1) * 2.0 - 1.0


class Discriminator(nn.Module):
    """(pictures, class (n, 1) or None) -> scores (n,): a linear one, and by projection on the class (Miyato 2018).

    `inside` is the precision of its blocks."""

    def __init__(self, form: Architecture, rng: torch.Generator) -> None:
        super().__init__()
        self.form, self.inside = form, torch.float32
        widths = form.widths[::-1]
        # Overlapping looks: patches side by side see no edge between them, and teach the generator a grid.
        self.look = nn.Conv2d(form.channels, widths[0], 2 * form.stride, stride=form.stride, padding=form.stride // 2)
        self.changes = nn.ModuleList(change(SPACE, a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        self.stages = nn.ModuleList(Stage(SPACE, w, form.blocks) for w in widths)
        self.basis = nn.Parameter(torch.empty(1, widths[-1], *form.basis))
        self.features = nn.Linear(widths[-1], EMBEDDING, bias=False)
        self.score = nn.Linear(EMBEDDING, 1, bias=False)
        self.embed = nn.Embedding(form.classes, EMBEDDING) if form.classes else None
        self._reset(rng)

    def _reset(self, rng: torch.Generator) -> None:
        reset(self, rng)
        with torch.no_grad():
            if self.embed is not None:
                self.embed.weight.normal_(generator=rng)
            self.basis.normal_(0.0, 1.0 / math.sqrt(math.prod(self.form.basis)), generator=rng)
            nn.init.zeros_(self.look.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        high, wide = self.form.padded
        if (high, wide) != x.shape[2:]:
            x = F.pad(x, (0, wide - x.shape[3], 0, high - x.shape[2]))
        x = SPACE.arranged(self.look(x))  # after it: where there is one channel the order is open
        for index, (adapt, stage) in enumerate(zip(self.changes, self.stages, strict=True)):
            x = stage(adapt(SPACE.half(x) if index else x), self.inside)
        found = self.features((x * SPACE.arranged(self.basis)).sum((2, 3)))
        score: Tensor = self.score(found)[:, 0]
        if self.embed is None:
            return score
        if condition is None:
            raise ValueError("this discriminator needs classes")
        projected: Tensor = (found * self.embed(condition[:, 0])).sum(1) / math.sqrt(EMBEDDING)
        return score + projected

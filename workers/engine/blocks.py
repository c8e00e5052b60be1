"""Residual blocks for 1, 2 or 3 dimensions of space, for generators and discriminators alike.

After the paper of R3GAN (Huang et al., NeurIPS 2024): 1x1, grouped 3x3 and 1x1 convolutions, no normalisation, fix-up
initialisation. Every operation can be differentiated twice, as the gradient penalties need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_WIDTH = 16
EXPANSION = 2
SLOPE = 0.2
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS: tuple[type[Convolution], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINEAR = ("linear", "bilinear", "trilinear")


@dataclass(frozen=True)
class Space:
    """What depends on the number of dimensions: 1 for sound and series, 2 for pictures, 3 for voxels and video."""

    ndim: int

    def convolution(self, before: int, after: int, side: int, **more: int | bool) -> Convolution:
        """A layer of that kernel; `stride`, `padding`, `groups`, `bias` as torch has them."""
        layer: Convolution = CONVOLUTIONS[self.ndim - 1](before, after, side, **more)  # type: ignore[arg-type]
        return layer

    def larger(self, x: Tensor, factor: int) -> Tensor:
        """Resampled linearly: for a factor of two that is the filter [1, 2, 1] with what lies between."""
        return F.interpolate(x, scale_factor=factor, mode=LINEAR[self.ndim - 1], align_corners=False)

    def half(self, x: Tensor) -> Tensor:
        pooled: Tensor = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.ndim - 1](x, 2)
        return pooled

    def arranged(self, x: Tensor) -> Tensor:
        """With the channels last in memory, where there is such an order: convolutions are faster."""
        orders = {2: torch.channels_last, 3: torch.channels_last_3d}
        return x.contiguous(memory_format=orders[self.ndim]) if self.ndim in orders else x.contiguous()

    def spread(self, values: Tensor) -> Tensor:
        """(n, c) -> (n, c, 1, ...)"""
        return values.reshape(*values.shape, *(1,) * self.ndim)

    @property
    def axes(self) -> tuple[int, ...]:
        """Those of space in (n, c, ...)."""
        return tuple(range(2, 2 + self.ndim))


class Block(nn.Module):
    """x + 1x1(grouped 3x3(1x1(x))), the last convolution zero at first: a new block changes nothing."""

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.expand = space.convolution(width, inner, 1)
        self.mix = space.convolution(inner, inner, 3, padding=1, groups=max(1, inner // GROUP_WIDTH))
        self.shrink = space.convolution(inner, width, 1, bias=False)

    def forward(self, x: Tensor, inside: torch.dtype) -> Tensor:
        """`inside` is the precision of the convolutions; what is added up keeps its own."""
        y = F.leaky_relu(convolved(self.expand, x.to(inside)), SLOPE)
        y = F.leaky_relu(convolved(self.mix, y), SLOPE)
        out: Tensor = x + convolved(self.shrink, y)
        return out

    def reset(self, blocks: int, rng: torch.Generator) -> None:
        """Fix-up: the two inner gains fall with the number of blocks that add up (Zhang et al. 2019)."""
        gain = math.sqrt(2.0 / (1.0 + SLOPE**2)) * blocks**-0.25
        for layer in (self.expand, self.mix):
            normal(layer.weight, gain, rng)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.shrink.weight)


class Stage(nn.ModuleList):
    """The blocks of one resolution."""

    def __init__(self, space: Space, width: int, blocks: int) -> None:
        super().__init__(Block(space, width) for _ in range(blocks))

    def forward(self, x: Tensor, inside: torch.dtype) -> Tensor:
        for block in self:
            x = block(x, inside)
        return x


def change(space: Space, before: int, after: int) -> nn.Module:
    """From one width to another."""
    return nn.Identity() if before == after else space.convolution(before, after, 1, bias=False)


def convolved(layer: Convolution, x: Tensor) -> Tensor:
    """The layer in the precision of x; its weights are kept in full."""
    function: Any = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    out: Tensor = function(x, layer.weight.to(x.dtype), bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    return out


def normal(weight: Tensor, gain: float, rng: torch.Generator) -> None:
    """Normal, so that a unit input gives outputs of standard deviation `gain`."""
    with torch.no_grad():
        weight.normal_(0.0, gain / math.sqrt(weight[0].numel()), generator=rng)


def reset(module: nn.Module, rng: torch.Generator) -> None:
    """Initialise every convolution and linear layer from `rng`, in the order of definition."""
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    inner = {id(layer) for block in blocks for layer in block.modules()}
    layers = (*CONVOLUTIONS, nn.Linear)
    for part in module.modules():
        if isinstance(part, Block):
            part.reset(len(blocks), rng)
        elif isinstance(part, layers) and id(part) not in inner:
            normal(part.weight, 1.0, rng)


def precision(device: str) -> torch.dtype:
    """Of the convolutions in training: bfloat16 where the device computes with it, which takes half the time."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch that we take
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32

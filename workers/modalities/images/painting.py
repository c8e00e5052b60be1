"""How many pictures are painted at once: as many as are fast, and always as many, so that none depends on the others.

Convolutions of other sizes add up in another order: a picture's last bit would follow from how many are asked for."""

from collections.abc import Iterator

import torch
from torch import Tensor

from workers.modalities.images.codec import Codec

# Pictures, and positions, at most. A CPU paints 25 of 64 pixels in two thirds of the time a picture that 250 take.
ON_CPU, ON_CUDA = (25, 250_000), (250, 2_000_000)


def blocks(n: int, codec: Codec, device: str) -> Iterator[Tensor]:
    """Places 0 .. n - 1 in blocks of one size; the last of them is filled up with the last place, again and again."""
    most, positions = ON_CUDA if device.startswith("cuda") else ON_CPU
    size = max(1, min(most, positions // (codec.height * codec.width)))
    for at in range(0, n, size):
        yield torch.arange(at, at + size).clamp_max(n - 1)

"""Where batches come from: pictures held as bytes on the GPU, or in memory, or read from the disk, whichever is the
fastest that fits. Knows nothing of training.

Nothing here waits for a GPU: what is sent to it are row numbers or bytes, in pinned memory, and they become floats
there."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from workers.engine.batch import Batch
from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures

ON_DEVICE = 0.25  # share of a GPU's free memory that pictures may take: the rest is for networks and activations
IN_MEMORY = 2 << 30  # bytes of pixels that are held in memory, not read from the disk again for each batch
READ_AT_ONCE = 1_000  # pictures
Told = Callable[[int], None]  # bytes that have been read


def home(size: int, device: str) -> str | None:
    """The device on which so many bytes of pixels are held; None where they stay on the disk."""
    if device.startswith("cuda") and size <= ON_DEVICE * torch.cuda.mem_get_info(torch.device(device))[0]:
        return device
    return "cpu" if size <= IN_MEMORY else None


def sent(x: Tensor, device: str) -> Tensor:
    """On the device, or on its way there."""
    if not device.startswith("cuda") or x.is_cuda:
        return x
    return x.pin_memory().to(device, non_blocking=True)


class Feed:
    """Batches of a split for networks on `device`. `told` hears what has been read, and may stop the reading."""

    def __init__(self, pictures: Pictures, codec: Codec, device: str, told: Told = lambda read: None) -> None:
        self.pictures, self.codec, self.device = pictures, codec, device
        self.labels = torch.from_numpy(pictures.labels)
        place = home(len(pictures) * math.prod(pictures.shape), device)
        self.pixels = None if place is None else self._read(place, told)  # (n, height, width, channels)

    def _read(self, place: str, told: Told) -> Tensor:
        n = len(self.pictures)
        pixels = torch.empty((n, *self.pictures.shape), dtype=torch.uint8, device=place)
        for start in range(0, n, READ_AT_ONCE):
            told(start * math.prod(self.pictures.shape))
            rows = np.arange(start, min(start + READ_AT_ONCE, n))
            pixels[start : start + len(rows)] = torch.from_numpy(self.pictures.take(rows))
        return pixels

    def batch(self, rows: Tensor) -> Batch:
        """The pictures of these rows (n,), which lie on the CPU, with their classes."""
        if self.pixels is None:
            pixels = torch.from_numpy(self.pictures.take(rows.numpy()))
        else:
            pixels = self.pixels.index_select(0, sent(rows, self.device) if self.pixels.is_cuda else rows)
        labels = self.labels[rows].unsqueeze(1)
        condition = None if self.codec.classes is None else sent(labels, self.device)
        return Batch(self.codec.encode(sent(pixels, self.device)), condition)

    def drawn(self, n: int, rng: torch.Generator) -> Batch:
        """n pictures at random; pure in `rng`, which lives on the CPU."""
        return self.batch(torch.randint(len(self.pictures), (n,), generator=rng))

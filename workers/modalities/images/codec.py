"""Pixels to tensors and back: 8 bits to [-1, 1], colour premultiplied by alpha inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

INVISIBLE = 4.0 / 255  # alpha below this is none: colour divided by it would be noise
AT_ONCE = 2_000_000  # positions that are floats at a time


@dataclass(frozen=True)
class Codec:
    """The shape of one dataset's pictures, its classes, and how often each occurs."""

    height: int
    width: int
    channels: int  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    classes: list[str] | None
    shares: list[float] | None  # of the classes in training

    @property
    def alpha(self) -> bool:
        return self.channels in (2, 4)

    @property
    def at_once(self) -> int:
        """Pictures that are floats at a time, where many go one way."""
        return max(1, AT_ONCE // (self.height * self.width))

    def encode(self, pixels: NDArray[np.uint8] | Tensor) -> Tensor:
        """(n, height, width, channels) uint8 -> (n, channels, height, width) in [-1, 1], on a tensor's own device."""
        found = pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
        x = found.permute(0, 3, 1, 2).float()
        if not self.alpha:
            return x.div_(127.5).sub_(1.0)
        colour, alpha = x[:, :-1], x[:, -1:]
        # Under full transparency files hold any colour; times alpha it is always the same, and edges blend rightly.
        return torch.cat([colour * alpha / 255.0, alpha], 1).div_(127.5).sub_(1.0)

    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        """The inverse, with colour divided by alpha again; in pieces, as it takes several times the memory of x."""
        out = np.empty((len(x), *x.shape[2:], x.shape[1]), np.uint8)
        for at in range(0, len(x), self.at_once):
            out[at : at + self.at_once] = self._decoded(x[at : at + self.at_once])
        return out

    def _decoded(self, x: Tensor) -> NDArray[np.uint8]:
        unit = x.float().clamp(-1.0, 1.0).add(1.0).div(2.0)
        if self.alpha:
            colour, alpha = unit[:, :-1], unit[:, -1:]
            seen = alpha > INVISIBLE
            colour = torch.where(seen, (colour / alpha.clamp_min(INVISIBLE)).clamp_max(1.0), torch.zeros_like(colour))
            unit = torch.cat([colour, torch.where(seen, alpha, torch.zeros_like(alpha))], 1)
        out: NDArray[np.uint8] = unit.mul(255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return out

    def labels(self, n: int, rng: np.random.Generator, among: Sequence[int] | None = None) -> NDArray[np.int64]:
        """n class indices in the training data's proportions; of some classes, in theirs."""
        if self.shares is None:
            return np.full(n, -1, dtype=np.int64)
        shares = np.array(self.shares)
        if among is not None:
            wanted = np.isin(np.arange(len(shares)), among)
            shares = np.where(wanted, shares, 0) if shares[wanted].any() else wanted.astype(float)
        edges = np.cumsum(shares)
        return np.searchsorted(edges / edges[-1], rng.random(n), side="right").astype(np.int64)

    def condition(self, labels: NDArray[np.int64]) -> Tensor | None:
        """(n, 1) class indices, or None without classes."""
        return None if self.classes is None else torch.from_numpy(labels).unsqueeze(1)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> Codec:
        return Codec(**json.loads(path.read_text()))

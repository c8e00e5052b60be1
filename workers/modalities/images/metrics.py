"""Quality of pictures: what a small network that was taught by real ones reads, and how much samples vary. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32  # pixels that the small network looks at
FEATURES = 96
JUDGE_SEEN = (5_000, 40_000)  # pictures in the network's training, repeats counted: at least, at most
REPEATS = 20  # of each picture, between these
FEWEST = 5  # pictures of a class of which a standard deviation says something

Labels = NDArray[np.int64]


def reduced(x: Tensor) -> Tensor:
    """At most SIDE pixels a side."""
    size = (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))
    return x if size == x.shape[2:] else F.adaptive_avg_pool2d(x, size)


class Classifier(nn.Module):
    """Two convolutions and a hidden layer: enough for 98 % of handwritten digits in a few seconds."""

    def __init__(self, channels: int, classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, 32, 3, padding=1)
        self.two = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * 16, FEATURES)
        self.out = nn.Linear(FEATURES, classes)
        for layer in (self.one, self.two, self.hidden, self.out):
            with torch.no_grad():
                layer.weight.normal_(0.0, math.sqrt(2.0 / layer.weight[0].numel()), generator=rng)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # takes two thirds of the time

    def _features(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.one(x), 2, ceil_mode=True))  # a side may be one pixel
        x = F.adaptive_avg_pool2d(F.relu(self.two(x)), 4)
        return F.relu(self.hidden(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self._features(x))
        return out

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """(n, FEATURES) of pictures (n, c, h, w), in pieces."""
        return torch.cat([self._features(piece) for piece in torch.split(x, 500)])

    @torch.no_grad()
    def read(self, x: Tensor) -> Labels:
        """(n,) the class that each picture looks like."""
        found: Labels = torch.cat([self(piece).argmax(1) for piece in torch.split(x, 500)]).numpy()
        return found


def classifier(x: Tensor, labels: Labels, classes: int, seed: int) -> Classifier:
    """A small network trained to read labels (n,) from pictures (n, c, h, w); deterministic in its arguments."""
    truth = torch.from_numpy(labels)
    return _taught(x, classes, seed, lambda said, rows: F.cross_entropy(said, truth[rows]))


def describer(x: Tensor, values: Tensor, boolean: Tensor, seed: int) -> Classifier:
    """A small network trained to tell attributes (n, k) of pictures (n, c, h, w), NaN for unknown: log-odds of those
    that are `boolean` (k,), the value of the others, which should be about 1 wide. Deterministic in its arguments."""
    known, truth = ~values.isnan(), values.nan_to_num()

    def loss(said: Tensor, rows: Tensor) -> Tensor:
        odds = F.binary_cross_entropy_with_logits(said, truth[rows], reduction="none")
        each = torch.where(boolean, odds, (said - truth[rows]).square())
        return (each * known[rows]).mean()

    return _taught(x, values.shape[1], seed, loss)


def _taught(x: Tensor, outputs: int, seed: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Classifier:
    """By `loss(what it said of some pictures, which they were)`."""
    rng = torch.Generator().manual_seed(seed)
    network = Classifier(x.shape[1], outputs, rng)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    least, most = JUDGE_SEEN
    steps = min(max(REPEATS * len(x), least), most) // 50
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
        rows = torch.randint(len(x), (50,), generator=rng)
        optimiser.zero_grad()
        loss(network(x[rows]), rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


def shares(hits: NDArray[np.bool_], labels: Labels, classes: int) -> NDArray[np.float64]:
    """(classes,) share of hits among those of each label; NaN where there is none."""
    total = np.bincount(labels, minlength=classes).astype(float)
    out = np.full(classes, np.nan)
    np.divide(np.bincount(labels, hits, minlength=classes), total, out=out, where=total > 0)
    return out


def spreads(real: Tensor, fake: Tensor, real_labels: Labels, fake_labels: Labels, classes: int) -> NDArray[np.float64]:
    """(classes,) ratios of mean pixel standard deviations fake / real: under .5 a class has collapsed.

    NaN where either side has too few pictures, or the real ones are all equal."""
    mine, theirs = _deviation(fake, fake_labels, classes), _deviation(real, real_labels, classes)
    out = np.full(classes, np.nan)
    np.divide(mine, theirs, out=out, where=theirs > 1e-6)
    return out


def _deviation(x: Tensor, labels: Labels, classes: int) -> NDArray[np.float64]:
    """(classes,) the standard deviation of a pixel within each class, mean over pixels; NaN with too few pictures."""
    present, places = np.unique(labels, return_inverse=True)
    at, flat = torch.from_numpy(places), x.flatten(1).double()
    count = torch.bincount(at, minlength=len(present)).double()[:, None]
    empty = torch.zeros(len(present), flat.shape[1], dtype=torch.float64)
    centred = flat - (empty.index_add(0, at, flat) / count)[at]
    variance = empty.index_add(0, at, centred.square()) / (count - 1.0).clamp_min(1.0)
    found = variance.sqrt().mean(1).numpy()
    out = np.full(classes, np.nan)
    out[present] = np.where(count[:, 0].numpy() >= FEWEST, found, np.nan)
    return out

"""Quality of pictures: what a small network that was trained on the real ones sees. Pure in its arguments.

Not FID: the features are those of the data set's own judge, so figures compare only within one data set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32  # pixels that the judge looks at
FEATURES = 96
NEIGHBOURS = 5
JUDGE_SEEN = (5_000, 40_000)  # pictures in the judge's training, repeats counted: at least, at most
REPEATS = 20  # of each picture, between these


def _reduced(x: Tensor) -> Tensor:
    """At most SIDE pixels a side."""
    size = (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))
    return x if size == x.shape[2:] else F.adaptive_avg_pool2d(x, size)


class _Network(nn.Module):
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

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(_reduced(x))), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.two(x)), 4)
        return F.relu(self.hidden(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.features(x))
        return out


def classifier(x: Tensor, labels: Tensor, classes: int, seed: int) -> nn.Module:
    """A small network trained to read labels (n,) from pictures (n, c, h, w); deterministic in its arguments."""
    rng = torch.Generator().manual_seed(seed)
    network = _Network(x.shape[1], classes, rng)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    least, most = JUDGE_SEEN
    steps = min(max(REPEATS * len(x), least), most) // 50
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
        rows = torch.randint(len(x), (50,), generator=rng)
        loss = F.cross_entropy(network(x[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


@torch.no_grad()
def _in_pieces(function: nn.Module, x: Tensor, name: str = "forward") -> Tensor:
    return torch.cat([getattr(function, name)(piece) for piece in torch.split(x, 500)])


def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of pictures that the network reads as their label says."""
    return float((_in_pieces(network, x).argmax(1) == labels).float().mean())


@dataclass(frozen=True)
class Judge:
    """Features (n, k) of pictures, and with classes a reader of labels."""

    network: nn.Module | None
    axes: Tensor  # principal axes (pixels, k), for pictures without labels
    centre: Tensor

    def features(self, x: Tensor) -> Tensor:
        if self.network is not None:
            return _in_pieces(self.network, x, "features")
        return (_small(x) - self.centre) @ self.axes


def _small(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, (min(16, x.shape[2]), min(16, x.shape[3]))).flatten(1)


def judge(x: Tensor, labels: Tensor | None, classes: int, seed: int) -> Judge:
    """A judge that has learned from real training pictures; without labels, their 64 principal axes at 16 pixels."""
    if labels is not None:
        empty = torch.empty(0)
        return Judge(classifier(x, labels, classes, seed), empty, empty)
    small = _small(x)
    centre = small.mean(0)
    _, _, axes = torch.linalg.svd(small - centre, full_matrices=False)
    return Judge(None, axes[:64].T.contiguous(), centre)


def coverage_and_density(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """(share of reals with a fake nearer than their k-th real neighbour, fakes' mean number of such reals / k).

    Naeem et al., ICML 2020. A perfect model has a coverage of 1 - 2^-k (.969 for 5) at equal numbers."""
    k = min(k, len(real) - 1)
    radius = torch.cdist(real, real).kthvalue(k + 1, dim=1).values
    near = torch.cdist(real, fake) <= radius[:, None]
    return float(near.any(1).float().mean()), float(near.float().sum(0).mean() / k)


def spread(real: Tensor, fake: Tensor, real_labels: NDArray[np.int64], fake_labels: NDArray[np.int64]) -> float:
    """Mean over classes of the ratio of pixel standard deviations fake / real: below .5 the class has collapsed."""
    ratios = []
    for label in np.unique(real_labels):
        mine, theirs = fake[torch.from_numpy(fake_labels == label)], real[torch.from_numpy(real_labels == label)]
        if len(mine) > 4 and len(theirs) > 4 and float(theirs.std(0).mean()) > 0:
            ratios.append(float(mine.std(0).mean() / theirs.std(0).mean()))
    return float(np.mean(ratios)) if ratios else float("nan")


def nearest(x: Tensor, to: Tensor) -> float:
    """Median distance of each x to its nearest neighbour in `to`; features (n, k), (m, k)."""
    found = [torch.cdist(piece, to).min(1).values for piece in torch.split(x, 500)]
    return float(torch.cat(found).median())

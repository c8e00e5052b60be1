"""Whether samples lie where real ones do, and everywhere there, by nearest neighbours among features. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 5
SLACK = 1e-6  # of the largest length: distances of equal features are not exactly 0


@dataclass(frozen=True)
class Overlap:
    """Of n real and m fake: which fakes lie in which real ones' neighbourhoods, and the other way round.

    A neighbourhood reaches to the k-th nearest of the same kind. Precision and recall: Kynkaanniemi et al., 2019;
    density and coverage: Naeem et al., 2020. At equal numbers a perfect model's coverage is 1 - 2^-k, .969 for 5."""

    near: Tensor  # (n, m) bool: the fake is in the real one's neighbourhood
    recalled: Tensor  # (n,) bool: the real one is in some fake's neighbourhood
    k: int

    @property
    def coverage(self) -> float:
        """Share of real ones with a fake near by."""
        return float(self.near.any(1).double().mean())

    @property
    def density(self) -> float:
        """Real ones that a fake is near to, over what real ones would be; not bounded by 1."""
        return float(self.near.double().sum(0).mean()) / self.k

    @property
    def precision(self) -> float:
        """Share of fakes near to some real one."""
        return float(self.near.any(0).double().mean())

    @property
    def recall(self) -> float:
        """Share of real ones that lie among the fakes."""
        return float(self.recalled.double().mean())

    def coverage_by(
        self, labels: NDArray[np.int64], fake_labels: NDArray[np.int64], classes: int
    ) -> NDArray[np.float64]:
        """(classes,) coverage of each class by samples that were asked for it; NaN without a real one."""
        same = torch.from_numpy(labels)[:, None] == torch.from_numpy(fake_labels)[None, :]
        covered = (self.near & same).any(1).double().numpy()
        total = np.bincount(labels, minlength=classes).astype(float)
        out = np.full(classes, np.nan)
        np.divide(np.bincount(labels, covered, minlength=classes), total, out=out, where=total > 0)
        return out


def overlap(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> Overlap:
    """Features (n, d), (m, d); neighbourhoods of k, or of all others where there are fewer."""
    real, fake = real.double(), fake.double()
    slack = SLACK * float(torch.cat([real, fake]).norm(dim=1).max())
    between = torch.cdist(real, fake)
    near = between <= _reach(real, k)[:, None] + slack
    recalled = (between <= _reach(fake, k)[None, :] + slack).any(1)
    return Overlap(near, recalled, max(1, min(k, len(real) - 1)))


def _reach(x: Tensor, k: int) -> Tensor:
    """Distance of each to its k-th nearest other."""
    return torch.cdist(x, x).kthvalue(min(k, len(x) - 1) + 1, dim=1).values


def nearest(x: Tensor, to: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """(distances, places in `to`), each (n, k), nearest first; in pieces, so memory does not grow with n times m."""
    k = min(k, len(to))
    to = to.double()
    found = [torch.cdist(piece.double(), to).topk(k, largest=False) for piece in torch.split(x, 250)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])

"""How far two clouds of features lie apart, as one number, which means nothing without the features' name. Pure."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 1_000  # samples of each kind that one estimate of the KID is made of


def fd(x: Tensor, y: Tensor) -> float:
    """Frechet distance between normal distributions fitted to features (n, k) and (m, k); Heusel et al., 2017.

    Biased: fewer samples give a larger distance, so compare at equal n and m only. The trace of the root of the two
    covariances' product is the sum of the singular values of A B', where A'A and B'B are the covariances; so no root
    of an ill-conditioned matrix is taken."""
    x, y = x.double(), y.double()
    a, b = _root(x), _root(y)
    means = (x.mean(0) - y.mean(0)).square().sum()
    spreads = a.square().sum() + b.square().sum() - 2.0 * torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(means + spreads))


def _root(x: Tensor) -> Tensor:
    """A with A'A the covariance of x, of at most as many rows as columns."""
    centred = (x - x.mean(0)) / math.sqrt(max(1, len(x) - 1))
    return centred if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R


def kid(x: Tensor, y: Tensor, block: int = BLOCK) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / k + 1)^3; Binkowski et al., 2018. NaN for under two.

    Unbiased, so that few samples give no larger distance, and two halves of one set lie around 0 (a little under it
    as often as over). The mean over disjoint blocks: rows must be in random order."""
    if min(len(x), len(y)) < 2:
        return math.nan
    blocks = max(1, min(len(x), len(y)) // block)
    pairs = zip(x.double().tensor_split(blocks), y.double().tensor_split(blocks), strict=True)
    return sum(_discrepancy(a, b) for a, b in pairs) / blocks


def _discrepancy(x: Tensor, y: Tensor) -> float:
    n, m = len(x), len(y)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2.0 * xy.mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1.0) ** 3

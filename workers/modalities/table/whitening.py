"""What categories leave unsaid of the numbers: their mean given all categories taken out, the rest made independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

RIDGE = 5.0  # rows of prior belief in a mean of zero; measured, like the floor
FLOOR = 0.01  # of the residual covariance's eigenvalues
Single = NDArray[np.float32]


@dataclass
class Whitening:
    """g = h Lh^T + onehots M, h independent with unit variance; holes (missing values) enter no estimate."""

    mean: Single  # (k, d)
    root: Single  # (d, d), symmetric
    inverse: Single  # (d, d)


def fit(codes: NDArray[np.int64], offsets: NDArray[np.int64], k: int, g: Single, valid: NDArray[np.bool_]) -> Whitening:
    """codes (n, v) with the variables' offsets among the k one-hots, g (n, d) and which of its values are there."""
    d = g.shape[1]
    ones = _one_hots(codes + offsets, max(k, 1))
    width = max(k, 1)
    mean = np.zeros((width, d), np.float64)
    for pattern in np.unique(valid, axis=1).T:
        which = np.flatnonzero((valid == pattern[:, None]).all(0))
        rows = ones[pattern]
        gram = (rows.T @ rows).toarray() + RIDGE * np.eye(width)
        mean[:, which] = np.linalg.solve(gram, rows.T @ g[pattern][:, which].astype(np.float64))
    residual = np.where(valid, g - ones @ mean, 0)
    pairs = np.maximum(valid.T.astype(np.float64) @ valid, 1)
    covariance = (residual.T @ residual) / pairs
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2) if d else (np.zeros(0), np.zeros((0, 0)))
    root = np.sqrt(np.maximum(values, FLOOR))
    return Whitening(
        mean[:k].astype(np.float32) if k else np.zeros((0, d), np.float32),
        ((vectors * root) @ vectors.T).astype(np.float32),
        ((vectors / root) @ vectors.T).astype(np.float32),
    )


def _one_hots(at: NDArray[np.int64], width: int) -> csr_matrix:
    """Sparse one-hots (n, width) of the positions (n, v)."""
    n, v = at.shape
    return csr_matrix((np.ones(at.size, np.float32), at.ravel(), np.arange(n + 1) * v), (n, width))

"""How alike two tables are, column by column and pair by pair. Pure functions of arrays.

A table is a list of columns of equal length: floats are a number (NaN is missing), integers the codes of a category."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVELS = 250  # codes above are one: joint tables stay small, and boosted trees bin categories into 255 at most
Columns = Sequence[NDArray[np.generic]]


def is_number(column: NDArray[np.generic]) -> bool:
    return bool(np.issubdtype(column.dtype, np.floating))


def shapes(real: Columns, synthetic: Columns) -> list[float]:
    """For each column 1 - KS distance (numbers) or 1 - total variation (categories); 1 is best."""
    return [
        _number_shape(r.astype(float), s.astype(float))
        if is_number(r)
        else 1 - total_variation(r.astype(int), s.astype(int))
        for r, s in zip(real, synthetic, strict=True)
    ]


def _number_shape(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> float:
    """The share of missing values counts like one more point of the distribution."""
    gap = abs(float(np.isnan(real).mean() - np.isnan(synthetic).mean()))
    a, b = np.sort(real[~np.isnan(real)]), np.sort(synthetic[~np.isnan(synthetic)])
    if not len(a) or not len(b):
        return 1 - gap if len(a) == len(b) else 0.0
    grid = np.concatenate([a, b])
    ks = np.abs(np.searchsorted(a, grid, "right") / len(a) - np.searchsorted(b, grid, "right") / len(b)).max()
    return 1 - max(float(ks), gap)


def total_variation(a: NDArray[np.int_], b: NDArray[np.int_]) -> float:
    """Half the summed difference of two histograms of codes."""
    size = int(max(a.max(initial=0), b.max(initial=0))) + 1
    return float(0.5 * np.abs(np.bincount(a, minlength=size) / len(a) - np.bincount(b, minlength=size) / len(b)).sum())


def binned(real: Columns, synthetic: Columns) -> tuple[list[NDArray[np.int_]], list[NDArray[np.int_]]]:
    """Both tables as small integers: the last levels of a long category as one, numbers cut at the real deciles."""
    left, right = [], []
    for r, s in zip(real, synthetic, strict=True):
        if not is_number(r):
            left.append(np.minimum(r.astype(int), LEVELS))
            right.append(np.minimum(s.astype(int), LEVELS))
            continue
        known = r.astype(float)[~np.isnan(r.astype(float))]
        edges = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.zeros(0)
        for column, out in ((r, left), (s, right)):
            out.append(np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="right")))
    return left, right


def trend(real: Columns, synthetic: Columns, pairs: int = 500) -> float:
    """Mean over pairs of columns of 1 - total variation of their joint table; of so many pairs, evenly chosen, at most.

    1 is best; a single column counts as its own pair."""
    left, right = binned(real, synthetic)
    chosen = [(i, j) for i in range(len(left)) for j in range(i)] or [(0, 0)]
    chosen = chosen[:: max(1, len(chosen) // pairs)]
    scores = []
    for i, j in chosen:
        width = int(max(left[j].max(), right[j].max())) + 1
        scores.append(1 - total_variation(left[i] * width + left[j], right[i] * width + right[j]))
    return float(np.mean(scores))

"""What columns say of each other: mutual information, what determines what, and the order in which to draw them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CERTAIN = 0.9995  # share of rows in which a dependency must hold to be kept by construction
SAMPLE = 30_000  # rows looked at
PAIRS = 400  # pairs of categories tried as the key of a number


@dataclass
class Relations:
    """Between categorical codes: for each pair the mutual information and whether the first determines the second."""

    information: Floats  # (v, v), nats
    determines: NDArray[np.bool_]  # (v, v): [i, j] means that i's level leaves j no choice


def relations(codes: Ints, sizes: list[int]) -> Relations:
    v = len(sizes)
    some = codes[:: max(1, len(codes) // SAMPLE)]
    information, determines = np.zeros((v, v)), np.zeros((v, v), bool)
    for i, j in combinations(range(v), 2):
        table = joint(some[:, i], some[:, j], sizes[i], sizes[j])
        information[i, j] = information[j, i] = mutual_information(table)
        if information[i, j] > 0.05:
            determines[i, j] = table.max(1).sum() >= CERTAIN * table.sum() and _thick(table.sum(1))
            determines[j, i] = table.max(0).sum() >= CERTAIN * table.sum() and _thick(table.sum(0))
    return Relations(information, determines)


def _thick(groups: Floats) -> bool:
    """Enough rows a level that determination is no accident."""
    return bool(groups.sum() >= 20 * np.count_nonzero(groups))


def joint(a: Ints, b: Ints, size_a: int, size_b: int) -> Floats:
    return np.bincount(a * size_b + b, minlength=size_a * size_b).reshape(size_a, size_b).astype(float)


def mutual_information(table: Floats) -> float:
    p = table / table.sum()
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    there = p > 0
    bias = (np.count_nonzero(p.sum(1)) - 1) * (np.count_nonzero(p.sum(0)) - 1) / (2 * table.sum())  # Miller and Madow
    return float(max(0.0, (p[there] * np.log(p[there] / independent[there])).sum() - bias))


def drawing_order(information: Floats) -> tuple[list[int], list[int]]:
    """An order in which each column follows the one that tells most about it (Prim's walk over the Chow-Liu tree), and
    for each column in that order the position of that parent (-1 for the first)."""
    v = len(information)
    if not v:
        return [], []
    order, parents = [int(information.sum(0).argmax())], [-1]
    best, best_parent = information[order[0]].copy(), np.zeros(v, int)
    best[order[0]] = -1
    while len(order) < v:
        take = int(best.argmax())
        parents.append(int(best_parent[take]))
        order.append(take)
        better = (information[take] > best) & (best >= 0)
        best[better], best_parent[better] = information[take][better], len(order) - 1
        best[take] = -1
    return order, parents


def log_ratio(a: Ints, b: Ints, size_a: int, size_b: int) -> Floats:
    """log P(a, b) / (P(a) P(b)), from counts smoothed by .05."""
    table = joint(a, b, size_a, size_b) + 0.05
    p = table / table.sum()
    out: Floats = np.log(p / (p.sum(1, keepdims=True) * p.sum(0, keepdims=True)))
    return out


def unseen(a: Ints, b: Ints, size_a: int, size_b: int) -> NDArray[np.bool_]:
    """Pairs of levels that never occur together though both occur."""
    table = joint(a, b, size_a, size_b)
    out: NDArray[np.bool_] = (table == 0) & (table.sum(1, keepdims=True) > 0) & (table.sum(0, keepdims=True) > 0)
    return out


# -- numbers that categories determine ----------------------------------------------------------------------------


def determining_key(values: Floats, codes: Ints, sizes: list[int]) -> tuple[int, ...] | None:
    """The variables, one or two, that fix a number in nearly every row; None if there are none.

    Tried only for numbers with few distinct values, and keys with many rows a level, so that it is no accident."""
    step = max(1, len(values) // SAMPLE)
    values, codes = values[::step], codes[::step]
    if len(values) < 200 or len(np.unique(values)) > 500:
        return None
    v = codes.shape[1]
    keys = [(i,) for i in range(v)] + list(combinations(range(v), 2))[:PAIRS]
    for key in keys:
        groups, width = combined(codes, key, sizes)
        if width > 10_000_000:
            continue
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        if (
            len(first) < 0.05 * len(values)
            and np.mean(values[first][inverse] == values) > 0.9
            and _certain(values, inverse)
        ):
            return key
    return None


def _certain(values: Floats, groups: Ints) -> bool:
    middle = group_medians(values, groups)
    return bool(np.mean(middle[groups] == values) > 0.999)


def group_medians(values: Floats, groups: Ints) -> Floats:
    """The lower median of each group 0, 1, ... (a value that occurs)."""
    order = np.lexsort((values, groups))
    counts = np.bincount(groups)
    start = np.cumsum(counts) - counts
    out: Floats = values[order][start + (counts - 1) // 2]
    return out


def combined(codes: Ints, key: tuple[int, ...], sizes: list[int]) -> tuple[Ints, int]:
    """One integer for the levels of several variables, and how many such integers there are."""
    out, width = codes[:, key[0]], sizes[key[0]]
    for i in key[1:]:
        out, width = out * sizes[i] + codes[:, i], width * sizes[i]
    return out, width

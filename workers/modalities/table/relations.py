"""What codes say of each other: mutual information, the order in which to draw them, which levels never meet."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SAMPLE = 20_000  # rows looked at
SPAN = 1_000  # levels that are compared with all others at a time
WORK = 1e11  # multiplications that the table of all relations may cost: a few seconds
CERTAIN = 0.9995  # share of rows in which one level must follow from another to be kept by construction
NEARLY = 0.998  # the same among SAMPLE rows: with less it is not worth a look at all rows
THICK = 20  # rows a level, on average, below which that may be an accident
EXPECTED = 25  # rows in which two independent levels would have met: if none did, they never do
PARENTS = 2  # earlier codes to which a code has a table of its own
TABLE = 65_536  # levels x levels of such a table, at most
LEAST = 0.005  # nats that such a table must be worth


def information(codes: Ints, sizes: list[int]) -> Floats:
    """Mutual information (v, v) in nats of each pair of codes (n, v), zero on the diagonal.

    Long codes are shortened to blocks of neighbouring levels until all pairs together are affordable."""
    v, some = len(sizes), codes[:: max(1, len(codes) // SAMPLE)]
    if v < 2 or not len(some):
        return np.zeros((v, v))
    cap = 64
    while cap > 4 and sum(min(size, cap) for size in sizes) ** 2 * len(some) > WORK:
        cap //= 2
    if sum(min(size, cap) for size in sizes) ** 2 * len(some) > WORK:
        some = some[::4]
    short = [min(size, cap) for size in sizes]
    ends = np.cumsum([0, *short])
    places = some * np.array(short) // np.array(sizes) + ends[:-1]
    ones = np.zeros((len(some), ends[-1]), np.float32)
    np.put_along_axis(ones, places, 1, 1)
    alone = ones.mean(0, dtype=np.float64)
    out = np.zeros((v, v))
    for first, last in _spans(ends):  # a few variables with all others: the whole table would take too much memory
        of = slice(ends[first], ends[last])
        together = (ones[:, of].T @ ones).astype(np.float64) / len(some)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = together * np.log(together / np.outer(alone[of], alone))
        total = np.add.reduceat(np.nan_to_num(ratio), ends[first:last] - ends[first], 0)
        out[first:last] = np.add.reduceat(total, ends[:-1], 1)
    levels = np.array([np.count_nonzero(alone[a:b]) for a, b in pairwise(ends)])
    bias = np.outer(levels - 1, levels - 1) / (2 * len(some))  # Miller and Madow
    out = np.maximum(out - bias, 0)
    np.fill_diagonal(out, 0)
    return out


def _spans(ends: Ints) -> list[tuple[int, int]]:
    """Variables by the few, of SPAN levels together (or a single one)."""
    group = ends[:-1] // SPAN
    firsts = np.flatnonzero(np.diff(group, prepend=-1))
    return list(pairwise([*firsts.tolist(), len(group)]))


def joint(a: Ints, b: Ints, size_a: int, size_b: int) -> Floats:
    return np.bincount(a * size_b + b, minlength=size_a * size_b).reshape(size_a, size_b).astype(float)


def drawing_order(strength: Floats) -> list[int]:
    """An order in which each column follows the one that tells most about it (Prim's walk over the Chow-Liu tree)."""
    v = len(strength)
    if not v:
        return []
    order = [int(strength.sum(0).argmax())]
    best = strength[order[0]].copy()
    best[order[0]] = -1
    while len(order) < v:
        take = int(best.argmax())
        order.append(take)
        better = (strength[take] > best) & (best >= 0)
        best[better] = strength[take][better]
        best[take] = -1
    return order


def strongest(strength: Floats, sizes: list[int]) -> list[tuple[int, int]]:
    """For each variable the earlier ones that say most about it, the strongest first: pairs (earlier, later)."""
    width = np.outer(sizes, sizes)
    out = []
    for j in range(len(sizes)):
        worth = np.where(width[:j, j] <= TABLE, strength[:j, j], 0)
        out += [(int(i), j) for i in np.argsort(-worth, kind="stable")[:PARENTS] if worth[i] > LEAST]
    return out


def rules(
    codes: Ints, sizes: list[int], pairs: list[tuple[int, int]], strength: Floats
) -> list[tuple[int, int, Bools]]:
    """Levels that never meet: all pairs not seen where one variable determines the other, and of the strongest pairs
    those that chance would have brought together often. (i, j, table of i's levels x j's), i earlier than j."""
    tied, out = set(pairs), []
    some = codes[:: max(1, len(codes) // SAMPLE)]
    strong = np.argwhere(np.triu(strength, 1) > 0.05)
    for i, j in strong[np.argsort(-strength[tuple(strong.T)], kind="stable")][:2_000].tolist():
        if sizes[i] * sizes[j] > 16 * TABLE:
            continue
        if (i, j) not in tied and not determined(joint(some[:, i], some[:, j], sizes[i], sizes[j]), NEARLY):
            continue  # nor will it be among all rows
        table = joint(codes[:, i], codes[:, j], sizes[i], sizes[j])
        never = unseen(table) if determined(table) else None
        if never is None and (i, j) in tied:
            never = (table == 0) & (np.outer(table.sum(1), table.sum(0)) / len(codes) >= EXPECTED)
        if never is not None and never.any():
            out.append((i, j, never))
    return out


def determined(table: Floats, share: float = CERTAIN) -> bool:
    """Whether one side's level leaves the other side no choice, in nearly every row."""
    total = table.sum()
    return any(
        table.max(axis).sum() >= share * total and total >= THICK * np.count_nonzero(table.sum(axis)) for axis in (0, 1)
    )


def unseen(table: Floats) -> Bools:
    """Pairs of levels that never occur together though both occur."""
    out: Bools = (table == 0) & (table.sum(1, keepdims=True) > 0) & (table.sum(0, keepdims=True) > 0)
    return out


def log_ratio(a: Ints, b: Ints, size_a: int, size_b: int, prior: float) -> Floats:
    """log P(b | a) / P(b), from counts to which `prior` rows of P(b) are added for each a."""
    table = joint(a, b, size_a, size_b)
    share = (table.sum(0) + 0.1) / (table.sum() + 0.1 * size_b)
    table += prior * share
    out: Floats = np.log(table / table.sum(1, keepdims=True)) - np.log(share)
    return out

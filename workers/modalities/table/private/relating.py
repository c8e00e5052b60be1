"""What codes say of each other, out of counts with noise: which pairs are worth a table, and what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from workers.modalities.table.fields import Floats, Ints
from workers.modalities.table.networks import PARENTS
from workers.modalities.table.private.counting import Counter, Histogram
from workers.modalities.table.relations import TABLE, joint

MOST_PAIRS = 3_000  # whose strength is asked for: in wide tables those of columns that stand near each other
SURE = 3.0  # standard deviations of the noise beyond which a cell's count is believed as it is
SWEEPS = 5  # of fitting a table to the shares of its sides
WORTH = 0.25  # of the noise in a table's cells, that its strength must exceed: most of it is taken out again
LEAST = 0.02  # of what chance would give: no cell is ruled out


def candidates(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of variables whose tables are small enough."""
    v, reach = len(sizes), len(sizes)
    while reach > 1 and reach * v > MOST_PAIRS:
        reach = reach * 3 // 4
    near = (pair for pair in combinations(range(v), 2) if pair[1] - pair[0] <= reach)
    return [(i, j) for i, j in near if min(sizes[i], sizes[j]) > 1 and sizes[i] * sizes[j] <= TABLE]


def strengths(codes: Ints, shares: Sequence[Floats], counter: Counter, sigma: float) -> tuple[Floats, float]:
    """How far each pair is from independent (v, v): rows in the wrong cells, with noise, less what chance would give;
    and the standard deviation of that noise. A row changes such a distance by one at most: the shares are known."""
    n, sizes = len(codes), [len(share) for share in shares]
    pairs = candidates(sizes)
    out = np.zeros((len(sizes), len(sizes)))
    if not pairs:
        return out, 0.0
    distances = np.zeros(len(pairs))
    chance = np.zeros(len(pairs))
    for place, (i, j) in enumerate(pairs):
        expected = n * np.outer(shares[i], shares[j])
        distances[place] = np.abs(joint(codes[:, i], codes[:, j], sizes[i], sizes[j]) - expected).sum()
        chance[place] = (np.sqrt(2 / np.pi * np.minimum(expected, n))).sum()
    scale = sigma * np.sqrt(len(pairs))
    noisy = counter.measure(distances, sigma)
    for (i, j), found in zip(pairs, np.maximum(noisy - np.minimum(chance, n), 0), strict=True):
        out[i, j] = out[j, i] = found
    return out, scale


def worth_a_table(strength: Floats, sizes: Sequence[int], noise: float, sigma: float) -> list[tuple[int, int]]:
    """For each variable the earlier ones, PARENTS at most, whose table tells more than the noise in it. `noise` is that
    of the strengths, `sigma` the multiplier of the tables."""
    each = sigma * np.sqrt(max(1, len(sizes)))  # of a cell, if there are as many tables as variables
    cost = np.sqrt(2 / np.pi) * each * np.outer(sizes, sizes)
    out = []
    for j in range(len(sizes)):
        good = strength[:j, j] > np.maximum(2 * noise, WORTH * cost[:j, j])
        best = [int(i) for i in np.argsort(-strength[:j, j], kind="stable") if good[i]]
        out += [(i, j) for i in best[:PARENTS]]
    return out


def tables(
    codes: Ints, shares: Sequence[Floats], pairs: Sequence[tuple[int, int]], counter: Counter, sigma: float
) -> list[Floats]:
    """For each pair P(later | earlier)."""
    n, sizes = len(codes), [len(share) for share in shares]
    asked = [
        Histogram(np.arange(sizes[i] * sizes[j]), joint(codes[:, i], codes[:, j], sizes[i], sizes[j]).ravel())
        for i, j in pairs
    ]
    scale = sigma * np.sqrt(max(1, len(pairs)))
    out = []
    for (i, j), found in zip(pairs, counter.ask(asked, sigma), strict=True):
        noisy = found.counts.reshape(sizes[i], sizes[j])
        table = believed(noisy, shares[i], shares[j], n, scale)
        out.append(table / table.sum(1, keepdims=True))
    return out


def believed(noisy: Floats, a: Floats, b: Floats, n: int, scale: float) -> Floats:
    """Counts (a's levels, b's levels) nearer to the truth than the noisy ones: small deviations from chance are mostly
    noise and shrink; then the sides are fitted."""
    expected = n * np.outer(a, b)
    off = noisy - expected
    weight = np.where(np.abs(off) > SURE * scale, 1.0, expected**2 / (expected**2 + scale**2 + 1e-12))
    table = np.maximum(expected + weight * off, LEAST * expected + 1e-9)
    for _ in range(SWEEPS):
        table *= (n * a / np.maximum(table.sum(1), 1e-12))[:, None]
        table *= n * b / np.maximum(table.sum(0), 1e-12)
    return table


def log_ratio(given: Floats, share: Floats) -> Floats:
    """log P(later | earlier) / P(later)."""
    out: Floats = np.log(np.maximum(given, 1e-6)) - np.log(np.maximum(share, 1e-6))
    return np.clip(out, -6, 6)

"""Searches for numbers that are nearly a smooth function of a few others, perhaps another one for each level of a
category: what no single product of powers says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.modalities.table.structure import regress
from workers.modalities.table.structure.find_identities import COLUMNS, MISSING, PROMISING, Pool
from workers.modalities.table.structure.find_near import NEAR_COLUMNS, heaps, many_positive, near_step, one_by_one
from workers.modalities.table.structure.grids import Flags, Floats, Ints
from workers.modalities.table.structure.plan import Plan
from workers.modalities.table.structure.predicted import Predicted
from workers.modalities.table.structure.surfaces import Surface, powers, terms

NEAR = 0.03  # share of the logarithm's spread that is left open: less than for one product of powers, which has fewer
# weights to fit
NEARER = 0.003  # likewise, for a column that heaps at some values: what is left then says nothing of these heaps
GAIN = 0.5  # a category's own functions leave at most this share of what one for all leaves
LEVELS, MOST = 8, 12  # of a category, and categories that are tried
LEVEL_ROWS = 10  # rows of a level for each weight
TRIM = 0.95  # share of the rows that count: the others may be odd
STRAIGHT = 0.3  # share of its spread that straight lines may leave open of a column, for a closer look
LEADING = 8  # columns that are tried to explain another
WORTH = 0.7  # share of what was open that may be left by one column more
CATEGORIES = ("category", "boolean", "integer", "float")  # types that may be one; their values are JSON's
TRIED = 4  # columns that are made, with each category
ROUNDED = 0.05  # of standardised logarithms: how far outwards the ends are rounded


@dataclass
class Groups:
    """Rows of the pool by the levels of a category; all in one where there is none."""

    by: str | None
    levels: list[object]
    codes: Ints  # of the pool's rows, -1 for a level that is not among these
    fitted: Flags  # rows that a function is fitted to; the others judge it

    def centred(self, x: Floats) -> Floats:
        out = x.copy()
        for level in range(len(self.levels)):
            rows = self.codes == level
            out[rows] -= x[rows].mean(0)
        return out[self.codes >= 0]


def surfaces(plan: Plan) -> None:
    """Of smooth positive columns; the best first."""
    names = [name for name in plan.counted(levels=True) if np.isnan(plan.natural(name)).mean() <= MISSING]
    pool = Pool.of(plan, names[:COLUMNS], log=True)
    if pool is not None:
        groups = _groups(plan, pool)
        one_by_one(plan, pool, lambda plan, rest: _best(plan, rest, groups))


def _best(plan: Plan, pool: Pool, ways_to_group: list[Groups]) -> Predicted | None:
    found: dict[str, dict[str | None, tuple[float, Surface]]] = {}
    for groups in ways_to_group:
        for target, leading in _candidates(plan, pool, groups):
            fitted = _grown(plan, pool, groups, target, leading)
            if fitted is not None:
                found.setdefault(pool.names[target], {})[groups.by] = fitted
    best: tuple[float, str, Surface] | None = None
    for name, ways in found.items():
        one = ways[None][0] if None in ways else np.inf
        for by, (error, surface) in ways.items():
            near = NEARER if heaps(plan, name) else NEAR
            worth = error <= near and (by is None or error <= GAIN * one) and plan.possible(name, surface.needs)
            if worth and (best is None or error < best[0]):
                best = error, name, surface
    return None if best is None else near_step(plan, *best[1:])


def _groups(plan: Plan, pool: Pool) -> list[Groups]:
    n = len(pool.rows)
    fitted = plan.table.rng.random(n) < 0.5
    out = [Groups(None, [None], np.zeros(n, np.int64), fitted)]
    for name in plan.columns:
        if plan.columns[name]["type"] not in CATEGORIES:
            continue
        codes, count = plan.codes(name)
        if not 2 <= count <= LEVELS or name in pool.names:
            continue
        codes = codes[pool.rows]
        rows = np.bincount(codes, minlength=count)
        values = _values(plan, name, count)
        good = [c for c in range(count) if values[c] is not None and rows[c] >= LEVEL_ROWS * len(powers(1))]
        if len(good) < 2 or rows[good].sum() < (1 - MISSING) * n:
            continue
        place = np.full(count, -1)
        place[good] = np.arange(len(good))
        out.append(Groups(name, [values[c] for c in good], place[codes], fitted))
    return out[: MOST + 1]


def _values(plan: Plan, name: str, count: int) -> list[object]:
    """What each of its codes stands for, as stored."""
    codes, _ = plan.codes(name)
    first = np.zeros(count, np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    values: list[object] = plan.sample[name].take(first).to_pylist()
    return values


def _candidates(plan: Plan, pool: Pool, groups: Groups) -> list[tuple[int, list[int]]]:
    """Columns that others nearly explain within the levels, and on which they lean most."""
    x = groups.centred(pool.x)
    spread = x.std(0)
    kept = np.flatnonzero(spread > 1e-3)
    if len(kept) < 2:
        return []
    x = x[:, kept] / spread[kept]
    open_, leaning = regress.unexplained(x)
    out: list[tuple[int, list[int]]] = []
    for t in np.argsort(open_, kind="stable"):
        name = pool.names[kept[t]]
        if open_[t] > PROMISING or len(out) == TRIED:
            break
        if not plan.free(name) or not many_positive(plan, name):
            continue
        allowed = [i for i in range(len(kept)) if i != t and plan.possible(name, (pool.names[kept[i]],))]
        if not allowed:
            continue
        leading = regress.leaders(leaning, int(t), allowed)
        if regress.trimmed(x, x[:, t], leading).error <= STRAIGHT:
            out.append((int(kept[t]), [int(kept[i]) for i in leading[:LEADING]]))
    return out


def _grown(plan: Plan, pool: Pool, groups: Groups, target: int, leading: list[int]) -> tuple[float, Surface] | None:
    """With the columns that help most, one after the other, as long as each leaves much less open."""
    best: tuple[float, Surface] | None = None
    columns: list[int] = []
    while len(columns) < NEAR_COLUMNS:
        ways = [(_fit(plan, pool, groups, target, [*columns, i]), i) for i in leading if i not in columns]
        fitted = [(way, i) for way, i in ways if way is not None]
        if not fitted:
            return best
        more, column = min(fitted, key=lambda one: one[0][0])
        if best is not None and more[0] > WORTH * best[0]:
            return best
        best, columns = more, [*columns, column]
    return best


def _fit(plan: Plan, pool: Pool, groups: Groups, target: int, columns: list[int]) -> tuple[float, Surface] | None:
    """The share of the target's spread that is left open in rows that were not fitted, and the function."""
    x, y = pool.x[:, columns], pool.x[:, target]
    a = terms(x)
    fitted = groups.fitted
    weights, off = [], []
    for level in range(len(groups.levels)):
        rows = groups.codes == level
        if (rows & fitted).sum() < LEVEL_ROWS * a.shape[1] / 2:
            return None
        solution = _trimmed(a[rows & fitted], y[rows & fitted])
        off.append(np.abs(y[rows & ~fitted] - a[rows & ~fitted] @ solution))
        weights.append(_trimmed(a[rows], y[rows]))
    apart = np.concatenate(off)
    error = float(np.sqrt(np.mean(np.sort(apart)[: max(1, int(TRIM * len(apart)))] ** 2)))
    natural = np.array(weights) * pool.spread[target]
    natural[:, 0] += pool.mean[target]
    ends = [[np.floor(c.min() / ROUNDED) * ROUNDED, np.ceil(c.max() / ROUNDED) * ROUNDED] for c in x.T]
    surface = Surface(
        {pool.names[i]: plan.table.grids[pool.names[i]] for i in columns},
        groups.by,
        list(groups.levels),
        [[float(f"{w:.12g}") for w in row] for row in natural],
        [float(pool.mean[i]) for i in columns],
        [float(pool.spread[i]) for i in columns],
        [[float(f"{low:.6g}"), float(f"{high:.6g}")] for low, high in ends],
    )
    return error, surface


def _trimmed(a: Floats, y: Floats) -> Floats:
    """Least squares, then once more on the rows that fit."""
    solution = np.linalg.lstsq(a, y, rcond=1e-12)[0]
    off = np.abs(y - a @ solution)
    good = off <= np.quantile(off, TRIM)
    out: Floats = np.linalg.lstsq(a[good], y[good], rcond=1e-12)[0]
    return out

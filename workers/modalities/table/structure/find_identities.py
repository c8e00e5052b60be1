"""Searches for numbers that follow from others: sums and differences, products of powers, curves of one column.

Columns are first all used to explain each one, then left out one by one: adding the best one by one would miss products
whose factors move together, such as the length, width and height of a stone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.modalities.table.structure import regress
from workers.modalities.table.structure.build import depends
from workers.modalities.table.structure.grids import Floats, Grid, Ints
from workers.modalities.table.structure.plan import ENOUGH, Plan, few
from workers.modalities.table.structure.predicted import Mode, Predicted
from workers.modalities.table.structure.predictors import Curve, Linear, Power, Predictor
from workers.modalities.table.structure.steps import CERTAIN

WIDEST = (
    0.5  # spread of the column that is made, as a share of the widest: small differences of large columns are rough
)
SPIKE = 0.01  # share of rows from which a value is a spike
COLUMNS = 150  # numbers looked at
LOOK = 4_000  # rows of the regressions
PROMISING = 0.5  # share of a column's spread that others leave open, for a closer look at it
EXACT = 0.8  # share of rows, without those with the column's commonest value, that an identity gets right
WITHIN = 2  # or: nearly all rows so many steps off at most, of a column that spreads over many more
WIDE = 50
MISSING = 0.05  # share of rows up to which a column's gaps do not set it apart
SNAPS = (1e-2, 1e-3, 1e-4)  # how near a coefficient must be to a plain one to become it: as near as it takes
SNAP = SNAPS[-1]
TOGETHER = 0.9999  # rank correlation of columns of which one may be a curve of the other


@dataclass
class Pool:
    """Columns of rows in which all are there, as they are or as logarithms."""

    names: list[str]
    rows: Ints  # of the sample
    x: Floats  # (rows, columns), standardised
    natural: Floats
    mean: Floats
    spread: Floats
    log: bool

    @classmethod
    def of(cls, plan: Plan, names: list[str], log: bool) -> Pool | None:
        if log:  # the logarithm of a date means nothing
            names = [name for name in names if plan.columns[name]["type"] not in ("date", "datetime")]
        if len(names) < 2:
            return None
        natural = np.stack([plan.natural(name) for name in names], 1)
        good = ~np.isnan(natural).any(1)
        if log:
            positive = (natural > 0) | np.isnan(natural)
            keep = [i for i in range(len(names)) if positive[:, i].mean() >= 1 - MISSING]
            names, natural = [names[i] for i in keep], natural[:, keep]
            good = (natural > 0).all(1)
        rows = np.flatnonzero(good)
        if len(rows) < ENOUGH + 10 * len(names) or len(names) < 2:
            return None
        rows = rows[few(len(rows), LOOK)]
        natural = natural[rows]
        values = np.log(natural) if log else natural
        mean, spread = values.mean(0), values.std(0)
        keep = [i for i in range(len(names)) if spread[i] > 1e-12 * abs(mean[i])]
        names = [names[i] for i in keep]
        x = (values[:, keep] - mean[keep]) / spread[keep]
        return cls(names, rows, x, natural[:, keep], mean[keep], spread[keep], log) if len(names) > 1 else None

    def without(self, name: str) -> Pool:
        keep = [i for i, other in enumerate(self.names) if other != name]
        names = [self.names[i] for i in keep]
        x, natural = self.x[:, keep], self.natural[:, keep]
        return Pool(names, self.rows, x, natural, self.mean[keep], self.spread[keep], self.log)


def identities(plan: Plan) -> None:
    """Exact ones, or exact up to rounding."""
    for names in columns_together(plan, levels=True):
        for log in (False, True):
            _search(plan, names, log)
    _curves(plan)


def columns_together(plan: Plan, levels: bool) -> Iterator[list[str]]:
    """Columns that are nearly always there, and then those with the same gaps together with them."""
    names = plan.counted(levels)
    names = sorted(names, key=lambda name: "levels" in plan.columns[name])[:COLUMNS]
    gaps = {name: np.isnan(plan.natural(name)) for name in names}
    base = [name for name in names if gaps[name].mean() <= MISSING]
    yield base
    masks: dict[bytes, list[str]] = {}
    for name in names:
        if gaps[name].mean() > MISSING:
            masks.setdefault(np.packbits(gaps[name]).tobytes(), []).append(name)
    for group in masks.values():
        yield [*group, *base]


def _search(plan: Plan, names: list[str], log: bool) -> None:
    pool = Pool.of(plan, names, log)
    if pool is None:
        return
    open_, leaning = regress.unexplained(pool.x)
    for target in np.argsort(open_, kind="stable"):
        if open_[target] > PROMISING:
            return
        while plan.free(pool.names[target]):
            step = _identity(plan, pool, int(target), leaning)
            if step is None:
                break
            plan.add(step)


def _identity(plan: Plan, pool: Pool, target: int, leaning: Floats) -> Predicted | None:
    """One that has the target in it; what it makes is the target, or another of its columns."""
    allowed = [i for i, name in enumerate(pool.names) if i != target and not _tied(plan, name, pool.names[target])]
    if not allowed:
        return None
    y, noise = pool.x[:, target], max(1e-6, _rounding(plan.table.grids[pool.names[target]], pool, target))
    full = regress.exactly(pool.x, y, regress.leaders(leaning, target, allowed), noise)
    if full is None:
        return None
    enough = max(noise, 1.5 * full.error)
    fit = regress.few(pool.x, y, full, enough) or regress.fewest(pool.x, y, full, enough)
    best: tuple[tuple[float, ...], str, Predictor] | None = None
    for member, by, snap in _turned(plan, pool, target, fit):
        name = pool.names[member]
        if not plan.possible(name, by.needs):
            continue
        share = _share_right(plan, name, by)
        if share is None:
            continue
        even = _evenness(plan, name)
        spread = float(np.std(pool.natural[:, member]))
        others = [float(np.nanstd(plan.natural(other))) for other in by.needs]
        wide = pool.log or spread >= WIDEST * max(others)  # factors have units of their own
        right = share >= EXACT
        rank = (float(even > 0), float(wide), float(right), even, round(share, 1), _plainness(by), snap, spread)
        if best is None or rank > best[0]:
            best = rank, name, by
    if best is None:
        return None
    _, name, by = best
    shorter = _shortened(plan, name, by) if isinstance(by, Linear) else by
    return _step(plan, name, shorter)


def _evenness(plan: Plan, name: str) -> float:
    """The share of rows without a common value, 0 for a column whose values heap: what others add up to has neither
    heaps nor spikes, so the column that is made should have none to lose."""
    grid = plan.table.grids[name]
    units = grid.units(plan.sample[name])
    units = units[~np.isnan(units)]
    if not len(units) or (not grid.continuous and regress.heaped(units, grid.step)):
        return 0.0
    _, counts = np.unique(units, return_counts=True)
    return round(1 - float(counts[counts >= SPIKE * len(units)].sum()) / len(units), 2)


def _shortened(plan: Plan, target: str, by: Linear) -> Linear:
    """With sums that are columns already in the place of their parts, where that is at least as often right."""
    for step in plan.steps:
        if not (isinstance(step, Predicted) and isinstance(step.by, Linear)) or len(step.needs) < 2:
            continue
        ratios = {by.coefficients.get(name, 0.0) / c for name, c in step.by.coefficients.items()}
        if len(ratios) != 1 or ratios == {0.0} or not plan.possible(target, step.makes):
            continue
        (ratio,) = ratios
        rest = {name: c for name, c in by.coefficients.items() if name not in step.needs}
        coefficients = rest | {step.target: ratio}
        grids = {name: plan.table.grids[name] for name in coefficients}
        spreads = {name: plan.table.spread(name) for name in grids}
        shorter = Linear(grids, coefficients, by.constant - ratio * step.by.constant, spreads)
        if (_share_right(plan, target, shorter) or 0.0) >= (_share_right(plan, target, by) or 0.0):
            return shorter
    return by


def _tied(plan: Plan, name: str, target: str) -> bool:
    """Whether a column is made from the target already, by whatever way."""
    return depends(name, target, plan.steps)


def _rounding(grid: Grid, pool: Pool, target: int) -> float:
    """How far rounding to the grid may put a value off, as the pool counts it."""
    width = grid.width
    if pool.log:
        width = width / max(float(np.median(pool.natural[:, target])), 1e-300)
    return 0.75 * width / float(pool.spread[target])


def _turned(plan: Plan, pool: Pool, target: int, fit: regress.Fit) -> Iterator[tuple[int, Predictor, float]]:
    """The identity solved for each of its columns, and how far its coefficients were bent to plain ones."""
    weights = {target: -1.0 / pool.spread[target]}
    weights |= {
        i: float(c / pool.spread[i]) for i, c in zip(fit.columns, fit.coefficients, strict=True)
    }  # fmt: skip
    for member in weights:
        others = [i for i in weights if i != member]
        raw = {i: -weights[i] / weights[member] for i in others}
        for snap in SNAPS[-1:] if pool.log else SNAPS:
            by = power(plan, pool, member, raw) if pool.log else _linear(plan, pool, member, raw, snap)
            if by is not None:
                yield member, by, snap


def _linear(plan: Plan, pool: Pool, member: int, raw: dict[int, float], snap: float) -> Linear | None:
    """None where it takes odd numbers."""
    if len(raw) > 1 and any(regress.fraction(c, snap) is None for c in raw.values()):
        return None
    coefficients = {pool.names[i]: regress.plain(c, snap) for i, c in raw.items()}
    rest = pool.natural[:, member] - sum(pool.natural[:, i] * coefficients[pool.names[i]] for i in raw)
    constant = float(np.median(rest))
    unit = max(float(np.std(pool.natural[:, member])) * 1e-9, plan.table.grids[pool.names[member]].width)
    constant = 0.0 if abs(constant) < unit / 2 else regress.plain(constant, 0.25 * unit / abs(constant))
    grids = {pool.names[i]: plan.table.grids[pool.names[i]] for i in raw}
    return Linear(grids, coefficients, constant, {name: plan.table.spread(name) for name in grids})


def power(plan: Plan, pool: Pool, member: int, raw: dict[int, float]) -> Power:
    exponents = {pool.names[i]: _halves(e) for i, e in raw.items()}
    log = np.log(pool.natural)
    factor = float(np.exp(np.median(log[:, member] - sum(log[:, i] * exponents[pool.names[i]] for i in raw))))
    grids = {pool.names[i]: plan.table.grids[pool.names[i]] for i in raw}
    spreads = {pool.names[i]: float(f"{pool.spread[i]:.3g}") for i in raw}
    return Power(grids, exponents, regress.plain(factor, 2e-3), spreads)


def _halves(exponent: float) -> float:
    near = round(2 * exponent) / 2
    return near if near and abs(near - exponent) <= 0.05 else float(f"{exponent:.4g}")


def _plainness(by: Predictor) -> float:
    """Sums of parts, and products of factors, before differences and quotients."""
    weights = list((by.coefficients if isinstance(by, Linear) else getattr(by, "exponents", {})).values())
    return float(all(w > 0 for w in weights)) + float(all(w == 1 for w in weights)) / 2


def _share_right(plan: Plan, name: str, by: Predictor) -> float | None:
    """Of rows without the commonest value the share that the identity gets right; None if it is no identity."""
    grid = plan.table.grids[name]
    own, made = grid.units(plan.sample[name]), by.units(plan.sample, grid)
    both = ~(np.isnan(own) | np.isnan(made))
    if both.sum() < ENOUGH:
        return None
    own, made = own[both], made[both]
    values, counts = np.unique(own, return_counts=True)
    usual = own == values[counts.argmax()]
    off = np.abs(own - made)
    right = off <= (1e-9 * np.abs(own) if grid.continuous else 0.5)
    share = float(right[~usual].mean()) if (~usual).sum() >= ENOUGH / 2 else 0.0
    enough = 10 if len(by.needs) == 1 else WIDE  # of fewer values an odd sum may happen to be right
    if "levels" in plan.columns[name] or len(values) < enough:
        return share if _quarters(by) and share >= CERTAIN and right.mean() >= CERTAIN else None
    if share >= EXACT:
        return share
    if grid.continuous:
        return None
    middle = float(np.subtract(*np.quantile(own, [0.75, 0.25])))
    close = np.quantile(off[~usual], 0.95) <= WITHIN * grid.step if (~usual).any() else False
    return share if close and middle >= WIDE * grid.step and counts.max() < len(own) / 2 else None


def _quarters(by: Predictor) -> bool:
    weights = by.coefficients.values() if isinstance(by, Linear) else [0.0]
    return all(float(4 * w).is_integer() for w in weights)


def _step(plan: Plan, name: str, by: Predictor) -> Predicted:
    """Over all rows; nothing is left open where the identity is hardly ever wrong."""
    table = plan.table
    grid, array = table.grids[name], table.frame[name]
    own, made = grid.units(array), by.units(table.frame, grid)
    both = ~(np.isnan(own) | np.isnan(made))
    right = np.abs(own - made)[both] <= (1e-9 * np.abs(own[both]) if grid.continuous else 0.5)
    holds = float(right.mean()) if len(right) else 0.0
    mode: Mode = "exact" if holds >= CERTAIN else "steps"
    return Predicted.fit(
        table.columns[name], array, grid, by, mode, table.frame, table.taken, table.rng, holds=holds
    )  # fmt: skip


# -- one column by another's logarithm ----------------------------------------------------------------------------


def _curves(plan: Plan) -> None:
    """Columns that rise and fall together, one of them straight in the other's logarithm."""
    for names in columns_together(plan, levels=False):
        pool = Pool.of(plan, names, log=False)
        if pool is None:
            continue
        ranks = np.argsort(np.argsort(pool.natural, axis=0, kind="stable"), axis=0).astype(float)
        together = np.abs(np.corrcoef(ranks.T))
        for i, j in np.argwhere(together > TOGETHER):
            if i == j or not plan.possible(pool.names[i], (pool.names[j],)):
                continue
            step = _curve(plan, pool, int(i), int(j))
            if step is not None:
                plan.add(step)


def _curve(plan: Plan, pool: Pool, target: int, source: int) -> Predicted | None:
    t, s = pool.natural[:, target], pool.natural[:, source]
    grids = {pool.names[source]: plan.table.grids[pool.names[source]]}
    for exponential in (True, False):
        if ((t if exponential else s) <= 0).any():
            continue
        y, x = (np.log(t), s) if exponential else (t, np.log(s))
        slope, intercept = np.polyfit(x, y, 1)
        intercept = 0.0 if abs(intercept) < 1e-9 * np.abs(y).max() else intercept
        by = Curve(grids, regress.plain(float(intercept), SNAP), regress.plain(float(slope), SNAP), exponential)
        for one in (by, Curve(grids, float(f"{intercept:.12g}"), float(f"{slope:.12g}"), exponential)):
            if _share_right(plan, pool.names[target], one) is not None:
                return _step(plan, pool.names[target], one)
    return None

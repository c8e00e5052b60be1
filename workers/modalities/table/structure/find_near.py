"""Searches for numbers that come near to products of others: what is left open is a factor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workers.modalities.table.structure import regress
from workers.modalities.table.structure.find_identities import PROMISING, WIDE, Pool, columns_together, power
from workers.modalities.table.structure.grids import Floats
from workers.modalities.table.structure.plan import Plan
from workers.modalities.table.structure.predicted import Predicted
from workers.modalities.table.structure.predictors import Predictor
from workers.modalities.table.structure.steps import CERTAIN, there

NEAR = 0.1  # share of its spread that is left open of a column that others nearly determine; 0: none is looked for
NEAR_COLUMNS = 3


def near_identities(plan: Plan) -> None:
    """Of smooth columns that are positive: what is left is a factor."""
    if not NEAR:
        return
    for names in columns_together(plan, levels=False):
        pool = Pool.of(plan, names, log=True)
        if pool is not None:
            one_by_one(plan, pool, _nearest)


def one_by_one(plan: Plan, pool: Pool, search: Callable[[Plan, Pool], Predicted | None]) -> None:
    """Add what the search finds, each time among the columns that are left."""
    while len(pool.names) > 1 and (step := search(plan, pool)) is not None:
        plan.add(step)
        pool = pool.without(step.target)


def _nearest(plan: Plan, pool: Pool) -> Predicted | None:
    open_, leaning = regress.unexplained(pool.x)
    for target in np.argsort(open_, kind="stable"):
        name = pool.names[target]
        if open_[target] > PROMISING:
            return None
        if not plan.free(name) or not smooth(plan, name):
            continue
        allowed = [i for i in range(len(pool.names)) if i != target and plan.possible(name, (pool.names[i],))]
        if not allowed:
            continue
        fit = regress.trimmed(pool.x, pool.x[:, target], regress.leaders(leaning, int(target), allowed))
        if fit.error > NEAR:
            continue
        fit = regress.fewest(pool.x, pool.x[:, target], fit, min(NEAR, 1.5 * fit.error))
        if len(fit.columns) > NEAR_COLUMNS:
            fit = regress.fewest(pool.x, pool.x[:, target], fit, NEAR)
        if len(fit.columns) <= NEAR_COLUMNS:
            return _near_step(plan, pool, int(target), fit)
    return None


def smooth(plan: Plan, name: str) -> bool:
    """Positive nearly everywhere, with many values and no heaps."""
    return many_positive(plan, name) and not heaps(plan, name)


def many_positive(plan: Plan, name: str) -> bool:
    units = _there(plan, name)
    positive = len(units) and (units > 0).mean() >= CERTAIN and (units >= 0).all()
    return bool(positive) and plan.codes(name)[1] >= WIDE


def heaps(plan: Plan, name: str) -> bool:
    units = _there(plan, name)
    step = plan.table.grids[name].step or (float(np.std(units)) / 50 if len(units) else 1.0)
    return regress.heaped(units, step)


def _there(plan: Plan, name: str) -> Floats:
    units = plan.table.grids[name].units(plan.sample[name])
    there: Floats = units[~np.isnan(units)]
    return there


def _near_step(plan: Plan, pool: Pool, target: int, fit: regress.Fit) -> Predicted:
    pairs = zip(fit.columns, fit.coefficients, strict=True)
    raw = {i: float(c * pool.spread[target] / pool.spread[i]) for i, c in pairs}
    return near_step(plan, pool.names[target], power(plan, pool, target, raw))


def near_step(plan: Plan, name: str, by: Predictor) -> Predicted:
    """Over all rows; what is left open is a factor."""
    table = plan.table
    return Predicted.fit(
        table.columns[name], table.frame[name], table.grids[name], by, "ratio", table.frame, table.taken, table.rng,
        holds=float(there(table.frame[name]).mean()),
    )  # fmt: skip

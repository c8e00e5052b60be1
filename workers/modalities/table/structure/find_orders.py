"""Searches for columns that are never below others, and for those that are often copies of others."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from workers.modalities.table.structure.copies import Copy
from workers.modalities.table.structure.grids import Flags, Floats
from workers.modalities.table.structure.orders import AtLeast
from workers.modalities.table.structure.plan import ENOUGH, Plan, few
from workers.modalities.table.structure.predicted import Mode, Predicted

COMPARISONS = 100_000_000  # of a first look at all pairs
NO_ACCIDENT = 0.01  # share of rows in which columns that know nothing of each other would be the wrong way round
TOUCHED = 0.1  # how near the smallest gaps come to none, as a share of the usual gap
COMPARABLE = 0.05  # spread of the lower column, as a share of the higher one's
MORE = 0.5  # bits that a gap may have more than the column that it stands for: on another grid it has many more
TIGHT = 0.5  # spread of a gap, as a share of the column's, below which the gap says more than the column
LOWER = 3  # columns below one at most
COPIED = 0.04  # share of rows, beyond common values
COMMON = 0.01  # share of rows from which a value is common: there two columns may agree by chance
MANY = 100  # values a column takes, at least, for a copy to be one
COPIES = 8  # a table


def orders(plan: Plan) -> None:
    names = plan.counted(levels=False)
    if plan.n < ENOUGH or len(names) < 2:
        return
    below, comparable = _never_above(plan, names), _comparable(plan, names)
    for j in np.argsort(below.sum(0), kind="stable"):
        high = names[j]
        lower = [names[i] for i in np.flatnonzero(below[:, j] & comparable[:, j]) if plan.possible(high, (names[i],))]
        lower = [low for low in lower if _meant(plan, low, high) and _always(plan, low, high)]
        place = {name: i for i, name in enumerate(names)}
        lower = [a for a in lower if not any(below[place[a], place[b]] for b in lower if b != a)]  # a <= b <= this
        lower = sorted(lower, key=lambda low: float(np.nanmedian(plan.natural(high) - plan.natural(low))))[:LOWER]
        if lower and plan.free(high):
            plan.add(_gap(plan, high, lower))


def _never_above(plan: Plan, names: list[str]) -> Flags:
    """[i, j]: in no row of a first look is i above j; not both ways."""
    d = len(names)
    at = few(plan.n, int(np.clip(COMPARISONS // d**2, 200, 5_000)))
    x = np.stack([plan.natural(name)[at] for name in names], 1)
    timed = np.array([plan.columns[name]["type"] in ("date", "datetime") for name in names])
    out = np.zeros((d, d), bool)
    for i in range(d):
        out[i] = ~(x[:, i, None] > x).any(0) & (timed == timed[i])  # NaN compares as false
        out[i, i] = False
    return out & ~out.T


def _comparable(plan: Plan, names: list[str]) -> Flags:
    """[i, j]: whether i and j can meet what `_meant` asks of their overlap and spread; a look at each column alone."""
    x = [plan.natural(name)[~np.isnan(plan.natural(name))] for name in names]
    high, spread = np.array([a.max() for a in x]), np.array([a.std() for a in x])
    low = np.array([np.quantile(a, NO_ACCIDENT / 2) for a in x])
    out: Flags = (high[:, None] >= low) & (2 * spread[:, None] >= COMPARABLE * spread)
    return out


def _meant(plan: Plan, low: str, high: str) -> bool:
    """Whether the order is no accident: the columns overlap, and the gap goes down to about nothing."""
    a, b = plan.natural(low), plan.natural(high)
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < ENOUGH:
        return False
    a, b = a[both], b[both]
    wrong = np.searchsorted(np.sort(b), a, side="left").mean() / len(b)
    gap = b - a
    usual = np.median(gap)
    least = max(plan.table.grids[name].width for name in (low, high))  # a strict order's smallest gap
    touched = np.quantile(gap, 0.005) <= max(TOUCHED * usual, least)
    return bool(wrong > NO_ACCIDENT and touched and a.std() >= COMPARABLE * b.std())


def _bits(values: Floats) -> float:
    """How much there is to learn of a column whose common values count as such: the entropy of the sample."""
    _, counts = np.unique(np.round(values[~np.isnan(values)], 9), return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def _always(plan: Plan, low: str, high: str) -> bool:
    grids, frame = plan.table.grids, plan.table.frame
    return not (grids[low].natural(frame[low]) > grids[high].natural(frame[high])).any()


def _gap(plan: Plan, high: str, lower: list[str]) -> Predicted:
    table = plan.table
    strict = {low: not _ever_equal(plan, low, high) for low in lower}
    by = AtLeast({low: table.grids[low] for low in lower}, strict, {low: table.spread(low) for low in lower})
    gap, own = plan.natural(high) - by.predict(plan.sample), plan.natural(high)
    plainer = np.nanstd(gap) < TIGHT * np.nanstd(own) and _bits(gap) <= _bits(own) + MORE
    mode: Mode = "gap" if plainer else "lift"
    return Predicted.fit(
        table.columns[high], table.frame[high], table.grids[high], by, mode, table.frame, table.taken, table.rng
    )  # fmt: skip


def _ever_equal(plan: Plan, low: str, high: str) -> bool:
    grids, frame = plan.table.grids, plan.table.frame
    return bool((grids[low].natural(frame[low]) == grids[high].natural(frame[high])).any())


# -- copies -------------------------------------------------------------------------------------------------------


def copies(plan: Plan) -> None:
    names = [name for name in plan.counted(levels=False) if plan.codes(name)[1] >= MANY]
    if plan.n < 10 * ENOUGH or len(names) < 2:
        return
    rare = {name: _rare(plan.natural(name)) for name in names}
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in names}
    at = few(plan.n, int(np.clip(COMPARISONS // len(names) ** 2, 300, plan.n)))
    x = np.stack([plan.natural(name)[at] for name in names], 1)
    marks = np.stack([rare[name][at] for name in names], 1)
    for j, name in enumerate(names):
        same = ((x == x[:, j, None]) & marks[:, j, None]).mean(0)
        found[name] = sorted(
            ((float(same[i]), names[i]) for i in range(len(names)) if i != j and same[i] >= COPIED), reverse=True
        )
    made = 0
    for name in sorted(names, key=lambda name: -max([share for share, _ in found[name]], default=0.0)):
        sources = [source for share, source in found[name] if _by_no_chance(plan, name, source, rare[name], share)]
        sources = [source for source in sources if plan.possible(name, (source,))][:2]
        if sources and plan.free(name) and made < COPIES:
            step = Copy.fit(plan.columns[name], tuple(sources), plan.table.frame, plan.table.taken)
            step.holds = _copied(plan, name, sources)
            plan.add(step)
            made += 1


def _rare(values: Floats) -> Flags:
    """Rows whose value few others have."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    out: Flags = (counts[inverse] < COMMON * len(values)) & ~np.isnan(values)
    return out


def _by_no_chance(plan: Plan, name: str, source: str, rare: Flags, share: float) -> bool:
    """How often the columns agree if one of them is shuffled."""
    a, b = plan.natural(name), plan.natural(source)
    shuffled = np.random.default_rng(0).permutation(len(b))
    return share >= 5 * float(((a == b[shuffled]) & rare).mean())


def _copied(plan: Plan, name: str, sources: list[str]) -> float:
    frame = plan.table.frame
    same = np.zeros(plan.table.rows, bool)
    for source in sources:
        same |= pc.equal(frame[name], frame[source]).fill_null(False).to_numpy(zero_copy_only=False)
    return float(same.mean())

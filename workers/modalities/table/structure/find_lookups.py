"""Searches for columns that categories determine, that are a part of a date, or that thresholds of a number decide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from workers.modalities.table.structure.cuts import Cuts
from workers.modalities.table.structure.grids import Floats, Ints
from workers.modalities.table.structure.lookups import PARTS, Lookup, part_of
from workers.modalities.table.structure.plan import ENOUGH, Plan, few
from workers.modalities.table.structure.steps import CERTAIN, SHARED

FIRST = 4_000  # rows of a first look
ROWS_A_KEY = 20  # on average, or a determination may be an accident
DETERMINED = 0.999  # share of rows
LIKELY = 0.98  # the same among the rows of a first look
FEWEST = 20  # rows that have another value than the commonest, or there is nothing to determine
LENIENCE = 0.05  # of rows without the commonest value so many times as many may be wrong: it takes few to spoil them
TARGETS, KEYS, LEADING = 40, 200, 5  # numbers looked at, categories tried, and those tried with each other one
MOST_KEYS = 1_000_000  # combinations of two categories
PART_LEVELS = 400  # values of what may be a part of a date
CUT_LEVELS, CUT_COLUMNS = 50, 60


# -- numbers that categories determine ----------------------------------------------------------------------------


def lookups(plan: Plan) -> None:
    keys = [name for name, column in plan.columns.items() if _key_like(plan, name) and "levels" in column][:KEYS]
    targets = [
        name
        for name in [*plan.table.grids]
        if "levels" not in plan.columns[name] and 10 <= plan.codes(name)[1] <= plan.n / ROWS_A_KEY
    ][:TARGETS]
    if plan.n < ENOUGH:
        return
    for target in targets:
        for needs in _candidates(plan, target, keys):
            if plan.possible(target, needs) and _determined(plan, target, needs, plan.n):
                step = Lookup.fit(target, needs, plan.table.frame)
                step.holds = float(step.entries.weights.sum() / plan.table.rows)
                if step.holds >= DETERMINED:
                    plan.add(step)
                    break


def _key_like(plan: Plan, name: str) -> bool:
    return 2 <= plan.codes(name)[1] <= plan.n / ROWS_A_KEY


def _candidates(plan: Plan, target: str, keys: list[str]) -> Iterator[tuple[str, ...]]:
    """Single categories, then pairs with one of those that say most alone."""
    keys = [name for name in keys if name != target]
    said = {name: _matched(plan, target, (name,), min(FIRST, plan.n)) for name in keys}
    best = sorted(keys, key=lambda name: -said[name])
    yield from ((name,) for name in best if said[name] >= 0.99)
    yield from ((a, b) for i, a in enumerate(best[:LEADING]) for b in best[i + 1 :])


def _matched(plan: Plan, target: str, needs: tuple[str, ...], rows: int) -> float:
    """Share of the first look's rows that have the value of the last row with the same key."""
    at = few(plan.n, rows)
    key, width = _combined(plan, needs, at)
    values, size = plan.codes(target)
    last = np.full(width, size)
    last[key] = values[at]
    return _right(last[key], values[at])


def _right(made: Ints, values: Ints) -> float:
    """The share of rows that are right, or of those without the commonest value if that is less."""
    right = made == values
    usual = values == np.bincount(values).argmax()
    if (~usual).sum() < FEWEST:
        return 0.0
    return float(min(right.mean(), 1 - (1 - right[~usual].mean()) * LENIENCE))


def _combined(plan: Plan, needs: tuple[str, ...], at: Ints) -> tuple[Ints, int]:
    key, width = plan.codes(needs[0])
    key = key[at]
    for name in needs[1:]:
        codes, size = plan.codes(name)
        key, width = key * size + codes[at], width * size
    return key, width


def _determined(plan: Plan, target: str, needs: tuple[str, ...], rows: int) -> bool:
    width = int(np.prod([plan.codes(name)[1] for name in needs]))
    if width > MOST_KEYS or _matched(plan, target, needs, min(FIRST, rows)) < 0.99:
        return False
    key, _ = _combined(plan, needs, np.arange(plan.n))
    used = np.count_nonzero(np.bincount(key, minlength=1))
    return bool(used * ROWS_A_KEY <= plan.n) and _matched(plan, target, needs, plan.n) >= 2 * DETERMINED - 1


# -- parts of dates -----------------------------------------------------------------------------------------------


def calendars(plan: Plan) -> None:
    times = [name for name, column in plan.columns.items() if column["type"] in ("date", "datetime")]
    if not times or plan.n < ENOUGH:
        return
    targets = [
        name
        for name, column in plan.columns.items()
        if ("levels" in column or column["type"] == "integer") and 2 <= plan.codes(name)[1] <= PART_LEVELS
    ]
    for time in times:
        parts = _parts(plan, time)
        for target in _likely(plan, parts, [name for name in targets if plan.possible(name, (time,))]):
            part = _part(plan, parts, target)
            if part is None or not plan.possible(target, (time,)):
                continue
            step = Lookup.fit(target, (time,), plan.table.frame, part)
            step.holds = float(step.entries.weights.sum() / plan.table.rows)
            if step.holds >= CERTAIN:
                plan.add(step)


def _parts(plan: Plan, time: str) -> list[tuple[int, str, Ints]]:
    """How many values each part has in the sample, its name, and its codes (n,)."""
    out = []
    for part in PARTS:
        if part in ("hour", "minute") and not pa.types.is_timestamp(plan.sample[time].type):
            continue
        key = part_of(plan.sample[time], part).fill_null(-1).to_numpy(zero_copy_only=False)
        _, key = np.unique(key, return_inverse=True)
        if 2 <= (groups := int(key.max()) + 1) <= plan.n / ROWS_A_KEY:
            out.append((groups, part, key))
    return out


def _likely(plan: Plan, parts: list[tuple[int, str, Ints]], targets: list[str]) -> list[str]:
    """Those targets that a part may determine, by a first look at all of them at once."""
    at = few(plan.n, FIRST // 4)
    values = np.stack([plan.codes(name)[0][at] for name in targets]) if targets else np.zeros((0, len(at)), int)
    likely = np.zeros(len(targets), bool)
    for groups, _, key in parts:
        last = np.zeros((len(targets), groups), np.int64)
        last[:, key[at]] = values
        likely |= (last[:, key[at]] == values).mean(1) >= LIKELY
    return [name for name, good in zip(targets, likely, strict=True) if good]


def _part(plan: Plan, parts: list[tuple[int, str, Ints]], target: str) -> str | None:
    """The part that determines the target; the one with the fewest values if there are several."""
    values = plan.codes(target)[0]
    found: list[tuple[int, str]] = []
    for groups, part, key in parts:
        last = np.zeros(groups, np.int64)
        last[key] = values
        if _right(last[key], values) >= 2 * CERTAIN - 1:
            found.append((groups, part))
    return min(found)[1] if found else None


# -- categories that a number decides -----------------------------------------------------------------------------


def thresholds(plan: Plan) -> None:
    sources = plan.counted(levels=False)[:CUT_COLUMNS]
    targets = [
        name for name, column in plan.columns.items() if "levels" in column and 2 <= plan.codes(name)[1] <= CUT_LEVELS
    ]
    if plan.n < ENOUGH or not sources or not targets:
        return
    look = few(plan.n, FIRST)
    orders = {name: look[np.argsort(plan.natural(name)[look], kind="stable")] for name in sources}
    for target in targets:
        if not plan.free(target):
            continue
        codes, size = plan.codes(target)
        runs = {name: 1 + np.count_nonzero(np.diff(codes[order])) for name, order in orders.items() if name != target}
        for name in sorted(runs, key=lambda name: runs[name]):
            if runs[name] > 2 * size + 1:
                break
            step = _cut(plan, target, name) if plan.possible(target, (name,)) else None
            if step is not None:
                plan.add(step)
                break


def _cut(plan: Plan, target: str, source: str) -> Cuts | None:
    """Over all rows, without a single exception."""
    array, grid = plan.table.frame[target], plan.table.grids[source]
    natural = grid.natural(plan.table.frame[source])
    coded = pa.compute.dictionary_encode(array, null_encoding="encode")
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    gone = np.isnan(natural)
    if gone.any() and (codes[gone] != codes[gone][0]).any():
        return None
    order = np.argsort(natural[~gone], kind="stable")
    x, codes_there = natural[~gone][order], codes[~gone][order]
    change = np.flatnonzero(np.diff(codes_there)) + 1
    sizes = np.diff(np.concatenate([[0], change, [len(x)]]))
    if not len(change) or len(change) > 2 * len(coded.dictionary) + 1 or sizes.min() < SHARED:
        return None
    if not (x[change] > x[change - 1]).all():
        return None
    cuts = np.array([_plainest(low, high) for low, high in zip(x[change - 1], x[change], strict=True)])
    null = codes[gone][0] if gone.any() else codes_there[0]
    levels = coded.dictionary.take(pa.array(np.append(codes_there[np.append(0, change)], null)))
    return Cuts((target,), (source,), [], cuts, levels, grid)


def _plainest(low: Floats, high: Floats) -> float:
    """A threshold above one number and not above another, with as few digits as may be: nobody's own value."""
    for digits in range(-15, 16):
        unit = 10.0**-digits
        for factor in (5, 1):
            step = factor * unit
            value = float(np.floor(high / step) * step)
            if low < value <= high:
                return float(f"{value:.15g}")
    return float((low + high) / 2)

"""What a condition asks of a column's values, and which values meet it. Knows one column at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.conditions import Condition, OneOf, Range, Value
from workers.modalities.table.infer import Column
from workers.modalities.table.structure.grids import Flags, Floats, Grid, missing
from workers.modalities.table.structure.steps import there
from workers.modalities.table.writing import storage_type


@dataclass(frozen=True)
class Wish:
    """One of some values (None: missing), or a value between two bounds in natural units."""

    values: tuple[Any, ...] | None = None
    low: float = -np.inf
    high: float = np.inf

    @property
    def single(self) -> bool:
        return self.values is not None and len(self.values) == 1

    @property
    def null(self) -> bool:
        return self.values is not None and None in self.values


def wish(condition: Condition, column: Column, grid: Grid | None) -> Wish | None:
    """None for a condition that gives shares of several values: rows are dealt those one by one."""
    match condition:
        case Value():
            return Wish(values=(condition.value,))
        case OneOf():
            return Wish(values=condition.values)
        case Range() if grid is not None:
            kind = storage_type(column)
            low, high = (
                default if end is None else float(grid.natural(pa.array([end], kind))[0])
                for end, default in ((condition.minimum, -np.inf), (condition.maximum, np.inf))
            )
            return Wish(None, low, high)
    return None


def condition(asked: Wish, kind: pa.DataType, grid: Grid) -> Condition | None:
    """The other way, of a column that is counted; None where no value of its grid meets it."""
    if asked.values is not None:
        return Value(asked.values[0]) if asked.single else OneOf(asked.values)
    ends = [
        None if np.isinf(end) else round(np.array([end]))
        for end, round in ((asked.low, grid.ceil), (asked.high, grid.floor))
    ]
    if ends[0] is not None and ends[1] is not None and ends[0][0] > ends[1][0]:
        return None
    return Range(*(None if end is None else grid.array(end, kind)[0].as_py() for end in ends))


def stored(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    """Values in the column's storage type; those that it cannot hold are left out."""
    found = []
    for value in values:
        try:
            found.append(pa.array([value], kind))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            continue
    return pa.concat_arrays(found) if found else pa.array([], kind)


def meets(asked: Wish, array: pa.Array, grid: Grid | None) -> Flags:
    """Rows in which the column has a value that was asked for."""
    if asked.values is not None:
        inside = pc.is_in(array, stored(tuple(v for v in asked.values if v is not None), array.type))
        found: Flags = inside.to_numpy(zero_copy_only=False) & there(array)
        return found | missing(array) if asked.null else found
    if grid is None:
        return there(array)
    natural = grid.natural(array)
    within: Flags = (natural >= asked.low) & (natural <= asked.high)
    return within


def chosen(asked: Wish, array: pa.Array, met: Flags, grid: Grid | None, rng: np.random.Generator) -> pa.Array:
    """For each row a value that was asked for: one of those that other rows have, if there are any."""
    n = len(array)
    pool = array.filter(pa.array(met & there(array)))
    if asked.values is not None:
        values = stored(tuple(v for v in asked.values if v is not None), array.type)
        pool = pool if len(pool) else values
        if not len(pool):
            return pa.nulls(n, array.type)
    if len(pool):
        return pool.take(pa.array(rng.integers(0, len(pool), n)))
    if grid is None:
        return array
    return grid.array(_between(asked, grid, grid.natural(array), rng), array.type)


def _between(asked: Wish, grid: Grid, natural: Floats, rng: np.random.Generator) -> Floats:
    """Units: even between two bounds, or as near to the value as the only bound lets it be."""
    if np.isfinite(asked.low) and np.isfinite(asked.high):
        natural = asked.low + rng.random(len(natural)) * (asked.high - asked.low)
    low, high = grid.ceil(np.array([asked.low])), grid.floor(np.array([asked.high]))
    return np.clip(grid.nearest(np.nan_to_num(natural)), low, np.maximum(low, high))

"""A number as one code or two: in which cell of the column's quantiles it lies.

Repeated values have cells of their own, so that grids, bounds, spikes and sentinels come out exactly; within a cell
values are drawn as often as they occurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.modalities.table.fields import Allowed, Bools, Column, Floats, Ints, missing
from workers.modalities.table.writing import storage_type

PIECES = 4096  # at most, of a column's quantile table
SHARED = 5  # a value, or a piece of the table, stands for at least so many rows where values are many
EXACT = 1000  # with no more values than this on a grid, shared by SHARED rows on average, the table is exact
CELLS = 256  # at most: 16 times 16. Boosted trees look no closer either
ROWS = 20  # training rows a cell, at least
SINGLE = 24  # cells up to which one code is enough


@dataclass
class Quantiles:
    """Piece i covers ranks edges[i] to edges[i+1] and values low[i] to high[i]. On a grid values count its steps."""

    origin: float
    step: float  # 0: no grid
    scale: float  # values are divided by this last, so that decimals come out as written
    decimals: int | None
    edges: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, values: Floats, decimals: int | None) -> Quantiles:
        """Of the values that are there, at least one."""
        scale = 10.0 ** (decimals or 0)
        origin, step = _grid(values, decimals)
        x = np.round((values * scale - origin) / step) if step else values.astype(float)
        distinct, counts = np.unique(x, return_counts=True)
        few = len(distinct) <= EXACT and bool((counts >= SHARED).all())  # else a value is some row's own
        low, high, mass = _pieces(distinct, counts, exact=bool(step) and few, grid=bool(step))
        edges = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
        edges[-1] = 1.0
        return cls(origin, step, scale, decimals, edges, low, high)

    def units(self, values: Floats) -> Floats:
        """Values in what the table counts."""
        return np.round((values * self.scale - self.origin) / self.step) if self.step else values

    def piece(self, values: Floats) -> Ints:
        """The piece that a value lies in, or the next one below it."""
        out: Ints = np.clip(np.searchsorted(self.low, self.units(values), side="right") - 1, 0, len(self.low) - 1)
        return out

    def rank(self, value: float, side: str) -> float:
        """The share of rows below a value, or (`side` right) up to it."""
        x = (value * self.scale - self.origin) / self.step if self.step else value
        x = np.ceil(x - 1e-6) if self.step and side == "left" else np.floor(x + 1e-6) if self.step else x
        reach = x + bool(self.step) * (side == "right")
        span = self.high - self.low + bool(self.step)
        inside = np.clip((reach - self.low) / np.where(span > 0, span, 1), 0, 1)
        whole = self.high < x if side == "left" else self.high <= x
        inside = np.where(span > 0, inside, whole)
        return float((np.diff(self.edges) * inside).sum())

    def draw(self, u: Floats, piece: Ints | None = None, most: int = 0) -> Floats:
        """The values at ranks u; each lies in one of the `most` pieces from `piece` on, if that is known."""
        if piece is None:
            piece = np.clip(np.searchsorted(self.edges, u, side="right") - 1, 0, len(self.low) - 1)
        else:
            piece = self._piece_at(u, piece, most)
        if self.step and not self._span.any():
            return self._single.take(piece)
        inside = np.clip((u - self.edges.take(piece)) / self._width.take(piece), 0, 1 - 1e-9)
        if not self.step:
            values: Floats = self.low.take(piece) + inside * self._span.take(piece)
            return values if self.decimals is None else np.round(values, self.decimals)
        return self._value(np.floor(self.low.take(piece) + inside * (self._span.take(piece) + 1)))

    def _piece_at(self, u: Floats, piece: Ints, most: int) -> Ints:
        """The last of `most` pieces from `piece` on that begins at or below u, by halving."""
        bits = (most - 1).bit_length()
        edges = np.append(self.edges, np.full(2**bits, np.inf))
        for step in (2**bit for bit in reversed(range(bits))):
            piece = piece + step * (edges.take(piece + step) <= u)
        return piece

    def _value(self, x: Floats) -> Floats:
        """What the table counts as a value."""
        out: Floats = (x * self.step + self.origin) / self.scale
        return out

    @cached_property
    def _span(self) -> Floats:
        return self.high - self.low

    @cached_property
    def _width(self) -> Floats:
        return np.maximum(np.diff(self.edges), 1e-300)

    @cached_property
    def _single(self) -> Floats:
        """The value of each piece, where all have one."""
        return self._value(self.low)

    def to_json(self) -> dict[str, Any]:
        lists = {name: getattr(self, name).tolist() for name in ("edges", "low", "high")}
        return {"origin": self.origin, "step": self.step, "scale": self.scale, "decimals": self.decimals} | lists

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Quantiles:
        return cls(**(dict(saved) | {name: np.array(saved[name], float) for name in ("edges", "low", "high")}))


@dataclass
class Number:
    """A column of numbers, dates or times: cells are runs of pieces; `bounds[i]` is where cell i begins."""

    column: Column
    base: int  # whole numbers are counted from here, so that large ones stay exact
    table: Quantiles
    bounds: Ints  # (cells + 1,)
    hole: bool  # whether values may be missing: one more first code
    columns: tuple[str, ...] = field(init=False)
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = (self.column["name"],)
        self.sizes = [self.groups + self.hole, self.together] if self.together > 1 else [self.groups + self.hole]

    @classmethod
    def fit(cls, array: pa.Array, column: Column) -> Number:
        """Of an array with at least one value."""
        base = base_of(array)
        values = as_floats(array, base)
        there = values[~np.isnan(values)]
        table = Quantiles.fit(there, decimals_of(column))
        return cls(column, base, table, _cells(table.edges, len(there)), bool(array.null_count))

    @property
    def cells(self) -> int:
        return len(self.bounds) - 1

    @property
    def together(self) -> int:
        """Cells that share a first code."""
        return 1 if self.cells <= SINGLE else int(np.ceil(np.sqrt(self.cells)))

    @property
    def groups(self) -> int:
        return -(-self.cells // self.together)

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        values = as_floats(arrays[0], self.base)
        gone = np.isnan(values)
        piece = self.table.piece(np.where(gone, 0, values))
        cell = np.repeat(np.arange(self.cells), np.diff(self.bounds)).take(piece)
        first = np.where(gone, self.groups if self.hole else 0, cell // self.together)
        if len(self.sizes) == 1:
            return first[:, None]
        return np.stack([first, np.where(gone, 0, cell % self.together)], 1)

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        cell = codes[:, 0] * self.together + codes[:, 1] if len(self.sizes) > 1 else codes[:, 0]
        cell = np.minimum(cell, self.cells - 1)
        at = self.table.edges[self.bounds]
        if within is None:
            u = at.take(cell) + rng.random(len(cell)) * (np.diff(at) * (1 - 1e-12)).take(cell)
            values = self.table.draw(u, self.bounds.take(cell), int(np.diff(self.bounds).max()))
        else:
            low, high = np.clip(at[cell], *within), np.clip(at[cell + 1], *within)
            values = self.table.draw(low + rng.random(len(cell)) * (high - low) * (1 - 1e-12))
        gone = codes[:, 0] == self.groups if self.hole else None
        return [from_floats(values, self.base, self.column, gone)]

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        if hasattr(condition, "values"):
            return self._one_of(condition.values)
        low = self._number(condition.minimum) if condition.minimum is not None else -np.inf
        high = self._number(condition.maximum) if condition.maximum is not None else np.inf
        u = (
            0.0 if np.isinf(low) else self.table.rank(low, "left"),
            1.0 if np.isinf(high) else self.table.rank(high, "right"),
        )
        at = self.table.edges[self.bounds]
        met = np.clip(np.minimum(at[1:], u[1]) - np.maximum(at[:-1], u[0]), 0, None)
        return self._shares(met, at, within=u, null=False)

    def _one_of(self, wanted: Sequence[Any]) -> Allowed:
        """Cells in which one of the values lies; which of a cell's values is written in later."""
        at = self.table.edges[self.bounds]
        numbers = np.array([self._number(value) for value in wanted if value is not None], float)
        piece = self.table.piece(numbers)
        met = np.zeros(self.cells)
        mass = np.diff(self.table.edges)[piece]
        np.add.at(met, np.clip(np.searchsorted(self.bounds, piece, side="right") - 1, 0, self.cells - 1), mass)
        return self._shares(met, at, within=None, null=None in list(wanted))

    def _shares(self, met: Floats, at: Floats, within: Any, null: bool) -> Allowed:
        mass, inner = np.zeros((2, self.groups, self.together))
        mass.flat[: self.cells], inner.flat[: self.cells] = np.diff(at), met
        share = np.minimum(inner.sum(1) / np.maximum(mass.sum(1), 1e-300), 1)
        if self.hole:
            share = np.append(share, float(null))
        if len(self.sizes) == 1:
            return Allowed(share, [], within)
        table = np.minimum(inner / np.maximum(mass, 1e-300), 1)
        return Allowed(share, [np.vstack([table, np.ones((1, self.together))]) if self.hole else table], within)

    def _number(self, value: Any) -> float:
        return float(as_floats(pa.array([value], storage_type(self.column)), self.base)[0])

    def impossible(self) -> Bools | None:
        if len(self.sizes) == 1:
            return None
        out = np.arange(self.groups * self.together).reshape(self.groups, self.together) >= self.cells
        if not self.hole:
            return out
        gone = np.ones((1, self.together), bool)
        gone[0, 0] = False
        return np.vstack([out, gone])

    def views(self) -> list[Floats]:
        """The place of a cell among all is the sum of its codes' places."""
        first = np.linspace(-1, 1, self.groups) if self.groups > 1 else np.zeros(1)
        first = np.append(first, 0.0) if self.hole else first
        if len(self.sizes) == 1:
            return [first]
        return [first, np.linspace(-1, 1, self.together) / max(1, self.groups)]

    def numbers(self) -> list[tuple[int, Any]]:
        return [(0, self)]

    def to_json(self) -> Mapping[str, Any]:
        return {
            "base": self.base,
            "table": self.table.to_json(),
            "bounds": self.bounds.tolist(),
            "hole": self.hole,
        }

    @classmethod
    def from_json(cls, columns: Mapping[str, Column], name: str, saved: Mapping[str, Any]) -> Number:
        table = Quantiles.from_json(saved["table"])
        return cls(columns[name], saved["base"], table, np.array(saved["bounds"], np.int64), saved["hole"])


def _cells(edges: Floats, rows: int) -> Ints:
    """Where each cell begins among the pieces: heavy pieces alone, the runs between them cut evenly."""
    mass = np.diff(edges)
    least = 1 / min(CELLS, max(4, rows // ROWS))
    heavy = mass >= least
    run = np.cumsum(np.concatenate([[True], heavy[1:] | heavy[:-1]]))
    total = np.bincount(run, weights=mass)[run]
    before = edges[:-1] - edges[np.searchsorted(run, run, side="left")]
    parts = np.maximum(np.round(total / least), 1)
    part = np.minimum(np.floor((before + mass / 2) / total * parts), parts - 1)
    change = np.concatenate([[True], (run[1:] != run[:-1]) | (part[1:] != part[:-1])])
    begins: Ints = np.append(np.flatnonzero(change), len(mass)).astype(np.int64)
    return begins


def _grid(values: Floats, decimals: int | None) -> tuple[float, float]:
    """Origin and step, in units of the last decimal, of the coarsest grid that all lie on; step 0: none."""
    if decimals is None or np.abs(values).max() * 10.0**decimals > 2**53:
        return 0.0, 0.0
    whole = np.round(values * 10.0**decimals).astype(np.int64)
    step = int(np.gcd.reduce(whole - whole.min()))
    return float(whole.min()), float(max(step, 1))


def _pieces(distinct: Floats, counts: NDArray[np.int64], exact: bool, grid: bool) -> tuple[Floats, Floats, Floats]:
    """Low and high value and mass of each piece: a piece of its own for each value that many rows share, runs of rarer
    values cut into pieces of at least SHARED rows. These end half-way to the next value, so that but for the column's
    own ends no single row's value stands in the table."""
    if exact:
        return distinct, distinct.copy(), counts.astype(float)
    least = max(SHARED, int(np.ceil(counts.sum() / PIECES)))
    shared = counts >= least
    run = np.cumsum(np.concatenate([[True], shared[1:] | shared[:-1]]))  # equal within a run of rare values
    before = np.cumsum(counts) - counts
    start = np.searchsorted(run, run, side="left")  # first value of this value's run
    part = (before - before[start]) // least
    total = np.bincount(run, weights=counts)[run]
    part = np.minimum(part, np.maximum(total // least - 1, 0))  # what is left over joins the last full piece
    change = np.concatenate([[True], (run[1:] != run[:-1]) | (part[1:] != part[:-1])])
    first = np.flatnonzero(change)
    last = np.concatenate([first[1:], [len(distinct)]]) - 1
    mass = np.add.reduceat(counts, first).astype(float)
    low, high = distinct[first].astype(float), distinct[last].astype(float)
    runs = np.flatnonzero(~((first == last) & (mass >= least)))
    before = (distinct[np.maximum(first[runs] - 1, 0)] + low[runs]) / 2
    after = (distinct[np.minimum(last[runs] + 1, len(distinct) - 1)] + high[runs]) / 2
    low[runs] = np.where(first[runs] == 0, low[runs], np.floor(before) + 1 if grid else before)
    high[runs] = np.where(last[runs] == len(distinct) - 1, high[runs], np.floor(after) if grid else after)
    return low, high, mass


# -- storage values -----------------------------------------------------------------------------------------------


def base_of(array: pa.Array) -> int:
    """What whole numbers are counted from: their smallest, 0 for other numbers."""
    whole = _whole(array)
    if pa.types.is_floating(whole.type):
        return 0
    low = pa.compute.min(whole).as_py()
    return int(low) if low is not None else 0


def _whole(array: pa.Array) -> pa.Array:
    if pa.types.is_date(array.type):
        return array.cast(pa.int32())
    return array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array


def as_floats(array: pa.Array, base: int = 0) -> Floats:
    """Storage values as numbers above `base`, NaN where missing: dates as days, times as microseconds."""
    array = _whole(array)
    if base and not pa.types.is_floating(array.type):
        gone = missing(array)
        whole = array.cast(pa.int64()).fill_null(base).to_numpy(zero_copy_only=False).astype(np.int64)
        with np.errstate(over="ignore"):
            above = (whole - np.int64(base)).astype(float)
        above = np.where((above < 0) != (whole < base), whole.astype(float) - base, above)  # where that overflowed
        out: Floats = np.where(gone, np.nan, above)
        return out
    plain: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return plain


def from_floats(values: Floats, base: int, column: Column, gone: Bools | None) -> pa.Array:
    """Numbers above `base` as storage values."""
    kind = storage_type(column)
    if pa.types.is_float64(kind):
        return pa.array(values, kind, mask=gone)
    whole = pa.array(_within(np.round(values), base, column), mask=gone)
    return whole.cast(pa.int32()).cast(kind) if pa.types.is_date(kind) else whole.cast(kind)


def _within(values: Floats, base: int, column: Column) -> Ints:
    """Whole floats as integers, between the column's bounds, which are met exactly though floats may not hold them."""
    near = np.abs(values) < 2**53
    with np.errstate(over="ignore"):
        out: Ints = np.where(near, values, 0).astype(np.int64) + np.int64(base)
    far = ~near | ((out < base) != (values < 0))
    out[far] = np.clip(values[far] + base, -(2.0**63), 2.0**63 - 1024).astype(np.int64)
    if "minimum" in column and column["type"] == "integer":
        low, high = int(column["minimum"]), int(column["maximum"])
        out[far & (values + base >= float(high))] = high
        out = np.clip(out, low, high)
    return out


def decimals_of(column: Column) -> int | None:
    """How many decimals the column has; None if there is no limit."""
    return column.get("decimals") if column["type"] == "float" else 0

"""One column's values and what the networks see of them: levels of a category, or a Gaussian by dithered quantiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import ndtri

from workers.modalities.table.infer import Column, least_rows
from workers.modalities.table.writing import storage_type

TAIL = 2e-5  # probabilities are clipped here: |g| stays below 4.1
PIECES = 4096  # at most, of a column's quantile table
SHARED = 5  # a value, or a piece of the table, stands for at least so many rows where values are many
EXACT = 1000  # with no more values than this on a grid, shared by SHARED rows on average, the table is exact
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


# -- categories ---------------------------------------------------------------------------------------------------


@dataclass
class Levels:
    """A column's levels (the last is null where values may be missing), and which of them are learned one by one.

    Levels of fewer than LEAST training rows are neither learned nor drawn: they may be someone's own."""

    column: Column
    kept: list[int]  # the levels behind the learned codes 0, 1, ...
    pooled: list[int] = field(default_factory=list)  # the rare ones behind the learned code len(kept)
    weights: list[int] = field(default_factory=list)  # how often each of those occurred

    @classmethod
    def fit(cls, array: pa.Array, column: Column, limit: int) -> Levels:
        full = cls(column, [])
        counts = np.bincount(full.codes(array), minlength=full.universe)[: full.universe]
        order = np.argsort(-counts, kind="stable")
        order = order[(counts[order] >= least_rows(column)) | ((order == full.null) & (counts[order] > 0))].tolist()
        if len(order) <= limit:
            return cls(column, order)
        rare = order[limit - 1 :]
        return cls(column, order[: limit - 1], rare, counts[rare].tolist())

    @property
    def null(self) -> int:
        """The position of null, if there is one."""
        return len(self.column["levels"])

    @property
    def universe(self) -> int:
        return len(self.column["levels"]) + int(self.column["nullable"])

    @property
    def size(self) -> int:
        return len(self.kept) + bool(self.pooled)

    def values(self) -> pa.Array:
        kind = storage_type(self.column)
        values = list(self.column["levels"]) + [None] * int(self.column["nullable"])
        return pa.array(values, kind)

    def codes(self, array: pa.Array) -> Ints:
        """Positions among the levels; `universe` for a value that is none of them."""
        found = pc.index_in(array, self.values().drop_null())
        out: Ints = found.fill_null(self.universe).to_numpy().astype(np.int64)
        if self.column["nullable"]:
            out[array.is_null().to_numpy(zero_copy_only=False)] = self.null
        return out

    def encode(self, array: pa.Array) -> Ints:
        """Learned codes. A value that is not learned counts as one of the pool; without a pool such values are dealt
        out to all levels in proportion, so that the shares of these among each other stay as they are."""
        learned = np.full(self.universe + 1, -1, np.int64)
        learned[self.kept] = np.arange(len(self.kept))
        learned[self.pooled] = len(self.kept)
        out: Ints = learned[self.codes(array)]
        lost = np.flatnonzero(out < 0)
        if self.pooled:
            out[lost] = len(self.kept)
        elif len(lost):
            out[lost] = self._dealt(out[out >= 0], len(lost))
        return out

    def _dealt(self, codes: Ints, n: int) -> Ints:
        counts = np.bincount(codes, minlength=self.size).astype(float)
        if len(self.kept) > 1:  # missing only where nothing else is known
            counts[np.array(self.kept) == self.null] = 0
        if not counts.sum():
            counts[0] = 1
        edges = np.cumsum(counts / counts.sum())
        return np.minimum(np.searchsorted(edges, (np.arange(n) + 0.5) / n, side="right"), self.size - 1)

    def decode(self, codes: Ints, rng: np.random.Generator) -> pa.Array:
        full = np.array([*self.kept, -1], np.int64)[codes]
        if self.pooled:
            rare = np.flatnonzero(full < 0)
            full[rare] = self._draw_pooled(len(rare), rng)
        return self.values().take(pa.array(full))

    def _draw_pooled(self, n: int, rng: np.random.Generator) -> Ints:
        """Rare levels as often as they occurred."""
        edges = np.cumsum(np.array(self.weights, float) / sum(self.weights))
        return np.array(self.pooled, np.int64)[
            np.minimum(np.searchsorted(edges, rng.random(n), side="right"), len(edges) - 1)
        ]

    def learned(self, level: int) -> int:
        """The learned code that stands for a level."""
        return self.kept.index(level) if level in self.kept else self.size - 1

    def to_json(self) -> dict[str, Any]:
        return {"kept": self.kept, "pooled": self.pooled, "weights": self.weights}


# -- numbers ------------------------------------------------------------------------------------------------------


@dataclass
class Quantiles:
    """A number as a standard Gaussian: its rank, dithered within ties, through the inverse normal distribution.

    The way back is a table of pieces: piece i covers ranks edges[i] to edges[i+1] and values low[i] to high[i], so that
    grid, bounds and repeated values are met exactly without learning them. On a grid values count its steps."""

    origin: float
    step: float  # 0: no grid
    scale: float  # values are divided by this last, so that decimals come out as written
    decimals: int | None
    edges: Floats
    low: Floats
    high: Floats
    calibrated: Floats | None = None  # the edges in g as the trained generator needs them

    @classmethod
    def fit(cls, values: Floats, decimals: int | None) -> Quantiles:
        """Of the values that are there, at least one."""
        scale = 10.0 ** (decimals or 0)
        origin, step = _grid(values, decimals)
        x = np.round((values * scale - origin) / step) if step else values.astype(float)
        distinct, counts = np.unique(x, return_counts=True)
        few = len(distinct) <= EXACT and counts.sum() >= SHARED * len(distinct)  # else a value is some row's own
        low, high, mass = _pieces(distinct, counts, exact=bool(step) and few)
        edges = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
        edges[-1] = 1.0
        return cls(origin, step, scale, decimals, edges, low, high)

    def encode(self, values: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
        x = np.round((values * self.scale - self.origin) / self.step) if self.step else values
        piece = np.clip(np.searchsorted(self.low, x, side="right") - 1, 0, len(self.low) - 1)
        span = self.high[piece] - self.low[piece] + bool(self.step)
        dither = rng.random(len(x))
        inside = (x - self.low[piece] + (dither if self.step else 0)) / np.where(span > 0, span, 1)
        inside = np.clip(np.where(span > 0, inside, dither), 0, 1)
        u = self.edges[piece] + inside * (self.edges[piece + 1] - self.edges[piece])
        g: NDArray[np.float32] = ndtri(np.clip(u, TAIL, 1 - TAIL)).astype(np.float32)
        return g

    def decode(self, g: NDArray[np.float32]) -> Floats:
        edges = self.g_edges
        piece = np.clip(np.searchsorted(edges, g, side="right") - 1, 0, len(self.low) - 1)
        inside = np.clip((g - edges[piece]) / np.maximum(edges[piece + 1] - edges[piece], 1e-9), 0, 1 - 1e-9)
        low, high = self.low[piece], self.high[piece]
        if not self.step:
            values = low + inside * (high - low)
            return values if self.decimals is None else np.round(values, self.decimals)
        return (np.floor(low + inside * (high - low + 1)) * self.step + self.origin) / self.scale

    @property
    def g_edges(self) -> Floats:
        if self.calibrated is not None:
            return self.calibrated
        edges: Floats = ndtri(np.clip(self.edges, TAIL, 1 - TAIL))
        return edges

    def calibrate(self, g: NDArray[np.float32]) -> None:
        """Move the table's edges so that generated `g` come out with the training data's distribution.

        Both are compared at 401 levels, not at each edge, so that the sample's noise does not end up in the table."""
        inner = np.linspace(0.0025, 0.9975, 399)
        at = np.concatenate([[-4.2], ndtri(inner), [4.2]])
        there = np.concatenate([[-4.2], np.clip(np.quantile(g, inner), -4.19, 4.19), [4.2]])
        there = np.maximum.accumulate(there + np.arange(len(there)) * 1e-9)
        edges: Floats = ndtri(np.clip(self.edges, TAIL, 1 - TAIL))
        self.calibrated = np.interp(edges, at, there)

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Values of the column alone."""
        plain = Quantiles(self.origin, self.step, self.scale, self.decimals, self.edges, self.low, self.high)
        return plain.decode(ndtri(np.clip(rng.random(n), TAIL, 1 - TAIL)).astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        lists = {name: getattr(self, name).tolist() for name in ("edges", "low", "high")}
        calibrated = None if self.calibrated is None else self.calibrated.tolist()
        return {
            "origin": self.origin,
            "step": self.step,
            "scale": self.scale,
            "decimals": self.decimals,
            "calibrated": calibrated,
        } | lists

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Quantiles:
        arrays = {name: np.array(saved[name], float) for name in ("edges", "low", "high")}
        calibrated = None if saved["calibrated"] is None else np.array(saved["calibrated"], float)
        return cls(**(saved | arrays | {"calibrated": calibrated}))


def _grid(values: Floats, decimals: int | None) -> tuple[float, float]:
    """Origin and step, in units of the last decimal, of the coarsest grid that all lie on; step 0: none."""
    if decimals is None or np.abs(values).max() * 10.0**decimals > 2**53:
        return 0.0, 0.0
    whole = np.unique(np.round(values * 10.0**decimals).astype(np.int64))
    step = int(np.gcd.reduce(whole - whole[0])) if len(whole) > 1 else 1
    return float(whole[0]), float(max(step, 1))


def _pieces(distinct: Floats, counts: Ints, exact: bool) -> tuple[Floats, Floats, Floats]:
    """Low and high value and mass of each piece: a piece of its own for each value that many rows share, runs of rarer
    values cut into pieces of at least SHARED rows, so that no single row's value stands in the table."""
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
    lonely = np.flatnonzero(mass < least)  # a few rare values between two shared ones: blurred up to half-way to those
    low[lonely] = np.where(lonely > 0, (distinct[np.maximum(first[lonely] - 1, 0)] + low[lonely]) / 2, low[lonely])
    after = np.minimum(last[lonely] + 1, len(distinct) - 1)
    high[lonely] = (distinct[after] + high[lonely]) / 2
    return low, high, mass


def as_floats(array: pa.Array) -> Floats:
    """Storage values as numbers, NaN where missing: dates as days, times as microseconds."""
    if pa.types.is_date(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    out: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return out


def from_floats(values: Floats, column: Column, missing: NDArray[np.bool_] | None) -> pa.Array:
    """Numbers as storage values."""
    kind = storage_type(column)
    if pa.types.is_float64(kind):
        return pa.array(values, kind, mask=missing)
    whole = pa.array(_within(np.round(values), column), mask=missing)
    return whole.cast(pa.int32()).cast(kind) if pa.types.is_date(kind) else whole.cast(kind)


def _within(values: Floats, column: Column) -> Ints:
    """Whole floats as integers between the column's bounds, which are met exactly though floats may not hold them."""
    out: Ints = np.nan_to_num(np.clip(values, -(2.0**63), 2.0**63 - 1024)).astype(np.int64)
    if "minimum" in column and column["type"] == "integer":
        out[values >= float(column["maximum"])] = column["maximum"]
        out[values <= float(column["minimum"])] = column["minimum"]
    return out


def decimals_of(column: Column) -> int | None:
    """How many decimals the column has; None if there is no limit."""
    return column.get("decimals") if column["type"] == "float" else 0

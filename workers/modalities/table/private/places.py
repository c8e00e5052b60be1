"""Latitude and longitude read through counts with noise alone: a grid, and how many rows each of its cells has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from workers.modalities.table.fields import Column, Floats, Ints
from workers.modalities.table.numbers import Quantiles, as_floats, decimals_of
from workers.modalities.table.places import PATTERNS, Place, _descend
from workers.modalities.table.private.counting import Histogram, simplex
from workers.modalities.table.private.numbers import ROUNDS, Measured
from workers.modalities.table.private.readers import SURE, cleansed, drawn

LEAF_ROWS = 8.0  # standard deviations of the noise that a leaf should hold
MOST_HALVINGS = 8
MIDDLE, TRIED = (0.35, 0.65), 31  # of a range, in which it is cut, and the ranks that are looked at
SPARSE = 0.03  # share of a leaf's rows below which a piece of a side does not widen its box


@dataclass
class PlaceReader:
    """Latitude and longitude: a grid of quantiles of both, and how many rows each of its cells has."""

    pair: tuple[Column, Column]
    arrays: Sequence[pa.Array]
    rounds: ClassVar[int] = ROUNDS + 1
    sides: list[Measured] = field(init=False)
    patterns: Floats = field(init=False)
    leaves: Floats = field(init=False)
    depth: int = field(init=False, default=2)
    cuts: Floats = field(init=False)
    rows: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.at = np.stack([as_floats(array) for array in self.arrays], 1)
        self.gone = np.isnan(self.at)
        there = self.at[~self.gone.any(1)]
        self.sides = []
        for i, column in enumerate(self.pair):
            decimals = decimals_of(column)
            scale = 10.0 ** (decimals or 0)
            plain = column | {"nullable": False}
            self.sides.append(
                Measured(plain, there[:, i] * scale, float(decimals is not None), scale, decimals, spiky=False)
            )

    def ask(self, round_: int) -> list[Histogram]:
        if round_ == ROUNDS:
            leaf = _descend(self.cuts, np.nan_to_num(self.at), self.depth)
            return [Histogram.over(np.where(self.gone.any(1), -1, leaf), 2**self.depth)]
        kinds = np.stack([(self.gone == pattern).all(1) for pattern in ((False, False), *PATTERNS)], 1)
        both = [one for side in self.sides for one in side.ask(round_)]
        return [Histogram.over(kinds.argmax(1), 4), *both] if round_ == 0 else both

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        self.rows = rows
        if round_ == ROUNDS:
            self.leaves = simplex(found[0].counts, self.patterns[0])
            return
        if round_ == 0:
            sure = found[0].counts > [0.0, *[SURE * found[0].noise] * len(PATTERNS)]
            self.patterns = np.where(sure, found[0].counts, 0.0)
        for side, one in zip(self.sides, found[-2:], strict=True):
            side.hear(round_, [one], scale, round(self.patterns[0]))
        if round_ == ROUNDS - 1:
            self._halve(scale)

    def _halve(self, scale: float) -> None:
        """Cuts near the medians of the two sides, each through the whole of the other."""
        most = np.log2(max(self.patterns[0] / (LEAF_ROWS * max(scale, 1e-9)), 1.0))
        self.depth = 2 * int(np.clip(most // 2, 1, MOST_HALVINGS // 2))
        tables = [side.quantiles() for side in self.sides]
        self.cuts, ranks = np.full(2**self.depth - 1, np.inf), np.zeros(2**self.depth - 1)
        for level in range(self.depth):
            axis = level % 2
            for node in range(2**level):  # nodes, not rows
                low, high = 0.0, 1.0
                for above in range(axis, level, 2):
                    rank = ranks[2**above - 1 + (node >> (level - above))]
                    right = (node >> (level - above - 1)) & 1
                    low, high = (rank, high) if right else (low, rank)
                at = 2**level - 1 + node
                ranks[at], self.cuts[at] = _cut(tables[axis], low, high)

    def entries(self) -> list[Column]:
        out = []
        for axis, column in enumerate(self.pair):
            low, high = (end / self.sides[axis].scale for end in self.sides[axis].bounds())
            lost = sum(self.patterns[1 + i] for i, pattern in enumerate(PATTERNS) if pattern[axis])
            more: Column = {"minimum": low, "maximum": high} if "minimum" in column else {}
            more["nullable"] = any(PATTERNS[i][axis] for i in self._gaps())
            out.append(cleansed(column, lost / self.rows, "Its bounds are those of cells of enough rows.", **more))
        return out

    def field(self) -> Place:
        boxes = np.stack([end for axis in (0, 1) for end in self._box(axis)], 1)
        first, second = self.entries()
        return Place((first, second), self.cuts, boxes, np.round(self.leaves).astype(np.int64), self._gaps())

    def _box(self, axis: int) -> tuple[Floats, Floats]:
        """Lowest and highest value of each leaf on one side: where what lies between its cuts has rows."""
        leaf = np.arange(2**self.depth)
        low, high = np.full(len(leaf), -np.inf), np.full(len(leaf), np.inf)
        for level in range(axis, self.depth, 2):
            cut = self.cuts[2**level - 1 + (leaf >> (self.depth - level))]
            above = (leaf >> (self.depth - 1 - level)) & 1 == 1
            low, high = np.where(above, np.maximum(low, cut), low), np.where(above, high, np.minimum(high, cut))
        table, scale = self.sides[axis].quantiles(), self.sides[axis].scale
        first, last = table.low / scale, table.high / scale
        width = np.maximum(last - first, 1e-12)
        inside = np.minimum(last, high[:, None]) - np.maximum(first, low[:, None]) + 1e-12
        rows = np.diff(table.edges) * np.clip(inside / width, 0, 1)
        full = rows > SPARSE * rows.sum(1, keepdims=True)
        start = np.where(full, np.maximum(first, low[:, None]), np.inf).min(1)
        stop = np.where(full, np.minimum(last, high[:, None]), -np.inf).max(1)
        none = ~full.any(1)
        return np.where(none, first.min(), start), np.where(none, last.max(), stop)

    def _gaps(self) -> list[int]:
        return [i for i in range(len(PATTERNS)) if self.patterns[1 + i] > 0]

    def _both(self) -> Floats:
        """Shares (first codes, second codes)."""
        one = self.field()
        leaves = np.maximum(one.counts, 0).reshape(one.groups, one.together).astype(float)
        gaps = np.zeros((len(one.gaps), one.together))
        gaps[:, 0] = [self.patterns[1 + i] for i in one.gaps]
        whole = np.vstack([leaves, gaps]) + 1e-9
        out: Floats = whole / whole.sum()
        return out

    def shares(self) -> list[Floats]:
        both = self._both()
        return [both.sum(1), both.sum(0)]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        both = self._both()
        leaf = drawn(both.ravel(), n, rng)
        return np.stack([leaf // both.shape[1], leaf % both.shape[1]], 1)


def _cut(table: Quantiles, low: float, high: float) -> tuple[float, float]:
    """Rank and value of a cut between two ranks: in the widest gap near the middle, so that no leaf spans a gap."""
    ranks = low + np.linspace(*MIDDLE, TRIED) * (high - low)
    values = table.draw(ranks)
    widest = int(np.argmax(np.diff(values)))
    return float(ranks[widest : widest + 2].mean()), float(values[widest : widest + 2].mean())

"""Latitude and longitude together: a place is a leaf of a k-d tree over the training rows' places, said in two codes.

A leaf holds many rows; where in its box a new place lies is drawn evenly, and its ends are rounded, so that no row's
own place is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from workers.modalities.table.fields import Allowed, Bools, Column, Floats, Ints
from workers.modalities.table.infer import LEAST
from workers.modalities.table.numbers import as_floats, from_floats

DEPTH = 12  # halvings at most: 4096 leaves
STEPS = 100  # of a box's width at least: what its ends are rounded outwards to
ROWS = 20  # training rows below twice of which a node is not cut: a leaf has half as many at least
PATTERNS = ((True, False), (False, True), (True, True))  # which of the two values is missing


@dataclass
class Place:
    pair: tuple[Column, Column]
    cuts: Floats  # (2^depth - 1,), the tree by levels; even levels cut the first column, odd ones the second
    boxes: Floats  # (2^depth, 4): lowest and highest first, lowest and highest second value of each leaf; NaN: empty
    counts: Ints  # (2^depth,), training rows
    gaps: list[int]  # which PATTERNS occur
    columns: tuple[str, ...] = field(init=False)
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = (self.pair[0]["name"], self.pair[1]["name"])
        self.sizes = [self.groups + len(self.gaps), self.together]

    @classmethod
    def fit(cls, arrays: Sequence[pa.Array], pair: tuple[Column, Column]) -> Place:
        at = np.stack([as_floats(array) for array in arrays], 1)
        gone = np.isnan(at)
        gaps = [i for i, pattern in enumerate(PATTERNS) if (gone == pattern).all(1).any()]
        there = at[~gone.any(1)]
        depth = int(np.clip(np.log2(max(1, len(there) / ROWS)), 2, DEPTH))
        cuts, leaf = _tree(there, depth)
        boxes = np.full((2**depth, 4), np.nan)
        order = np.argsort(leaf, kind="stable")
        counts = np.bincount(leaf, minlength=2**depth)
        full, ends = np.flatnonzero(counts), np.cumsum(counts)
        begins = (ends - counts)[full]
        for axis in (0, 1):
            values = there[order, axis]
            sides = [end.reduceat(values, begins) if len(full) else values for end in (np.minimum, np.maximum)]
            reach = np.stack(_rounded(sides[0], sides[1], counts[full]), -1) if len(full) else 0
            bounds = [pair[axis].get(end) for end in ("minimum", "maximum")]  # which the schema shows anyway
            boxes[full, 2 * axis : 2 * axis + 2] = reach if None in bounds else np.clip(reach, *bounds)
        return cls(pair, cuts, boxes, counts, gaps)

    @property
    def depth(self) -> int:
        return int(np.log2(len(self.boxes)))

    @property
    def together(self) -> int:
        return int(2 ** (self.depth // 2))

    @property
    def groups(self) -> int:
        return len(self.boxes) // self.together

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        at = np.stack([as_floats(array) for array in arrays], 1)
        gone = np.isnan(at)
        leaf = _descend(self.cuts, np.nan_to_num(at), self.depth)
        first, second = leaf // self.together, leaf % self.together
        for place, gap in enumerate(self.gaps):
            rows = (gone == PATTERNS[gap]).all(1)
            first[rows], second[rows] = self.groups + place, 0
        return np.stack([first, second], 1)

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        leaf = np.minimum(codes[:, 0], self.groups - 1) * self.together + codes[:, 1]
        known = np.flatnonzero(self.counts)
        boxes = self.boxes[np.where(self.counts[leaf] > 0, leaf, known[0] if len(known) else 0)]
        hole = codes[:, 0] - self.groups
        out = []
        for axis, column in enumerate(self.pair):
            low, high = boxes[:, 2 * axis], boxes[:, 2 * axis + 1]
            for place, *ends in within or ():
                if place == axis:
                    low, high = np.clip(low, *ends), np.clip(high, *ends)
            values = low + rng.random(len(codes)) * (high - low)
            digits = column.get("decimals")
            values = values if digits is None else np.clip(np.round(values, digits), low, high)
            missing = np.isin(hole, [i for i, gap in enumerate(self.gaps) if PATTERNS[gap][axis]])
            out.append(from_floats(values, 0, column, missing))
        return out

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        if hasattr(condition, "values"):
            ends = [value for value in condition.values if value is not None]
            low, high = (min(ends), max(ends)) if ends else (np.inf, -np.inf)
        else:
            low = -np.inf if condition.minimum is None else condition.minimum
            high = np.inf if condition.maximum is None else condition.maximum
        left, right = self.boxes[:, 2 * axis], self.boxes[:, 2 * axis + 1]
        reach = np.minimum(right, high) - np.maximum(left, low)
        share = np.where(reach >= 0, np.maximum(reach, 1e-9) / np.maximum(right - left, 1e-9), 0)
        share = np.nan_to_num(np.minimum(share, 1)) * (self.counts > 0)
        mass = (share * self.counts).reshape(self.groups, self.together)
        total = self.counts.reshape(self.groups, self.together)
        null = None in list(getattr(condition, "values", []))
        gaps = [float(null and PATTERNS[gap][axis]) for gap in self.gaps]
        first = np.append(mass.sum(1) / np.maximum(total.sum(1), 1), gaps)
        second = np.vstack([share.reshape(self.groups, -1), np.ones((len(self.gaps), self.together))])
        return Allowed(first, [second], ((axis, low, high),) if low <= high else None)

    def impossible(self) -> Bools | None:
        empty = (self.counts == 0).reshape(self.groups, self.together)
        gone = np.ones((len(self.gaps), self.together), bool)
        gone[:, :1] = False
        return np.vstack([empty, gone])

    def views(self) -> list[Floats]:
        return []

    def numbers(self) -> list[tuple[int, Any]]:
        return []

    def to_json(self) -> Mapping[str, Any]:
        boxes = [[None if np.isnan(x) else x for x in box] for box in self.boxes.tolist()]
        cuts = [None if np.isinf(cut) else cut for cut in self.cuts.tolist()]
        own = {"with": self.pair[1]["name"], "cuts": cuts, "boxes": boxes}
        return own | {"counts": self.counts.tolist(), "gaps": self.gaps}

    @classmethod
    def from_json(cls, columns: Mapping[str, Column], name: str, saved: Mapping[str, Any]) -> Place:
        boxes = np.array(saved["boxes"], float)
        pair = (columns[name], columns[saved["with"]])
        cuts = np.array([np.inf if cut is None else cut for cut in saved["cuts"]], float)
        return cls(pair, cuts, boxes, np.array(saved["counts"], np.int64), saved["gaps"])


def _tree(at: Floats, depth: int) -> tuple[Floats, Ints]:
    """Cuts, level by level, and the leaf of each row (n, 2). A node is cut in the widest gap of its middle half, so
    that towns stay whole; nodes of few rows are not cut."""
    cuts, node = np.full(2**depth - 1, np.inf), np.zeros(len(at), np.int64)
    for level in range(depth):
        values = at[:, level % 2]
        order = np.lexsort((values, node))
        ordered, of = values[order], node[order]
        counts = np.bincount(node, minlength=2**level)
        share = (np.arange(len(at)) - (np.cumsum(counts) - counts)[of] + 1) / counts[of]
        gap = np.append(np.diff(ordered), 0.0)
        gap = np.where((share >= 0.25) & (share <= 0.75) & (counts[of] >= 2 * ROWS), gap, -1.0)
        widest = np.lexsort((-gap, of))[np.unique(of, return_index=True)[1]] if len(at) else np.zeros(0, np.int64)
        widest = widest[gap[widest] > 0]
        cuts[2**level - 1 + of[widest]] = (ordered[widest] + ordered[np.minimum(widest + 1, len(at) - 1)]) / 2
        node = 2 * node + (values > cuts[2**level - 1 + node])
    return cuts, node


def _rounded(low: Floats, high: Floats, counts: Ints) -> tuple[Floats, Floats]:
    """Ends of boxes moved outwards onto a grid of a hundredth to a tenth of their width, and a step beyond. Where all
    rows of a leaf are in one spot they share it, as they would a level, and it stays."""
    shared = (low == high) & (counts >= LEAST)
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-3) / 1_000)  # one row's: around it
    grid = 10.0 ** np.ceil(np.log10(width / STEPS))
    digits = np.maximum(0, -np.log10(grid)).round().astype(int)
    below, above = (np.floor(low / grid) - 1) * grid, (np.ceil(high / grid) + 1) * grid
    plain = [np.array(list(map(round, end.tolist(), digits.tolist())), float) for end in (below, above)]
    return np.where(shared, low, plain[0]), np.where(shared, high, plain[1])


def _descend(cuts: Floats, at: Floats, depth: int) -> Ints:
    node = np.zeros(len(at), np.int64)
    for level in range(depth):
        node = 2 * node + (at[:, level % 2] > cuts[2**level - 1 + node])
    return node

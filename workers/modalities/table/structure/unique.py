"""Values that no two rows of an output share, however it is cut into shards: each row's follows from its number.

A column's values are cut into pieces of about as many training rows each. A row's number says in which piece its value
lies and which of the piece's values it takes, so pieces are filled in proportion and nothing is taken twice. Which row
of a chunk gets which of the chunk's values follows what was generated: the largest to the largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.modalities.table.infer import Column
from workers.modalities.table.structure.entries import Values
from workers.modalities.table.structure.grids import Floats, Grid, Ints
from workers.modalities.table.structure.steps import ARROW, SHARED, Frame

PERIOD = 1 << 12  # row numbers in which each piece has its share of turns
PIECES = 512
ROOM = 20  # times as many values as training rows, at least, for one number to be unique on its own
ENDLESS = 1 << 50  # values of a column of doubles
LIMB = 13  # bits
STRIDE = 0.6180339887498949  # of the golden section: near numbers fall far apart
Index = NDArray[np.uint64]


@dataclass
class Axis:
    """One column's values: pieces of a number's grid (`first` in units, `size` in steps), or levels."""

    name: str
    storage: str
    grid: Grid | None
    first: Floats  # (pieces,)
    size: Ints
    turns: Ints  # (pieces,) of PERIOD
    levels: pa.Array | None

    @property
    def room(self) -> int:
        """How many different values there are."""
        return min(ENDLESS, sum(int(size) for size in self.size))

    @property
    def rounds(self) -> int:
        """How many times PERIOD rows can have different values if the pieces are filled in proportion."""
        return int(min(self.size // self.turns))

    @property
    def step(self) -> float:
        return 1.0 if self.grid is None else float(self.grid.step) if self.grid.step else _fine(self.first, self.size)

    def array(self, piece: Ints, place: Ints) -> pa.Array:
        if self.levels is not None:
            return self.levels.take(pa.array(place))
        assert self.grid is not None  # noqa: S101  # for the type checker
        return self.grid.array(self.first[piece] + place * self.step, ARROW[self.storage])


@dataclass
class Uniqueness:
    """Of one rule: a single axis whose pieces are filled in proportion, or several whose values are all combined."""

    rule: int
    columns: tuple[str, ...]
    axes: list[Axis]

    @property
    def capacity(self) -> int:
        """Rows that an output can have."""
        room = 1
        for axis in self.axes:
            room = min(ENDLESS, room * axis.room)
        return room

    @classmethod
    def fit(cls, rule: int, columns: list[Column], frame: Frame, grids: Mapping[str, Grid]) -> Uniqueness:
        axes = [_axis(column, frame[column["name"]], grids.get(column["name"])) for column in columns]
        names = tuple(column["name"] for column in columns)
        widest = max(axes, key=lambda axis: axis.rounds if axis.levels is None else 0)
        alone = widest.levels is None and widest.rounds * PERIOD >= ROOM * len(frame[names[0]])
        return cls(rule, names, [widest] if alone or len(axes) == 1 else axes)

    def assigned(self, frame: Frame, index: Index) -> Frame:
        """The columns with the values of these rows' numbers; beyond the capacity numbers begin again."""
        out = self.values(index)
        if len(self.axes) == 1:
            axis = self.axes[0]
            out[axis.name] = _matched(axis, out[axis.name], frame[axis.name])
        return out

    def values(self, index: Index) -> Frame:
        """In the order of the numbers."""
        index = index % np.uint64(self.capacity)
        if len(self.axes) == 1:
            return {self.axes[0].name: self.axes[0].array(*_place(self.axes[0], index))}
        number = _scattered(index, self.capacity)
        out: Frame = {}
        for axis in self.axes:
            room = axis.room
            at, number = number % np.uint64(room), number // np.uint64(room)
            starts = np.concatenate([[0], np.cumsum(axis.size)])
            piece = np.searchsorted(starts, at.astype(np.int64), side="right") - 1
            out[axis.name] = axis.array(piece, at.astype(np.int64) - starts[piece])
        return out

    def to_json(self) -> dict[str, Any]:
        axes = [
            {
                "name": axis.name,
                "storage": axis.storage,
                "grid": axis.grid.to_json() if axis.grid else None,
                "first": axis.first.tolist(),
                "size": axis.size.tolist(),
                "turns": axis.turns.tolist(),
                "levels": None if axis.levels is None else axis.levels.to_pylist(),
            }
            for axis in self.axes
        ]
        return {"rule": self.rule, "columns": list(self.columns), "axes": axes}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Uniqueness:
        axes = [
            Axis(
                axis["name"],
                axis["storage"],
                Grid.from_json(axis["grid"]) if axis["grid"] else None,
                np.array(axis["first"], float),
                np.array(axis["size"], np.int64),
                np.array(axis["turns"], np.int64),
                None if axis["levels"] is None else pa.array(axis["levels"], ARROW[axis["storage"]]),
            )
            for axis in saved["axes"]
        ]
        return cls(saved["rule"], tuple(saved["columns"]), axes)


def _axis(column: Column, array: pa.Array, grid: Grid | None) -> Axis:
    name, storage = column["name"], str(array.type)
    if "levels" in column or grid is None:
        counted = pc.value_counts(array.drop_null())
        shared = counted.field(0).filter(pa.array(counted.field(1).to_numpy() >= SHARED))
        levels = shared if len(shared) else pa.array(column.get("levels", []), array.type)
        return Axis(name, storage, None, np.zeros(1), np.array([len(levels)]), np.array([PERIOD]), levels)
    units = grid.units(array.drop_null())
    pieces = int(np.clip(len(units) // SHARED, 1, PIECES))
    edges = np.unique(_between_rows(units, pieces, grid))
    if len(edges) == 1:
        edges = np.append(edges, edges[0] + (grid.step or 1))
    width = float(grid.step) if grid.step else (edges[-1] - edges[0]) / ENDLESS
    size = np.maximum(np.rint(np.diff(edges) / width), 1).astype(np.int64)
    size[-1] += bool(grid.step)
    mass = np.histogram(units, edges)[0].astype(float)
    return Axis(name, storage, grid, edges[:-1], size, _turns(mass), None)


def _between_rows(units: Floats, pieces: int, grid: Grid) -> Floats:
    """Ends of pieces with as many values each, halfway between two rows' values."""
    inner = np.quantile(units, np.linspace(0, 1, pieces + 1)[1:-1], method="midpoint")
    return np.concatenate([[units.min()], grid.nearest(grid.value(inner)), [units.max()]])


def _turns(mass: Floats) -> Ints:
    """Shares of PERIOD, at least one each."""
    share = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum() * (PERIOD - len(mass))
    turns: Ints = np.diff(np.rint(share)).astype(np.int64) + 1
    return turns


def _fine(first: Floats, size: Ints) -> float:
    """Of doubles without a grid: pieces lie next to each other, so their starts tell the step."""
    return float((first[-1] - first[0]) / size[:-1].sum()) if len(first) > 1 else 1e-9


def _place(axis: Axis, index: Index) -> tuple[Ints, Ints]:
    """For each row's number the piece, and which of its values. When the first piece has none left in proportion, what
    is left of all of them follows."""
    around, turn = index // np.uint64(PERIOD), _scattered(index, PERIOD).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(axis.turns)])
    piece = np.searchsorted(starts, turn, side="right") - 1
    count = around * axis.turns[piece].astype(np.uint64) + (turn - starts[piece]).astype(np.uint64)
    last = axis.rounds * PERIOD
    beyond = index >= np.uint64(last)
    if beyond.any():
        used = axis.turns * axis.rounds
        left = np.concatenate([[0], np.cumsum(axis.size - used)])
        at = _scattered(index[beyond] - np.uint64(last), int(left[-1])).astype(np.int64)
        piece[beyond] = np.searchsorted(left, at, side="right") - 1
        count[beyond] = (used[piece[beyond]] + at - left[piece[beyond]]).astype(np.uint64)
    place = np.empty(len(index), np.int64)
    for i in np.unique(piece):  # pieces, not rows
        at = piece == i
        place[at] = _scattered(count[at], int(axis.size[i])).astype(np.int64)
    return piece, place


def _scattered(count: Index, room: int) -> Index:
    """Numbers below `room`, each once: steps of a length that has no divisor in common with it."""
    if room < 3:
        return count % np.uint64(max(1, room))
    stride = max(1, int(room * STRIDE))
    while np.gcd(stride, room) != 1:
        stride += 1
    left, out = count % np.uint64(room), np.zeros(len(count), np.uint64)
    for limb in range(-(-room.bit_length() // LIMB) - 1, -1, -1):  # so that products stay below 2**64
        digit = (stride >> (LIMB * limb)) & ((1 << LIMB) - 1)
        out = ((out << np.uint64(LIMB)) % np.uint64(room) + left * np.uint64(digit)) % np.uint64(room)
    return out


def _matched(axis: Axis, values: pa.Array, generated: pa.Array) -> pa.Array:
    """The values in the order of what was generated: the largest where it was largest."""
    if axis.grid is None:
        codes = Values(pc.unique(values)).codes(generated)
        order = np.argsort(codes, kind="stable")
    else:
        order = np.argsort(np.nan_to_num(axis.grid.natural(generated)), kind="stable")
    rank: Ints = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return values.take(pc.sort_indices(values)).take(pa.array(rank))


__all__ = ["Axis", "Uniqueness"]

"""A column that a user's formula makes: numbers and times by working it out, booleans by asking whether it is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.expressions import Node
from workers.modalities.table.infer import Column
from workers.modalities.table.structure import steps
from workers.modalities.table.structure.evaluate import numbers_of, truths_of
from workers.modalities.table.structure.grids import Flags, Floats, Grid, Ints
from workers.modalities.table.structure.predictors import Natural, Predictor
from workers.modalities.table.structure.steps import Frame, Given, Step

VALUES, CELLS = 2_000, 200_000  # of a column whose values are all tried, and how many are at once
TURNS = 4  # of the secant method, for each column in turn


def node_json(node: Node) -> list[Any]:
    return [node.op, [node_json(arg) for arg in node.args], node.value]


def node_from_json(saved: list[Any]) -> Node:
    op, args, value = saved
    if op == "in":
        value = (value[0], tuple(value[1]))
    return Node(op, tuple(node_from_json(arg) for arg in args), value)


@dataclass
class Worked(Predictor):
    """`text` is the formula as its user wrote it. Its columns may be of any type; `grids` has the numbers and times."""

    kind: ClassVar[str] = "formula"
    node: Node
    text: str
    columns: list[str]  # all that it speaks of
    spreads: dict[str, float]

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def value(self, columns: Natural) -> Floats:
        raise NotImplementedError("a formula is worked out from a frame")

    def predict(self, frame: Frame) -> Floats:
        return numbers_of(self.node, frame, self.grids)

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        raise NotImplementedError("a formula is solved on a frame")

    def solve(self, frame: Frame, goal: Floats, loose: float, width: float, given: Given) -> Frame:
        """One column after the other is moved, along the line through two points, until the formula gives what is
        wanted; what cannot be reached stays as it was."""
        moved: Frame = {}
        for name in sorted(self.grids, key=lambda name: -self.spreads[name]):
            open_ = given.movable(name, len(goal)) & ~(np.abs(self.predict(frame | moved) - goal) <= width / 2)
            if not (open_ & ~np.isnan(goal)).any():
                continue
            found = self._secant(frame | moved, name, goal, given)
            good = open_ & (
                np.abs(self.predict(frame | moved | {name: found}) - goal) <= width / 2 + 1e-9 * np.abs(goal)
            )
            if good.any():
                moved[name] = steps.replaced(moved.get(name, frame[name]), good, found)
        return moved | self._two(frame | moved, goal, width, given)

    def _two(self, frame: Frame, goal: Floats, width: float, given: Given) -> Frame:
        """Where no column alone can do it: a column of few values takes each of them, the nearest first, until another
        column can."""
        n = len(goal)
        counts = {name: self._count(name, given) for name in self.grids}
        few = min(counts, key=lambda name: counts[name], default="")
        off = ~np.isnan(goal) & ~(np.abs(self.predict(frame) - goal) <= width / 2)
        left = np.flatnonzero(off & given.movable(few, n)) if few else np.zeros(0, np.int64)
        if not len(left) or len(counts) < 2 or counts[few] > VALUES:
            return {}
        moved: Frame = {}
        turns = np.arange(2, 2 * counts[few] + 2)
        offsets: Floats = np.asarray((turns // 2) * np.where(turns % 2, -1, 1) * self.grids[few].width, float)
        start = 0
        while start < len(offsets) and len(left):
            some = offsets[start : start + max(1, CELLS // len(left))]
            start += len(some)
            for name in [name for name in self.grids if name != few]:
                done, values = self._tried(frame, few, name, left, some, goal, width, given)
                for one, array in values.items():
                    moved[one] = steps.spread_out(moved.get(one, frame[one]), left[done], array)
                left = left[~done]
                if not len(left):
                    break
        return moved

    def _tried(
        self, frame: Frame, few: str, name: str, left: Ints, offsets: Floats, goal: Floats, width: float, given: Given
    ) -> tuple[Flags, Frame]:
        """Each row with each of these values of one column, and another column moved to fit: which rows were helped,
        and by what values of the two."""
        rows = np.repeat(left, len(offsets))
        here, wanted = given.take(rows), goal[rows]
        low, high = given.limits[few]
        some = {one: frame[one].take(pa.array(rows)) for one in self.columns}
        grid = self.grids[few]
        values = grid.natural(some[few]) + np.tile(offsets, len(left))
        some[few] = grid.array(grid.nearest(np.clip(values, low, high)), some[few].type)
        some[name] = self._secant(some, name, wanted, here)
        good = (np.abs(self.predict(some) - wanted) <= width / 2) & here.movable(name, len(rows))
        good = good.reshape(len(left), len(offsets))
        done = np.asarray(good.any(1), bool)
        first = np.flatnonzero(done) * len(offsets) + good[done].argmax(1)
        return done, {one: some[one].take(pa.array(first)) for one in (few, name)}

    def _count(self, name: str, given: Given) -> int:
        """How many values a column may take; more than VALUES where there is no end to them."""
        low, high = given.limits.get(name, (-np.inf, np.inf))
        width = self.grids[name].width
        return int((high - low) / width) + 1 if width and np.isfinite(high - low) else VALUES + 1

    def _secant(self, frame: Frame, name: str, goal: Floats, given: Given) -> pa.Array:
        grid = self.grids[name]
        low, high = given.limits.get(name, (-np.inf, np.inf))
        last = grid.natural(frame[name])
        before = self.predict(frame) - goal
        here = np.clip(last + max(self.spreads[name] / 10, grid.width), low, high)
        here = np.where(here == last, last - max(self.spreads[name] / 10, grid.width), here)
        for _ in range(TURNS):
            now = self.predict(frame | {name: _exactly(here)}) - goal
            with np.errstate(all="ignore"):
                step = now * (here - last) / (now - before)
            step = np.where(np.isfinite(step), step, 0.0)
            last, before, here = here, now, here - step
        units = np.clip(grid.nearest(here), grid.ceil(np.array(low)), grid.floor(np.array(high)))
        return grid.array(units, frame[name].type)

    def formula(self, target: str) -> str:
        return f"{target} = {self.text}"

    def own_json(self) -> dict[str, Any]:
        return {"node": node_json(self.node), "text": self.text, "columns": self.columns, "spreads": self.spreads}

    @classmethod
    def own_from_json(cls, grids: dict[str, Grid], saved: dict[str, Any]) -> Predictor:
        return cls(grids, **(saved | {"node": node_from_json(saved["node"])}))


def _exactly(natural: Floats) -> pa.Array:
    """Numbers between the grid's, while the way is sought: natural units, as doubles."""
    return pa.array(natural, pa.float64())


@dataclass
class Decided(Step):
    """A boolean column that says whether a formula is true."""

    kind: ClassVar[str] = "decision"

    node: Node
    text: str
    grids: dict[str, Grid]

    @classmethod
    def fit(
        cls, column: Column, frame: Frame, node: Node, text: str, grids: dict[str, Grid], needs: tuple[str, ...],
        taken: set[str], **common: Any,
    ) -> Decided:  # fmt: skip
        out = cls((column["name"],), needs, [], node, text, grids, **common)
        truth, array = truths_of(node, frame, grids), frame[column["name"]]
        if array.null_count or not truth.known.all():
            name = steps.unused(f"{column['name']} where open", taken)
            out.free = [
                steps.column(
                    name, "boolean", array.null_count > 0, array.null_count / max(1, len(array)),
                    "What the rule leaves open.", levels=[True, False],
                )
            ]  # fmt: skip
        return out

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        return {self.free[0]["name"]: frame[self.makes[0]]} if self.free else {}

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        truth = truths_of(self.node, frame, self.grids)
        decided = pa.array(truth.values & truth.known)
        if not self.free:
            return {self.makes[0]: decided}
        open_ = frame[self.free[0]["name"]]
        follows = pa.array(truth.known & steps.there(open_))
        return {self.makes[0]: pc.if_else(follows, decided, open_)}

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        """Where the formula is open it takes what is wanted; elsewhere other rows have to lend their values."""
        if not self.free:
            return {}
        name, asked = self.free[0]["name"], wanted[self.makes[0]]
        return {name: steps.replaced(frame[name], steps.there(asked), asked)}

    def formula(self) -> str:
        return f"{self.makes[0]} = {self.text}"

    def own_json(self) -> dict[str, Any]:
        grids = {name: grid.to_json() for name, grid in self.grids.items()}
        return {"node": node_json(self.node), "text": self.text, "grids": grids}

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Decided:
        grids = {name: Grid.from_json(grid) for name, grid in saved["grids"].items()}
        return cls(node=node_from_json(saved["node"]), text=saved["text"], grids=grids, **common)

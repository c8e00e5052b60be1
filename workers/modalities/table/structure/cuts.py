"""A category that a number decides, by thresholds: the age group of an age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.structure.entries import Values
from workers.modalities.table.structure.grids import Floats, Grid, Ints
from workers.modalities.table.structure.steps import ARROW, Frame, Given, Step, there


@dataclass
class Cuts(Step):
    """Interval i goes from cuts[i - 1] (included) to cuts[i]; `levels` are the intervals', then that of null."""

    kind: ClassVar[str] = "thresholds"

    cuts: Floats  # natural, rising
    levels: pa.Array
    grid: Grid

    @property
    def target(self) -> str:
        return self.makes[0]

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        return {}

    def _interval(self, natural: Floats) -> Ints:
        at = np.searchsorted(self.cuts, natural, side="right")  # NaN comes after all
        return np.where(np.isnan(natural), len(self.cuts) + 1, at).astype(np.int64)

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        return {self.target: self.levels.take(pa.array(self._interval(self.grid.natural(frame[self.needs[0]]))))}

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        """A number of one of the level's intervals: one that another row has, else any that lies there."""
        (name,) = self.needs
        natural = self.grid.natural(frame[name])
        codes = Values(pc.unique(self.levels))
        level = codes.codes(self.levels)  # of each interval
        goal, have = codes.codes(wanted[self.target]), level[self._interval(natural)]
        off = there(wanted[self.target]) & (goal != have) & (goal >= 0) & given.movable(name, len(goal))
        new = natural.copy()
        for code in np.unique(goal[off]):  # levels, not rows
            at, pool = np.flatnonzero(off & (goal == code)), natural[(have == code) & ~np.isnan(natural)]
            new[at] = rng.choice(pool, len(at)) if len(pool) else self._inside(code, level, len(at), given, rng)
        return {name: self.grid.array(self.grid.nearest(new), frame[name].type)} if off.any() else {}

    def _inside(self, code: int, level: Ints, n: int, given: Given, rng: np.random.Generator) -> Floats:
        low, high = given.limits.get(self.needs[0], (-np.inf, np.inf))
        first = float(self.cuts[0]) if len(self.cuts) else 0.0
        edges = np.concatenate([[min(low, first) if np.isfinite(low) else first - 1], self.cuts])
        ends = np.concatenate([self.cuts, [max(high, edges[-1]) if np.isfinite(high) else edges[-1] + 1]])
        interval = rng.choice(np.flatnonzero(level[:-1] == code), n) if (level[:-1] == code).any() else np.zeros(n, int)
        drawn = edges[interval] + rng.random(n) * (ends[interval] - edges[interval])
        on_grid = self.grid.value(self.grid.nearest(drawn))
        inside: Floats = np.where(
            self._interval(on_grid) == interval, on_grid, self.grid.value(self.grid.ceil(edges[interval]))
        )
        return inside

    def intervals(self, levels: list[Any]) -> list[tuple[float, float]]:
        """From (included) and to (excluded) where the category is one of these levels; neighbours are joined."""
        good = [value in levels for value in self.levels.to_pylist()[:-1]]
        edges = [-np.inf, *self.cuts.tolist(), np.inf]
        out: list[tuple[float, float]] = []
        for i, yes in enumerate(good):
            if yes and out and out[-1][1] == edges[i]:
                out[-1] = (out[-1][0], edges[i + 1])
            elif yes:
                out.append((edges[i], edges[i + 1]))
        return out

    def formula(self) -> str:
        return f"{self.target} follows from {self.needs[0]} by {len(self.cuts)} thresholds"

    def own_json(self) -> dict[str, Any]:
        kind = str(self.levels.type)
        return {
            "cuts": self.cuts.tolist(),
            "levels": self.levels.to_pylist(),
            "type": kind,
            "grid": self.grid.to_json(),
        }

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Cuts:
        levels = pa.array(saved["levels"], ARROW[saved["type"]])
        return cls(cuts=np.array(saved["cuts"], float), levels=levels, grid=Grid.from_json(saved["grid"]), **common)

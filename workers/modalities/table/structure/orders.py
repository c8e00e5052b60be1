"""One column is never below others: end after start, a part within its total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from workers.modalities.table.structure.grids import Floats, Grid
from workers.modalities.table.structure.predictors import Natural, Predictor
from workers.modalities.table.structure.steps import Frame, Given


@dataclass
class AtLeast(Predictor):
    """The lowest value that a column may have: the largest of those that are there. Strict: the next one above it."""

    kind: ClassVar[str] = "at least"
    strict: dict[str, bool]
    spreads: dict[str, float]

    def value(self, columns: Natural) -> Floats:
        out: Floats = np.fmax.reduce(list(columns.values()))  # NaN only where all are missing
        return out

    def units(self, frame: Frame, grid: Grid) -> Floats:
        columns = self.natural(frame)
        lowest = [
            grid.above(columns[name]) if strict else grid.ceil(columns[name]) for name, strict in self.strict.items()
        ]
        out: Floats = np.fmax.reduce(lowest)
        return out

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        """All are shifted alike, to keep the gap as far as it is worth keeping; without a gap they only make way."""
        out: Natural = {}
        short = goal - self.value(columns)
        for name, values in columns.items():
            if loose:
                share = self.spreads[name] ** 2 / (self.spreads[name] ** 2 + loose**2)
                new = values + share * short
            else:
                grid = self.grids[name]
                new = np.minimum(values, grid.value(grid.below(goal) if self.strict[name] else grid.floor(goal)))
            out[name] = np.where(given.movable(name, len(goal)), new, values)
        return out

    def formula(self, target: str) -> str:
        return " and ".join(f"{target} {'>' if strict else '>='} {name}" for name, strict in self.strict.items())

    def own_json(self) -> dict[str, Any]:
        return {"strict": self.strict, "spreads": self.spreads}

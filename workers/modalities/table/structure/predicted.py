"""A number or time that others predict: the table keeps what the prediction leaves open, on the column's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from workers.modalities.table.infer import Column
from workers.modalities.table.structure import steps
from workers.modalities.table.structure.grids import Floats, Grid
from workers.modalities.table.structure.predictors import Predictor
from workers.modalities.table.structure.steps import ARROW, Frame, Given, Step, as_numbers, numbers, replaced, there

# exact: nothing is left open. steps: units of the grid. gap: units above the prediction. ratio: the logarithm of value
# over prediction, blurred by half a step of the grid each way. lift: the column as it is, lifted to the prediction
# where it comes out below.
Mode = Literal["exact", "steps", "gap", "ratio", "lift"]
WORDS = {"exact": "identity", "steps": "identity", "gap": "ordering", "ratio": "near identity", "lift": "ordering"}


@dataclass
class Predicted(Step):
    kind: ClassVar[str] = "predicted"

    mode: Mode
    by: Predictor
    grid: Grid  # of the column that it makes
    storage: str
    base: float  # natural; stands in where the prediction says nothing
    loose: float  # spread of what is left open: natural, or of its logarithm
    ends: tuple[float, float] | None = None  # the column's own bounds, natural

    @property
    def target(self) -> str:
        return self.makes[0]

    # -- there --

    @classmethod
    def fit(
        cls,
        column: Column,
        array: pa.Array,
        grid: Grid,
        by: Predictor,
        mode: Mode,
        frame: Frame,
        taken: set[str],
        rng: np.random.Generator,
        **common: Any,
    ) -> Predicted:
        """Of training rows. `taken` are the names that free columns may not have."""
        own = grid.natural(array)
        filled = own[~np.isnan(own)]
        spread = float(np.std(filled)) if len(filled) else 0.0
        low, high = (float(filled.min()), float(filled.max())) if len(filled) else (0.0, 0.0)
        base = low if mode == "gap" else _rounded(float(np.median(filled)) if len(filled) else 0.0, spread)
        ends = (low, high) if mode in ("steps", "ratio") and common.get("source") != "user" else None
        out = cls(
            (column["name"],), by.needs, [], mode, by, grid, str(array.type), base, 0.0, ends, **common
        )  # fmt: skip
        left = out._left(frame, array, rng)
        predicted = ~np.isnan(by.predict(frame))
        filled_rows = there(array)
        if mode == "exact" and not (filled_rows & ~predicted).any():
            if (predicted & ~filled_rows).any():
                out.free = [_presence(column["name"], ~filled_rows, taken)]
            return out
        if mode == "lift":
            out.free = [column | {"name": steps.unused(f"{column['name']} as drawn", taken)}]
            return out
        out.free = [out._entry(left, taken)]
        if mode != "exact":
            open_ = left[predicted & filled_rows]
            unit = 1.0 if mode == "ratio" else 1.0 / grid.scale
            out.loose = float(f"{(np.std(open_) if len(open_) else 0.0) * unit:.3g}")
        return out

    def _entry(self, left: Floats, taken: set[str]) -> Column:
        names = {"gap": f"{self.target} above {', '.join(self.needs)}", "ratio": f"{self.target} relative to the rule"}
        name = steps.unused(names.get(self.mode, f"{self.target} off the rule"), taken)
        whole = self.mode != "ratio" and not self.grid.continuous
        return steps.numeric_column(name, left, whole, f"What {self.by.formula(self.target)!r} leaves open.")

    def _left(self, frame: Frame, array: pa.Array, rng: np.random.Generator) -> Floats:
        """What is learned in the column's place, NaN where it is missing."""
        if self.mode == "ratio":
            own = self.grid.natural(array)
            blurred = own + (rng.random(len(own)) - 0.5) * self.grid.width * (1 - 1e-9)
            least = max(self.grid.width / 4, 1e-300)
            left: Floats = np.log(np.maximum(np.where(own > 0, blurred, least), least)) - np.log(self._natural(frame))
            return np.where(np.isnan(own), np.nan, left)
        left = self.grid.units(array) - self._units(frame)
        if self.mode == "gap":
            return np.maximum(left, 0)
        if self.mode == "exact":
            return np.where(np.isnan(left) | np.isnan(self.by.predict(frame)), left, 0.0)
        return left

    def _units(self, frame: Frame) -> Floats:
        units = self.by.units(frame, self.grid)
        return np.where(np.isnan(units), self.grid.nearest(np.array([self.base]))[0], units)

    def _natural(self, frame: Frame) -> Floats:
        natural = self.by.predict(frame)
        return np.where(np.isnan(natural) | (natural <= 0), max(self.base, 1e-300), natural)

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        if not self.free:
            return {}
        array = frame[self.target]
        entry = self.free[0]
        if entry["type"] == "boolean":
            return {entry["name"]: pa.array(there(array))}
        if self.mode == "lift":
            return {entry["name"]: array}
        return {entry["name"]: as_numbers(self._left(frame, array, rng), entry)}

    # -- and back --

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        kind = ARROW[self.storage]
        if not self.free:
            return {self.target: self.grid.array(self._units(frame), kind)}
        entry = self.free[0]
        if entry["type"] == "boolean":
            yes = frame[entry["name"]].fill_null(False).to_numpy(zero_copy_only=False)
            return {self.target: self.grid.array(np.where(yes, self._units(frame), np.nan), kind)}
        if self.mode == "lift":
            own = self.grid.units(frame[entry["name"]])
            lifted = np.where(np.isnan(own), own, np.fmax(own, self.by.units(frame, self.grid)))
            return {self.target: self.grid.array(lifted, kind)}
        left = numbers(frame[entry["name"]])
        return {self.target: self.grid.array(self._whole(frame, left), kind)}

    def _whole(self, frame: Frame, left: Floats) -> Floats:
        """Units of the column."""
        if self.mode == "ratio":
            units = self.grid.nearest(self._natural(frame) * np.exp(left))
            return self._inside(units)
        units = self._units(frame)
        if self.mode == "exact":
            return np.where(np.isnan(left) | np.isnan(self.by.predict(frame)), units + left, units)
        if self.mode == "gap":
            return units + np.maximum(left, 0)
        return self._inside(units + left)

    def _inside(self, units: Floats) -> Floats:
        if self.ends is None:
            return units
        low, high = self.grid.nearest(np.array(self.ends))
        inside: Floats = np.clip(units, low, high)
        return inside

    # -- where something else is wanted --

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        asked = wanted[self.target]
        goal = self.grid.natural(asked)
        entry = self.free[0] if self.free else None
        if self.mode == "lift" and entry is not None:
            short = self.by.units(frame, self.grid) > self.grid.units(asked)
            moved = self.by.solve(frame, np.where(short, goal, np.nan), 0.0, self.grid.width, given)
            return moved | {entry["name"]: replaced(frame[entry["name"]], there(asked), asked)}
        left = None if entry is None or entry["type"] == "boolean" else np.nan_to_num(numbers(frame[entry["name"]]))
        if given.firm and self.mode != "exact":
            moved = {}
        else:
            moved = self.by.solve(frame, self._goal(goal, left), self._loose(), self.grid.width, given)
        if self.mode == "gap":  # whatever the gap: not below
            short = self.by.units(dict(frame) | moved, self.grid) > self.grid.units(asked)
            last = self.by.solve(dict(frame) | moved, np.where(short, goal, np.nan), 0.0, self.grid.width, given)
            moved = moved | last
        if entry is None:
            return moved
        at = there(asked)
        if left is None:
            return moved | {entry["name"]: replaced(frame[entry["name"]], at, pa.array(at))}
        rest = self._left(dict(frame) | moved, asked, rng)
        keep = numbers(frame[entry["name"]])
        return moved | {entry["name"]: as_numbers(np.where(at, rest, keep), entry)}

    def _loose(self) -> float:
        """At least a little for what is no identity: its columns need not make up for every rounding."""
        if self.mode in ("gap", "ratio"):
            return max(self.loose, 1e-300)
        return 0.0 if self.mode == "steps" and self.loose <= self.grid.width else self.loose

    def _goal(self, goal: Floats, left: Floats | None) -> Floats:
        """What the prediction has to become, so that what is left open may stay as it is."""
        if left is None or self.mode == "exact":
            return goal
        return goal / np.exp(left) if self.mode == "ratio" else goal - left / self.grid.scale

    # -- for people and files --

    def formula(self) -> str:
        return self.by.formula(self.target)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"kind": WORDS[self.mode]}

    def why(self) -> str:
        if self.mode == "ratio":
            return f"The rest varies by a factor of {np.exp(self.loose):.2f} only."
        return super().why()

    def own_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("mode", "storage", "base", "loose")}
        return plain | {"by": self.by.to_json(), "grid": self.grid.to_json(), "ends": self.ends and list(self.ends)}

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Predicted:
        return cls(
            mode=saved["mode"],
            by=Predictor.from_json(saved["by"]),
            grid=Grid.from_json(saved["grid"]),
            storage=saved["storage"],
            base=saved["base"],
            loose=saved["loose"],
            ends=tuple(saved["ends"]) if saved["ends"] else None,
            **common,
        )


def _presence(name: str, gone: np.ndarray, taken: set[str]) -> Column:
    most = gone.mean() > 0.5
    return steps.column(
        steps.unused(f"{name} is there", taken), "boolean", False, 0.0, "Its value follows, not whether it has one.",
        levels=[not most, bool(most)],
    )  # fmt: skip


def _rounded(value: float, spread: float) -> float:
    """To about a tenth of the spread: no row's own value."""
    if not spread:
        return value
    unit = 10.0 ** np.floor(np.log10(spread)) / 2
    return float(np.round(value / unit) * unit)

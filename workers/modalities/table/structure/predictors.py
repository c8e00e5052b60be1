"""What other columns say of a number or time: a sum, a product of powers, a curve. Each predicts, and moves its columns
so that the prediction becomes what is wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from workers.modalities.table.structure.grids import Flags, Floats, Grid
from workers.modalities.table.structure.steps import Frame, Given

Natural = dict[str, Floats]


@dataclass
class Predictor(ABC):
    """`needs` with their grids; `spreads` are the columns' standard deviations, as the prediction counts them."""

    kinds: ClassVar[dict[str, type[Predictor]]] = {}
    kind: ClassVar[str]

    grids: dict[str, Grid]

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "kind" in cls.__dict__:
            Predictor.kinds[cls.kind] = cls

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.grids)

    def natural(self, frame: Frame) -> Natural:
        return {name: grid.natural(frame[name]) for name, grid in self.grids.items()}

    @abstractmethod
    def value(self, columns: Natural) -> Floats:
        """In natural units, NaN where it says nothing."""

    def units(self, frame: Frame, grid: Grid) -> Floats:
        """On the grid of the column that is predicted."""
        return grid.nearest(self.predict(frame))

    def predict(self, frame: Frame) -> Floats:
        with np.errstate(all="ignore"):
            out = self.value(self.natural(frame))
        return np.where(np.isfinite(out), out, np.nan)

    @abstractmethod
    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        """Columns with which the prediction comes near to `goal` (NaN: nothing is wanted). `loose` is the spread of
        what it leaves open, which takes its part; `width` how near is near enough."""

    def solve(self, frame: Frame, goal: Floats, loose: float, width: float, given: Given) -> Frame:
        columns = self.natural(frame)
        with np.errstate(all="ignore"):
            moved = self.moved(dict(columns), goal, loose, width, given)
        out: Frame = {}
        for name, values in moved.items():
            change = ~(np.isnan(goal) | np.isnan(values) | np.isnan(columns[name]) | (values == columns[name]))
            if change.any():
                grid = self.grids[name]
                units = np.where(
                    change, np.clip(grid.nearest(values), *_ends(grid, given, name)), grid.units(frame[name])
                )
                out[name] = grid.array(units, frame[name].type)
        return out

    @abstractmethod
    def formula(self, target: str) -> str: ...

    @abstractmethod
    def own_json(self) -> dict[str, Any]: ...

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "grids": {name: grid.to_json() for name, grid in self.grids.items()},
        } | self.own_json()

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> Predictor:
        own = {name: value for name, value in saved.items() if name not in ("kind", "grids")}
        grids = {name: Grid.from_json(grid) for name, grid in saved["grids"].items()}
        return Predictor.kinds[saved["kind"]].own_from_json(grids, own)

    @classmethod
    def own_from_json(cls, grids: dict[str, Grid], saved: dict[str, Any]) -> Predictor:
        return cls(grids, **saved)


def _ends(grid: Grid, given: Given, name: str) -> tuple[float, float]:
    """Units between which a column may be moved."""
    low, high = given.limits.get(name, (-np.inf, np.inf))
    first = float(grid.ceil(np.array([low]))[0]) if np.isfinite(low) else -np.inf
    last = float(grid.floor(np.array([high]))[0]) if np.isfinite(high) else np.inf
    return first, max(first, last)


def on_grid(values: Floats, grid: Grid, given: Given, name: str) -> Floats:
    """Natural values moved to where the grid and what is given allow."""
    return grid.value(np.clip(grid.nearest(values), *_ends(grid, given, name)))


def _shares(
    coefficients: Mapping[str, float], spreads: Mapping[str, float], free: Mapping[str, Flags], loose: float
) -> dict[str, Floats]:
    """By how much each column moves to move the prediction by 1: the more it varies, the more of it."""
    own = {name: np.where(free[name], (c * spreads[name]) ** 2, 0.0) for name, c in coefficients.items()}
    total = np.sum(list(own.values()), axis=0) + loose**2
    part = {name: np.divide(mine, total, out=np.zeros_like(total), where=total > 0) for name, mine in own.items()}
    return {name: part[name] / c for name, c in coefficients.items()}


@dataclass
class Linear(Predictor):
    """constant + sum of coefficient times column."""

    kind: ClassVar[str] = "linear"
    coefficients: dict[str, float]
    constant: float
    spreads: dict[str, float]

    def value(self, columns: Natural) -> Floats:
        out = np.full(len(next(iter(columns.values()))), self.constant)
        for name, c in self.coefficients.items():
            out += columns[name] if c == 1 else -columns[name] if c == -1 else c * columns[name]
        return out

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        free = {name: given.movable(name, len(goal)) for name in columns}
        if self._parts_of_a_whole(given):
            columns = self._scaled(columns, goal, free)
        else:
            shares = _shares(self.coefficients, self.spreads, free, loose)
            short = goal - self.value(columns)
            columns = {name: values + shares[name] * short for name, values in columns.items()}
        columns = {
            name: np.where(free[name], on_grid(v, self.grids[name], given, name), v) for name, v in columns.items()
        }
        if loose:
            return columns
        for name in sorted(self.coefficients, key=lambda name: -abs(self.coefficients[name]) * self.spreads[name]):
            short = goal - self.value(columns)  # what rounding and bounds have left over
            fill = free[name] & (np.abs(short) > width / 2)
            filled = on_grid(columns[name] + short / self.coefficients[name], self.grids[name], given, name)
            columns[name] = np.where(fill, filled, columns[name])
        return columns

    def _parts_of_a_whole(self, given: Given) -> bool:
        lowest = [given.limits.get(name, (-np.inf, 0.0))[0] for name in self.coefficients]
        return self.constant == 0 and min(lowest) >= 0 and min(self.coefficients.values()) > 0

    def _scaled(self, columns: Natural, goal: Floats, free: Mapping[str, Flags]) -> Natural:
        """Parts grow and shrink together; what is zero stays so, unless all are."""
        moving = np.sum([np.where(free[n], c * columns[n], 0.0) for n, c in self.coefficients.items()], axis=0)
        rest = self.value(columns) - moving
        factor = np.divide(goal - rest, moving, out=np.zeros_like(goal), where=moving > 0)
        return {name: np.where(free[name], values * factor, values) for name, values in columns.items()}

    def formula(self, target: str) -> str:
        out = ""
        for name, c in sorted(self.coefficients.items(), key=lambda item: item[1] < 0):
            sign = (" - " if out else "-") if c < 0 else " + " if out else ""
            out += f"{sign}{name}" if abs(c) == 1 else f"{sign}{abs(c):.6g} * {name}"
        rest = f" {'-' if self.constant < 0 else '+'} {abs(self.constant):.6g}" if self.constant else ""
        return f"{target} = {out}{rest}"

    def own_json(self) -> dict[str, Any]:
        return {"coefficients": self.coefficients, "constant": self.constant, "spreads": self.spreads}


@dataclass
class Power(Predictor):
    """factor * product of column ** exponent; of positive columns."""

    kind: ClassVar[str] = "power"
    exponents: dict[str, float]
    factor: float
    spreads: dict[str, float]  # of the logarithms

    def value(self, columns: Natural) -> Floats:
        log = np.zeros(len(next(iter(columns.values()))))
        positive = np.ones(len(log), bool)
        for name, e in self.exponents.items():
            positive &= columns[name] > 0
            log += e * np.log(np.where(columns[name] > 0, columns[name], 1.0))
        return np.where(positive, self.factor * np.exp(log), np.nan)

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        free = {name: given.movable(name, len(goal)) for name in columns}
        shares = _shares(self.exponents, self.spreads, free, loose)
        short = np.log(goal) - np.log(self.value(columns))
        columns = {
            name: np.where(free[name], on_grid(v * np.exp(shares[name] * short), self.grids[name], given, name), v)
            for name, v in columns.items()
        }
        if loose:
            return columns
        for name in sorted(self.exponents, key=lambda name: -abs(self.exponents[name]) * self.spreads[name]):
            made = self.value(columns)
            fill = free[name] & (np.abs(goal - made) > width / 2)
            filled = on_grid(columns[name] * (goal / made) ** (1 / self.exponents[name]), self.grids[name], given, name)
            columns[name] = np.where(fill, filled, columns[name])
        return columns

    def formula(self, target: str) -> str:
        parts = [] if self.factor == 1 else [f"{self.factor:.6g}"]
        for name, e in self.exponents.items():
            parts.append(name if e == 1 else f"sqrt({name})" if e == 0.5 else f"{name} ** {e:.4g}")
        return f"{target} = {' * '.join(parts)}"

    def own_json(self) -> dict[str, Any]:
        return {"exponents": self.exponents, "factor": self.factor, "spreads": self.spreads}


@dataclass
class Curve(Predictor):
    """One column's logarithm, or exponential, straightened: a + b * log(x), or exp(a + b * x)."""

    kind: ClassVar[str] = "curve"
    intercept: float
    slope: float
    exponential: bool

    def value(self, columns: Natural) -> Floats:
        (x,) = columns.values()
        if self.exponential:
            return np.exp(self.intercept + self.slope * x)
        return self.intercept + self.slope * np.log(np.where(x > 0, x, np.nan))

    def moved(self, columns: Natural, goal: Floats, loose: float, width: float, given: Given) -> Natural:
        ((name, x),) = columns.items()
        straight = (np.log(goal) if self.exponential else goal) - self.intercept
        back = straight / self.slope if self.exponential else np.exp(straight / self.slope)
        return {name: np.where(given.movable(name, len(x)), back, x)}

    def formula(self, target: str) -> str:
        (name,) = self.grids
        rest = f"{self.intercept:.6g} + " if self.intercept else ""
        slope = "" if self.slope == 1 else f"{self.slope:.6g} * "
        if self.exponential:
            return f"{target} = exp({rest}{slope}{name})"
        return f"{target} = {rest}{slope}log({name})"

    def own_json(self) -> dict[str, Any]:
        return {"intercept": self.intercept, "slope": self.slope, "exponential": self.exponential}

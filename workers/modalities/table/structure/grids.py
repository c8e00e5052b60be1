"""Numbers and times as whole units of the column's own grid, and back, exactly. Knows one column at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.modalities.table.infer import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
EXACT = 2.0**53  # whole numbers that a double holds
LEAST, MOST = 1e-100, 1e100  # doubles whose squares and products are numbers
DAY = 86_400.0
LASTING = ("time", "duration")  # kept in microseconds, counted in seconds


@dataclass(frozen=True)
class Grid:
    """How a column is counted: value = units / scale, in natural units: numbers as they are, times in seconds of 1970.

    Training values lie at origin + step * k units. A step of 0 is a column of doubles without a grid."""

    kind: str  # the column's type in the schema
    scale: float
    origin: int
    step: int

    @classmethod
    def fit(cls, column: Column, array: pa.Array) -> Grid | None:
        """None for values that doubles cannot count, and for columns that are neither numbers nor times."""
        kind = "float" if pa.types.is_floating(array.type) else column["type"]
        if pa.types.is_integer(array.type):
            kind = "integer"
        if not (
            pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_temporal(array.type)
        ):
            return None
        values = array.drop_null()
        if kind == "float":
            return cls._of_floats(column, values.to_numpy(zero_copy_only=False))
        whole = _whole(values)
        if len(whole) and max(abs(int(whole.min())), abs(int(whole.max()))) > EXACT:
            return None
        scale = {"date": 1 / DAY, "datetime": 1e6, **dict.fromkeys(LASTING, 1e6)}.get(kind, 1.0)
        return cls(kind, scale, *_spacing(whole))

    @classmethod
    def _of_floats(cls, column: Column, values: Floats) -> Grid | None:
        largest = float(np.abs(values).max(initial=0.0))
        if not (largest == 0 or LEAST <= largest <= MOST):  # nor infinite, nor no number
            return None
        digits = column.get("decimals")
        if column["type"] != "float" and digits is None:
            digits = 0 if np.array_equal(values, np.rint(values)) else None  # a category of numbers
        if digits is None or (len(values) and np.abs(values).max() * 10.0**digits > EXACT):
            return cls("float", 1.0, 0, 0)
        units = np.rint(values * 10.0**digits).astype(np.int64)
        return cls("float", 10.0**digits, *_spacing(units))

    @property
    def continuous(self) -> bool:
        return self.step == 0

    @property
    def width(self) -> float:
        """Of one step, in natural units; 0 without a grid."""
        return self.step / self.scale

    # -- there --

    def natural(self, array: pa.Array) -> Floats:
        """NaN where missing."""
        if pa.types.is_floating(array.type):
            out: Floats = array.to_numpy(zero_copy_only=False).astype(float, copy=False)
            return out
        out = _whole(array.fill_null(0) if array.null_count else array).astype(float)
        if self.scale != 1.0:
            out = out / self.scale
        if array.null_count:
            out[missing(array)] = np.nan
        return out

    def units(self, array: pa.Array) -> Floats:
        """Whole doubles, NaN where missing; the values themselves without a grid."""
        natural = self.natural(array)
        out: Floats = natural if self.continuous else np.rint(natural * self.scale)
        return out

    def nearest(self, natural: Floats) -> Floats:
        """Units of the next value of the grid."""
        return natural if self.continuous else self._at(np.rint(self._position(natural)))

    def ceil(self, natural: Floats) -> Floats:
        """Of the first that is not below; a hair of rounding is forgiven."""
        if self.continuous:
            return natural
        position = self._position(natural)
        return self._at(np.ceil(position - _hair(position)))

    def floor(self, natural: Floats) -> Floats:
        if self.continuous:
            return natural
        position = self._position(natural)
        return self._at(np.floor(position + _hair(position)))

    def above(self, natural: Floats) -> Floats:
        """Of the first that is truly above."""
        if self.continuous:
            return np.nextafter(natural, np.inf)
        position = self._position(natural)
        return self._at(np.floor(position + _hair(position)) + 1)

    def below(self, natural: Floats) -> Floats:
        if self.continuous:
            return np.nextafter(natural, -np.inf)
        position = self._position(natural)
        return self._at(np.ceil(position - _hair(position)) - 1)

    def _position(self, natural: Floats) -> Floats:
        return (natural * self.scale - self.origin) / self.step

    def _at(self, position: Floats) -> Floats:
        return self.origin + self.step * position

    # -- and back --

    def value(self, units: Floats) -> Floats:
        """In natural units."""
        return units if self.scale == 1.0 else units / self.scale

    def array(self, units: Floats, kind: pa.DataType) -> pa.Array:
        """Storage values; NaN is missing."""
        gone = np.isnan(units)
        mask = gone if gone.any() else None
        if pa.types.is_floating(kind):
            return pa.array(self.value(units), kind, mask=mask)
        whole = pa.array(np.clip(np.where(gone, 0, np.rint(units)), -EXACT, EXACT).astype(np.int64), mask=mask)
        return whole.cast(pa.int32(), safe=False).cast(kind) if pa.types.is_date(kind) else whole.cast(kind)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Grid:
        return cls(**saved)


def _hair(position: Floats) -> Floats:
    out: Floats = 1e-9 * np.maximum(1.0, 1e-6 * np.abs(position))
    return out


def missing(array: pa.Array) -> Flags:
    out: Flags = array.is_null().to_numpy(zero_copy_only=False)
    return out


def _whole(array: pa.Array) -> Ints:
    if pa.types.is_date(array.type):
        array = array.cast(pa.int32())
    out: Ints = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return out


def _spacing(units: Ints) -> tuple[int, int]:
    """Origin and step of the coarsest grid on which all values lie."""
    low = int(units.min()) if len(units) else 0
    step = int(np.gcd.reduce(units - low)) if len(units) else 0
    return (low % step, step) if step else (low, 1)


def grids(columns: list[Column], arrays: Mapping[str, pa.Array]) -> dict[str, Grid]:
    """Of the columns that can be counted."""
    found = {column["name"]: Grid.fit(column, arrays[column["name"]]) for column in columns}
    return {name: grid for name, grid in found.items() if grid is not None}

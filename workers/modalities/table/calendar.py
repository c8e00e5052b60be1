"""Dates and times in the parts that people live by: the week, the day of the week, the time of day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from workers.modalities.table.fields import Allowed, Bools, Column, Floats, Ints, missing
from workers.modalities.table.numbers import Number
from workers.modalities.table.writing import storage_type

DAY = 86_400_000_000  # microseconds
MONDAY = 4  # 1970-01-05, in days since 1970-01-01
WEEKS = 4  # a span shorter than this is counted in days: it has no weeks to speak of


@dataclass
class Moment:
    """A date or a time. `day` counts weeks (or days, over a short span), `weekday` says whether; `clock` is the time of
    day in microseconds, if there is any."""

    column: Column
    day: Number
    weekday: bool
    clock: Number | None
    ends: tuple[int, int]  # first and last day
    columns: tuple[str, ...] = field(init=False)
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = (self.column["name"],)
        weekdays = [7] if self.weekday else []
        self.sizes = [*self.day.sizes, *weekdays, *(self.clock.sizes if self.clock else [])]

    @classmethod
    def fit(cls, array: pa.Array, column: Column) -> Moment:
        days, clock = _split(array)
        there = days[~missing(array)]
        weekday = int(there.max() - there.min()) >= WEEKS * 7
        counted = (days - MONDAY) // 7 if weekday else days
        gone = missing(array)
        timed = pa.types.is_timestamp(array.type) and bool(clock[~gone].any())
        return cls(
            column,
            Number.fit(pa.array(counted, mask=gone), _plain(column)),
            weekday,
            Number.fit(pa.array(clock[~gone]), _plain(column)) if timed else None,
            (int(there.min()), int(there.max())),
        )

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        gone = missing(arrays[0])
        days, clock = _split(arrays[0])
        counted = (days - MONDAY) // 7 if self.weekday else days
        codes = [self.day.encode([pa.array(counted, mask=gone)])]
        if self.weekday:
            codes.append(np.where(gone, 0, (days - MONDAY) % 7)[:, None])
        if self.clock:
            codes.append(np.where(gone[:, None], 0, self.clock.encode([pa.array(clock)])))
        return np.concatenate(codes, 1)

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        at = len(self.day.sizes)
        (counted,) = self.day.decode(codes[:, :at], rng, within and within[0])
        gone = missing(counted)
        days = counted.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        low, high = self._between(within[1] if within else (None, None))
        if self.weekday:
            monday = days * 7 + MONDAY
            days = _within_week(monday, monday + codes[:, at], low // DAY, high // DAY, rng)
        days = np.clip(days, low // DAY, high // DAY)
        if pa.types.is_date(storage_type(self.column)):
            return [pa.array(days.astype(np.int32), pa.int32(), mask=gone).cast(pa.date32())]
        micros = days * DAY
        if self.clock:
            clock = self.clock.decode(codes[:, at + self.weekday :], rng)[0].to_numpy().astype(np.int64)
            micros += self._within_day(clock, days, low, high, rng)
        return [pa.array(np.clip(micros, low, high), pa.int64(), mask=gone).cast(pa.timestamp("us"))]

    def _between(self, asked: tuple[int | None, int | None]) -> tuple[int, int]:
        """First and last microsecond: of the column, and of what a condition leaves of it."""
        first, last = self.ends
        low, high = first * DAY, (last + 1) * DAY - 1
        low = low if asked[0] is None else max(low, asked[0])
        return low, max(low, high if asked[1] is None else min(high, asked[1]))

    def _within_day(self, clock: Ints, days: Ints, low: int, high: int, rng: np.random.Generator) -> Ints:
        """The time of day, drawn anew where it lies before the first or after the last moment."""
        if self.clock is None:
            return clock
        bad = np.flatnonzero((days * DAY + clock < low) | (days * DAY + clock > high))
        least = self.clock.table.rank(float(low % DAY - self.clock.base), "left")
        most = self.clock.table.rank(float(high % DAY - self.clock.base), "right")
        start = np.where(days[bad] == low // DAY, least, 0.0)
        stop = np.where(days[bad] == high // DAY, most, 1.0)
        drawn = self.clock.table.draw(start + rng.random(len(bad)) * np.maximum(stop - start, 0) * (1 - 1e-12))
        out = clock.copy()
        out[bad] = drawn.astype(np.int64) + self.clock.base
        return out

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        """A range leaves whole weeks; decoding keeps to the range within the first and the last."""
        if hasattr(condition, "values"):
            some = [None if value is None else self._counted(value) for value in condition.values]
            left = self.day.allowed(_Set(some))
            return Allowed(left.share, left.tables)
        ends = [None if value is None else self._counted(value) for value in (condition.minimum, condition.maximum)]
        left = self.day.allowed(_Span(*ends))
        exact = tuple(None if v is None else self._micros(v) for v in (condition.minimum, condition.maximum))
        return Allowed(left.share, left.tables, (left.within, exact))

    def _micros(self, value: Any) -> int:
        return int(pa.array([value]).cast(pa.timestamp("us")).cast(pa.int64())[0].as_py())

    def _counted(self, value: Any) -> int:
        days = self._micros(value) // DAY
        return (days - MONDAY) // 7 if self.weekday else days

    def impossible(self) -> Bools | None:
        return self.day.impossible()

    def views(self) -> list[Floats]:
        weekday = [np.linspace(-1, 1, 7)] if self.weekday else []
        return [*self.day.views(), *weekday, *(self.clock.views() if self.clock else [])]

    def numbers(self) -> list[tuple[int, Any]]:
        clock = [(len(self.day.sizes) + self.weekday, self.clock)] if self.clock else []
        return [(0, self.day), *clock]

    def to_json(self) -> Mapping[str, Any]:
        clock = self.clock.to_json() if self.clock else None
        return {"day": self.day.to_json(), "weekday": self.weekday, "clock": clock, "ends": list(self.ends)}

    @classmethod
    def from_json(cls, columns: Mapping[str, Column], name: str, saved: Mapping[str, Any]) -> Moment:
        plain = {name: _plain(columns[name])}
        clock = Number.from_json(plain, name, saved["clock"]) if saved["clock"] else None
        first, last = saved["ends"]
        return cls(columns[name], Number.from_json(plain, name, saved["day"]), saved["weekday"], clock, (first, last))


@dataclass(frozen=True)
class _Set:
    values: list[Any]


@dataclass(frozen=True)
class _Span:
    minimum: Any
    maximum: Any


def _plain(column: Column) -> Column:
    """The column of whole numbers that a part of the moment is."""
    return {"name": column["name"], "type": "integer", "arrow": "int64"}


def _split(array: pa.Array) -> tuple[Ints, Ints]:
    """Days since 1970 and microseconds of the day; zeros where missing."""
    if pa.types.is_date(array.type):
        days = array.cast(pa.int32()).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return days, np.zeros(len(days), np.int64)
    micros = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return micros // DAY, micros % DAY


def _within_week(monday: Ints, days: Ints, first: int, last: int, rng: np.random.Generator) -> Ints:
    """Days, drawn anew within their week where they lie before the first or after the last."""
    bad = np.flatnonzero((days < first) | (days > last))
    low, high = np.maximum(monday[bad], first), np.minimum(monday[bad] + 6, last)
    out = days.copy()
    out[bad] = low + np.floor(rng.random(len(bad)) * np.maximum(high - low + 1, 1)).astype(np.int64)
    return out

"""Dates and times read through counts with noise alone: weeks, days of the week, time of day."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from workers.modalities.table import axes
from workers.modalities.table.calendar import MONDAY, WEEKS, Moment, _plain, _split
from workers.modalities.table.fields import Column, Floats, Ints, missing
from workers.modalities.table.private.counting import Histogram
from workers.modalities.table.private.numbers import ROUNDS, Measured, shares
from workers.modalities.table.private.readers import cleansed, drawn


@dataclass
class MomentReader:
    """Weeks, days of the week, time of day; days where the rows' weeks are few."""

    column: Column
    array: pa.Array
    rounds: ClassVar[int] = ROUNDS
    weeks: Measured = field(init=False)
    days: Measured = field(init=False)
    clock: Measured | None = field(init=False, default=None)
    weekdays: Floats = field(init=False)
    weekly: bool = field(init=False, default=True)
    rows: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        gone = missing(self.array)
        days, clock = _split(self.array)
        plain = _plain(self.column)
        there = np.where(gone, np.nan, days)
        self.weekday = np.where(gone, -1, (days - MONDAY) % 7)
        self.weeks = Measured(plain, np.floor((there - MONDAY) / 7), 1.0, 1.0, 0, spiky=False)
        self.days = Measured(plain, there, 1.0, 1.0, 0, spiky=False)
        if pa.types.is_timestamp(self.array.type):
            step = float(axes._finest(self.column)[0])
            self.clock = Measured(plain, clock[~gone] / step, step, 1.0, 0)

    @property
    def counted(self) -> Measured:
        return self.weeks if self.weekly else self.days

    def ask(self, round_: int) -> list[Histogram]:
        clock = self.clock.ask(round_) if self.clock else []
        week = [Histogram.over(self.weekday, 7)] if round_ == 1 and self.weekly else []
        return [*self.counted.ask(round_), *week, *clock]

    def hear(self, round_: int, found: list[Histogram], scale: float, rows: int) -> None:
        self.rows = rows
        answers = iter(found)
        self.counted.hear(round_, [next(answers)], scale, rows)
        if round_ == 1:
            self.weekdays = np.maximum(next(answers).counts, 1.0) if self.weekly else np.ones(7)
        if self.clock:
            self.clock.hear(round_, list(answers), scale, round(rows - self.counted.gone))
        if round_ == 0:
            self._settle_weeks()

    def _settle_weeks(self) -> None:
        """Few weeks are counted in days."""
        first, last = self.weeks.edges[0], self.weeks.edges[-1]
        self.weekly = bool(last - first > WEEKS)
        if not self.weekly:
            self.days.hole, self.days.gone = self.weeks.hole, self.weeks.gone
            self.days.spikes, self.days.weights = self.weeks.spikes, self.weeks.weights
            self.days.edges = np.arange(first * 7 + MONDAY, last * 7 + MONDAY + 1)
            self.days.spread = np.zeros(len(self.days.edges) - 1)

    def entries(self) -> list[Column]:
        lost, why = self.counted.gone / self.rows, "Its weeks are those of enough rows."
        return [cleansed(self.column, lost, why, nullable=self.counted.hole)]

    def field(self) -> Moment:
        day = self.counted.number()
        clock = self.clock.number() if self.clock else None
        if clock is not None and not clock.table.high.any():
            clock = None
        low, high = self.counted.bounds()
        first = low * 7 + MONDAY if self.weekly else low
        last = high * 7 + MONDAY + 6 if self.weekly else high
        return Moment(self.entries()[0], day, self.weekly, clock, (int(first), int(last)))

    def shares(self) -> list[Floats]:
        one = self.field()
        gone = self.counted.gone / self.rows
        week = self.weekdays / self.weekdays.sum() * (1 - gone)
        week[0] += gone  # as a missing value is coded
        out = [shares(one.day, gone), *([week] if self.weekly else [])]
        if one.clock:
            clock = shares(one.clock, 0.0) * (1 - gone)
            clock[0] += gone
            out.append(clock)
        return out

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        return np.stack([drawn(share, n, rng) for share in self.shares()], 1)

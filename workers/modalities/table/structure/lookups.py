"""A column that one or two categories determine, or a part of a date: kept as a table of what goes with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.structure.entries import Entries
from workers.modalities.table.structure.grids import Ints
from workers.modalities.table.structure.steps import SHARED, Frame, Given, Step, there

PARTS = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "day": pc.day,
    "weekday": lambda times: pc.add(pc.day_of_week(times), 1),
    "day of the year": pc.day_of_year,
    "week": pc.iso_week,
    "hour": pc.hour,
    "minute": pc.minute,
}


def part_of(times: pa.Array, part: str) -> pa.Array:
    return PARTS[part](times).cast(pa.int64())


@dataclass
class Lookup(Step):
    """`part` is of the only needed column, a date or time."""

    kind: ClassVar[str] = "lookup"

    entries: Entries  # over what it needs, and then what it makes
    part: str | None = None

    @classmethod
    def fit(cls, target: str, needs: tuple[str, ...], frame: Frame, part: str | None = None, **common: Any) -> Lookup:
        keys = {name: part_of(frame[name], part) if part else frame[name] for name in needs}
        found = Entries.fit(keys | {target: frame[target]}, SHARED)
        return cls((target,), needs, [], _most_frequent(found, needs), part, **common)

    @property
    def target(self) -> str:
        return self.makes[0]

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        return {}

    def _keys(self, frame: Frame) -> Ints:
        if self.part:
            return self.entries.of({name: part_of(frame[name], self.part) for name in self.needs}, self.needs)
        return self.entries.of(frame, self.needs)

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        keys = self._keys(frame)
        entry = self.entries.find(self.needs, keys, None)
        for i in [*range(len(self.needs)), -1]:  # a combination that never occurred: as with one of its parts
            new = np.flatnonzero(entry < 0)
            if not len(new):
                break
            names = (self.needs[i],) if i >= 0 else ()
            entry[new] = self.entries.find(names, keys[new][:, [i] if i >= 0 else []], rng)
        return {self.target: self.entries.column(self.target, entry)}

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        """Keys that go with the value; of a date's part, other rows have to lend theirs."""
        if self.part:
            return {}
        asked, value = there(wanted[self.target]), self.entries.of(wanted, (self.target,))
        keys = self._keys(frame)
        have = self.entries.find((*self.needs, self.target), np.hstack([keys, value]), rng)
        fixed = np.stack([~given.movable(name, len(value)) for name in self.needs], 1)
        entry = have.copy()
        for pattern in np.unique(fixed[asked & (have < 0)], axis=0):
            at = np.flatnonzero(asked & (have < 0) & (fixed == pattern).all(1))
            names = tuple(name for name, is_fixed in zip(self.needs, pattern, strict=True) if is_fixed)
            entry[at] = self.entries.find((*names, self.target), np.hstack([keys[at][:, pattern], value[at]]), rng)
        moved = asked & (have < 0) & (entry >= 0)
        chosen = np.where(moved, entry, 0)
        return {
            name: pc.if_else(pa.array(moved), self.entries.column(name, chosen), frame[name])
            for i, name in enumerate(self.needs)
            if moved.any() and not fixed[moved, i].all()
        }

    def formula(self) -> str:
        what = f"the {self.part} of {self.needs[0]}" if self.part else " and ".join(self.needs)
        return f"{self.target} follows from {what}"

    def own_json(self) -> dict[str, Any]:
        return {"entries": self.entries.to_json(), "part": self.part}

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Lookup:
        return cls(entries=Entries.from_json(saved["entries"]), part=saved["part"], **common)


def _most_frequent(found: Entries, needs: tuple[str, ...]) -> Entries:
    """One entry a key; they come most frequent first."""
    _, first = np.unique(found.codes[:, : len(needs)], axis=0, return_index=True)
    keep = np.sort(first)
    return Entries(found.names, found.values, found.codes[keep], found.weights[keep])

"""Columns of which only known combinations occur become one category; so do one-hot groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from service.errors import Rejected
from workers.modalities.table.structure import steps
from workers.modalities.table.structure.entries import Entries, Values
from workers.modalities.table.structure.grids import Ints
from workers.modalities.table.structure.steps import SHARED, Frame, Given, Step

MOST = 20_000  # combinations


@dataclass
class Combination(Step):
    """The category's levels are the entries, in their order."""

    kind: ClassVar[str] = "combination"

    entries: Entries
    text: str

    @classmethod
    def fit(cls, arrays: Mapping[str, pa.Array], text: str, taken: set[str], **common: Any) -> Combination:
        """Raises Rejected where no combination, or too many, are shared by enough rows."""
        entries = Entries.fit(arrays, SHARED)
        if not len(entries):
            raise Rejected(
                "constraint_unmeetable", f"No combination of values is shared by {SHARED} training rows: {text}."
            )
        if len(entries) > MOST:
            raise Rejected(
                "constraint_unmeetable",
                f"There are {len(entries)} combinations, more than the {MOST} possible: {text}.",
            )
        labels = [", ".join(parts) for parts in zip(*(_words(entries, name) for name in entries.names), strict=True)]
        return cls._of(entries, labels, text, taken, **common)

    @classmethod
    def one_hot(
        cls,
        arrays: Mapping[str, pa.Array],
        meaning: Sequence[tuple[Any, Any]],
        text: str,
        taken: set[str],
        **common: Any,
    ) -> Combination:
        """`meaning` are each column's values for yes and no. Rows break the rule where not exactly one is yes."""
        names = tuple(arrays)
        values = {
            name: Values(pa.array(list(pair), arrays[name].type)) for name, pair in zip(names, meaning, strict=True)
        }
        codes = 1 - np.eye(len(names), dtype=np.int64)
        entries = Entries(names, values, codes, np.ones(len(names), np.int64))
        yes = np.stack([values[name].codes(arrays[name]) == 0 for name in names], 1)
        counts = np.bincount(yes[yes.sum(1) == 1].argmax(1), minlength=len(names))
        order = np.argsort(-counts, kind="stable")
        entries = Entries(names, values, codes[order], np.maximum(counts[order], 1))
        return cls._of(entries, [names[i] for i in order], text, taken, **common)

    @classmethod
    def _of(cls, entries: Entries, labels: list[str], text: str, taken: set[str], **common: Any) -> Combination:
        used: set[str] = set()
        labels = [steps.unused(label, used) for label in labels]
        name = steps.unused(", ".join(entries.names), taken)
        free = steps.column(
            name, "category", False, 0.0, f"Made of {len(entries.names)} columns: {text}.", levels=labels
        )
        return cls(entries.names, (), [free], entries, text, **common)

    # -- there --

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        codes = self.entries.of(frame)
        entry = self.entries.find(self.makes, codes, None)
        for names in self._fallbacks():
            other = np.flatnonzero(entry < 0)
            if not len(other):
                break
            take = [self.makes.index(name) for name in names]
            entry[other] = self.entries.find(names, codes[other][:, take], rng)
        return {self.free[0]["name"]: self._labels().take(pa.array(entry))}

    def _fallbacks(self) -> list[tuple[str, ...]]:
        """For combinations that too few rows share: the nearest that are known, by most of the columns."""
        alone = [(name,) for name in self.makes]
        but_one = [tuple(n for n in self.makes if n != name) for name in reversed(self.makes)]
        return [*(but_one if 2 < len(self.makes) < 20 else []), *(alone if len(self.makes) < 20 else []), ()]

    def _labels(self) -> pa.Array:
        return pa.array(self.free[0]["levels"], pa.string())

    # -- and back --

    def _entry(self, frame: Frame, rng: np.random.Generator) -> Ints:
        entry = Values(self._labels()).codes(frame[self.free[0]["name"]])
        return np.where(entry < 0, self.entries.draw(len(entry), rng), entry) if (entry < 0).any() else entry

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        entry = self._entry(frame, rng)
        return {name: self.entries.column(name, entry) for name in self.makes}

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        entry = self._entry(frame, rng)
        names = tuple(name for name in self.makes if name in wanted)
        codes = self.entries.of(wanted, names)
        asked = np.stack([steps.there(wanted[name]) for name in names], 1)
        have = self.entries.codes[entry][:, [self.makes.index(name) for name in names]]
        off = (asked & (codes != have)).any(1)
        for pattern in np.unique(asked[off], axis=0):
            at = np.flatnonzero(off & (asked == pattern).all(1))
            some = tuple(name for name, is_asked in zip(names, pattern, strict=True) if is_asked)
            found = self.entries.find(some, codes[np.ix_(at, np.flatnonzero(pattern))], rng)
            entry[at] = np.where(found < 0, entry[at], found)
        return {self.free[0]["name"]: self._labels().take(pa.array(entry))}

    # -- conditions --

    def labels_with(self, asked: Mapping[str, Sequence[Any]]) -> list[str]:
        """The levels of the free column in which each of these columns has one of the values."""
        good = np.ones(len(self.entries), bool)
        for name, values in asked.items():
            array = self.entries.values[name].array
            kept = [i for i, value in enumerate(array.to_pylist()) if value in values]
            good &= np.isin(self.entries.codes[:, self.makes.index(name)], kept)
        return [label for label, is_good in zip(self.free[0]["levels"], good, strict=True) if is_good]

    # -- for people and files --

    def formula(self) -> str:
        return self.text

    def own_json(self) -> dict[str, Any]:
        return {"entries": self.entries.to_json(), "text": self.text}

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Combination:
        return cls(entries=Entries.from_json(saved["entries"]), text=saved["text"], **common)


def _words(entries: Entries, name: str) -> list[str]:
    values = entries.values[name].array.to_pylist()
    return [
        "missing" if values[code] is None else str(values[code]) for code in entries.codes[:, entries.names.index(name)]
    ]

"""Combinations of values that training rows share, and rows matched with them. Knows no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.modalities.table.structure.grids import Ints
from workers.modalities.table.structure.steps import ARROW, Frame


@dataclass
class Values:
    """The different values of one column; null is one of them where it occurs."""

    array: pa.Array

    def codes(self, array: pa.Array) -> Ints:
        """The place of each value, -1 for others."""
        found = pc.index_in(array, value_set=self.array, skip_nulls=False)
        out: Ints = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return out


@dataclass
class Entries:
    """Each entry is a combination: `codes` (m, columns) into the columns' values, and how many rows share it."""

    names: tuple[str, ...]
    values: dict[str, Values]
    codes: Ints
    weights: Ints
    _sorted: dict[tuple[str, ...], tuple[Ints, Ints, NDArray[np.float64]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def fit(cls, arrays: Mapping[str, pa.Array], least: int) -> Entries:
        """Of rows: the combinations that at least so many of them share, the most frequent first."""
        names = tuple(arrays)
        values = {name: Values(pc.unique(array)) for name, array in arrays.items()}
        codes = np.stack([values[name].codes(arrays[name]) for name in names], 1)
        distinct, counts = _unique_rows(codes)
        keep = counts >= least
        order = np.argsort(-counts[keep], kind="stable")
        out = cls(names, values, distinct[keep][order], counts[keep][order])
        return out._pruned()

    def _pruned(self) -> Entries:
        """Without values that no entry has."""
        values, codes = {}, self.codes.copy()
        for i, name in enumerate(self.names):
            used, codes[:, i] = np.unique(self.codes[:, i], return_inverse=True)
            values[name] = Values(self.values[name].array.take(pa.array(used)))
        return Entries(self.names, values, codes, self.weights)

    def __len__(self) -> int:
        return len(self.codes)

    def of(self, frame: Frame, names: Sequence[str] | None = None) -> Ints:
        """(n, names) codes of rows."""
        return np.stack([self.values[name].codes(frame[name]) for name in names or self.names], 1)

    def column(self, name: str, entry: Ints) -> pa.Array:
        """The value of one column in these entries."""
        return self.values[name].array.take(pa.array(self.codes[entry, self.names.index(name)]))

    def find(self, names: tuple[str, ...], wanted: Ints, rng: np.random.Generator | None) -> Ints:
        """For each row of `wanted` (n, names) an entry with these codes, drawn by weight; -1 where there is none.
        Without a generator: the most frequent one."""
        if not names:
            return self.draw(len(wanted), rng)
        keys, entry, weight = self._by(names)
        if not len(keys):
            return np.full(len(wanted), -1)
        key = _key(wanted)
        first, last = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
        start = weight[first]
        u = np.zeros(len(key)) if rng is None else rng.random(len(key))
        place = np.searchsorted(weight, start + u * (weight[last] - start), side="right") - 1
        place = np.clip(place, first, np.maximum(last - 1, first))
        return np.where((first < last) & (wanted >= 0).all(1), entry[np.minimum(place, len(entry) - 1)], -1)

    def draw(self, n: int, rng: np.random.Generator | None) -> Ints:
        if rng is None or not len(self):
            return np.zeros(n, np.int64) if len(self) else np.full(n, -1)
        cumulated = np.cumsum(self.weights)
        out: Ints = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right").astype(np.int64)
        return out

    def _by(self, names: tuple[str, ...]) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Entries in the order of their key over some columns: keys, entries, and the weight of all before each."""
        if names not in self._sorted:
            key = _key(self.codes[:, [self.names.index(name) for name in names]])
            order = np.argsort(key, kind="stable")
            weight = np.concatenate([[0.0], np.cumsum(self.weights[order])])
            self._sorted[names] = key[order], order.astype(np.int64), weight
        return self._sorted[names]

    def to_json(self) -> dict[str, Any]:
        values = {
            name: {"type": str(found.array.type), "values": plain(found.array)} for name, found in self.values.items()
        }
        return {
            "names": list(self.names),
            "values": values,
            "codes": self.codes.T.tolist(),
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Entries:
        values = {
            name: Values(restored(found["values"], ARROW[found["type"]])) for name, found in saved["values"].items()
        }
        codes = np.array(saved["codes"], np.int64).reshape(len(saved["names"]), -1).T
        return cls(tuple(saved["names"]), values, codes, np.array(saved["weights"], np.int64))


def _key(codes: Ints) -> Ints:
    """A number for each row of codes: a random sum, so that two of them meet once in 2**64, however many columns."""
    factors = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, codes.shape[1])
    with np.errstate(over="ignore"):
        out: Ints = (codes * factors).sum(1)
    return out


def _unique_rows(codes: Ints) -> tuple[Ints, Ints]:
    """The different rows of small whole numbers, and how often each occurs. Folded one column at a time, so that the
    key stays small however many columns there are."""
    key = codes[:, 0]
    for i in range(1, codes.shape[1]):
        _, key = np.unique(key, return_inverse=True)
        key = key * (int(codes[:, i].max(initial=0)) + 1) + codes[:, i]
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    return codes[first], counts.astype(np.int64)


def plain(array: pa.Array) -> list[Any]:
    if pa.types.is_temporal(array.type):
        array = (array.cast(pa.int32()) if pa.types.is_date(array.type) else array).cast(pa.int64())
    out: list[Any] = array.to_pylist()
    return out


def restored(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_date(kind):
        return pa.array(values, pa.int32()).cast(kind)
    return pa.array(values, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)

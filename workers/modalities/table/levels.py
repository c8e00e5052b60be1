"""A category as one code, or as two where it has many levels: a group, and which of the group's levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.fields import Allowed, Bools, Column, Floats, Ints
from workers.modalities.table.infer import least_rows
from workers.modalities.table.spec import same_level
from workers.modalities.table.writing import storage_type


@dataclass
class Levels:
    """A column's levels (the last is null where values may be missing), and which of them are learned.

    Levels of fewer than `least_rows` training rows are neither learned nor drawn: they may be someone's own. The first
    `alone` learned levels have a code of their own; the others come in groups of `together`."""

    column: Column
    kept: list[int]  # the levels that are learned, the most frequent first
    counts: list[int]  # of rows, for each of them
    alone: int
    together: int = 1
    columns: tuple[str, ...] = field(init=False)
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = (self.column["name"],)
        rest = len(self.kept) - self.alone
        self.sizes = [self.alone + -(-rest // self.together), self.together] if rest else [max(1, self.alone)]

    @classmethod
    def fit(cls, array: pa.Array, column: Column, limit: int) -> Levels:
        """`limit` levels at most are drawn in one step; a longer list takes two."""
        full = cls(column, [], [], 0)
        counts = np.bincount(full._positions(array), minlength=full.universe)[: full.universe]
        order = np.argsort(-counts, kind="stable")
        often = order[(counts[order] >= least_rows(column)) | ((order == full.null) & (counts[order] > 0))]
        order = often if len(often) else order[: max(1, np.count_nonzero(counts))]  # they are published: of more rows
        alone = len(order) if len(order) <= limit else limit // 2
        together = max(2, int(np.ceil(np.sqrt(len(order) - alone)))) if len(order) > alone else 1
        return cls(column, order.tolist(), counts[order].tolist(), alone, together)

    @property
    def null(self) -> int:
        """The position of null, if there is one."""
        return len(self.column["levels"])

    @property
    def universe(self) -> int:
        return len(self.column["levels"]) + int(self.column["nullable"])

    def values(self) -> pa.Array:
        return pa.array(list(self.column["levels"]) + [None] * int(self.column["nullable"]), storage_type(self.column))

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        return self._split(self._learned(arrays[0]))

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        place = codes[:, 0]
        if len(self.sizes) > 1:
            inner = self.alone + (place - self.alone) * self.together + codes[:, 1]
            place = np.where(place < self.alone, place, np.minimum(inner, len(self.kept) - 1))
        kept = np.array(self.kept or [self.null], np.int64)
        return [self.values().take(pa.array(kept[place]))]

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        values = list(self.column["levels"]) + [None] * int(self.column["nullable"])
        good = np.array([meets(condition, values[level]) for level in self.kept] or [False])
        if len(self.sizes) == 1:
            return Allowed(good.astype(float))
        rows = np.zeros((self.sizes[0] - self.alone) * self.together)
        inner = rows.copy()
        rows[: len(self.kept) - self.alone] = self.counts[self.alone :]
        inner[: len(self.kept) - self.alone] = good[self.alone :]
        grouped, met = rows.reshape(-1, self.together), (rows * inner).reshape(-1, self.together)
        share = np.concatenate([good[: self.alone], met.sum(1) / np.maximum(grouped.sum(1), 1)])
        table = np.ones((self.sizes[0], self.together))
        table[self.alone :] = inner.reshape(-1, self.together)
        return Allowed(share, [table])

    def impossible(self) -> Bools | None:
        """Pairs of first and second code that stand for no level (sizes[0], sizes[1])."""
        if len(self.sizes) == 1:
            return None
        out = np.ones((self.sizes[0], self.together), bool)
        out[: self.alone, 0] = False
        out[self.alone :] = np.arange(out[self.alone :].size).reshape(-1, self.together) >= len(self.kept) - self.alone
        return out

    def views(self) -> list[Floats]:
        return []

    def numbers(self) -> list[tuple[int, Any]]:
        return []

    def to_json(self) -> Mapping[str, Any]:
        return {"kept": self.kept, "counts": self.counts, "alone": self.alone, "together": self.together}

    @classmethod
    def from_json(cls, columns: Mapping[str, Column], name: str, saved: Mapping[str, Any]) -> Levels:
        return cls(columns[name], **saved)

    def _positions(self, array: pa.Array) -> Ints:
        """Among the levels; `universe` for a value that is none of them."""
        found = pc.index_in(array, self.values().drop_null())
        out: Ints = found.fill_null(self.universe).to_numpy().astype(np.int64)
        if self.column["nullable"]:
            out[array.is_null().to_numpy(zero_copy_only=False)] = self.null
        return out

    def _learned(self, array: pa.Array) -> Ints:
        """Positions among the learned levels. Values that are not learned are dealt out to all in proportion, so that
        the shares of these among each other stay as they are."""
        place = np.full(self.universe + 1, -1, np.int64)
        place[self.kept] = np.arange(len(self.kept))
        out: Ints = place[self._positions(array)]
        lost = np.flatnonzero(out < 0)
        if len(lost):
            out[lost] = self._dealt(len(lost))
        return out

    def _dealt(self, n: int) -> Ints:
        counts = np.array(self.counts or [1], float)
        if len(self.kept) > 1:  # missing only where nothing else is known
            counts[np.array(self.kept) == self.null] = 0
        edges = np.cumsum(counts)
        edges /= edges[-1]  # 1 from the last level on that has any: no later one is dealt
        u = (np.random.default_rng(n).permutation(n) + 0.5) / n  # in no order: rows may be sorted
        return np.searchsorted(edges, u, side="right")

    def _split(self, place: Ints) -> Ints:
        if len(self.sizes) == 1:
            return place[:, None]
        rest = np.maximum(place - self.alone, 0)
        single = place < self.alone
        first = np.where(single, place, self.alone + rest // self.together)
        return np.stack([first, np.where(single, 0, rest % self.together)], 1)


def meets(condition: Any, value: Any) -> bool:
    """Whether a level is one of a set (`values`), or within a range (`minimum`, `maximum`)."""
    if hasattr(condition, "values"):
        return any(value is wanted if wanted is None else same_level(value, wanted) for wanted in condition.values)
    if value is None:
        return False
    above = condition.minimum is None or value >= condition.minimum
    return bool(above and (condition.maximum is None or value <= condition.maximum))

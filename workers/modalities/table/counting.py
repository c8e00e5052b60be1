"""How often each value occurs, in bounded memory: exact up to so many different values, unknown beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

LEAST_WAITING = 1_024  # values that may wait, however few are kept, before they are merged with those already known


class Counts:
    """Values and their counts as Arrow arrays; `add` costs no Python loop. `full` once there were too many."""

    def __init__(self, limit: int, budget: int) -> None:
        self.limit, self.budget, self.full = limit, budget, False
        self._waiting: list[pa.Table] = []
        self._known: pa.Table | None = None
        self._dictionary: dict[Any, int] | None = None

    def add(self, values: pa.Array, counts: pa.Array) -> None:
        """Different values, and how often each of them occurred."""
        if self.full:
            return
        self._dictionary = None
        self._waiting.append(pa.table({"value": values, "count": counts}))
        if len(values) > self.limit or values.nbytes > self.budget:
            self.drop()
        elif self._waits_too_much():
            self._merge()

    def _waits_too_much(self) -> bool:
        rows = sum(table.num_rows for table in self._waiting)
        return bool(rows > max(LEAST_WAITING, self.limit) or sum(t.nbytes for t in self._waiting) > 2 * self.budget)

    def drop(self) -> None:
        self.full, self._waiting, self._known, self._dictionary = True, [], None, None

    def size(self) -> int | None:
        """How many different values there are; None when there are too many."""
        self._merge()
        return None if self.full else self._known.num_rows if self._known is not None else 0

    def arrays(self) -> tuple[pa.Array, np.ndarray] | None:
        """The values and their counts; None when there are too many."""
        self._merge()
        if self.full or self._known is None:
            return None
        known = self._known.combine_chunks()
        return known["value"].combine_chunks(), known["count"].to_numpy()

    def dictionary(self) -> dict[Any, int] | None:
        """The same for a few lookups; the caller may change it."""
        if self._dictionary is None and self.size() is not None:
            arrays = self.arrays()
            self._dictionary = dict(zip(arrays[0].to_pylist(), arrays[1].tolist(), strict=True)) if arrays else {}
        return self._dictionary

    def _merge(self) -> None:
        if self.full or not self._waiting:
            return
        tables = self._waiting if self._known is None else [self._known, *self._waiting]
        whole = pa.concat_tables(tables).group_by("value", use_threads=False).aggregate([("count", "sum")])
        self._known, self._waiting = whole.rename_columns({"value": "value", "count_sum": "count"}), []
        if whole.num_rows > self.limit or whole["value"].nbytes > self.budget:
            self.drop()

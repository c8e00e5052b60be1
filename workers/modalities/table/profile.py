"""Figures of a dataset for people, from a sample of rows spread over the whole upload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.entries import Column
from workers.modalities.table.writing import as_text, spoken

STEPS = [0.05, 0.25, 0.5, 0.75, 0.95]
SHOWN = 10  # levels of a column


class Spread:
    """A sample of rows spread over the whole file, thinned as it grows."""

    LIMIT, BYTES = 40_000, 64 << 20

    def __init__(self) -> None:
        self.chunks: list[pa.Table] = []
        self.stride = 1

    def add(self, chunk: pa.Table) -> None:
        self.chunks.append(_every(chunk, self.stride))
        while self._too_much():
            self.chunks = [_every(part, 2) for part in self.chunks]
            self.stride *= 2

    def _too_much(self) -> bool:
        rows, held = (sum(getattr(part, name) for part in self.chunks) for name in ("num_rows", "nbytes"))
        return bool(rows > self.LIMIT or (held > self.BYTES and rows > len(self.chunks)))

    def table(self, columns: list[Column], converted: Callable[[pa.Array, Column], pa.Array]) -> pa.Table:
        whole = pa.concat_tables(self.chunks)
        return pa.table(
            [converted(whole[c["name"]].combine_chunks(), c) for c in columns], names=[c["name"] for c in columns]
        )


def _every(table: pa.Table, stride: int) -> pa.Table:
    return table if stride == 1 else table.take(pa.array(np.arange(0, table.num_rows, stride)))


def profile(columns: list[Column], sample: pa.Table) -> dict[str, Any]:
    """For each column its type and why it has it, the share of missing values, quantiles of what has an order, and
    shares of the most frequent levels with how many were too rare to be shown."""
    return {"columns": [_of(c, array.combine_chunks()) for c, array in zip(columns, sample.columns, strict=True)]}


def _of(column: Column, array: pa.Array) -> dict[str, Any]:
    out: dict[str, Any] = {name: column[name] for name in ("name", "type", "reason", "missing")}
    out |= {name: column[name] for name in ("entity", "locale", "pooled", "unreadable") if name in column}
    if array.null_count == len(array):
        return out
    if column["type"] in ("integer", "float") or spoken(column):
        out["quantiles"] = dict(zip(map(str, STEPS), _quantiles(array, column), strict=True))
    if column["type"] in ("category", "boolean"):
        out["distinct"] = len(column["levels"])
        out["levels"] = _shares(array, column)
    return out


def _quantiles(array: pa.Array, column: Column) -> list[Any]:
    """Values that occur, so that they read as such and nothing overflows between them."""
    plain = array.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date(array.type) else array
    plain = plain.cast(pa.int64()) if pa.types.is_timestamp(array.type) else plain
    found = pc.quantile(plain, q=STEPS, interpolation="nearest")
    if not spoken(column):
        out: list[Any] = found.to_pylist()
        return out
    times = found.cast(pa.int32()).cast(array.type) if pa.types.is_date(array.type) else found.cast(array.type)
    texts: list[Any] = as_text(times, column).to_pylist()
    return texts


def _shares(array: pa.Array, column: Column) -> dict[str, float]:
    public = pa.array(column["levels"]).cast(array.type)
    counted = pc.value_counts(array.filter(pc.is_in(array, public)))
    top = np.argsort(-counted.field(1).to_numpy(), kind="stable")[:SHOWN]
    shares = counted.field(1).to_numpy()[top] / max(1, len(array))
    return {str(counted.field(0)[int(i)].as_py()): round(float(s), 4) for i, s in zip(top, shares, strict=True)}

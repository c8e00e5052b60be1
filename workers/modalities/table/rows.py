"""The rows that a training holds in memory: at most so many of a split, drawn at random, read piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.modalities import Dataset, Progress, Split
from workers.modalities.table.codec import AFRESH
from workers.modalities.table.fields import Column, Ints
from workers.modalities.table.writing import storage_type

MOST_VALUES = 50_000_000  # held in memory: tables of more than a hundred columns are learned from fewer rows
BLOCK = 1 << 18  # rows that are drawn from at a time


def read_rows(
    dataset: Dataset, split: Split, limit: int, columns: list[Column], seed: int, progress: Progress | None = None
) -> pa.Table:
    """At most `limit` rows of a split in their order, each set of rows as likely as any other; of columns that are
    never learned only whether a value is there. Memory grows with `limit` and the largest row group alone."""
    columns = [column for column in columns if column["type"] not in AFRESH or column["nullable"]]
    parts = [part for part in dataset.parts if part.split == split]
    total = sum(part.rows for part in parts)
    places = chosen(total, min(limit, affordable(len(columns))), seed)
    tables, start = [], 0
    for part in parts:
        file = pq.ParquetFile(part.path, pre_buffer=False)
        for group in range(file.num_row_groups):
            if progress is not None:
                progress(start, total)
            rows = file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(places, [start, start + rows])
            if first < last:
                tables.append(_taken(file, group, pa.array(places[first:last] - start), columns))
            start += rows
    if not tables:
        return _learnable(pa.schema([(c["name"], storage_type(c)) for c in columns]).empty_table(), columns)
    return pa.concat_tables(tables).combine_chunks()


def affordable(columns: int) -> int:
    """Rows of so many columns that fit into memory."""
    return MOST_VALUES // max(1, columns)


def available(dataset: Dataset, split: Split = "train") -> int:
    """Rows of a split."""
    return sum(part.rows for part in dataset.parts if part.split == split)


def chosen(total: int, limit: int, seed: int) -> Ints:
    """Sorted positions of at most `limit` of `total` rows: those with the smallest of random keys. Holds no more than
    a few times `limit` positions, and depends on the arguments alone, not on how the rows lie in files."""
    if total <= limit:
        return np.arange(total)
    rng = np.random.default_rng([seed, 2])
    places, keys, bar = np.empty(0, np.int64), np.empty(0), 1.0
    for start in range(0, total, BLOCK):
        drawn = rng.random(min(BLOCK, total - start))
        low = np.flatnonzero(drawn < bar)
        places, keys = np.append(places, low + start), np.append(keys, drawn[low])
        if len(keys) > 2 * limit or start + BLOCK >= total:
            kept = np.argpartition(keys, limit - 1)[:limit]
            places, keys = places[kept], keys[kept]
            bar = float(keys.max())
    return np.sort(places)


def _taken(file: pq.ParquetFile, group: int, places: pa.Array, columns: Sequence[Column]) -> pa.Table:
    """Those rows of a row group."""
    if not columns:
        return pa.table({"": pa.nulls(len(places))})  # no column is of interest, but the number of rows is
    table = file.read_row_group(group, columns=[column["name"] for column in columns])
    return _learnable(table if len(places) == table.num_rows else table.take(places), columns)


def _learnable(table: pa.Table, columns: Sequence[dict[str, Any]]) -> pa.Table:
    """Values that are never learned give way to a mere yes."""
    arrays = [
        pc.if_else(pc.is_valid(array), True, pa.scalar(None, pa.bool_())) if column["type"] in AFRESH else array
        for column, array in zip(columns, table.columns, strict=True)
    ]
    return pa.table(arrays, names=table.column_names)

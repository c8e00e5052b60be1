"""Files in and out. In: an upload becomes typed Parquet parts and a schema, in two passes. Out: see writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.errors import Rejected
from workers.modalities import Ingested, PartSink, Progress, Split
from workers.modalities.table import clock, geography, infer, observe, personal, temporal, written
from workers.modalities.table.counting import Counts
from workers.modalities.table.entries import Column
from workers.modalities.table.observe import Observed
from workers.modalities.table.profile import Spread, profile
from workers.modalities.table.reading import open_source
from workers.modalities.table.source import Source
from workers.modalities.table.writing import storage_type, write_file

__all__ = ["ingest", "storage_type", "write_file"]

PART_ROWS = 250_000
RAGGED_SHARE = 0.05
HOLDOUT_SHARE, HOLDOUT_MAX, HOLDOUT_FROM = 0.1, 20_000, 100
MIN_ROWS = 2  # of a dataset; training asks for more


def ingest(source: Path, options: Mapping[str, Any], seed: int, sink: PartSink, progress: Progress) -> Ingested:
    """Two passes over the upload: the first infers each column's type, the second writes typed parts."""
    upload = open_source(source, options)
    columns, rows, spread = _first_pass(upload, options, progress)
    warnings = [text for column in columns for text in column.pop("warnings", ())]
    columns = personal.settled(columns, options.get("locale"), options.get("consistent_people", True))
    columns = geography.marked(columns)
    columns = _second_pass(upload, columns, rows, seed, sink, progress)
    warnings = [*upload.warnings, *_taken_apart(upload), *warnings]
    if upload.ragged:
        warnings.append(f"{upload.ragged} lines with another number of values than the header were skipped.")
    schema = {"modality": "table", "columns": columns, "layout": upload.layout}
    figures = profile(columns, spread.table(columns, converted))
    return Ingested(rows=rows, schema=schema, profile=figures, warnings=warnings)


def _taken_apart(upload: Source) -> list[str]:
    within = list(upload.layout.get("nested", ()))
    if not within:
        return []
    return [
        f"Objects were taken apart into columns such as {within[0]!r}. Generated Parquet and JSON Lines have the "
        "objects again, CSV has the columns."
    ]


# -- the first pass: types ----------------------------------------------------------------------------------------


def _first_pass(upload: Source, options: Mapping[str, Any], progress: Progress) -> tuple[list[Column], int, Spread]:
    wanted = dict(options.get("types") or {})
    unknown = [name for name in wanted if name not in upload.names]
    if unknown:
        raise Rejected("unknown_column", f"The options give a type to {unknown[0]!r}, which is no column of the file.")
    seen: list[Observed] = []
    spread = Spread()
    for chunk in upload.chunks():
        seen = seen or _watched(upload, chunk.schema, wanted)
        for column, array in zip(seen, chunk.columns, strict=True):
            _observe(column, array)
        spread.add(chunk)
        progress(0.5 * upload.done_bytes(), upload.total_bytes)
    rows = seen[0].rows if seen else 0
    _check_rows(upload, rows, seen)
    least = infer.least_for(rows, options.get("min_level_rows"))
    columns = [infer.decide(column, wanted.get(column.name), least) for column in seen]
    return columns, rows, spread


def _watched(upload: Source, schema: pa.Schema, wanted: Mapping[str, str]) -> list[Observed]:
    grouping, count = upload.layout.get("delimiter", ",") == ",", len(upload.names)
    return [
        Observed(item.name, item.type, upload.tokens, grouping, count, leveled=wanted.get(item.name) == "category")
        for item in schema
    ]


def _observe(column: Observed, array: pa.ChunkedArray) -> None:
    try:
        column.add(array.combine_chunks())
    except (pa.ArrowNotImplementedError, OverflowError) as error:
        raise Rejected(
            "unsupported_column", f"Column {column.name!r} holds values of type {column.kind}, which cannot be read."
        ) from error


def _check_rows(upload: Source, rows: int, seen: list[Observed]) -> None:
    if upload.ragged > max(RAGGED_SHARE * (rows + upload.ragged), 1 if rows > 2 else 0):
        raise Rejected(
            "ragged_lines",
            f"{upload.ragged} of {rows + upload.ragged} lines do not have the header's {len(upload.names)} values; "
            "check the delimiter and the quoting.",
        )
    if rows == 0:
        raise Rejected("no_rows", "The file has a header and no rows.")
    if rows < MIN_ROWS:
        raise Rejected("too_few_rows", "The file has a single row; there is nothing to learn from one row.")
    if all(column.missing_count == column.rows for column in seen):
        raise Rejected("all_missing", "Every value of every column is missing.")


# -- the second pass: typed parts ---------------------------------------------------------------------------------


def converted(array: pa.Array, column: Column) -> pa.Array:
    """Raw values of an upload as the column's storage type."""
    target = storage_type(column)
    if not pa.types.is_string(array.type):
        return _from_typed(array, column, target)
    if "missing_token" in column:
        array = _without_tokens(array, column, target)
    if pa.types.is_string(target):
        return array
    text = pc.utf8_trim_whitespace(array)
    if column["type"] in ("date", "datetime"):
        return _each(text, lambda known: _moments(known, column)).cast(target)
    if column["type"] in ("time", "duration"):
        return _each(text, lambda known: clock.parse(known, column["form"]))
    if pa.types.is_boolean(target):
        return pc.equal(pc.utf8_lower(text), "true")
    plain = written.plain_number(text, column.get("comma", False), column.get("grouped", False))
    return written.numbers_in(plain, target) if column.get("unreadable") else pc.cast(plain, target)


def _moments(text: pa.Array, column: Column) -> pa.Array:
    read = temporal.shifted if column.get("offsets") else temporal.parse
    return read(text, column["format"])


def _each(text: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What is read from the values that are not null, put back where they were."""
    return _scattered(read(text.drop_null()), text) if text.null_count else read(text)


def _scattered(values: pa.Array, like: pa.Array) -> pa.Array:
    """Values put back where `like` is not null."""
    if not like.null_count:
        return values
    return pc.replace_with_mask(pa.nulls(len(like), values.type), pc.is_valid(like), values)


def _without_tokens(array: pa.Array, column: Column, target: pa.DataType) -> pa.Array:
    tokens = observe.MISSING
    if column["type"] == "boolean" or not pa.types.is_string(target):
        tokens = tokens | observe.MAYBE_MISSING
    missing = pc.is_in(pc.utf8_trim_whitespace(array), pa.array(sorted(tokens)))
    return pc.if_else(missing, pa.scalar(None, pa.string()), array)


def _from_typed(array: pa.Array, column: Column, target: pa.DataType) -> pa.Array:
    if pa.types.is_time(array.type) or pa.types.is_duration(array.type):
        size = {"s": 10**6, "ms": 1_000}.get(array.type.unit, 1)
        whole = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64()).cast(pa.int64())
        return pc.multiply_checked(whole, size)
    if pa.types.is_timestamp(array.type) and array.type.tz:
        array = pc.cast(array, pa.timestamp(array.type.unit))
    return array.cast(target, safe=False)


def holdout_rows(rows: int, seed: int) -> np.ndarray:
    """Sorted positions of the rows that training never sees."""
    if rows < HOLDOUT_FROM:
        return np.empty(0, np.int64)
    size = min(int(rows * HOLDOUT_SHARE), HOLDOUT_MAX)
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False, shuffle=False))


class PartWriter:
    """Parts of one split, a new one every PART_ROWS rows."""

    def __init__(self, split: Split, sink: PartSink, schema: pa.Schema) -> None:
        self.split, self.sink, self.schema = split, sink, schema
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self._writer is None:
            path = self._stack.enter_context(self.sink.part(self.split, ".parquet"))
            self._writer = self._stack.enter_context(pq.ParquetWriter(path, self.schema, compression="zstd"))
        self._writer.write_table(table)
        self._rows += table.num_rows
        if self._rows >= PART_ROWS:
            self.close()

    def close(self) -> None:
        self._stack.close()
        self._writer, self._rows = None, 0

    def abandon(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _second_pass(
    upload: Source, columns: list[Column], rows: int, seed: int, sink: PartSink, progress: Progress
) -> list[Column]:
    """Writes the parts; returns the columns with those levels alone that training rows share."""
    schema = pa.schema([(column["name"], storage_type(column)) for column in columns])
    held, start = holdout_rows(rows, seed), 0
    writers = [PartWriter("train", sink, schema), PartWriter("holdout", sink, schema)]
    counted = {
        c["name"]: Counts(observe.MAX_LEVELS + 1, 1 << 30)
        for c in columns
        if "levels" in c or c.get("value") is not None
    }
    with ExitStack() as stack:
        for writer in writers:
            stack.push(writer.abandon)
        for chunk in upload.chunks():
            arrays = [converted(chunk[column["name"]].combine_chunks(), column) for column in columns]
            table = pa.table(arrays, schema=schema)
            out = np.zeros(table.num_rows, bool)
            first, last = np.searchsorted(held, [start, start + table.num_rows])
            out[held[first:last] - start] = True
            train = table.filter(pa.array(~out))
            for name, counts in counted.items():
                found = pc.value_counts(train[name].combine_chunks().drop_null())
                counts.add(found.field(0), found.field(1))
            writers[0].write(train)
            writers[1].write(table.filter(pa.array(out)))
            start += table.num_rows
            progress(0.5 * upload.total_bytes + 0.5 * upload.done_bytes(), upload.total_bytes)
        for writer in writers:
            writer.close()
    return [_publishable(column, counted.get(column["name"])) for column in columns]


def _publishable(column: Column, counts: Counts | None) -> Column:
    return infer.publishable(column, (counts.dictionary() if counts else None) or {})

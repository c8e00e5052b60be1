"""Rows to complete: an upload read with the types of a model's columns, in its order, each row as often as wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected
from workers.modalities import Given
from workers.modalities.table import clock
from workers.modalities.table.files import converted
from workers.modalities.table.infer import Column
from workers.modalities.table.observe import MAYBE_MISSING, MISSING
from workers.modalities.table.reading import open_source
from workers.modalities.table.source import Source
from workers.modalities.table.structure.unique import Uniqueness
from workers.modalities.table.writing import storage_type

MOST_COMPARED = 5_000_000  # given rows whose unique values are held against each other, in memory


def chunks(given: Given, schema: Mapping[str, Any], start: int, count: int, size: int) -> Iterator[pa.Table]:
    """Output rows start .. start+count-1, each as far as it is given: tables of `size` rows (the last is shorter) in
    storage types, of those columns of `schema` that the upload has. Memory does not grow with any of the numbers.
    Raises Rejected for columns that the model does not have, and for values that its columns cannot hold."""
    source = open_source(given.path, given.options)
    window = _Window(source, _columns(source, schema), start // given.copies)
    for first in range(start, start + count, size):
        rows = np.arange(first, min(first + size, start + count)) // given.copies
        table = window.rows(int(rows[0]), int(rows[-1]) + 1)
        yield table if given.copies == 1 else table.take(pa.array(rows - rows[0]))


def kept(made: pa.Table, known: pa.Table) -> pa.Table:
    """The table with each cell that is given as it is given, whatever its column: keys, texts and names as well."""
    for name in known.column_names:
        cells = pc.coalesce(known[name].combine_chunks(), made[name].combine_chunks())
        made = made.set_column(made.column_names.index(name), name, cells)
    return made


def refuse_repeated(given: Given, schema: Mapping[str, Any], stop: int, unique: Sequence[Uniqueness]) -> None:
    """Raises Rejected where the first `stop` output rows could not all differ in columns that must, because of what is
    given. Those columns are held in memory, up to so many rows."""
    for found in unique:
        source = open_source(given.path, given.options)
        columns = [column for column in _columns(source, schema) if column["name"] in found.columns]
        if {axis.name for axis in found.axes} & {column["name"] for column in columns}:
            _refuse_repeated(source, columns, found, given.copies, -(-stop // given.copies))


def _refuse_repeated(source: Source, columns: list[Column], found: Uniqueness, copies: int, rows: int) -> None:
    kinds = {column["name"]: storage_type(column) for column in columns}
    told, made, held, left = " and ".join(repr(name) for name in found.columns), 0, list[pa.Table](), rows
    for chunk in source.chunks():
        chunk = chunk.slice(0, left)
        left -= chunk.num_rows
        table = pa.table([_typed(chunk[c["name"]].combine_chunks(), c, source) for c in columns], names=list(kinds))
        filled = {name: table[name].is_valid().to_numpy() for name in kinds}
        none = np.zeros(chunk.num_rows, bool)
        full = np.logical_and.reduce([filled.get(name, none) for name in found.columns])
        some = np.logical_or.reduce([filled.get(axis.name, none) for axis in found.axes])
        if (some & ~full).any():
            raise Rejected(
                "given_not_unique", f"No two rows may have the same {told}: a given row has all of these, or none."
            )
        held.append(table.filter(pa.array(full)))
        made += int((~full).sum())
        if sum(part.num_rows for part in held) > MOST_COMPARED:
            raise Rejected(
                "given_not_unique", f"{told} must be unique, and is compared in {MOST_COMPARED} given rows at most."
            )
        if not left:
            break
    whole = pa.concat_tables(held) if held else pa.table({})
    if whole.num_rows and copies > 1:
        raise Rejected(
            "given_not_unique", f"{told} must be unique, so rows that have it cannot be completed repeatedly."
        )
    if whole.num_rows and made:
        raise Rejected(
            "given_not_unique",
            f"{told} must be unique, and is empty in some of the given rows: what is made for these could be there "
            "already. Fill it in all rows, or in none.",
        )
    if whole.num_rows and whole.group_by(list(kinds)).aggregate([]).num_rows < whole.num_rows:
        raise Rejected("given_not_unique", f"{told} must be unique, and some of the given rows have the same.")


def _columns(source: Source, schema: Mapping[str, Any]) -> list[Column]:
    known: list[Column] = list(schema["columns"])
    unknown = set(source.names) - {column["name"] for column in known}
    if unknown:
        raise Rejected("unknown_column", f"The model has no column {min(unknown)!r}, which the given rows have.")
    return [column for column in known if column["name"] in source.names]


class _Window:
    """A part of the upload that moves forward: what lies before it is forgotten, what comes after it not yet read.
    Row groups of a Parquet file before the one that `first` lies in are not read, text before it is not converted."""

    def __init__(self, source: Source, columns: list[Column], first: int) -> None:
        self._source, self._columns = source, columns
        begin, self._chunks = source.chunks_near(first)
        self._held: list[pa.Table] = []
        self._start = self._stop = begin  # the rows that are held

    def rows(self, first: int, stop: int) -> pa.Table:
        """Rows first .. stop-1; no later call may ask for rows before these. Raises Rejected."""
        while self._held and self._start + self._held[0].num_rows <= first:
            self._start += self._held.pop(0).num_rows
        while self._stop < stop:
            self._read(first)
        return pa.concat_tables(self._held).slice(first - self._start, stop - first).combine_chunks()

    def _read(self, first: int) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Rejected("given_too_short", f"The given rows end after {self._stop}; the file was longer before.")
        self._stop += chunk.num_rows
        if self._stop <= first:
            self._start = self._stop
            return
        arrays = [_typed(chunk[column["name"]].combine_chunks(), column, self._source) for column in self._columns]
        self._held.append(pa.table(arrays, names=[column["name"] for column in self._columns]))


def _typed(array: pa.Array, column: Column, source: Source) -> pa.Array:
    """The values as the model's column keeps them. Raises Rejected."""
    if source.tokens and "missing_token" not in column:
        column = column | {"missing_token": ""}  # the model learned from a file that has no words for missing
    try:
        found = _read(array, column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        found = None
    if found is None:
        kind = f"{column['type']} (such as {column['format']})" if "format" in column else column["type"]
        raise Rejected(
            "given_unreadable",
            f"Column {column['name']!r} of the given rows has values that cannot be read as the model's type, {kind}.",
        )
    return found


def _read(array: pa.Array, column: Column) -> pa.Array | None:
    """None, or an error of Arrow's, where a value is none of the column's type."""
    target = storage_type(column)
    if not pa.types.is_string(array.type):
        cut = pa.types.is_integer(target) and (pa.types.is_floating(array.type) or pa.types.is_decimal(array.type))
        return array.cast(target) if cut else converted(array, column)  # this cast refuses to cut decimals off
    if pa.types.is_string(target):
        return converted(array, column)
    text = _present(array) if "missing_token" in column else array
    known = pc.utf8_trim_whitespace(text.drop_null())
    if pa.types.is_boolean(target) and not _all(pc.is_in(pc.utf8_lower(known), pa.array(["true", "false"]))):
        return None
    if column["type"] in ("time", "duration") and len(known) and not clock.fits(known, column["form"]):
        return None
    if column["type"] in ("date", "datetime"):
        try:
            return converted(text, column)
        except pa.ArrowInvalid:
            return text.cast(pa.timestamp("us")).cast(target)  # as ISO 8601 writes it
    return converted(text, column)


def _present(array: pa.Array) -> pa.Array:
    """Text, null where it is a word for missing."""
    text = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.is_in(text, pa.array(sorted(MISSING | MAYBE_MISSING))), pa.scalar(None, pa.string()), text)


def _all(true: pa.Array) -> bool:
    return bool(pc.all(true, min_count=0).as_py())

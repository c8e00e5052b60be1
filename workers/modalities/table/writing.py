"""Generated columns as files: Parquet, CSV and JSON Lines, with the upload's types, decimals and formats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.modalities.table import clock, nested, temporal
from workers.modalities.table.infer import Column

GROUP_ROWS, GROUP_CELLS = 65_536, 1 << 24  # a Parquet row group has at least so many rows, or values


def storage_type(column: Column) -> pa.DataType:
    """How a column's values are kept in the parts."""
    kind = column["type"]
    if kind in ("integer", "time", "duration"):  # the latter two in microseconds
        return pa.int64()
    if kind == "float":
        return pa.float64()
    if kind == "date":
        return pa.date32()
    if kind == "datetime":
        return pa.timestamp("us")
    if kind == "boolean" and column["arrow"] == "bool":
        return pa.bool_()
    return pa.string() if kind == "text" else _plain_type(column["arrow"])


def _plain_type(arrow: str) -> pa.DataType:
    """Of categories, keys and constants: whole number, number, boolean or text."""
    if arrow.startswith(("int", "uint")):
        return pa.int64()
    if arrow.startswith(("double", "float", "halffloat", "decimal")):
        return pa.float64()
    return pa.bool_() if arrow == "bool" else pa.string()


def output_type(column: Column) -> pa.DataType:
    """The Arrow type that the column had in the upload."""
    name = column["arrow"]
    if name.startswith("decimal"):
        digits, scale = name[name.index("(") + 1 : -1].split(",")
        return (
            pa.decimal128(int(digits), int(scale))
            if name.startswith("decimal128")
            else pa.decimal256(int(digits), int(scale))
        )
    if name.startswith("timestamp["):
        unit, _, zone = name[10:-1].partition(", tz=")
        return pa.timestamp(unit, zone or None)
    if name.startswith(("time32[", "time64[", "duration[")):
        maker: Callable[[str], pa.DataType] = {"time32": pa.time32, "time64": pa.time64, "duration": pa.duration}[
            name.split("[")[0]
        ]
        return maker(name.split("[")[1][:-1])
    if name.startswith("date"):
        return pa.date32() if name.startswith("date32") else pa.date64()
    names = {
        "string": pa.string(),
        "bool": pa.bool_(),
        "double": pa.float64(),
        "float": pa.float32(),
        "halffloat": pa.float16(),
    }
    return names.get(name) or pa.type_for_alias(name)


def spoken(column: Column) -> bool:
    """Whether people read the column's values as text though they are kept as numbers: dates, times, durations."""
    return column["type"] in ("date", "datetime", "time", "duration")


def output_schema(columns: list[Column]) -> pa.Schema:
    return pa.schema([(column["name"], output_type(column)) for column in columns])


def typed(array: pa.Array, column: Column) -> pa.Array:
    """Storage values as the upload's Arrow type."""
    target = output_type(column)
    if array.type == target:
        return array
    if pa.types.is_null(target):
        return pa.nulls(len(array))
    if pa.types.is_string(target):
        return as_text(array, column)
    if pa.types.is_time(target) or pa.types.is_duration(target):
        size = {"s": 10**6, "ms": 1_000}.get(target.unit, 1)
        array = pc.divide(array.cast(pa.int64(), safe=False), size)
        return array.cast(pa.int32() if target.bit_width == 32 else pa.int64(), safe=False).cast(target)
    if pa.types.is_decimal(target):
        return pc.cast(pc.round(array, target.scale), target, safe=False)
    return array.cast(target, safe=False)


def as_text(array: pa.Array, column: Column) -> pa.Array:
    """Storage values as the upload wrote them; nulls stay null."""
    kind = column["type"]
    if pa.types.is_string(array.type):
        return array
    if kind in ("date", "datetime"):
        return temporal.write(array.cast(pa.timestamp("us")), column["format"], column["fraction"], column["padded"])
    if kind in ("time", "duration"):
        return clock.write(array, column["form"], column["style"])
    if pa.types.is_boolean(array.type):
        no, yes = column.get("spelling") or ("false", "true")
        return pc.if_else(array, yes, no)
    if pa.types.is_floating(array.type):
        digits = column.get("decimals")
        fixed = column.get("fixed") and digits is not None and digits <= 12
        text = (array.cast(pa.decimal128(38, digits), safe=False) if fixed else array).cast(pa.string())
        return pc.replace_substring(text, ".", ",") if column.get("comma") else _grouped(text, column)
    return _grouped(array.cast(pa.string()), column)


def _grouped(text: pa.Array, column: Column) -> pa.Array:
    """Thousands set apart by commas, where the upload did so: from the right, one comma a round."""
    for _ in range(6 if column.get("grouped") else 0):
        text = pc.replace_substring_regex(text, r"^([+-]?\d+)(\d{3})", r"\1,\2")
    return text


def write_file(path: Path, format: str, schema: Mapping[str, Any], tables: Iterator[pa.Table]) -> int:
    """Chunks of storage values to one file; returns the number of rows. Holds one chunk at a time."""
    columns: list[Column] = list(schema["columns"])
    return {"parquet": _write_parquet, "csv": _write_csv, "jsonl": _write_jsonl}[format](path, columns, schema, tables)


def _paths(columns: list[Column], schema: Mapping[str, Any]) -> list[nested.Path]:
    """Where each column's values lie in a row: within objects where the upload had them there."""
    within = schema.get("layout", {}).get("nested", {})
    return [tuple(within.get(column["name"], [column["name"]])) for column in columns]


def _write_parquet(path: Path, columns: list[Column], schema: Mapping[str, Any], tables: Iterator[pa.Table]) -> int:
    rows, paths = 0, _paths(columns, schema)
    whole = pa.schema(nested.fields(list(zip(paths, output_schema(columns).types, strict=True))))
    with pq.ParquetWriter(path, whole, compression="zstd") as writer:
        for table in _gathered(tables):
            arrays = [
                typed(array.combine_chunks(), column) for column, array in zip(columns, table.columns, strict=True)
            ]
            writer.write_table(pa.table(nested.arrays(list(zip(paths, arrays, strict=True))), schema=whole))
            rows += table.num_rows
    return rows


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Short chunks together, so that wide tables do not have thousands of row groups."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        rows = sum(one.num_rows for one in held)
        if rows >= GROUP_ROWS or rows * table.num_columns >= GROUP_CELLS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _write_csv(path: Path, columns: list[Column], schema: Mapping[str, Any], tables: Iterator[pa.Table]) -> int:
    delimiter = schema.get("layout", {}).get("delimiter", ",")
    special = f'["\n\r{re.escape(delimiter)}]'
    header = pa.array([column["name"] for column in columns], pa.string())
    with path.open("wb") as file:
        file.write((delimiter.join(_quoted(header, special).to_pylist()) + "\n").encode())
        return _write_lines(
            file, columns, tables, partial(_csv_cell, special=special, single=len(columns) == 1), delimiter
        )


def _csv_cell(array: pa.Array, column: Column, special: str, single: bool) -> pa.Array:
    token = column.get("missing_token") or ('""' if single else "")  # an empty line would not be read as a row
    return _quoted(as_text(array, column), special).fill_null(token)


def _quoted(text: pa.Array, special: str) -> pa.Array:
    """In quotes where the text holds a delimiter, a quote or an end of line."""
    needs = pc.fill_null(pc.match_substring_regex(text, special), False)
    if not pc.any(needs).as_py():
        return text
    inner = pc.replace_substring(text, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise('"', inner, '"', ""), text)


def _write_lines(
    file: IO[bytes],
    columns: list[Column],
    tables: Iterator[pa.Table],
    cell: Callable[[pa.Array, Column], pa.Array],
    delimiter: str,
) -> int:
    """A line of cells for each row; the lines of a chunk are joined at once, without a loop over rows."""
    rows = 0
    for table in tables:
        cells = [cell(array.combine_chunks(), column) for column, array in zip(columns, table.columns, strict=True)]
        lines = pc.binary_join_element_wise(*cells, delimiter)
        lines = pc.binary_join_element_wise(lines, "\n", "")
        _, _, data = lines.buffers()
        file.write(memoryview(data)[: pc.sum(pc.binary_length(lines)).as_py() or 0])
        rows += table.num_rows
    return rows


def _write_jsonl(path: Path, columns: list[Column], schema: Mapping[str, Any], tables: Iterator[pa.Table]) -> int:
    around: dict[str, tuple[str, str]] = {}
    paths = _paths(columns, schema)
    for i, (column, at, (begun, ended)) in enumerate(zip(columns, paths, nested.braces(paths), strict=True)):
        start = ("" if i else "{") + "".join(f"{_spelled(name)}: {{" for name in begun) + f"{_spelled(at[-1])}: "
        around[column["name"]] = start, "}" * (ended + (i == len(columns) - 1))

    def cell(array: pa.Array, column: Column) -> pa.Array:
        start, end = around[column["name"]]
        return pc.binary_join_element_wise(start, _json_text(array, column), end, "")

    with path.open("wb") as file:
        return _write_lines(file, columns, tables, cell, ", ")


def _spelled(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json_text(array: pa.Array, column: Column) -> pa.Array:
    if pa.types.is_boolean(array.type):
        text = pc.if_else(array, "true", "false")
    elif array.type in (pa.int64(), pa.float64()) and not (column["arrow"] == "string" or spoken(column)):
        text = array.cast(pa.string())
    else:
        coded = as_text(array, column).dictionary_encode()
        quoted = pa.array(
            [json.dumps(value, ensure_ascii=False) for value in coded.dictionary.to_pylist()], pa.string()
        )
        text = quoted.take(coded.indices)
    return text.fill_null("null")

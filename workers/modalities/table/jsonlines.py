"""JSON Lines: an object a line, in blocks of whole lines. Columns may come and go; types are widened to fit all."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from service.errors import Rejected
from workers.modalities.table.encodings import blocks
from workers.modalities.table.source import BLOCK, CHUNK_ROWS, Source


def is_json(sample: str) -> bool:
    line = sample.lstrip().split("\n", 1)[0].strip()
    return line.startswith(('{"', "[{", "{}", "{ ")) or line in ("[", "{")


def json_lines(path: Path, encoding: str, sample: str) -> Source:
    if sample.lstrip().startswith("[") or sample.lstrip().split("\n", 1)[0].strip() == "{":
        raise Rejected("unsupported_format", "This is one JSON document; send JSON Lines, an object a line.")
    schema: dict[str, pa.DataType] = {}
    done = [0]
    for table in _json_tables(path, encoding, {}, done):
        for item in table.schema:
            schema[item.name] = _wider(schema.get(item.name), item.type)
    nested = [name for name, kind in schema.items() if pa.types.is_nested(kind)]
    if nested:
        raise Rejected(
            "nested_column", f"Column {nested[0]!r} holds lists or objects; flatten it to plain values first."
        )
    schema = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in schema.items()}
    return Source(
        kind="jsonl", names=list(schema), chunks=lambda: _json_aligned(path, encoding, schema, done),
        total_bytes=path.stat().st_size, done_bytes=lambda: done[0],
    )  # fmt: skip


def _wider(a: pa.DataType | None, b: pa.DataType) -> pa.DataType:
    if a is None or pa.types.is_null(a) or a == b:
        return b
    if pa.types.is_null(b):
        return a
    if pa.types.is_nested(a) or pa.types.is_nested(b):
        return a if pa.types.is_nested(a) else b
    numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in (a, b))
    return pa.float64() if numeric else pa.string()


def _json_aligned(path: Path, encoding: str, schema: dict[str, pa.DataType], done: list[int]) -> Iterator[pa.Table]:
    for table in _json_tables(path, encoding, schema, done):
        columns = [
            table[name].cast(kind) if name in table.column_names else pa.nulls(table.num_rows, kind)
            for name, kind in schema.items()
        ]
        whole = pa.table(columns, names=list(schema))
        for start in range(0, whole.num_rows, CHUNK_ROWS):
            yield whole.slice(start, CHUNK_ROWS)


def _json_tables(path: Path, encoding: str, known: dict[str, pa.DataType], done: list[int]) -> Iterator[pa.Table]:
    """Each block of whole lines as a table. Times stay text, so that their format is not lost."""
    explicit = dict(known)
    done[0] = 0
    for block in _line_blocks(path, encoding):
        done[0] += len(block)
        table = _json_table(block, explicit)
        times = [item.name for item in table.schema if pa.types.is_temporal(item.type)]
        if times:
            explicit |= dict.fromkeys(times, pa.string())
            table = _json_table(block, explicit)
        yield table


def _json_table(block: bytes, explicit: dict[str, pa.DataType]) -> pa.Table:
    options = pajson.ParseOptions(explicit_schema=pa.schema(list(explicit.items())) if explicit else None)
    try:
        table = pajson.read_json(
            pa.BufferReader(block), pajson.ReadOptions(use_threads=False, block_size=2 * BLOCK + 64), options
        )
        table.validate(full=True)  # a surrogate may have come through as bytes that are no UTF-8
        return table
    except (pa.ArrowInvalid, UnicodeError):
        return _mixed_json_table(block)


def _mixed_json_table(block: bytes) -> pa.Table:
    """Lines in which a column holds now a number, now text: such columns become text."""
    try:
        rows = [json.loads(line) for line in block.decode().splitlines() if line.strip()]
    except ValueError as error:
        raise Rejected("malformed_json", "A line is not a JSON object; JSON Lines has one object a line.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise Rejected("malformed_json", "A line is not a JSON object; JSON Lines has one object a line.")
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [row.get(name) for row in rows]
        kinds = {type(cell) for cell in cells if cell is not None}
        if kinds & {list, dict}:
            raise Rejected(
                "nested_column", f"Column {name!r} holds lists or objects; flatten it to plain values first."
            )
        if len(kinds) > 1 and not kinds <= {int, float}:
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        columns[name] = _json_column(name, cells, pa.float64() if float in kinds and kinds <= {int, float} else None)
    return pa.table(columns)


def _json_column(name: str, cells: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        name.encode()
        return pa.array(cells, kind)
    except UnicodeEncodeError as error:
        raise Rejected("malformed_json", "A text holds half of a surrogate pair; it is no valid Unicode.") from error
    except (OverflowError, pa.ArrowInvalid) as error:
        raise Rejected(
            "unsupported_column", f"Column {name!r} holds whole numbers of more than 64 bits; write them as text."
        ) from error


def _line_blocks(path: Path, encoding: str) -> Iterator[bytes]:
    """Blocks of whole lines as UTF-8."""
    decoder, rest = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)(), ""
    for block in blocks(path):
        text = rest + decoder.decode(block)
        cut = text.rfind("\n") + 1
        rest = text[cut:]
        if len(rest) > BLOCK:
            raise Rejected("malformed_json", "A line is longer than 4 MiB.")
        if cut:
            yield text[:cut].encode()
    if rest.strip():
        yield rest.encode()

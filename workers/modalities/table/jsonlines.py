"""JSON Lines: an object a line, in blocks of whole lines; or an array of objects, read as such lines.

Columns may come and go; types are widened to fit all; objects within an object become columns with dotted names."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from service.errors import Rejected
from workers.modalities.table import nested
from workers.modalities.table.encodings import blocks
from workers.modalities.table.jsonarrays import Unwrapped
from workers.modalities.table.source import BLOCK, CHUNK_ROWS, Source

Columns = dict[nested.Path, pa.Array | pa.ChunkedArray]


def is_json(sample: str) -> bool:
    line = sample.lstrip().split("\n", 1)[0].strip()
    return line.startswith(('{"', "{}", "{ ")) or line == "{" or re.match(r"\[\s*(\{|$)", line) is not None


def json_lines(path: Path, encoding: str, sample: str) -> Source:
    if sample.lstrip().split("\n", 1)[0].strip() == "{":
        raise Rejected(
            "unsupported_format",
            "This is one JSON object; send JSON Lines, an object a line, or a JSON array of objects.",
        )
    text = Text(path, encoding, array=sample.lstrip().startswith("["))
    schema: dict[nested.Path, pa.DataType] = {}
    done = [0]
    for columns, _ in _json_tables(text, {}, done):
        for at, array in columns.items():
            schema[at] = _wider(schema.get(at), array.type)
    schema = {at: kind for at, kind in schema.items() if not _replaced(at, schema)}
    schema = {at: pa.string() if pa.types.is_null(schema[at]) else schema[at] for at in nested.together(list(schema))}
    within = nested.layout(list(schema))
    return Source(
        kind="jsonl", names=list(map(nested.dotted, schema)), chunks=lambda: _json_aligned(text, schema, done),
        total_bytes=path.stat().st_size, done_bytes=lambda: done[0], layout={"nested": within} if within else {},
    )  # fmt: skip


def _replaced(at: nested.Path, schema: Mapping[nested.Path, pa.DataType]) -> bool:
    """Whether the value was null wherever it was no object."""
    return pa.types.is_null(schema[at]) and any(other[: len(at)] == at for other in schema if len(other) > len(at))


def _wider(a: pa.DataType | None, b: pa.DataType) -> pa.DataType:
    if a is None or pa.types.is_null(a) or a == b:
        return b
    if pa.types.is_null(b):
        return a
    numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in (a, b))
    return pa.float64() if numeric else pa.string()


def _json_aligned(text: Text, schema: dict[nested.Path, pa.DataType], done: list[int]) -> Iterator[pa.Table]:
    names = list(map(nested.dotted, schema))
    for found, rows in _json_tables(text, schema, done):
        columns = [found[at].cast(kind) if at in found else pa.nulls(rows, kind) for at, kind in schema.items()]
        whole = pa.table(columns, names=names)
        for start in range(0, whole.num_rows, CHUNK_ROWS):
            yield whole.slice(start, CHUNK_ROWS)


def _json_tables(text: Text, known: dict[nested.Path, pa.DataType], done: list[int]) -> Iterator[tuple[Columns, int]]:
    """Each block of whole lines as columns. Times stay text, so that their format is not lost."""
    explicit = dict(known)
    done[0] = 0
    for block in text.blocks():
        done[0] += len(block)
        columns, rows = _json_columns(block, explicit)
        times = [at for at, array in columns.items() if pa.types.is_temporal(array.type)]
        if times:
            explicit |= dict.fromkeys(times, pa.string())
            order = list(columns)  # a given schema comes first in what is read
            columns, rows = _json_columns(block, explicit)
            columns = {at: columns[at] for at in order}
        yield columns, rows


def _json_columns(block: bytes, explicit: dict[nested.Path, pa.DataType]) -> tuple[Columns, int]:
    kinds = [(at, explicit[at]) for at in nested.together(list(explicit))]
    options = pajson.ParseOptions(explicit_schema=pa.schema(nested.fields(kinds)) if kinds else None)
    try:
        table = pajson.read_json(
            pa.BufferReader(block), pajson.ReadOptions(use_threads=False, block_size=2 * BLOCK + 64), options
        )
        table.validate(full=True)  # a surrogate may have come through as bytes that are no UTF-8
    except (pa.ArrowInvalid, UnicodeError):
        return _mixed_columns(block)
    columns = nested.flattened(table)
    if len(dict(columns)) < len(columns):
        raise Rejected("duplicate_columns", "A JSON object has the same name twice.")
    return dict(columns), table.num_rows


def _mixed_columns(block: bytes) -> tuple[Columns, int]:
    """Lines in which a column holds now a number, now text: such columns become text."""
    try:
        rows = [json.loads(line) for line in block.decode().split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise Rejected("malformed_json", "A line is not a JSON object; JSON Lines has one object a line.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise Rejected("malformed_json", "A line is not a JSON object; JSON Lines has one object a line.")
    flat = [dict(nested.of_object(row)) for row in rows]
    columns: Columns = {}
    for at in dict.fromkeys(at for row in flat for at in row):
        cells = [row.get(at) for row in flat]
        kinds = {type(cell) for cell in cells if cell is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        kind = pa.float64() if float in kinds and kinds <= {int, float} else None
        columns[at] = _json_column(nested.dotted(at), cells, kind)
    return columns, len(rows)


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


@dataclass(frozen=True)
class Text:
    """The upload's text: JSON Lines, or one array of objects."""

    path: Path
    encoding: str
    array: bool

    def blocks(self) -> Iterator[bytes]:
        """Blocks of whole lines as UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8-sig" if self.encoding == "utf-8" else self.encoding)()
        unwrapped, rest = Unwrapped() if self.array else None, b""
        for block in blocks(self.path):
            text = decoder.decode(block).encode()
            text = rest + (unwrapped.feed(text) if unwrapped else text)
            cut = text.rfind(b"\n") + 1
            rest = text[cut:]
            if len(rest) > BLOCK:
                raise Rejected("malformed_json", "A line is longer than 4 MiB.")
            if cut:
                yield text[:cut]
        if unwrapped:
            unwrapped.end()
        if rest.strip():
            yield rest

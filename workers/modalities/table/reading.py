"""Opening an upload: its content, never its name, says which reader takes it. Parquet is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.errors import Rejected
from workers.modalities.table import nested
from workers.modalities.table.delimited import delimited
from workers.modalities.table.encodings import encoding_of, sample_of
from workers.modalities.table.jsonlines import is_json, json_lines
from workers.modalities.table.source import CHUNK_ROWS, MAX_COLUMNS, Source
from workers.modalities.table.spec import FOREIGN


def open_source(path: Path, options: Mapping[str, Any]) -> Source:
    """Find out what the file is, by its content. Raises Rejected for what is no table."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
    if size == 0:
        raise Rejected("empty_file", "The file is empty.")
    if head.startswith(b"PAR1"):
        return _checked(_parquet(path))
    if head.startswith(FOREIGN) or head[257:262] == b"ustar":
        raise Rejected(
            "unsupported_format",
            "This is an archive, a picture or an office file; send CSV, TSV, JSON Lines or Parquet.",
        )
    encoding = encoding_of(path, options.get("encoding"))
    sample = sample_of(path, encoding)
    if not sample.strip():
        raise Rejected("empty_file", "The file holds nothing but white space.")
    if sample.lstrip()[:1] in "{[" and is_json(sample):
        return _checked(json_lines(path, encoding, sample))
    return _checked(delimited(path, encoding, sample, options))


def _checked(source: Source) -> Source:
    if not source.names:
        raise Rejected("no_columns", "The file has no columns.")
    if len(source.names) > MAX_COLUMNS:
        raise Rejected(
            "too_many_columns", f"The table has {len(source.names)} columns; at most {MAX_COLUMNS} are taken."
        )
    twice = [name for name, count in Counter(source.names).items() if count > 1]
    if twice:
        shown = ", ".join(repr(name) for name in twice[:5])
        raise Rejected(
            "duplicate_columns",
            f"These column names occur more than once: {shown}. Rename them and send the file again.",
        )
    for name in source.names:
        _without_zeros(pa.array([name], pa.string()), name)
    chunks, enter = source.chunks, source.enter
    source.chunks = lambda: map(_sound, chunks())
    if enter:
        source.enter = lambda row: _entered(*enter(row))
    return source


def _entered(first: int, chunks: Iterator[pa.Table]) -> tuple[int, Iterator[pa.Table]]:
    return first, map(_sound, chunks)


def _sound(table: pa.Table) -> pa.Table:
    """What is no number is missing, and no text holds the one character that databases refuse."""
    columns = []
    for item, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_floating(item.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, item.type))
        elif pa.types.is_string(item.type):
            _without_zeros(column, item.name)
        columns.append(column)
    return pa.table(columns, schema=table.schema)


def _without_zeros(text: pa.Array | pa.ChunkedArray, name: str) -> None:
    if pc.any(pc.match_substring(text, "\0")).as_py():
        shown = name.replace("\0", "\\0")
        raise Rejected("unsupported_column", f"Column '{shown}' holds characters U+0000; take them out.")


def _parquet(path: Path) -> Source:
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (pa.ArrowInvalid, OSError) as error:
        raise Rejected("corrupt_file", "The Parquet file is damaged or was cut short; send it again.") from error
    kinds = [(at, _plain(kind)) for at, kind in nested.leaves(schema)]
    for at, kind in kinds:
        name = nested.dotted(at)
        if pa.types.is_nested(kind):
            raise nested.refuse_list(at)
        if kind in (pa.binary(), pa.large_binary(), pa.binary_view()) or pa.types.is_fixed_size_binary(kind):
            raise Rejected("unsupported_column", f"Column {name!r} holds bytes; leave it out or turn it into text.")
    if not file.metadata.num_rows:
        raise Rejected("no_rows", "The file has columns and no rows.")
    done, within = [0], nested.layout([at for at, _ in kinds])
    plain = pa.schema([(nested.dotted(at), kind) for at, kind in kinds])
    return Source(
        kind="parquet", names=list(plain.names), chunks=lambda: _parquet_chunks(path, plain, done),
        total_bytes=file.metadata.num_rows, done_bytes=lambda: done[0], layout={"nested": within} if within else {},
        enter=lambda row: _parquet_from(path, plain, file.metadata, row, done),
    )  # fmt: skip


def _parquet_from(
    path: Path, plain: pa.Schema, metadata: pq.FileMetaData, row: int, done: list[int]
) -> tuple[int, Iterator[pa.Table]]:
    """From the row group on in which the row lies: those before it are not read."""
    first = group = 0
    while group + 1 < metadata.num_row_groups and first + metadata.row_group(group).num_rows <= row:
        first, group = first + metadata.row_group(group).num_rows, group + 1
    return first, _parquet_chunks(path, plain, done, group)


def _parquet_chunks(path: Path, plain: pa.Schema, done: list[int], group: int = 0) -> Iterator[pa.Table]:
    done[0] = 0
    try:
        file = pq.ParquetFile(path, pre_buffer=False)  # which would hold all of the file that was read so far
        groups = list(range(group, file.num_row_groups))
        for batch in file.iter_batches(CHUNK_ROWS, row_groups=groups, use_threads=False):
            done[0] += batch.num_rows
            columns = [column for _, column in nested.flattened(pa.Table.from_batches([batch]))]
            yield pa.table(columns, names=plain.names).cast(plain, safe=False)
    except pa.ArrowNotImplementedError as error:
        raise Rejected("unsupported_column", f"A column's type cannot be read: {str(error)[:120]}.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise Rejected("corrupt_file", "The Parquet file is damaged or was cut short; send it again.") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """The value's type behind dictionaries and extensions, one kind of text, and times of microseconds at most."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind

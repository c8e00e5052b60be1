"""Reading an upload as chunks of Arrow columns, whatever its format. Knows bytes and formats; nothing of column types or models."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from service.errors import Rejected
from workers.modalities.table.spec import FOREIGN, UTF16_MARKS

CHUNK_ROWS = 65_536
BLOCK = 4 << 20  # bytes of text parsed at a time; also the longest line that is read
SAMPLE = 1 << 18  # bytes looked at to find delimiter and header
MAX_COLUMNS = 2_000
DELIMITERS = ",;\t|"
RAGGED_SHARE = 0.05


@dataclass
class Source:
    """An upload that can be read again and again: `chunks()` yields tables of bounded size with the same columns."""

    kind: str
    names: list[str]
    chunks: Callable[[], Iterator[pa.Table]]
    total_bytes: int
    done_bytes: Callable[[], int]
    tokens: bool = False  # all columns are raw text, in which words such as NA stand for missing
    layout: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ragged: int = 0


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
        raise Rejected("unsupported_format", "This is an archive, a picture or an office file; send CSV, TSV, JSON Lines or Parquet.")
    encoding = _encoding(path, options.get("encoding"))
    sample = _sample(path, encoding)
    if not sample.strip():
        raise Rejected("empty_file", "The file holds nothing but white space.")
    if sample.lstrip()[:1] in "{[" and _is_json(sample):
        return _checked(_json_lines(path, encoding, sample))
    return _checked(_csv(path, encoding, sample, options))


def _checked(source: Source) -> Source:
    if len(source.names) > MAX_COLUMNS:
        raise Rejected("too_many_columns", f"The table has {len(source.names)} columns; at most {MAX_COLUMNS} are taken.")
    twice = [name for name, count in Counter(source.names).items() if count > 1]
    if twice:
        shown = ", ".join(repr(name) for name in twice[:5])
        raise Rejected("duplicate_columns", f"These column names occur more than once: {shown}. Rename them and send the file again.")
    return source


# -- text ---------------------------------------------------------------------------------------------------------


def _binary(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with _binary(path) as file:
            while block := file.read(BLOCK):
                yield block
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise Rejected("corrupt_file", "The compressed file is damaged or was cut short; send it again.") from error


def _encoding(path: Path, wanted: str | None) -> str:
    """The encoding of a text file, proven by decoding all of it. Raises Rejected if it is no text."""
    if wanted:
        return _proven(path, wanted)
    head = next(_blocks(path), b"")
    if head.startswith(UTF16_MARKS):
        return _proven(path, "utf-16")
    if 0 in head:
        return _proven(path, _zero_pattern(head))
    if _decodes(path, "utf-8"):
        return "utf-8"
    return _proven(path, "cp1252")


def _zero_pattern(head: bytes) -> str:
    even, odd, half = head[0::2].count(0), head[1::2].count(0), len(head) // 2
    if odd > 0.4 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.02 * half:
        return "utf-16-be"
    raise Rejected("unsupported_format", "The file is binary, not text; send CSV, TSV, JSON Lines or Parquet.")


def _proven(path: Path, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise Rejected("wrong_encoding", f"There is no encoding named {encoding!r}.") from error
    if not _decodes(path, encoding):
        raise Rejected("wrong_encoding", f"The file is not text in {encoding}; save it as UTF-8, or name its encoding in the options.")
    return encoding


def _decodes(path: Path, encoding: str) -> bool:
    decoder, controls, length = codecs.getincrementaldecoder(encoding)(), 0, 0
    try:
        for block in _blocks(path):
            text = decoder.decode(block)
            if "\0" in text:
                raise Rejected("unsupported_format", "The file holds zero bytes; it is binary, not text.")
            if encoding != "utf-8":
                controls += sum(text.count(chr(code)) for code in (*range(1, 9), *range(14, 32), *range(127, 160)))
                length += len(text)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return controls <= 0.001 * length  # a legacy encoding decodes nearly anything: control characters betray noise


def _sample(path: Path, encoding: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    with _binary(path) as file:
        return decoder.decode(file.read(SAMPLE))


# -- CSV ----------------------------------------------------------------------------------------------------------


def _csv(path: Path, encoding: str, sample: str, options: Mapping[str, Any]) -> Source:
    delimiter = options.get("delimiter") or sniff_delimiter(sample)
    rows = _parsed(sample, delimiter)
    names, warnings = rows[0], []
    header = options.get("header")
    if header is None:
        header = not looks_headerless(rows)
        if not header:
            warnings.append("The first line looks like data, so the columns were named column_1, column_2 and so on.")
    if not header:
        names = [f"column_{i + 1}" for i in range(len(names))]
    if len(set(names)) == len(names) and len(names) <= MAX_COLUMNS and header and not rows[1:]:
        raise Rejected("no_rows", "The file has a header and no rows.")
    stream: list[pa.NativeFile] = []
    source = Source(
        kind="csv", names=names, chunks=lambda: _csv_chunks(path, encoding, delimiter, source, header, stream), tokens=True,
        total_bytes=path.stat().st_size, done_bytes=lambda: stream[0].tell() if stream and not stream[0].closed else 0,
        layout={"delimiter": delimiter}, warnings=warnings,
    )  # fmt: skip
    return source


def _parsed(sample: str, delimiter: str) -> list[list[str]]:
    """The first whole rows of the sample; its last line may be cut short."""
    whole = sample if len(sample) < SAMPLE // 4 or "\n" not in sample else sample[: sample.rindex("\n")]
    try:
        rows = [row for _, row in zip(range(500), csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter), strict=False) if row]
    except csv.Error as error:
        raise Rejected("malformed_csv", f"The file does not read as CSV: {error}.") from error
    return rows or [[""]]


def sniff_delimiter(sample: str) -> str:
    """The delimiter that cuts most lines into the same number (above one) of fields; a comma if there is none."""

    def score(delimiter: str) -> tuple[float, int]:
        try:
            counts = Counter(len(row) for row in _parsed(sample, delimiter))
        except Rejected:
            return (0.0, 0)
        width, rows = max(((width, n) for width, n in counts.items() if width > 1), key=lambda item: item[1], default=(1, 0))
        share = rows / max(1, counts.total())
        return (round(share, 1) if share >= 0.5 else 0.0, width)

    best = max(DELIMITERS, key=score)
    return best if score(best)[0] > 0 else ","


def looks_headerless(rows: list[list[str]]) -> bool:
    """Whether the first line is data: each column that is numeric below is numeric there too (and not just years)."""
    below = rows[1:101]
    if not below:
        return False
    numeric = [i for i in range(len(rows[0])) if _all_numbers([row[i] for row in below if len(row) > i and row[i].strip()])]
    first = [rows[0][i].strip() for i in numeric]
    if not first or not all(_is_number(cell) for cell in first):
        return False
    return not all(cell.isdigit() and 1900 <= int(cell) <= 2100 for cell in first)


def _all_numbers(cells: list[str]) -> bool:
    return bool(cells) and all(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in ("nan", "inf", "-inf", "infinity")


def _csv_chunks(
    path: Path, encoding: str, delimiter: str, source: Source, header: bool, stream: list[pa.NativeFile]
) -> Iterator[pa.Table]:
    source.ragged = 0

    def skip(row: Any) -> str:
        source.ragged += 1
        return "skip"

    raw = pa.OSFile(str(path))
    stream[:] = [raw]
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    names = source.names
    reader = _guarded(lambda: pacsv.open_csv(
        pa.CompressedInputStream(raw, "gzip") if packed else raw,
        pacsv.ReadOptions(
            block_size=BLOCK, encoding="utf8" if encoding == "utf-8" else encoding, column_names=names, skip_rows_after_names=int(header)
        ),
        pacsv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip, ignore_empty_lines=len(names) > 1
        ),
        pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    ))  # fmt: skip
    yield from _sliced(iter(lambda: _guarded(lambda: _next_batch(reader)), None))
    raw.close()


def _next_batch(reader: Any) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except pa.ArrowInvalid as error:
        text = str(error)
        if "UTF8" in text:
            raise Rejected("wrong_encoding", "The file is not valid UTF-8; save it as UTF-8, or name its encoding.") from error
        if "straddl" in text or "block" in text:
            raise Rejected("malformed_csv", "A line or a quoted value is longer than 4 MiB; is a closing quote missing?") from error
        if "Empty CSV" in text:
            raise Rejected("no_rows", "The file has no rows.") from error
        raise Rejected("malformed_csv", "The file does not read as CSV; look for unbalanced quotes.") from error
    except OSError as error:
        raise Rejected("corrupt_file", "The file is damaged or was cut short; send it again.") from error


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield pa.Table.from_batches([batch.slice(start, CHUNK_ROWS)])


# -- JSON Lines ---------------------------------------------------------------------------------------------------


def _is_json(sample: str) -> bool:
    line = sample.lstrip().split("\n", 1)[0].strip()
    return line.startswith('{"') or line in ("[", "{") or line.startswith(("[{", "{}", "{ "))


def _json_lines(path: Path, encoding: str, sample: str) -> Source:
    if sample.lstrip().startswith("[") or sample.lstrip().split("\n", 1)[0].strip() == "{":
        raise Rejected("unsupported_format", "This is one JSON document; send JSON Lines, an object a line.")
    schema: dict[str, pa.DataType] = {}
    done = [0]
    for table in _json_tables(path, encoding, {}, done):
        for item in table.schema:
            schema[item.name] = _wider(schema.get(item.name), item.type)
    nested = [name for name, kind in schema.items() if pa.types.is_nested(kind)]
    if nested:
        raise Rejected("nested_column", f"Column {nested[0]!r} holds lists or objects; flatten it to plain values first.")
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
            table[name].cast(kind) if name in table.column_names else pa.nulls(table.num_rows, kind) for name, kind in schema.items()
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
        return pajson.read_json(pa.BufferReader(block), pajson.ReadOptions(use_threads=False, block_size=2 * BLOCK + 64), options)
    except pa.ArrowInvalid:
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
            raise Rejected("nested_column", f"Column {name!r} holds lists or objects; flatten it to plain values first.")
        if len(kinds) > 1 and not kinds <= {int, float}:
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        columns[name] = pa.array(cells, pa.float64() if float in kinds and kinds <= {int, float} else None)
    return pa.table(columns)


def _line_blocks(path: Path, encoding: str) -> Iterator[bytes]:
    """Blocks of whole lines as UTF-8."""
    decoder, rest = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)(), ""
    for block in _blocks(path):
        text = rest + decoder.decode(block)
        cut = text.rfind("\n") + 1
        rest = text[cut:]
        if len(rest) > BLOCK:
            raise Rejected("malformed_json", "A line is longer than 4 MiB.")
        if cut:
            yield text[:cut].encode()
    if rest.strip():
        yield rest.encode()


# -- Parquet ------------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Source:
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (pa.ArrowInvalid, OSError) as error:
        raise Rejected("corrupt_file", "The Parquet file is damaged or was cut short; send it again.") from error
    for item in schema:
        kind = item.type.value_type if pa.types.is_dictionary(item.type) else item.type
        if pa.types.is_nested(kind):
            raise Rejected("nested_column", f"Column {item.name!r} holds lists or structures; flatten it to plain values first.")
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            raise Rejected("unsupported_column", f"Column {item.name!r} holds bytes; leave it out or turn it into text.")
    if not file.metadata.num_rows:
        raise Rejected("no_rows", "The file has columns and no rows.")
    done = [0]
    return Source(
        kind="parquet", names=list(schema.names), chunks=lambda: _parquet_chunks(path, done),
        total_bytes=file.metadata.num_rows, done_bytes=lambda: done[0],
    )  # fmt: skip


def _parquet_chunks(path: Path, done: list[int]) -> Iterator[pa.Table]:
    done[0] = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(CHUNK_ROWS, use_threads=False):
            done[0] += batch.num_rows
            table = pa.Table.from_batches([batch])
            yield table.cast(pa.schema([(item.name, _plain(item.type)) for item in table.schema]))
    except (pa.ArrowInvalid, OSError) as error:
        raise Rejected("corrupt_file", "The Parquet file is damaged or was cut short; send it again.") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """Dictionaries as their values, and every kind of text as plain text."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind

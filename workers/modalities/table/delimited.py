"""CSV and its relatives: finding delimiter and header, reading in blocks, skipping ragged lines."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from service.errors import Rejected
from workers.modalities.table.encodings import SAMPLE
from workers.modalities.table.source import BLOCK, CHUNK_ROWS, MAX_COLUMNS, Source

DELIMITERS = ",;\t|"


def delimited(path: Path, encoding: str, sample: str, options: Mapping[str, Any]) -> Source:
    lines = io.StringIO(sample, newline="").readlines()
    blank = next((i for i, line in enumerate(lines) if line.strip(" \r\n")), 0)  # lines before the first that speaks
    sample = "".join(lines[blank:])
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
        kind="csv", names=names, tokens=True,
        chunks=lambda: _csv_chunks(path, encoding, delimiter, source, (blank, int(header)), stream),
        total_bytes=path.stat().st_size, done_bytes=lambda: stream[0].tell() if stream and not stream[0].closed else 0,
        layout={"delimiter": delimiter}, warnings=warnings,
    )  # fmt: skip
    return source


def _parsed(sample: str, delimiter: str) -> list[list[str]]:
    """The first whole rows of the sample; its last line may be cut short."""
    whole = sample if len(sample) < SAMPLE // 4 or "\n" not in sample else sample[: sample.rindex("\n")]
    try:
        lines = csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter)
        rows = [row for row in islice(lines, 500) if row]
    except csv.Error as error:
        raise Rejected("malformed_csv", f"The file does not read as CSV: {error}.") from error
    return rows or [[""]]


def sniff_delimiter(sample: str) -> str:
    """The delimiter that cuts most lines into the same number (above one) of fields; a comma if there is none."""

    def score(delimiter: str) -> tuple[float, int]:
        try:
            found = _parsed(sample, delimiter)
        except Rejected:
            return (0.0, 0)
        counts = Counter(len(row) for row in found)
        wide = ((width, n) for width, n in counts.items() if width > 1)
        width, rows = max(wide, key=lambda item: item[1], default=(1, 0))
        share = round(rows / counts.total(), 1)
        return (share if len(found[0]) == width else share / 2, width) if share >= 0.5 else (0.0, width)

    best = max(DELIMITERS, key=score)
    return best if score(best)[0] > 0 else ","


def looks_headerless(rows: list[list[str]]) -> bool:
    """Whether the first line is data: each column that is numeric below is numeric there too (and not just years)."""
    below = rows[1:101]
    if not below:
        return False
    numeric = [
        i for i in range(len(rows[0])) if _all_numbers([row[i] for row in below if len(row) > i and row[i].strip()])
    ]
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
    path: Path, encoding: str, delimiter: str, source: Source, skipped: tuple[int, int], stream: list[pa.NativeFile]
) -> Iterator[pa.Table]:
    source.ragged = 0

    def skip(row: Any) -> str:
        source.ragged += 1
        return "skip"

    raw = pa.OSFile(str(path))
    stream[:] = [raw]
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    read = pacsv.ReadOptions(
        block_size=BLOCK,
        encoding="utf8" if encoding == "utf-8" else encoding,
        column_names=source.names,
        skip_rows=skipped[0],  # these are lines
        skip_rows_after_names=skipped[1],  # and these are rows, which may span lines
    )
    parse = pacsv.ParseOptions(
        delimiter=delimiter,
        newlines_in_values=True,
        invalid_row_handler=skip,
        ignore_empty_lines=len(source.names) > 1,  # in a single column an empty line is a missing value
    )
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(source.names, pa.string()), strings_can_be_null=False)
    unpacked = pa.CompressedInputStream(raw, "gzip") if packed else raw
    reader = _guarded(lambda: pacsv.open_csv(unpacked, read, parse, convert))
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
            raise Rejected(
                "wrong_encoding", "The file is not valid UTF-8; save it as UTF-8, or name its encoding."
            ) from error
        if "straddl" in text or "block" in text:
            raise Rejected(
                "malformed_csv", "A line or a quoted value is longer than 4 MiB; is a closing quote missing?"
            ) from error
        if "Empty CSV" in text:
            raise Rejected("no_rows", "The file has no rows.") from error
        raise Rejected("malformed_csv", "The file does not read as CSV; look for unbalanced quotes.") from error
    except OSError as error:
        raise Rejected("corrupt_file", "The file is damaged or was cut short; send it again.") from error


def _sliced(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield pa.Table.from_batches([batch.slice(start, CHUNK_ROWS)])

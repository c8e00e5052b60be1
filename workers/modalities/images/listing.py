"""A table that names pictures and tells of them: a labels CSV inside an archive, joined to the pictures by name."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from workers.modalities.images.attributes import HELD_LEVELS, MAXIMUM_COLUMNS, Column
from workers.modalities.images.sources import CAPTIONS, EXTENSIONS, VALUE_CHARACTERS, Listing

FILES = ("file", "file_name", "filename", "image", "path", "image_path", "filepath", "file_path", "image_name", "img",
         "image_id", "id")  # fmt: skip
PREFERRED = ("labels", "metadata")
UNNAMED = re.compile(r"$|Unnamed: \d+$|_\d+$")  # what pandas writes as its index
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
SUFFIXES = r"(?i)\.(" + "|".join(sorted(suffix[1:] for suffix in EXTENSIONS)) + ")$"


@dataclass(frozen=True)
class Told:
    """What a table tells, by candidate."""

    columns: list[Column]
    captions: pa.ChunkedArray | None
    row: NDArray[np.int32]  # of the table, -1 for a candidate that it does not name

    def caption(self, candidate: int) -> str | None:
        row = int(self.row[candidate])
        value = self.captions[row].as_py() if self.captions is not None and row >= 0 else None
        return str(value) if value else None


def chosen(lists: list[Listing]) -> Listing | None:
    """The table to read: labels.csv or metadata.csv, or the only one there is."""
    usual = [one for name in PREFERRED for one in lists if PurePosixPath(one.name).stem.lower() == name]
    return usual[0] if usual else (lists[0] if len(lists) == 1 else None)


def joined(listing: Listing, names: list[str], warnings: list[str]) -> Told | None:
    """What the table tells of the pictures of these names; None, and a warning, where it names none of them."""
    shown = PurePosixPath(listing.name).name[:60]
    table = _table(listing.data, shown, warnings)
    if table is None:
        warnings.append(f"{shown} cannot be read as a table; it was left out.")
        return None
    by_name = {name.strip().lower(): index for index, name in reversed(list(enumerate(table.column_names)))}
    files = next((by_name[name] for name in FILES if name in by_name), None)
    if files is None:
        warnings.append(
            f"{shown} has no column that names the pictures (such as file, file_name, image or path); left out."
        )
        return None
    folder = PurePosixPath(listing.name).parent.as_posix()
    row = _matched(table.column(files), names, "" if folder == "." else folder + "/", shown, warnings)
    if (row < 0).all():
        warnings.append(f"{shown} names none of the pictures; it was left out.")
        return None
    captions = next((by_name[name] for name in CAPTIONS if name in by_name), None)
    told = [
        i for i in range(table.num_columns) if i not in (files, captions) and not UNNAMED.match(table.column_names[i])
    ]
    if len(told) > MAXIMUM_COLUMNS:
        warnings.append(f"{shown} has {len(told)} columns of attributes; the first {MAXIMUM_COLUMNS} were read.")
    columns = [_column(table.column_names[i], table.column(i), row) for i in told[:MAXIMUM_COLUMNS]]
    return Told(columns, None if captions is None else table.column(captions), row)


def _table(data: bytes, shown: str, warnings: list[str]) -> pa.Table | None:
    """The table, all of it text; None for what is no table. Lines of another length are skipped and counted."""
    text = _decoded(data)
    first, _, _ = text.partition("\n")
    delimiter = max(",;\t|", key=first.count)
    try:
        header = next(csv.reader([first.rstrip("\r")], delimiter=delimiter))
    except (csv.Error, StopIteration):
        return None
    skipped = [0]

    def ragged(row: object) -> str:
        skipped[0] += 1
        return "skip"

    try:
        table = pacsv.read_csv(
            io.BytesIO(text.encode()),
            read_options=pacsv.ReadOptions(use_threads=False, column_names=_different(header), skip_rows=1),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=ragged, newlines_in_values=True, double_quote=True
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(_different(header), pa.string()),
                strings_can_be_null=True,
                null_values=["", "nan", "NaN", "null", "NULL", "None"],
            ),
        )
    except (pa.ArrowException, ValueError, OSError):
        return None
    if skipped[0]:
        warnings.append(f"{skipped[0]:,} lines of {shown} have another number of values than its header; skipped.")
    return table if table.num_rows else None


def _decoded(data: bytes) -> str:
    """The text in the encoding that its bytes allow."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _different(names: list[str]) -> list[str]:
    """Column names, none twice."""
    seen: set[str] = set()
    out = []
    for index, name in enumerate(names):
        plain = name.strip()
        out.append(plain if plain not in seen else f"{plain}_{index}")
        seen.add(out[-1])
    return out


def _plain(paths: pa.Array) -> pa.Array:
    slashes = pc.replace_substring(paths, "\\", "/")
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(slashes), r"^(\./|/)+", "")


def _same(paths: pa.Array) -> pa.Array:
    return paths


def _base(paths: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(paths, "^.*/", "")


def _stem(paths: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(_base(paths), SUFFIXES, "")


def _matched(
    files: pa.ChunkedArray, names: list[str], folder: str, shown: str, warnings: list[str]
) -> NDArray[np.int32]:
    """The table's row of each candidate: by path, file name, or name without extension, whichever fits most."""
    stated = _plain(files.combine_chunks())
    paths = pa.array([name.removeprefix(folder) for name in names], pa.string())
    best, row = -1, np.full(len(names), -1, np.int32)
    wanted, given = stated, paths
    for form in (_same, _base, _stem):
        as_stated, as_given = form(stated), form(paths)
        found = pc.index_in(as_given, value_set=as_stated, skip_nulls=True)
        count = int(pc.count_distinct(found, mode="only_valid").as_py())
        if count > best:
            best, wanted, given = count, as_stated, as_given
            row = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    row = _unambiguous(row, given, paths, shown, warnings)
    different = pc.unique(wanted.drop_null())
    absent = int(pc.sum(pc.invert(pc.is_in(different, value_set=given))).as_py() or 0)
    if absent:
        warnings.append(f"{shown} names {absent:,} pictures that the archive does not have.")
    twice = len(wanted) - wanted.null_count - len(different)
    if twice:
        warnings.append(f"{twice:,} lines of {shown} name a picture again; the first line of each counts.")
    return row


def _unambiguous(
    row: NDArray[np.int32], given: pa.Array, paths: pa.Array, shown: str, warnings: list[str]
) -> NDArray[np.int32]:
    """Without the rows of pictures that share a file name with one in another folder: which is meant is unknown."""
    pairs = pa.table({"given": given, "path": paths}).group_by("given").aggregate([("path", "count_distinct")])
    shared = pairs.filter(pc.greater(pairs["path_count_distinct"], 1))["given"].combine_chunks()
    unclear = pc.is_in(given, value_set=shared).to_numpy(zero_copy_only=False) & (row >= 0)
    if unclear.any():
        warnings.append(
            f"{int(unclear.sum()):,} pictures have a file name that occurs in several folders, so what {shown} says "
            "may be meant for another; write paths into it."
        )
    return np.where(unclear, -1, row).astype(np.int32)


def _column(name: str, values: pa.ChunkedArray, row: NDArray[np.int32]) -> Column:
    """One column of the table, by candidate."""
    plain = pc.utf8_trim_whitespace(values)
    long = pc.greater(pc.utf8_length(plain), VALUE_CHARACTERS)
    plain = pc.if_else(pc.or_(long, pc.equal(plain, "")), pa.scalar(None, pa.string()), plain)
    coded = pc.dictionary_encode(plain.combine_chunks())
    by_row = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    codes = np.where(row >= 0, by_row[row], -1).astype(np.int32)
    numbers = _numbers(coded.dictionary)
    by_candidate = None if numbers is None else np.append(numbers, np.float32("nan"))[codes]
    levels = coded.dictionary.to_pylist() if len(coded.dictionary) <= HELD_LEVELS else None
    return Column(name, levels, codes if levels is not None else np.full(len(row), -1, np.int32), by_candidate)


def _numbers(levels: pa.Array) -> NDArray[np.float32] | None:
    """The levels as numbers; None where one is none."""
    if not pc.all(pc.match_substring_regex(levels, NUMBER), min_count=0).as_py():
        return None
    found = pc.cast(levels, pa.float64()).to_numpy(zero_copy_only=False)
    return found.astype(np.float32) if (np.abs(found) < 3e38).all() else None

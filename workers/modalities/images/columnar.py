"""Pictures in Parquet, as Hugging Face datasets and others write them: bytes in one column, what is known in others."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.errors import Rejected
from workers.modalities.images.sources import CAPTIONS, VALUE_CHARACTERS, Found, Item, Tick, text

BATCH = 32  # rows decoded at a time: pictures of 64 MB would still fit
PAGE = 1 << 16  # bytes read ahead in each column: a row group is never held whole
NAMES = ("image", "img", "picture", "photo", "bytes", "image_bytes", "png", "jpg", "jpeg", "webp", "pixel_values")
BYTES = ("bytes", "data", "content")  # of a struct


def _binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holder(field: pa.Field) -> str | None:
    """The name of the struct's field that holds bytes, "" where the column itself does; None for no such column."""
    if pa.types.is_struct(field.type):
        inside = {child.name: child for child in field.type}
        return next((name for name in BYTES if name in inside and _binary(inside[name].type)), None)
    return "" if _binary(field.type) else None


def image_column(schema: pa.Schema) -> str | None:
    """The column that holds pictures: one of a usual name, else the only one of bytes."""
    able = [field.name for field in schema if _holder(field) is not None]
    usual = [name for name in NAMES for mine in able if mine.lower() == name]
    return usual[0] if usual else (able[0] if len(able) == 1 else None)


def holds_pictures(path: Path) -> bool:
    """Whether a Parquet file's schema has a column of pictures; False for what cannot be read."""
    try:
        return image_column(pq.read_schema(path)) is not None
    except (pa.ArrowException, OSError, ValueError):
        return False


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names behind numbered classes, by column, from what `datasets` writes into the file's metadata."""
    try:
        stated = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = {column: feature.get("names") for column, feature in stated.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {column: [str(name) for name in names] for column, names in named.items() if isinstance(names, list)}


def _single(kind: pa.DataType) -> bool:
    """Whether a column holds one text, number or truth in each row."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    kinds: tuple[Callable[[Any], bool], ...] = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean,
    )  # fmt: skip
    return any(is_kind(kind) for is_kind in kinds)


def _damaged(error: Exception) -> Rejected:
    if isinstance(error, MemoryError):
        return Rejected(
            "archive_too_large", "The Parquet file's pages are too large; write it with fewer rows in each."
        )
    return Rejected("corrupt_file", "The Parquet file is damaged or cut short; write it and upload it again.")


class Parquet:
    """The rows of a Parquet file, a few at a time. `largest` bounds the bytes of one picture."""

    def __init__(self, path: Path, largest: int) -> None:
        self.path, self.largest = path, largest

    def items(self, tick: Tick, found: Found) -> Iterator[Item]:
        try:
            with pq.ParquetFile(self.path, buffer_size=PAGE, pre_buffer=False) as file:
                yield from self._rows(file, tick)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise _damaged(error) from error

    def _rows(self, file: pq.ParquetFile, tick: Tick) -> Iterator[Item]:
        schema = file.schema_arrow
        column = image_column(schema)
        if column is None:
            listed = ", ".join(name[:40] for name in schema.names[:12])
            raise Rejected(
                "no_images",
                f"No column of the Parquet file holds pictures (bytes, or a struct with bytes); it has {listed}.",
            )
        names = _class_names(schema)
        known = [field.name for field in schema if field.name != column and _single(field.type)]
        total, done = max(1, file.metadata.num_rows), 0
        for batch in file.iter_batches(BATCH, columns=[column, *known], use_threads=False):
            tick(min(1.0, done / total))
            pictures, paths = _parts(batch.column(column), _holder(schema.field(column)) or "")
            told = {name: _told(batch.column(name), names.get(name)) for name in known}
            for row in range(batch.num_rows):
                said = {name: value for name in known if (value := text(told[name][row])) is not None}
                caption = next((said[name] for name in said if name.lower() in CAPTIONS), None)
                said = {
                    name: value
                    for name, value in said.items()
                    if name.lower() not in CAPTIONS and len(value) <= VALUE_CHARACTERS
                }
                place = f"row {done + row}" + (f" ({paths[row]})" if paths and paths[row] else "")
                yield Item(place, self._reader(pictures, row), "", said, caption)
            done += batch.num_rows

    def _reader(self, pictures: pa.Array, row: int) -> Callable[[], bytes]:
        def read() -> bytes:
            data = pictures[row].as_buffer() if pictures[row].is_valid else None
            if data is None or data.size > self.largest:
                raise OSError("no bytes, or more than a picture may have")
            return bytes(data)

        return read


def _parts(column: pa.Array, holder: str) -> tuple[pa.Array, list[str | None] | None]:
    """(the bytes, the paths if there are any) of a batch of pictures."""
    if not holder:
        return column, None
    kind = column.type
    paths = kind.get_field_index("path")
    stated = pc.struct_field(column, [paths]).to_pylist() if paths >= 0 else None
    return pc.struct_field(column, [kind.get_field_index(holder)]), stated


def _told(column: pa.Array, names: list[str] | None) -> list[object]:
    """The values of a batch; numbers of classes as their names, an unknown number as missing."""
    values: list[object] = column.to_pylist()
    if names is None or not pa.types.is_integer(column.type):
        return values
    return [names[v] if isinstance(v, int) and 0 <= v < len(names) else None for v in values]

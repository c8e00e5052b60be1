"""Objects within rows: taken apart into columns with dotted names, put together again in outputs that can hold them.

A path is the names from the row down to a value: ("address", "city") is the column address.city."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.errors import Rejected

DEPTH = 5  # names in a path
Path = tuple[str, ...]


def dotted(path: Path) -> str:
    return ".".join(path)


def refuse_list(path: Path) -> Rejected:
    return Rejected(
        "nested_column",
        f"Column {dotted(path)!r} holds lists; turn each list into columns or into rows of its own first.",
    )


def leaves(schema: pa.Schema | pa.StructType, above: Path = ()) -> list[tuple[Path, pa.DataType]]:
    """All values that a row holds, objects within it included. Raises Rejected for lists and for what is too deep."""
    out: list[tuple[Path, pa.DataType]] = []
    for item in schema:
        path = (*above, item.name)
        if pa.types.is_struct(item.type):
            if len(path) >= DEPTH:
                name = dotted(path)
                raise Rejected(
                    "nested_column", f"Column {name!r} holds objects more than {DEPTH} deep; flatten them first."
                )
            out += leaves(item.type, path)
        elif pa.types.is_nested(item.type):
            raise refuse_list(path)
        else:
            out.append((path, item.type))
    return out


def flattened(table: pa.Table) -> list[tuple[Path, pa.ChunkedArray]]:
    """The table's values by their paths. Where an object is missing, so is all that it would hold."""
    paths = [path for path, _ in leaves(table.schema)]
    while any(pa.types.is_struct(item.type) for item in table.schema):
        table = table.flatten()
    return list(zip(paths, table.columns, strict=True))


def of_object(row: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The same for one row as Python objects."""
    for name, value in row.items():
        path = (*above, name)
        if isinstance(value, dict) and len(path) < DEPTH:
            yield from of_object(value, path)
        elif isinstance(value, list | dict):
            raise refuse_list(path)
        else:
            yield path, value


def together(paths: Sequence[Path]) -> list[Path]:
    """The same paths, those of one object side by side. Raises Rejected where a value is an object in other rows."""
    known = set(paths)
    mixed = next((path for path in paths for n in range(1, len(path)) if path[:n] in known), None)
    if mixed:
        name = dotted(next(mixed[:n] for n in range(1, len(mixed)) if mixed[:n] in known))
        raise Rejected("nested_column", f"Column {name!r} holds an object in some rows and a plain value in others.")
    if all(len(path) == 1 for path in paths):
        return list(paths)
    first = {path[0]: None for path in paths}
    out: list[Path] = []
    for name in first:
        inner = [path[1:] for path in paths if path[0] == name and len(path) > 1]
        out += [(name, *rest) for rest in together(inner)] if inner else [(name,)]
    return out


def layout(paths: Sequence[Path]) -> dict[str, list[str]]:
    """For outputs: the paths of those columns that lie within objects."""
    return {dotted(path): list(path) for path in paths if len(path) > 1}


# -- and back -----------------------------------------------------------------------------------------------------


def fields(kinds: Sequence[tuple[Path, pa.DataType]]) -> list[pa.Field]:
    """Of a schema with objects in it; paths of one object lie side by side."""
    out = []
    for name in dict.fromkeys(path[0] for path, _ in kinds):
        inner = [(path[1:], kind) for path, kind in kinds if path[0] == name]
        out.append(pa.field(name, pa.struct(fields(inner)) if inner[0][0] else inner[0][1]))
    return out


def arrays(values: Sequence[tuple[Path, pa.Array]]) -> list[pa.Array]:
    """Columns with objects in them; an object of which every value is missing is missing itself."""
    out = []
    for name in dict.fromkeys(path[0] for path, _ in values):
        inner = [(path[1:], array) for path, array in values if path[0] == name]
        if not inner[0][0]:
            out.append(inner[0][1])
            continue
        within = arrays(inner)
        gone = within[0].is_null()
        for array in within[1:]:
            gone = pc.and_(gone, array.is_null())
        kinds = fields([(path, array.type) for path, array in inner])
        out.append(pa.StructArray.from_arrays(within, fields=kinds, mask=gone))
    return out


def braces(paths: Sequence[Path]) -> list[tuple[list[str], int]]:
    """For each path: the objects that begin before it, and how many end after it."""
    out = []
    for i, path in enumerate(paths):
        before, after = (paths[j] if 0 <= j < len(paths) else () for j in (i - 1, i + 1))
        out.append((list(path[_shared(path, before) : -1]), len(path) - 1 - _shared(path, after)))
    return out


def _shared(path: Path, other: Path) -> int:
    """How many objects two paths have in common."""
    n = 0
    while n < min(len(path), len(other)) - 1 and path[n] == other[n]:
        n += 1
    return n

"""Toy tables with rules in them, their schemas, and the way that every test of rules takes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.structure import Structure

FEW = 20


def columns(table: pa.Table) -> list[dict[str, Any]]:
    """A schema's entries, as inference makes them."""
    return [_column(name, table[name].combine_chunks()) for name in table.column_names]


def _column(name: str, array: pa.Array) -> dict[str, Any]:
    kind = {"string": "category", "bool": "boolean", "int64": "integer", "double": "float", "date32[day]": "date"}.get(
        str(array.type), "datetime"
    )
    entry: dict[str, Any] = {"name": name, "type": kind, "arrow": str(array.type), "reason": "A toy."}
    entry |= {"nullable": array.null_count > 0, "missing": array.null_count / max(1, len(array))}
    filled = array.drop_null()
    if kind in ("integer", "float") and len(filled) and np.isfinite(filled.to_numpy()).all():
        entry |= {"minimum": pc.min(filled).as_py(), "maximum": pc.max(filled).as_py()}
    if kind == "float":
        values = filled.to_numpy()
        entry["decimals"] = next(
            (d for d in range(7) if np.allclose(values, np.round(values, d), rtol=0, atol=1e-9)), None
        )
    if kind in ("category", "boolean") or len(pc.unique(filled)) <= FEW:
        counted = pc.value_counts(filled)
        order = np.argsort(-counted.field(1).to_numpy(), kind="stable")
        if kind not in ("date", "datetime"):
            entry["levels"] = [counted.field(0)[int(i)].as_py() for i in order]
    return entry


def fitted(table: pa.Table, *constraints: Mapping[str, Any], search: bool = True, seed: int = 0) -> Structure:
    """Through a file, as it is used: what cannot be written as JSON fails here."""
    found = Structure.fit(columns(table), table, list(constraints), np.random.default_rng(seed), search)
    return Structure.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))


def there_and_back(structure: Structure, table: pa.Table) -> pa.Table:
    free = structure.forward(table, np.random.default_rng(1))
    return structure.inverse(free, np.random.default_rng(2))


def shuffled(structure: Structure, table: pa.Table, n: int | None = None, seed: int = 3) -> pa.Table:
    """Free columns that know nothing of each other: the worst that a generator may come up with."""
    rng = np.random.default_rng(seed)
    free = structure.forward(table, rng)
    n = n or table.num_rows
    return pa.table(
        [free[name].take(pa.array(rng.integers(0, table.num_rows, n))) for name in free.column_names],
        names=free.column_names,
    )


def made(structure: Structure, table: pa.Table, n: int | None = None, seed: int = 3, **more: Any) -> pa.Table:
    """Rows of that worst generator."""
    return structure.inverse(shuffled(structure, table, n, seed), np.random.default_rng(seed + 1), **more)


def same(one: pa.Table, other: pa.Table, name: str) -> float:
    """Share of rows with the same value, or none in both."""
    a, b = one[name].combine_chunks(), other[name].combine_chunks()
    equal = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(a.is_null(), b.is_null()))
    return float(pc.mean(equal.cast(pa.float64())).as_py())


def formulas(structure: Structure, kind: str | None = None) -> list[str]:
    return [entry["formula"] for entry in structure.describe() if kind in (None, entry["kind"])]


def numbers(table: pa.Table, name: str) -> np.ndarray:
    array = table[name].combine_chunks()
    if pa.types.is_temporal(array.type):
        array = (array.cast(pa.int32()) if pa.types.is_date(array.type) else array).cast(pa.int64())
    return array.cast(pa.float64()).to_numpy(zero_copy_only=False)


def dates(values: Sequence[int] | np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Days since 1970."""
    return pa.array(np.asarray(values, np.int32), mask=mask).cast(pa.date32())

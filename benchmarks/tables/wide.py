"""Wide tables out of narrow ones: columns of several real sets side by side, and noisy copies of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NOISE = 0.3  # of a number's spread
MOVED = 0.2  # share of a column's rows that get another row's value


def widened(tables: Sequence[pa.Table], rows: int, columns: int, seed: int = 0) -> pa.Table:
    """A table of so many rows and columns, which depend on each other as they do within each of `tables`."""
    rng = np.random.default_rng(seed)
    drawn = [table.take(rng.integers(0, len(table), rows)) for table in tables]
    found: dict[str, pa.Array] = {}
    for turn in range(1 + columns // sum(table.num_columns for table in drawn)):
        for place, table in enumerate(drawn):
            for name in table.column_names:
                array = table[name].combine_chunks()
                found[f"{name}_{place}_{turn}"] = _noisy(array, rng) if turn else array
    return pa.table(dict(list(_spread(found, columns))))


def _spread(found: dict[str, pa.Array], columns: int) -> Iterator[tuple[str, pa.Array]]:
    """So many of the columns, from all over."""
    items = list(found.items())
    return (items[i] for i in np.linspace(0, len(items) - 1, columns).astype(int))


def _noisy(array: pa.Array, rng: np.random.Generator) -> pa.Array:
    moved = rng.random(len(array)) < MOVED
    places = np.where(moved, rng.permutation(len(array)), np.arange(len(array)))
    array = array.take(pa.array(places))
    kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or pc.count_distinct(array).as_py() < 50:
        return array
    values = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
    noise = NOISE * np.nanstd(values) * rng.normal(size=len(values))
    whole = pa.types.is_integer(kind) or not np.nansum(values % 1)
    noisy = np.where(values == 0, 0.0, values + noise)
    return pa.array(noisy.round(0 if whole else 2), mask=np.isnan(values)).cast(kind, safe=False)

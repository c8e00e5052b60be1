"""What synthetic rows are worth for predicting a column: figures on held-out rows, without them and with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.metrics import utility
from workers.metrics.utility import Figures, Floats
from workers.modalities import Progress
from workers.modalities.table.writing import storage_type

REAL_ROWS = 50_000  # that a classifier is trained on; three times as many synthetic ones
CELLS = 20_000_000  # of the rows that a classifier is trained on: 160 MB
FEW, FEW_OF_CLASS = (
    30,
    10,
)  # holdout rows: below the first nothing is measured, below the second a class's recall is chance
MOST_CLASSES = 50
LEVELS = 250  # of a category: boosted trees take 255
NEVER = ("identifier", "text", "constant", "personal")
SOME_REAL = (
    "The score was measured with {real} of the real rows and {made} synthetic ones. The model may have learned from "
    "more real rows than these, so with all of them the gain may be smaller."
)
SOME_MADE = "The score was measured with {made} of the synthetic rows."
Column = dict[str, Any]


def most_rows(columns: int) -> int:
    """How many real rows of so wide a table are used."""
    return min(REAL_ROWS, max(1_000, CELLS // (4 * max(1, columns))))


def is_feature(column: Column) -> bool:
    """Whether other columns could be told from this one."""
    return column["type"] not in NEVER and ("levels" in column or not pa.types.is_string(storage_type(column)))


def unmeasured(why: str) -> dict[str, Any]:
    return {"before": None, "after": None, "weighted": None, "change": None, "verdict": why, "warnings": []}


@dataclass(frozen=True)
class Side:
    """Rows as arrays: features (n, d) with NaN for what is missing, and the target."""

    x: Floats
    y: NDArray[Any]


def measured(
    real: pa.Table,
    made: pa.Table,
    held: pa.Table,
    columns: Sequence[Column],
    target: Column,
    balanced: bool,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Figures before and after, between which ends their changes lie, and a verdict; tables in storage types. Where
    classes are `balanced`, also what their weights do in place of rows."""
    features = [column for column in columns if column is not target and real[column["name"]].null_count < len(real)]
    if not features:
        return unmeasured("The table has no other column from which the target could be told, so nothing was scored.")
    book = [_book(real, column) for column in features]
    levels = _levels(real, target) if "levels" in target else None
    sides = [Side(_features(t, features, book), _target(t, target, levels)) for t in (real, made, held)]
    a, b, c = (_known(side) for side in sides)
    if len(c.y) < FEW:
        told = f"{len(c.y)} held-out rows with a value in {target['name']!r} are too few for a score; {FEW} are needed."
        return unmeasured(told)
    if levels is not None and (len(levels) < 2 or len(np.unique(a.y)) < 2):
        return unmeasured(f"The real rows used have a single class of {target['name']!r}, so nothing was scored.")
    both = Side(np.concatenate([a.x, b.x]), np.concatenate([a.y, b.y]))
    categories = np.array([values is not None for values in book])
    return _Score(levels, categories, c, seed, progress).told(a, both, balanced)


class _Score:
    def __init__(
        self, levels: list[Any] | None, categories: NDArray[np.bool_], held: Side, seed: int, progress: Progress
    ) -> None:
        self.levels, self.categories, self.held, self.progress = levels, categories, held, progress
        self.seed = seed % 2**32
        self.weights = utility.resamples(len(held.y), seed)

    def told(self, real: Side, both: Side, balanced: bool) -> dict[str, Any]:
        before, after = self._figures(real, 0.2), self._figures(both, 0.4)
        change = utility.changes(before, after)
        out: dict[str, Any] = {"before": self._shown(before), "after": self._shown(after), "weighted": None}
        if self.levels is not None and balanced:
            out["weighted"] = self._shown(self._figures(real, 0.8, utility.balancing(real.y)))
        out["change"] = {name: [round(end, 4) for end in ends] for name, ends in change.items()}
        out["verdict"] = utility.verdict(out["before"], out["after"], change, out["weighted"])
        for name, rows in (("before", len(real.y)), ("after", len(both.y))):
            out[name] |= {"trained_on": rows, "scored_on": len(self.held.y)}
        return out | {"warnings": self._warnings()}

    def _figures(self, side: Side, done: float, weights: Floats | None = None) -> Figures:
        self.progress(done, 1)
        if self.levels is None:
            guess = utility.predictions(side.x, side.y, self.held.x, self.categories, self.seed)
            return utility.regression(self.held.y, guess, self.weights)
        k = len(self.levels)
        guess = utility.probabilities(side.x, side.y, self.held.x, k, self.categories, self.seed, weights)
        return utility.classification(self.held.y, guess, self.weights)

    def _shown(self, figures: Figures) -> dict[str, Any]:
        """Of all holdout rows, rounded; what cannot be said is None."""
        plain = {name: _round(values[0]) for name, values in figures.items() if name != "recall"}
        if self.levels is None:
            return plain
        recalls = [_round(value) for value in figures["recall"][0]]
        return plain | {"recall": dict(zip(map(_word, self.levels), recalls, strict=True))}

    def _warnings(self) -> list[str]:
        if self.levels is None:
            return []
        counts = np.bincount(self.held.y, minlength=len(self.levels)).tolist()
        few = [f"{_word(level)} ({n})" for level, n in zip(self.levels, counts, strict=True) if n < FEW_OF_CLASS]
        if not few:
            return []
        return [f"The holdout has so few rows of some classes that their recall is chance: {', '.join(few[:10])}."]


def _round(value: float) -> float | None:
    return round(float(value), 4) if isfinite(value) else None


def _word(level: Any) -> str:
    return str(level).lower() if isinstance(level, bool) else str(level)


def _array(table: pa.Table, column: Column) -> pa.Array:
    return pa.concat_arrays(table[column["name"]].chunks) if table.num_rows else pa.array([], storage_type(column))


def _floats(array: pa.Array) -> Floats:
    """Numbers, times and booleans as they are, NaN where one is missing."""
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_temporal(array.type):
        array = array.cast(pa.int64())
    found: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _book(real: pa.Table, column: Column) -> pa.Array | None:
    """The most frequent values of a text column among the real rows; None for a number."""
    if not pa.types.is_string(real[column["name"]].type):
        return None
    counted = pc.value_counts(_array(real, column).drop_null())
    order = np.argsort(-counted.field(1).to_numpy(), kind="stable")[:LEVELS]
    return counted.field(0).take(pa.array(order))


def _features(table: pa.Table, columns: Sequence[Column], book: Sequence[pa.Array | None]) -> Floats:
    out = np.empty((table.num_rows, len(columns)))
    for i, (column, values) in enumerate(zip(columns, book, strict=True)):
        array = _array(table, column)
        if values is None:
            out[:, i] = _floats(array)
            continue
        codes = pc.index_in(array, values).fill_null(LEVELS).to_numpy().astype(float)
        out[:, i] = np.where(array.is_valid().to_numpy(zero_copy_only=False), codes, np.nan)
    return out


def _levels(real: pa.Table, target: Column) -> list[Any]:
    """The target's public classes, the most frequent first, as many as are scored."""
    array = _array(real, target)
    codes = pc.index_in(array, pa.array(target["levels"], array.type)).drop_null().to_numpy()
    counts = np.bincount(codes, minlength=len(target["levels"]))
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return [target["levels"][i] for i in order if counts[i]]


def _target(table: pa.Table, target: Column, levels: list[Any] | None) -> NDArray[Any]:
    """Codes of classes, -1 for others; or numbers."""
    array = _array(table, target)
    if levels is None:
        return _floats(array)
    found: NDArray[Any] = pc.index_in(array, pa.array(levels, array.type)).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _known(side: Side) -> Side:
    """The rows of which the target is known."""
    known = side.y >= 0 if np.issubdtype(side.y.dtype, np.integer) else np.isfinite(side.y)
    return Side(side.x[known], side.y[known])

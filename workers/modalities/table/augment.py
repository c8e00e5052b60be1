"""A table's training rows, and after them synthetic ones that fill its classes up or enlarge it.

The real rows keep their values and their order; the synthetic ones come class by class. Holds one block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities import Dataset, Json, Part, Progress
from workers.modalities.table import afresh, gain, patterns
from workers.modalities.table.apart import SPARE, Free, Taken
from workers.modalities.table.codec import Codec
from workers.modalities.table.writing import storage_type, write_file

BLOCK = 62_500  # rows made at a time, counted from the output's first row; files are of so many blocks
FLAG = "is_synthetic"
TOLD_CLASSES = 100  # in the job's result
Column = dict[str, Any]
Ints = NDArray[np.int64]


class Rows(Protocol):
    """What is asked of a loaded model."""

    codec: Codec

    def table(self, start: int, count: int, seed: int, conditions: Mapping[str, Any]) -> pa.Table:
        """Rows in storage types. What they are depends on the arguments alone; no two starts give the same keys."""

    def refuse_beyond(self, count: int) -> None:
        """Raises Rejected for more rows than can be made."""


@dataclass(frozen=True)
class Run:
    """Synthetic rows that are drawn alike: `count` of them, after the first `start` of all."""

    start: int
    count: int
    conditions: dict[str, Any]


class TableAugmenter:
    def __init__(self, dataset: Dataset, model: Rows, wish: Json) -> None:
        self.columns: list[Column] = list(dataset.schema["columns"])
        self.layout = dataset.schema.get("layout", {})
        self.parts = [part for part in dataset.parts if part.split == "train"]
        self.held = [part for part in dataset.parts if part.split == "holdout"]
        self.real, self.model, self.seed = sum(part.rows for part in self.parts), model, int(wish["seed"])
        self.target = next((column for column in self.columns if column["name"] == wish["target"]), None)
        within = [path[0] for path in self.layout.get("nested", {}).values()]  # objects that columns lie in
        self.flag = flag_name([column["name"] for column in self.columns] + within)
        self._by_class = wish["method"] == "balance"
        self.counts = classes(self.parts, self.target) if self.target and "levels" in self.target else None
        self.runs = self._balanced(wish) if self._by_class else [Run(0, int(wish["count"]), {})]
        self.made = sum(run.count for run in self.runs)
        model.refuse_beyond(self.made)
        self.free = self._apart()
        self.rows = self.real + self.made
        self.warnings = self._warnings(wish)

    def _balanced(self, wish: Json) -> list[Run]:
        if self.target is None or self.counts is None or not self.counts.levels.any():
            raise Rejected("no_classes", f"Column {wish['target']!r} has no classes that could be balanced.")
        added = filled(self.counts.levels, wish["count"], int(wish["max_count"]))
        starts, name = np.cumsum(added) - added, self.target["name"]
        found = zip(self.target["levels"], starts.tolist(), added.tolist(), strict=True)
        return [Run(start, count, {name: level}) for level, start, count in found if count]

    def _warnings(self, wish: Json) -> list[str]:
        """What is otherwise than one may think."""
        told, counts = [], self.counts
        if self.flag != FLAG:
            told.append(f"The table has a column {FLAG!r} of its own, so {self.flag!r} says which rows are synthetic.")
        if counts and self._by_class:
            full = filled(counts.levels, None, 2**62).sum()
            if counts.missing:
                told.append(f"{counts.missing} real rows have no class; they are kept, and nothing is added for them.")
            if counts.rare:
                told.append(
                    f"{counts.rare} real rows are of classes too rare to be learned; nothing is added for them."
                )
            if wish["count"] is None and self.made < full:
                told.append(f"All classes would be as large with {full} synthetic rows; one job makes {self.made}.")
        return told

    def _apart(self) -> Free | None:
        """The numbers that keys and unique values of synthetic rows follow from, so that no real row has them; None
        where none could. Raises Rejected where too few are left."""
        unique = self.model.codec.structure.unique
        self._keys = [c for c in self.columns if c["type"] == "identifier" and c["pattern"]["kind"] != "count"]
        groups = [[axis.name for axis in found.axes] for found in unique] + [[key["name"]] for key in self._keys]
        if not groups or not self.made:
            return None
        known, parts = {column["name"]: column for column in self.columns}, [*self.parts, *self.held]
        used = [known[name] for name in dict.fromkeys(name for group in groups for name in group)]
        taken = [Taken(sum(part.rows for part in parts)) for _ in groups]
        for _, table in read(parts, 0, None, used):
            for one, group in zip(taken, groups, strict=True):
                one.add(table.select(group).columns)

        def values(numbers: NDArray[np.uint64]) -> list[list[pa.Array]]:
            frames = [found.values(numbers) for found in unique] + [self._made_keys(numbers)] * len(self._keys)
            return [
                [frame[name].cast(storage_type(known[name])) for name in group]
                for frame, group in zip(frames, groups, strict=True)
            ]

        rooms = [found.capacity for found in unique] + [patterns.capacity(key["pattern"]) for key in self._keys]
        free = Free(values, taken, min(SPARE, *rooms))
        free.of(np.array([self.made - 1], np.uint64))
        self.model.codec.structure.numbers = free.of
        return free

    def _made_keys(self, numbers: NDArray[np.uint64]) -> dict[str, pa.Array]:
        return afresh.make(self._keys, numbers, self.seed, np.random.default_rng(0), {})

    # -- rows --

    def write(self, path: Path, start: int, count: int, format: str, progress: Progress) -> int:
        flag: Column = {"name": self.flag, "type": "boolean", "arrow": "bool", "nullable": False}

        def blocks() -> Iterator[pa.Table]:
            for first in range(start, start + count, BLOCK):
                stop = min(first + BLOCK, start + count)
                yield self.block(first, stop)
                progress(stop - start, count)

        return write_file(path, format, {"columns": [*self.columns, flag], "layout": self.layout}, blocks())

    def block(self, start: int, stop: int) -> pa.Table:
        """Rows start .. stop-1 of the output in storage types, with the flag as the last column."""
        real = [table for _, table in read(self.parts, start, stop, self.columns)]
        made = [self.drawn(*part) for part in self.draws(start - self.real, stop - self.real)]
        synthetic = np.arange(start, stop) >= self.real
        return pa.concat_tables([*real, *made]).append_column(self.flag, pa.array(synthetic))

    def draws(self, start: int, stop: int) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
        """How the synthetic rows start .. stop-1 are drawn: where each draw starts, of how many rows, on which
        conditions."""
        for run in self.runs:
            first, last = max(start, run.start), min(stop, run.start + run.count)
            if first < last:
                yield first, last - first, run.conditions

    def drawn(self, start: int, count: int, conditions: Mapping[str, Any]) -> pa.Table:
        kinds = pa.schema([(column["name"], storage_type(column)) for column in self.columns])
        made = self.model.table(start, count, self.seed, conditions).select(kinds.names).cast(kinds)
        if self.free is None:
            return made
        keys = self._made_keys(self.free.of(np.arange(start, start + count, dtype=np.uint64)))
        for name, array in keys.items():
            place, old = made.column_names.index(name), made[name].combine_chunks()
            made = made.set_column(place, kinds.field(name), pc.if_else(old.is_valid(), array.cast(old.type), old))
        return made

    # -- what they are worth --

    def judge(self, progress: Progress) -> Json:
        told: dict[str, Any] = {"real_rows": self.real, "synthetic_rows": self.made, "flag": self.flag}
        told["holdout_rows"] = sum(part.rows for part in self.held)
        if self.target is not None and self.counts is not None:
            told["classes"] = self._classes(self.target)
        score = self._score(progress) if self.target else gain.unmeasured("No target was named, so nothing was scored.")
        return told | score | {"warnings": self.warnings + score["warnings"]}

    def _classes(self, target: Column) -> list[dict[str, Any]]:
        """The real rows of each class, the largest first, and the synthetic ones where they are drawn by class."""
        counts = self.counts.levels.tolist() if self.counts else []
        told = [{"level": level, "real": count} for level, count in zip(target["levels"], counts, strict=True)]
        if self._by_class:
            added = {run.conditions[target["name"]]: run.count for run in self.runs}
            told = [one | {"synthetic": added.get(one["level"], 0)} for one in told]
        return sorted(told, key=lambda one: -one["real"])[:TOLD_CLASSES]

    def _score(self, progress: Progress) -> dict[str, Any]:
        columns = [column for column in self.columns if column is self.target or gain.is_feature(column)]
        most = gain.most_rows(len(columns))
        rng = np.random.default_rng([self.seed, 22])
        real = self._some_real(min(most, self.real), columns, rng)
        share = min(real.num_rows / max(1, self.real), 3 * most / max(1, self.made))
        made = self._some_made(share, columns, progress)
        held = pa.concat_tables([_none(columns), *(t for _, t in read(self.held, 0, None, columns))])
        score = gain.measured(real, made, held, columns, self.target or {}, self._by_class, self.seed, progress)
        if real.num_rows < self.real or made.num_rows < self.made:
            sentence = gain.SOME_REAL if real.num_rows < self.real else gain.SOME_MADE
            score["warnings"] = [*score["warnings"], sentence.format(real=real.num_rows, made=made.num_rows)]
        return score

    def _some_real(self, rows: int, columns: list[Column], rng: np.random.Generator) -> pa.Table:
        """So many of the real training rows, drawn at random."""
        chosen = np.sort(rng.choice(self.real, rows, replace=False, shuffle=False))
        tables = [_none(columns)]
        for start, table in read(self.parts, 0, self.real, columns):
            first, last = np.searchsorted(chosen, [start, start + table.num_rows])
            tables.append(table.take(pa.array(chosen[first:last] - start)))
        return pa.concat_tables(tables)

    def _some_made(self, share: float, columns: list[Column], progress: Progress) -> pa.Table:
        """The synthetic rows; of so small a share of them each run as many of its own, drawn anew."""
        tables, names = [_none(columns)], [column["name"] for column in columns]
        for run in self.runs:
            count = run.count if share >= 1 else max(1, round(share * run.count))
            for first, last in _blocks(self.real + run.start, self.real + run.start + count):
                tables.append(self.drawn(first - self.real, last - first, run.conditions).select(names))
                progress(0.1, 1)
        return pa.concat_tables(tables)


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """From start to stop, cut where blocks end."""
    while start < stop:
        end = min(stop, (start // BLOCK + 1) * BLOCK)
        yield start, end
        start = end


def _none(columns: Sequence[Column]) -> pa.Table:
    return pa.schema([(column["name"], storage_type(column)) for column in columns]).empty_table()


def flag_name(names: Sequence[str]) -> str:
    """A name that no column has."""
    return next(name for name in (FLAG, *(f"{FLAG}_{i}" for i in range(2, len(names) + 3))) if name not in names)


def read(
    parts: Sequence[Part], start: int, stop: int | None, columns: Sequence[Column]
) -> Iterator[tuple[int, pa.Table]]:
    """Rows start .. stop-1 of the parts, in these columns: pieces, each with the number of its first row."""
    at, names = 0, [column["name"] for column in columns]
    stop = sum(part.rows for part in parts) if stop is None else stop
    for part in parts:
        if at + part.rows <= start or at >= stop:
            at += part.rows
            continue
        file = pq.ParquetFile(part.path)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            first, last = max(start, at), min(stop, at + rows)
            if first < last:
                table = file.read_row_group(group, columns=names, use_threads=False)
                yield first, table.select(names).slice(first - at, last - first)
            at += rows


@dataclass(frozen=True)
class Counts:
    """Real rows by their class."""

    levels: Ints  # of each public level
    rare: int  # of classes that are not public
    missing: int  # without a class


def classes(parts: Sequence[Part], target: Column) -> Counts:
    found, missing, total = np.zeros(len(target["levels"]) + 1, np.int64), 0, 0
    for _, table in read(parts, 0, None, [target]):
        array = table.column(0).combine_chunks()
        codes = pc.index_in(array, pa.array(target["levels"], array.type)).fill_null(len(found) - 1)
        found += np.bincount(codes.to_numpy(), minlength=len(found))
        missing, total = missing + array.null_count, total + len(array)
    return Counts(found[:-1], int(found[-1]) - missing, missing)


def filled(counts: Ints, wanted: int | None, most: int) -> Ints:
    """How many rows to add to each class so that the smallest come level first: `wanted` in all, else as many as make
    all classes as large as the largest; never more than `most`."""
    wanted = min(int((counts.max() - counts).sum()) if wanted is None else wanted, most)
    ordered = np.sort(counts)
    sums, number = np.cumsum(ordered), np.arange(1, len(ordered) + 1)
    raised = int(np.searchsorted(ordered * number - sums, wanted, side="right"))  # classes that so many rows reach
    level, rest = divmod(wanted + int(sums[raised - 1]), raised)
    added = np.maximum(level - counts, 0)
    added[np.flatnonzero(counts <= level)[:rest]] += 1
    return added

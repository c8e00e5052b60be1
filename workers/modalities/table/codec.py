"""A whole table to codes and Gaussians, and back: what is learned, what follows from it, what is made afresh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.modalities.table import patterns, relations
from workers.modalities.table.columns import Levels, Quantiles, as_floats, decimals_of, from_floats
from workers.modalities.table.infer import Column
from workers.modalities.table.spec import same_level
from workers.modalities.table.writing import storage_type

Ints = NDArray[np.int64]
Single = NDArray[np.float32]
AFRESH = ("identifier", "text", "constant")  # columns of which nothing is learned but where they are missing
MAX_ONE_HOT = 1600  # one-hots in all: the generator's pairwise table grows with the square
MOST_ONE_HOT = 4000  # where this takes pooling all but the dozen most frequent levels of each column


@dataclass
class Variable:
    """A categorical thing that the generator draws: a column's level, or which of some numbers are missing together."""

    column: str | None  # None for a hole
    size: int
    levels: Levels | None = None
    hole: list[str] = field(default_factory=list)  # the columns without levels that are missing where the code is 1


@dataclass
class Number:
    column: str
    table: Quantiles
    hole: int | None  # the variable that says where it is missing


@dataclass
class Alias:
    """A category that is another one by a different name."""

    column: str
    of: int  # variable
    level: list[int]  # for each learned code of the variable, this column's level
    levels: Levels


@dataclass
class Lookup:
    """A number that one or two variables determine."""

    column: str
    key: tuple[int, ...]
    groups: Ints  # sorted
    values: NDArray[np.float64]
    table: Quantiles  # for combinations that never occurred


@dataclass
class Codec:
    columns: list[Column]
    variables: list[Variable]  # in the order in which they are drawn
    numbers: list[Number]
    aliases: list[Alias]
    lookups: list[Lookup]
    parents: list[int]  # of each variable: the earlier one that tells most about it, or -1
    determined: list[tuple[int, int]]  # pairs of variables: the first's level leaves the second no choice

    # -- sizes --

    @property
    def sizes(self) -> list[int]:
        return [variable.size for variable in self.variables]

    @property
    def offsets(self) -> Ints:
        """Where each variable's one-hots begin."""
        return np.concatenate([[0], np.cumsum(self.sizes)])[:-1].astype(np.int64)

    @property
    def one_hots(self) -> int:
        return sum(self.sizes)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column["name"] == name)

    # -- there --

    def encode(self, table: pa.Table, rng: np.random.Generator) -> tuple[Ints, Single, NDArray[np.bool_]]:
        """Codes (n, v), Gaussians (n, d) with noise in the holes, and where they are no holes."""
        codes = [self._codes(variable, table) for variable in self.variables]
        g, valid = [], []
        for number in self.numbers:
            values = as_floats(_array(table, number.column))
            there = ~np.isnan(values)
            column = rng.standard_normal(len(values)).astype(np.float32)
            column[there] = number.table.encode(values[there], rng)
            g.append(column)
            valid.append(there)
        n = table.num_rows
        return (
            np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64),
            np.stack(g, 1) if g else np.zeros((n, 0), np.float32),
            np.stack(valid, 1) if valid else np.zeros((n, 0), bool),
        )

    def _codes(self, variable: Variable, table: pa.Table) -> Ints:
        if variable.levels:
            return variable.levels.encode(_array(table, str(variable.column)))
        if not variable.hole:
            return np.zeros(table.num_rows, np.int64)
        return _missing(table, variable.hole[0]).astype(np.int64)

    # -- and back --

    def decode(
        self, codes: Ints, g: Single, index: NDArray[np.uint64], seed: int, rng: np.random.Generator
    ) -> pa.Table:
        """Codes (n, v) and Gaussians (n, d) as a table of storage values; `index` are the rows' global numbers."""
        made: dict[str, pa.Array] = {}
        for i, variable in enumerate(self.variables):
            if variable.levels:
                made[str(variable.column)] = variable.levels.decode(codes[:, i], rng)
        for alias in self.aliases:
            made[alias.column] = alias.levels.values().take(
                pa.array(np.array(alias.level, np.int64)[codes[:, alias.of]])
            )
        for i, number in enumerate(self.numbers):
            missing = None if number.hole is None else codes[:, number.hole] == 1
            made[number.column] = from_floats(number.table.decode(g[:, i]), self.column(number.column), missing)
        for lookup in self.lookups:
            made[lookup.column] = self._look_up(lookup, codes, rng)
        for column in self.columns:
            if column["name"] not in made:
                made[column["name"]] = _made_afresh(column, index, seed, rng, self._missing(column["name"], codes))
        return pa.table(
            [made[column["name"]] for column in self.columns], names=[column["name"] for column in self.columns]
        )

    def _missing(self, name: str, codes: Ints) -> NDArray[np.bool_] | None:
        hole = next((i for i, variable in enumerate(self.variables) if name in variable.hole), None)
        return None if hole is None else codes[:, hole] == 1

    def _look_up(self, lookup: Lookup, codes: Ints, rng: np.random.Generator) -> pa.Array:
        groups, _ = relations.combined(codes, lookup.key, self.sizes)
        at = np.minimum(np.searchsorted(lookup.groups, groups), len(lookup.groups) - 1)
        values = lookup.values[at]
        new = np.flatnonzero(lookup.groups[at] != groups)
        values[new] = lookup.table.draw(len(new), rng)
        return from_floats(values, self.column(lookup.column), None)

    # -- conditions --

    def fixed(self, conditions: Mapping[str, Any]) -> dict[int, int]:
        """The variables that conditions fix, with their learned codes."""
        out: dict[int, int] = {}
        for name, value in conditions.items():
            for i, variable in enumerate(self.variables):
                if variable.levels and variable.column == name:
                    out[i] = variable.levels.learned(level_of(variable.levels.column, value))
            for alias in self.aliases:
                if alias.column == name and level_of(alias.levels.column, value) in alias.level:
                    out.setdefault(alias.of, alias.level.index(level_of(alias.levels.column, value)))
        return out

    def enforced(self, table: pa.Table, conditions: Mapping[str, Any]) -> pa.Table:
        """The table with the conditions written in: rare and contradicting levels are met as well."""
        for name, value in conditions.items():
            column = self.column(name)
            level = level_of(column, value)
            plain = column["levels"][level] if level < len(column["levels"]) else None
            at = table.column_names.index(name)
            table = table.set_column(
                at, name, pa.array([plain], storage_type(column)).take(pa.array(np.zeros(table.num_rows, np.int64)))
            )
        return table

    # -- as a file --

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "variables": [
                {"column": v.column, "size": v.size, "hole": v.hole, "levels": v.levels.to_json() if v.levels else None}
                for v in self.variables
            ],
            "numbers": [{"column": n.column, "hole": n.hole, "table": n.table.to_json()} for n in self.numbers],
            "aliases": [
                {"column": a.column, "of": a.of, "level": a.level, "levels": a.levels.to_json()} for a in self.aliases
            ],
            "lookups": [
                {
                    "column": x.column,
                    "key": list(x.key),
                    "groups": x.groups.tolist(),
                    "values": x.values.tolist(),
                    "table": x.table.to_json(),
                }
                for x in self.lookups
            ],
            "parents": self.parents,
            "determined": [list(pair) for pair in self.determined],
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Codec:
        columns = {column["name"]: column for column in saved["columns"]}

        def levels(name: str, entry: Mapping[str, Any]) -> Levels:
            return Levels(columns[name], **entry)

        return cls(
            list(saved["columns"]),
            [
                Variable(v["column"], v["size"], levels(v["column"], v["levels"]) if v["levels"] else None, v["hole"])
                for v in saved["variables"]
            ],
            [Number(n["column"], Quantiles.from_json(n["table"]), n["hole"]) for n in saved["numbers"]],
            [Alias(a["column"], a["of"], a["level"], levels(a["column"], a["levels"])) for a in saved["aliases"]],
            [
                Lookup(
                    x["column"],
                    tuple(x["key"]),
                    np.array(x["groups"], np.int64),
                    np.array(x["values"], float),
                    Quantiles.from_json(x["table"]),
                )
                for x in saved["lookups"]
            ],
            list(saved["parents"]),
            [(i, j) for i, j in saved["determined"]],
        )


def level_of(column: Column, value: Any) -> int:
    """The position of a condition's value among the column's levels; after the last for a missing value."""
    if value is None:
        return len(column["levels"])
    return next(i for i, level in enumerate(column["levels"]) if same_level(level, value))


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _missing(table: pa.Table, name: str) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = table[name].combine_chunks().is_null().to_numpy(zero_copy_only=False)
    return out


def _made_afresh(
    column: Column,
    index: NDArray[np.uint64],
    seed: int,
    rng: np.random.Generator,
    missing: NDArray[np.bool_] | None,
) -> pa.Array:
    """Columns that are never learned: keys, texts, constants. Where they are missing is learned."""
    kind, n = storage_type(column), len(index)
    if column["type"] == "identifier":
        array = patterns.make(column["pattern"], index, seed).cast(kind)
    elif column["type"] == "text":
        array = patterns.text(column["words"], n, rng)
    else:
        value = column.get("value")
        text = None if value is None else value if isinstance(value, str) else _plain(value)
        array = pa.array([text], pa.string()).cast(kind).take(pa.array(np.zeros(n, np.int64)))
    if missing is None:
        return array
    return pa.compute.if_else(pa.array(missing), pa.scalar(None, array.type), array)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- fitting ------------------------------------------------------------------------------------------------------


def fit(columns: list[Column], table: pa.Table, max_levels: int) -> tuple[Codec, Ints]:
    """A codec for training rows in storage types, and the codes (n, v) of these rows."""
    learned = [c for c in columns if "levels" in c and c["type"] != "constant"]
    limit = _level_limit(learned, max_levels)
    levels = {c["name"]: Levels.fit(_array(table, c["name"]), c, limit) for c in learned}
    numeric = [c for c in columns if c["type"] in ("integer", "float", "date", "datetime") and "levels" not in c]
    numeric = [c for c in numeric if table[c["name"]].null_count < table.num_rows]
    afresh = [c for c in columns if c["type"] in AFRESH and c["nullable"] and c.get("value", "") is not None]
    variables = [Variable(name, found.size, found) for name, found in levels.items() if found.size] + _holes(
        numeric + afresh, table
    )
    if not variables and not numeric:
        variables = [Variable(None, 1)]  # nothing but keys, texts and constants: a table that has nothing to learn
    codec = Codec(columns, variables, [], [], [], [], [])
    codes = (
        np.stack([codec._codes(v, table) for v in variables], 1)
        if variables
        else np.zeros((table.num_rows, 0), np.int64)
    )
    found = relations.relations(codes, codec.sizes)
    keep, aliases = _aliases(codec, codes, found)
    order, codec.parents = relations.drawing_order(found.information[np.ix_(keep, keep)])
    order = [keep[i] for i in order]
    place = {variable: position for position, variable in enumerate(order)}
    codec.variables = [variables[i] for i in order]
    codec.aliases = [Alias(a.column, place[a.of], a.level, a.levels) for a in aliases]
    codec.determined = [(place[i], place[j]) for i in order for j in order if found.determines[i, j]]
    codes = codes[:, order]
    for column in numeric:
        _fit_number(codec, column, table, codes)
    return codec, codes


def _level_limit(columns: list[Column], wanted: int) -> int:
    """The largest number of levels a column, at most `wanted`, with which the one-hots stay affordable."""
    sizes = np.array([len(c["levels"]) + 1 for c in columns] or [0])
    limit = wanted
    while limit > 2 and np.minimum(sizes, limit).sum() > (MAX_ONE_HOT if limit > 12 else MOST_ONE_HOT):
        limit = max(2, int(limit * 0.9))
    return limit


def _holes(columns: list[Column], table: pa.Table) -> list[Variable]:
    """A variable for each different mask of missing values; columns that are missing together share it."""
    masks: dict[bytes, Variable] = {}
    for column in columns:
        missing = _missing(table, column["name"])
        if missing.any():
            found = masks.setdefault(np.packbits(missing).tobytes(), Variable(None, 2))
            found.hole.append(column["name"])
    return list(masks.values())


def _aliases(codec: Codec, codes: Ints, found: relations.Relations) -> tuple[list[int], list[Alias]]:
    """Which variables are learned, and those that are one-to-one with an earlier one and so need not be."""
    keep: list[int] = []
    aliases: list[Alias] = []
    for j, variable in enumerate(codec.variables):
        twin = next(
            (i for i in keep if found.determines[i, j] and found.determines[j, i] and _one_to_one(codec, i, j)), None
        )
        if twin is None or variable.levels is None:
            keep.append(j)
            continue
        counts = relations.joint(codes[:, twin], codes[:, j], codec.sizes[twin], codec.sizes[j])
        level = [variable.levels.kept[code] for code in counts.argmax(1)]
        aliases.append(Alias(str(variable.column), twin, level, variable.levels))
    return keep, aliases


def _one_to_one(codec: Codec, i: int, j: int) -> bool:
    a, b = codec.variables[i].levels, codec.variables[j].levels
    return a is not None and b is not None and not a.pooled and not b.pooled


def _fit_number(codec: Codec, column: Column, table: pa.Table, codes: Ints) -> None:
    name = column["name"]
    values = as_floats(_array(table, name))
    there = ~np.isnan(values)
    quantiles = Quantiles.fit(values[there], decimals_of(column))
    hole = next((i for i, variable in enumerate(codec.variables) if name in variable.hole), None)
    key = relations.determining_key(values, codes, codec.sizes) if hole is None and codes.shape[1] else None
    if key is None:
        codec.numbers.append(Number(name, quantiles, hole))
        return
    groups, _ = relations.combined(codes, key, codec.sizes)
    known, inverse = np.unique(groups, return_inverse=True)
    codec.lookups.append(Lookup(name, key, known, relations.group_medians(values, inverse), quantiles))

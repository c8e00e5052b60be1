"""A whole table to codes and back: what is learned, what follows from it, what is made afresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from workers.modalities import Progress, quiet
from workers.modalities.table import afresh, relations
from workers.modalities.table.calendar import Moment
from workers.modalities.table.conditions import OneOf
from workers.modalities.table.fields import Allowed, Bools, Column, Field, Floats, Ints, missing
from workers.modalities.table.levels import Levels
from workers.modalities.table.numbers import SHARED, Number
from workers.modalities.table.outlook import part
from workers.modalities.table.places import Place
from workers.modalities.table.structure import Structure
from workers.modalities.table.writing import storage_type

AFRESH = ("identifier", "text", "constant", "personal")  # nothing is learned of these but where they are missing
NUMERIC = ("integer", "float", "time", "duration")
MOMENTS = ("date", "datetime")
MOST_GAPS = 2_000  # pairs of columns compared for where they are missing
CHANCE = 8.0  # rows in which two gaps would have met if they knew nothing of each other
MOST_CODES = 6_000  # levels of all codes together: the networks grow with them


@dataclass
class Presence:
    """Whether a column that is never learned has a value: code 1 where it is missing, if it ever is."""

    column: Column
    ever: bool = True
    columns: tuple[str, ...] = field(init=False)
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.columns, self.sizes = (self.column["name"],), [1 + self.ever]

    def encode(self, arrays: Sequence[pa.Array]) -> Ints:
        return missing(arrays[0]).astype(np.int64)[:, None] * self.ever

    def decode(self, codes: Ints, rng: np.random.Generator, within: Any = None) -> list[pa.Array]:
        return [pa.array(codes[:, 0] == 1)]

    def allowed(self, condition: Any, axis: int = 0) -> Allowed:
        null = None in list(getattr(condition, "values", []))
        filled = any(value is not None for value in getattr(condition, "values", [True]))
        return Allowed(np.array([float(filled), float(null)][: 1 + self.ever]))

    def impossible(self) -> None:
        return None

    def views(self) -> list[Floats]:
        return []

    def numbers(self) -> list[tuple[int, Any]]:
        return []

    def to_json(self) -> Mapping[str, Any]:
        return {"ever": self.ever}

    @classmethod
    def from_json(cls, columns: Mapping[str, Column], name: str, saved: Mapping[str, Any]) -> Presence:
        return cls(columns[name], **saved)


KINDS: dict[str, Any] = {"levels": Levels, "number": Number, "moment": Moment, "place": Place, "presence": Presence}


@dataclass
class Codec:
    """`fields` are in the order in which they are drawn; a variable is one code of one of them."""

    columns: list[Column]  # of the table, in its order
    structure: Structure  # between the table and the free columns that the fields make
    fields: list[Field]
    pairs: list[tuple[int, int]]  # of variables, an earlier and a later one: the strongest relations
    rules: list[tuple[int, int, Bools]]  # (i, j, levels of i x levels of j that never meet), i earlier than j

    @property
    def sizes(self) -> list[int]:
        return [size for one in self.fields for size in one.sizes]

    @property
    def starts(self) -> list[int]:
        """The first variable of each field."""
        ends = [0, *accumulate(len(one.sizes) for one in self.fields)]
        return ends[:-1]

    @property
    def offsets(self) -> Ints:
        """Where each variable's levels begin among all."""
        return np.concatenate([[0], np.cumsum(self.sizes)])[:-1].astype(np.int64)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column["name"] == name)

    def free_column(self, name: str) -> Column:
        """Of the free columns, or of the table's."""
        return next(c for c in (*self.structure.columns, *self.columns) if c["name"] == name)

    def views(self) -> Floats:
        """(levels of all variables, numbers): the place of each level on its number's line."""
        lines = []
        for start, one in zip(self.starts, self.fields, strict=True):
            for places in _lines(one):
                line = np.zeros(sum(self.sizes))
                for code, values in places:
                    at = self.offsets[start + code]
                    line[at : at + len(values)] = values
                lines.append(line)
        return np.stack(lines, 1) if lines else np.zeros((sum(self.sizes), 0))

    def encode(self, table: pa.Table, rng: np.random.Generator) -> Ints:
        """Codes (n, v) of rows in storage types."""
        return encoded(self.fields, self._free(table, rng))

    def decode(
        self,
        codes: Ints,
        index: np.ndarray,
        seed: int,
        rng: np.random.Generator,
        within: Mapping[int, Any] | None = None,
        pinned: Mapping[str, pa.Array] | None = None,
        wanted: Mapping[str, Any] | None = None,
    ) -> pa.Table:
        """Codes (n, v) as a table of storage values; `index` (uint64) are the rows' global numbers. `within` tells a
        field (by its place) what a condition left it; `pinned` values (null: any) and `wanted` conditions are met."""
        free: dict[str, pa.Array] = {}
        gone: dict[str, Bools] = {}
        for i, (start, one) in enumerate(zip(self.starts, self.fields, strict=True)):
            own = codes[:, start : start + len(one.sizes)]
            made = one.decode(own, rng, (within or {}).get(i))
            if isinstance(one, Presence):
                gone[one.columns[0]] = made[0].to_numpy(zero_copy_only=False)
                continue
            free |= dict(zip(one.columns, made, strict=True))
        learned = self._restored(free, index, rng, pinned, wanted)
        fresh = [column for column in self.columns if column["type"] in AFRESH]
        made_up = afresh.make(fresh, index, seed, rng, gone)
        arrays = [learned[c["name"]] if c["name"] in learned else made_up[c["name"]] for c in self.columns]
        return pa.table(arrays, names=[column["name"] for column in self.columns])

    def _free(self, table: pa.Table, rng: np.random.Generator) -> dict[str, pa.Array]:
        learned = [column["name"] for column in self.columns if column["type"] not in AFRESH]
        free = self.structure.forward(table.select(learned), rng) if learned else table.select([])
        arrays = {name: _whole(free, name) for name in free.column_names}
        return arrays | {name: _whole(table, name) for name in table.column_names if name not in arrays}

    def _restored(
        self,
        free: dict[str, pa.Array],
        index: np.ndarray,
        rng: np.random.Generator,
        pinned: Mapping[str, pa.Array] | None,
        wanted: Mapping[str, Any] | None,
    ) -> dict[str, pa.Array]:
        columns = self.structure.columns
        names = [column["name"] for column in columns]
        arrays = [free[c["name"]] if c["name"] in free else empty(c, len(index)) for c in columns]
        table = pa.table(arrays, names=names) if names else pa.table({"": pa.nulls(len(index))})
        table = self.structure.inverse(table, rng, pinned, wanted, index)
        return {name: _whole(table, name) for name in table.column_names}

    # -- as a file --

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "structure": self.structure.to_json(),
            "fields": [
                {
                    "kind": next(k for k, c in KINDS.items() if type(one) is c),
                    "columns": one.columns,
                    "is": one.to_json(),
                }
                for one in self.fields
            ],
            "pairs": [list(pair) for pair in self.pairs],
            "rules": [{"of": [i, j], "never": np.argwhere(table).tolist()} for i, j, table in self.rules],
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Codec:
        structure = Structure.from_json(saved["structure"])
        known = {c["name"]: c for c in saved["columns"]} | {c["name"]: c for c in structure.columns}
        fields = [KINDS[f["kind"]].from_json(known, f["columns"][0], f["is"]) for f in saved["fields"]]
        codec = cls(list(saved["columns"]), structure, fields, [(i, j) for i, j in saved["pairs"]], [])
        for rule in saved["rules"]:
            i, j = rule["of"]
            table = np.zeros((codec.sizes[i], codec.sizes[j]), bool)
            table[tuple(np.array(rule["never"], np.int64).reshape(-1, 2).T)] = True
            codec.rules.append((i, j, table))
        return codec


def _kind(one: Field) -> str:
    return next(name for name, kind in KINDS.items() if type(one) is kind)


def _lines(one: Field) -> list[list[tuple[int, Floats]]]:
    """The numbers of a field, each as (code, places of its levels)."""
    views = one.views()
    if isinstance(one, Moment):
        day, week = len(one.day.sizes), int(one.weekday)
        codes = [list(range(day)), *([[day]] if week else []), list(range(day + week, len(views)))]
        return [[(code, views[code]) for code in group] for group in codes if group]
    return [list(enumerate(views))] if views else []


def _whole(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def empty(column: Column, n: int) -> pa.Array:
    return pa.nulls(n, storage_type(column))


def encoded(fields: Sequence[Field], arrays: Mapping[str, pa.Array]) -> Ints:
    """Codes (n, v), those of a variable side by side in memory."""
    n, v = len(next(iter(arrays.values()))) if arrays else 0, sum(len(one.sizes) for one in fields)
    out, at = np.empty((v, n), np.int64), 0
    for one in fields:
        out[at : at + len(one.sizes)] = one.encode([arrays[name] for name in one.columns]).T
        at += len(one.sizes)
    return out.T


# -- fitting ------------------------------------------------------------------------------------------------------


def fit(
    columns: list[Column],
    table: pa.Table,
    rng: np.random.Generator,
    max_levels: int = 256,
    constraints: Sequence[Mapping[str, Any]] = (),
    progress: Progress = quiet,
    search: bool = True,
) -> tuple[Codec, Ints]:
    """A codec for training rows in storage types, and the codes (n, v) of these rows. `search` for rules in them."""
    learned = [column for column in columns if column["type"] not in AFRESH]
    names = [column["name"] for column in learned]
    structure = Structure.fit(learned, table.select(names), constraints, rng, search)
    progress(4, 10)
    plain = Codec(columns, structure, [], [], [])
    arrays = plain._free(table, rng)
    fields = _fields(structure.columns, arrays, max_levels, part(progress, 0.4, 0.6))
    fields += [
        Presence(c)
        for c in columns
        if c["type"] in AFRESH and c["nullable"] and c["name"] in arrays and c.get("value", "") is not None
        and arrays[c["name"]].null_count
    ]  # fmt: skip
    if not fields:  # nothing but keys, texts and constants: a table that has nothing to learn
        fields = [Presence(columns[0], ever=False)]
        arrays = arrays | {columns[0]["name"]: pa.nulls(table.num_rows)}
    codes = encoded(fields, arrays)
    progress(7, 10)
    strength = relations.information(codes, [size for one in fields for size in one.sizes])
    progress(9, 10)
    starts = np.cumsum([0, *(len(one.sizes) for one in fields)])
    heads = starts[:-1]
    order = relations.drawing_order(strength[np.ix_(heads, heads)])
    codec = Codec(columns, structure, [fields[i] for i in order], [], [])
    take = [variable for i in order for variable in range(starts[i], starts[i + 1])]
    codes, strength = codes.T[take].T, strength[np.ix_(take, take)]
    codec.pairs = relations.strongest(strength, codec.sizes)
    codec.rules = relations.rules(codes, codec.sizes, codec.pairs, strength) + _impossible(codec) + _gaps(codec, codes)
    return codec, codes


def _fields(
    columns: list[Column], arrays: Mapping[str, pa.Array], max_levels: int, progress: Progress = quiet
) -> list[Field]:
    filled = [column for column in columns if _filled(arrays[column["name"]]) >= (1 if "levels" in column else SHARED)]
    limit = _level_limit([column for column in filled if "levels" in column], max_levels)
    pairs = _places(filled)
    second = {b["name"] for _, b in pairs.values()}
    out: list[Field] = []
    for at, column in enumerate(filled):
        progress(at, len(filled))
        name = column["name"]
        if name in pairs:
            out.append(Place.fit([arrays[one["name"]] for one in pairs[name]], pairs[name]))
        elif name not in second:
            out.append(_field(column, arrays[name], limit))
    return out


def _places(columns: list[Column]) -> dict[str, tuple[Column, Column]]:
    """Pairs of latitude and longitude, by the latitude's name."""
    plain = {c["name"]: c for c in columns if c["type"] == "float" and "levels" not in c}
    out = {}
    for column in plain.values():
        geo = column.get("geo") or {}
        if geo.get("role") == "latitude" and geo.get("with") in plain:
            out[column["name"]] = (column, plain[geo["with"]])
    return out


def _filled(array: pa.Array) -> int:
    return len(array) - int(array.null_count)


def _field(column: Column, array: pa.Array, limit: int) -> Field:
    if "levels" in column:
        return Levels.fit(array, column, limit)
    if column["type"] in MOMENTS:
        return Moment.fit(array, column)
    return Number.fit(array, column)


def _level_limit(columns: list[Column], wanted: int) -> int:
    """The largest number of levels drawn in one step, at most `wanted`, with which all codes together stay few."""
    sizes = np.array([len(column["levels"]) + 1 for column in columns] or [0])
    limit = wanted
    while limit > 8 and np.where(sizes > limit, limit / 2 + 2 * np.sqrt(sizes), sizes).sum() > MOST_CODES:
        limit = int(limit * 0.8)
    return limit


def _impossible(codec: Codec) -> list[tuple[int, int, Bools]]:
    """What the codes of one field forbid each other."""
    out = []
    for start, one in zip(codec.starts, codec.fields, strict=True):
        table = one.impossible()
        if table is not None and table.any():
            out.append((start, start + 1, table))
    return out


def _gaps(codec: Codec, codes: Ints) -> list[tuple[int, int, Bools]]:
    """What missing values forbid each other: columns that are missing together, or one only where another is."""
    holes = []  # (variable, which of its levels say that a value is missing)
    for start, one in zip(codec.starts, codec.fields, strict=True):
        if len(one.columns) == 1:
            gone = one.allowed(OneOf((None,))).share > 0
            if gone.any() and not gone.all():
                holes.append((start, gone))
    masks = np.stack([gone[codes[:, j]] for j, gone in holes], 1) if holes else np.zeros((len(codes), 0), bool)
    together: dict[bytes, list[int]] = {}
    for place in range(len(holes)):
        if masks[:, place].any():
            together.setdefault(np.packbits(masks[:, place]).tobytes(), []).append(place)
    tied = [pair for group in together.values() for pair in pairwise(group)]
    heads = [group[0] for group in together.values()]
    tied += list(combinations(heads, 2))[:MOST_GAPS]
    return [rule for a, b in tied if (rule := _gap(masks[:, a], masks[:, b], holes[a], holes[b])) is not None]


def _gap(a: Bools, b: Bools, of_a: tuple[int, Bools], of_b: tuple[int, Bools]) -> tuple[int, int, Bools] | None:
    (i, gone_i), (j, gone_j) = of_a, of_b
    never = np.zeros((len(gone_i), len(gone_j)), bool)
    for side_i, side_j, meet in ((gone_i, ~gone_j, a & ~b), (~gone_i, gone_j, ~a & b), (gone_i, gone_j, a & b)):
        expected = _share(a, side_i is gone_i) * _share(b, side_j is gone_j) * len(a)
        if expected >= CHANCE and not meet.any():
            never |= np.outer(side_i, side_j)
    return (i, j, never) if never.any() else None


def _share(mask: Bools, gone: bool) -> float:
    return float(mask.mean() if gone else 1 - mask.mean())

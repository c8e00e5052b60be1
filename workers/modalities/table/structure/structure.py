"""Rules that hold in a table are taken out before the codec and put back after it, so that every row meets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import Rejected
from workers.modalities.conditions import Condition
from workers.modalities.table import rules
from workers.modalities.table.infer import Column
from workers.modalities.table.ruleforms import Distinct, Form, Order, Refused, forms, parsed, speaks_of
from workers.modalities.table.structure import asking, build, find
from workers.modalities.table.structure.asking import Translated
from workers.modalities.table.structure.entries import plain, restored
from workers.modalities.table.structure.grids import Grid, grids
from workers.modalities.table.structure.settle import Asked, Extent, Settling
from workers.modalities.table.structure.spare import spare_rows
from workers.modalities.table.structure.steps import ARROW, Frame, Step, percent, there
from workers.modalities.table.structure.unique import Uniqueness
from workers.modalities.table.structure.wishes import Wish, wish
from workers.modalities.table.writing import storage_type

WAYS = {
    "Limits": "kept within the bounds",
    "Order": "rows that break it take values of others",
    "Truth": "rows that break it take values of others",
    "Distinct": "counted from the row's number",
}


@dataclass
class Structure:
    """`columns` are what is left to learn; `kept` those of them that are the table's own."""

    original: list[Column]
    columns: list[Column]
    steps: list[Step]  # in the order in which they put columns back
    constraints: list[dict[str, Any]]  # the user's, as they were given
    held: dict[int, float]  # of each, the share of training rows that meet it
    grids: dict[str, Grid]
    extents: dict[str, Extent]  # how far the columns' values go, and the rules let them; natural
    unique: list[Uniqueness]
    spare: Frame | None = None  # free values, none of them a row's, with which every rule is met
    numbers: Callable[[NDArray[np.uint64]], NDArray[np.uint64]] | None = None  # that unique values follow from
    forms: list[Form] = field(init=False)
    settling: Settling = field(init=False)

    def __post_init__(self) -> None:
        self.forms = forms(self.constraints, self.original)
        checked = [form for form in self.forms if not isinstance(form, Distinct)]
        names = [rules.described(rule) for rule in parsed(self.constraints)]
        bounds = build.bounds(self.forms, self.grids)
        self.settling = Settling(
            self.original, self.columns, self.steps, checked, self.grids, self.extents, bounds, names
        )  # fmt: skip

    @property
    def kept(self) -> set[str]:
        """Columns that pass through untouched."""
        made = {name for step in self.steps for name in step.makes}
        return {column["name"] for column in self.original} - made

    @property
    def capacity(self) -> int | None:
        """Rows that an output can have where values must be unique."""
        return min((found.capacity for found in self.unique), default=None)

    # -- fitting --

    @classmethod
    def fit(
        cls,
        columns: list[Column],
        table: pa.Table,
        constraints: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
        search: bool = True,
        tolerated: float = build.TOLERATED,
    ) -> Structure:
        """Of training rows in storage types. `search` also for rules that nobody stated. Raises Rejected, also where
        more than this share of the rows breaks a stated rule."""
        frame = {name: table[name].combine_chunks() for name in table.column_names}
        counted = grids(columns, frame)
        known = build.Table({c["name"]: c for c in columns}, frame, counted, rng, {c["name"] for c in columns})
        stated, names = _stated(constraints, columns)
        held = build.judged(stated, names, known, tolerated)
        steps = build.steps_of(stated, names, held, known)
        bounds = build.bounds(stated, counted)
        unique = build.unique(stated, known, bounds)
        if search:
            fixed = {name for found in unique for name in found.columns}
            steps = find.found(known, steps, fixed)
        steps = _ordered(steps)
        out = cls(
            columns,
            _free(columns, steps),
            steps,
            [dict(rule) for rule in constraints],
            held,
            counted,
            _extents(columns, frame, counted, bounds),
            unique,
        )
        if stated:
            out.spare = spare_rows(out.settling, out.forward(table, rng), rng)
        return out

    # -- there and back --

    def forward(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows of the table as free columns. Rows that break a rule are bent to meet it."""
        frame = {name: table[name].combine_chunks() for name in table.column_names}
        made = dict(frame)
        for step in self.steps:
            made |= step.forward(frame, rng)
        if not self.columns:
            return _rows_only(table.num_rows)
        return pa.table([made[column["name"]] for column in self.columns], names=[c["name"] for c in self.columns])

    def inverse(
        self,
        table: pa.Table,
        rng: np.random.Generator,
        pinned: Mapping[str, pa.Array] | None = None,
        wanted: Mapping[str, Condition] | None = None,
        index: NDArray[np.uint64] | None = None,
    ) -> pa.Table:
        """Free columns as the table's own, in the schema's order. `pinned` are values that come out exactly so (null:
        any), `wanted` conditions that are met, and both keep the rules; `index` are the rows' numbers within their
        output, needed where values are unique; see `refuse_beyond`. Raises Rejected for what cannot be had together."""
        n = table.num_rows
        names = [column["name"] for column in self.original]
        if not names or not n:
            return _empty(self.original, n)
        free = {name: table[name].combine_chunks() for name in table.column_names}
        apart = self._told_apart(free, index if index is not None else np.arange(n, dtype=np.uint64), pinned or {})
        asked = self._asked({**(pinned or {}), **apart}, wanted or {})
        frame = self.settling.settled(free or {"": pa.nulls(n)}, asked, self.spare, rng)
        return pa.table([frame[name] for name in names], names=names)

    def _asked(self, pinned: Mapping[str, pa.Array], wanted: Mapping[str, Condition]) -> Asked:
        known = {column["name"]: column for column in self.original}
        kinds = {name: ARROW[str(storage_type(column))] for name, column in known.items() if name in pinned}
        arrays = {
            name: (array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array).cast(kinds[name])
            for name, array in pinned.items()
            if name in kinds
        }
        wishes: dict[str, Wish] = {}
        for name, condition in wanted.items():
            found = wish(condition, known[name], self.grids.get(name)) if name in known else None
            if found is not None:
                wishes[name] = found
        return Asked({name: array for name, array in arrays.items() if there(array).any()}, wishes)

    def _told_apart(self, frame: Frame, index: NDArray[np.uint64], pinned: Mapping[str, pa.Array]) -> Frame:
        """The values of columns that are unique. Other rules may read them, none makes them. What is given stays."""
        out: Frame = {}
        if self.unique and self.numbers:
            index = self.numbers(index)
        for found in self.unique:
            out |= found.assigned(frame, index)
        for name in out.keys() & pinned.keys():
            out[name] = pc.coalesce(pinned[name].cast(out[name].type), out[name])
        return out

    def refuse_beyond(self, count: int) -> None:
        """Raises Rejected for an output of more rows than can have different values."""
        for found in self.unique:
            if count > found.capacity:
                raise Rejected(
                    "too_many_unique_rows",
                    f"The rule {self.settling.names[found.rule]!r} leaves different values for {found.capacity} rows; "
                    "ask for no more.",
                )

    # -- conditions --

    def check(self, conditions: Mapping[str, Condition]) -> None:
        """Raises InvalidCondition for conditions that no row can meet together with the rules."""
        asking.check(self, conditions)

    def translate(self, conditions: Mapping[str, Condition]) -> Translated:
        """Conditions on the table's columns as conditions on free ones, and what `inverse` has to be told."""
        return asking.translate(self, conditions)

    def determined(self, pinned: Mapping[str, pa.Array]) -> Frame:
        """The values of free columns that follow from values of the table's own; null where they do not."""
        return asking.determined(self, pinned)

    # -- for people and files --

    def describe(self) -> list[dict[str, Any]]:
        """Each rule, found or stated, with the share of training rows that meet it and how generated ones come to."""
        out = [step.describe() for step in self.steps]
        built = {(step.rule, name) for step in self.steps for name in step.makes if step.rule is not None}
        for form in self.forms:
            kind = type(form).__name__
            if kind not in WAYS or (isinstance(form, Order) and any(made == form.high for _, made in built)):
                continue
            share = self.held[form.rule]
            entry = {
                "kind": parsed(self.constraints)[form.rule].model_dump()["kind"],
                "columns": speaks_of(form),
                "formula": self.settling.names[form.rule],
                "holds_in": round(share, 6),
                "source": "user",
                "reason": "A rule of the training's config.",
                "met_by": WAYS[kind],
            }
            if isinstance(form, Distinct):
                entry["capacity"] = next(found.capacity for found in self.unique if found.rule == form.rule)
            out.append(entry)
        for entry in out:
            if entry["source"] == "user" and entry["holds_in"] < 1:
                entry["reason"] += f" {percent(1 - entry['holds_in'])} of the training rows broke it."
        return out

    def warnings(self) -> list[str]:
        """Stated rules that some training rows broke: those were learned as if they met them."""
        return [
            f"{percent(1 - share)} of the training rows break the rule {self.settling.names[rule]!r}; "
            "they were learned as if they met it."
            for rule, share in self.held.items()
            if share < 1
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "original": self.original,
            "columns": self.columns,
            "steps": [step.to_json() for step in self.steps],
            "constraints": self.constraints,
            "held": {str(rule): share for rule, share in self.held.items()},
            "grids": {name: grid.to_json() for name, grid in self.grids.items()},
            "extents": {name: list(extent) for name, extent in self.extents.items()},
            "unique": [found.to_json() for found in self.unique],
            "spare": _frame_json(self.spare),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Structure:
        return cls(
            list(saved["original"]),
            list(saved["columns"]),
            [Step.from_json(step) for step in saved["steps"]],
            list(saved["constraints"]),
            {int(rule): share for rule, share in saved["held"].items()},
            {name: Grid.from_json(grid) for name, grid in saved["grids"].items()},
            {name: (extent[0], extent[1]) for name, extent in saved["extents"].items()},
            [Uniqueness.from_json(found) for found in saved["unique"]],
            _frame_from_json(saved["spare"]),
        )


def _stated(constraints: Sequence[Mapping[str, Any]], columns: list[Column]) -> tuple[list[Form], list[str]]:
    try:
        return forms(constraints, columns), [rules.described(rule) for rule in parsed(constraints)]
    except Refused as refused:
        raise Rejected("invalid_constraint", str(refused)) from None


def _ordered(steps: list[Step]) -> list[Step]:
    """Each after those that make what it needs."""
    maker = {name: step for step in steps for name in step.makes}
    out: list[Step] = []

    def put(step: Step) -> None:
        if step in out:
            return
        for name in step.needs:
            if name in maker:
                put(maker[name])
        out.append(step)

    for step in steps:
        put(step)
    return out


def _free(columns: list[Column], steps: list[Step]) -> list[Column]:
    """What is left to learn, in the table's order: a step's free columns stand where its first column stood."""
    maker = {name: step for step in steps for name in step.makes}
    out: list[Column] = []
    for column in columns:
        step = maker.get(column["name"])
        if step is None:
            out.append(column)
        elif step.makes[0] == column["name"]:
            out += step.free
    return out


def _extents(
    columns: list[Column], frame: Frame, grids: Mapping[str, Grid], bounds: Mapping[str, Extent]
) -> dict[str, Extent]:  # fmt: skip
    """As the schema tells, or rounded outwards: no row's own value; within what the rules demand."""
    out: dict[str, Extent] = {}
    for column in columns:
        name = column["name"]
        if name not in grids:
            continue
        natural = grids[name].natural(frame[name])
        natural = natural[~np.isnan(natural)]
        if not len(natural):
            continue
        low, high = float(natural.min()), float(natural.max())
        if "minimum" not in column:
            unit = 10.0 ** np.floor(np.log10(high - low)) / 10 if high > low else 1.0
            low, high = float(np.floor(low / unit) * unit), float(np.ceil(high / unit) * unit)
        first, last = bounds.get(name, (-np.inf, np.inf))
        out[name] = max(low, first), min(high, last)
    return out


def _frame_json(frame: Frame | None) -> dict[str, Any] | None:
    if frame is None:
        return None
    return {name: {"type": str(array.type), "values": plain(array)} for name, array in frame.items()}


def _frame_from_json(saved: Mapping[str, Any] | None) -> Frame | None:
    if saved is None:
        return None
    return {name: restored(found["values"], ARROW[found["type"]]) for name, found in saved.items()}


def _rows_only(n: int) -> pa.Table:
    """A table whose rows are all that is known of it."""
    return pa.table({"": pa.nulls(n)})


def _empty(columns: list[Column], n: int) -> pa.Table:
    if not columns:
        return _rows_only(n)
    return pa.table([pa.nulls(n, storage_type(c)) for c in columns], names=[c["name"] for c in columns])

"""A user's rules on training rows: judged, and built into steps as far as can be. What is left, `settle` repairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from service.errors import Rejected
from workers.modalities.table import expressions
from workers.modalities.table.infer import Column
from workers.modalities.table.ruleforms import (
    Derived,
    Distinct,
    Form,
    Known,
    Limits,
    OneOf,
    Order,
    Truth,
    speaks_of,
    yes_and_no,
)
from workers.modalities.table.structure.combinations import Combination
from workers.modalities.table.structure.entries import Entries
from workers.modalities.table.structure.evaluate import broken
from workers.modalities.table.structure.formulas import Decided, Worked
from workers.modalities.table.structure.grids import Flags, Grid, missing
from workers.modalities.table.structure.orders import AtLeast
from workers.modalities.table.structure.predicted import Predicted
from workers.modalities.table.structure.predictors import Linear, Predictor
from workers.modalities.table.structure.steps import SHARED, Frame, Step, percent
from workers.modalities.table.structure.unique import Uniqueness

TOLERATED = 0.01  # of the training rows may break a rule; they are learned as if they met it
Extent = tuple[float, float]


@dataclass
class Table:
    """Training rows, and all that rules are built from."""

    columns: dict[str, Column]
    frame: Frame
    grids: dict[str, Grid]
    rng: np.random.Generator
    taken: set[str]  # names of columns, free ones too

    @property
    def rows(self) -> int:
        return len(next(iter(self.frame.values()))) if self.frame else 0

    def spread(self, name: str) -> float:
        """Standard deviation, to three digits."""
        natural = self.grids[name].natural(self.frame[name])
        natural = natural[~np.isnan(natural)]
        return float(f"{natural.std() if len(natural) else 0.0:.3g}")


def judged(forms: Sequence[Form], names: Sequence[str], table: Table, tolerated: float = TOLERATED) -> dict[int, float]:
    """For each rule the share of training rows that meet it. Raises Rejected where more than `tolerated` break it, and
    for columns whose numbers cannot be counted exactly."""
    held: dict[int, Flags] = {}
    for form in forms:
        for name in speaks_of(form):
            kind = expressions.kind_of(table.columns[name])
            if not isinstance(form, Known | OneOf) and kind in ("number", "time") and name not in table.grids:
                raise Rejected(
                    "constraint_unsupported",
                    f"Column {name!r} holds infinities, or numbers too large or too small to be counted exactly "
                    f"(2**53 of whole ones), which the rule {names[form.rule]!r} needs.",
                )
        held[form.rule] = held.get(form.rule, np.ones(table.rows, bool)) & ~_broken(form, table)
    shares = {rule: float(met.mean()) if len(met) else 1.0 for rule, met in held.items()}
    for rule, share in shares.items():
        if share < 1 - tolerated:
            raise Rejected(
                "constraint_violated",
                f"{percent(1 - share)} of the training rows break the rule {names[rule]!r}; "
                f"up to {percent(tolerated)} may. Correct the rows, or the rule.",
            )
    return shares


def _broken(form: Form, table: Table) -> Flags:
    if isinstance(form, OneOf):
        yes = [table.frame[name] for name in form.columns]
        meanings = [yes_and_no(table.columns[name]) or (None, None) for name in form.columns]
        ones = [
            pa.compute.equal(array, pa.scalar(meaning[0], array.type)).fill_null(False).to_numpy(zero_copy_only=False)
            for array, meaning in zip(yes, meanings, strict=True)
        ]
        wrong: Flags = (np.sum(ones, axis=0) != 1) | np.logical_or.reduce([missing(array) for array in yes])
        return wrong
    if isinstance(form, Distinct):
        return _repeated({name: table.frame[name] for name in form.columns})
    return broken(form, table.frame, table.grids)


def _repeated(arrays: Mapping[str, pa.Array]) -> Flags:
    """Rows that are not the first of their combination; missing values make rows that are not compared."""
    entries = Entries.fit(arrays, 1)
    codes = entries.of(dict(arrays))
    at = entries.find(entries.names, codes, None)
    _, first = np.unique(at, return_index=True)
    out: Flags = ~np.logical_or.reduce([missing(array) for array in arrays.values()])
    out[first] = False
    return out


# -- bounds -------------------------------------------------------------------------------------------------------


def bounds(forms: Sequence[Form], grids: Mapping[str, Grid]) -> dict[str, Extent]:
    """What the rules leave each column, closed and on its grid. Bounds of one end of an order reach the other."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for form in forms:
        if isinstance(form, Limits):
            grid = grids[form.column]
            if form.low is not None:
                low[form.column] = max(low.get(form.column, -np.inf), _first(grid, form.low, form.strict))
            if form.high is not None:
                high[form.column] = min(high.get(form.column, np.inf), _last(grid, form.high, form.strict))
    orders = [form for form in forms if isinstance(form, Order)]
    for _ in orders:
        for form in orders:
            if form.low in low:
                least = _first(grids[form.high], low[form.low], form.strict)
                low[form.high] = max(low.get(form.high, -np.inf), least)
            if form.high in high:
                most = _last(grids[form.low], high[form.high], form.strict)
                high[form.low] = min(high.get(form.low, np.inf), most)
    return {name: (low.get(name, -np.inf), high.get(name, np.inf)) for name in {*low, *high}}


def _first(grid: Grid, end: float, strict: bool) -> float:
    return float(grid.value((grid.above if strict else grid.ceil)(np.array([end])))[0])


def _last(grid: Grid, end: float, strict: bool) -> float:
    return float(grid.value((grid.below if strict else grid.floor)(np.array([end])))[0])


# -- steps --------------------------------------------------------------------------------------------------------


def steps_of(forms: Sequence[Form], names: Sequence[str], held: Mapping[int, float], table: Table) -> list[Step]:
    """Of the rules that can be built in. A column is made by one step at most, and never from itself."""
    out: list[Step] = []
    for columns, rules in _groups([form for form in forms if isinstance(form, Known)]):
        arrays = {name: table.frame[name] for name in columns}
        text = f"known combinations of {', '.join(columns)}"
        out.append(
            Combination.fit(arrays, text, table.taken, source="user", rule=rules[0], holds=_covered(arrays))
        )  # fmt: skip
    for form in forms:
        common = {"source": "user", "rule": form.rule, "holds": held[form.rule]}
        if isinstance(form, OneOf):
            arrays = {name: table.frame[name] for name in form.columns}
            meaning = [yes_and_no(table.columns[name]) or (None, None) for name in form.columns]
            out.append(Combination.one_hot(arrays, meaning, names[form.rule], table.taken, **common))
        elif isinstance(form, Derived):
            out.append(_derived(form, table, **common))
    made = {name for step in out for name in step.makes} | {
        name for form in forms if isinstance(form, Distinct) for name in form.columns
    }
    for high in dict.fromkeys(form.high for form in forms if isinstance(form, Order) and form.high not in made):
        lower = [form for form in forms if isinstance(form, Order) and form.high == high]
        lower = [form for form in lower if not depends(form.low, high, out)]
        if lower:
            out.append(_ordered(high, lower, held, table))
    return out


def depends(name: str, on: str, steps: Sequence[Step]) -> bool:
    """Whether a column is made from another, or from what is made from it."""
    maker = {made: step for step in steps for made in step.makes}
    seen, waiting = set[str](), [name]
    while waiting:
        here = waiting.pop()
        if here == on:
            return True
        if here not in seen:
            seen.add(here)
            waiting += maker[here].needs if here in maker else ()
    return False


def _groups(known: list[Known]) -> list[tuple[list[str], list[int]]]:
    """Sets of columns that overlap are one set: the combinations of all of them are known then."""
    groups: list[tuple[list[str], list[int]]] = []
    for form in known:
        columns, rules = list(form.columns), [form.rule]
        for group in [group for group in groups if set(group[0]) & set(columns)]:
            groups.remove(group)
            columns, rules = list(dict.fromkeys([*group[0], *columns])), [*group[1], *rules]
        groups.append((columns, rules))
    return groups


def _covered(arrays: Mapping[str, pa.Array]) -> float:
    """Share of rows whose combination enough rows have."""
    every = Entries.fit(arrays, 1)
    return float(every.weights[every.weights >= SHARED].sum() / max(1, every.weights.sum()))


def _derived(form: Derived, table: Table, **common: object) -> Step:
    used = expressions.names(form.node)
    grids = {name: table.grids[name] for name in used if name in table.grids}
    text = _text(form.node)
    column = table.columns[form.column]
    if expressions.kind_of(column) == "boolean":
        return Decided.fit(column, table.frame, form.node, text, grids, tuple(used), table.taken, **common)
    spreads = {name: table.spread(name) for name in grids}
    by: Predictor = Worked(grids, form.node, text, used, spreads)
    if form.node.op == "sum":
        by = Linear(grids, dict.fromkeys(used, 1.0), 0.0, spreads)
    return Predicted.fit(
        column, table.frame[form.column], table.grids[form.column], by, "exact", table.frame, table.taken, table.rng,
        **common,
    )  # fmt: skip


def _ordered(high: str, lower: list[Order], held: Mapping[int, float], table: Table) -> Step:
    strict: dict[str, bool] = {}
    for form in lower:
        strict[form.low] = strict.get(form.low, False) or form.strict
    by = AtLeast(
        {name: table.grids[name] for name in strict}, strict, {name: table.spread(name) for name in strict}
    )  # fmt: skip
    return Predicted.fit(
        table.columns[high], table.frame[high], table.grids[high], by, "gap", table.frame, table.taken, table.rng,
        source="user", rule=lower[0].rule, holds=min(held[form.rule] for form in lower),
    )  # fmt: skip


def _text(node: expressions.Node) -> str:
    """An expression as people write it."""
    parts = [
        _text(arg) if arg.op in ("name", "literal") or len(arg.args) < 2 else f"({_text(arg)})" for arg in node.args
    ]
    if node.op == "name":
        return str(node.value)
    if node.op == "literal":
        return f"{node.value:g}" if isinstance(node.value, float) else repr(node.value)
    if node.op == "sum":
        return " + ".join(parts)
    if node.op == "in":
        return f"{parts[0]} in {list(node.value[1])}"
    if len(parts) > 1 and not node.op.isalpha():
        return f" {node.op} ".join(parts)
    if node.op in ("and", "or"):
        return f" {node.op} ".join(parts)
    return f"-{parts[0]}" if node.op == "neg" else f"{node.op}({', '.join(parts)})"


def unique(forms: Sequence[Form], table: Table, bounds: Mapping[str, Extent]) -> list[Uniqueness]:
    out = []
    for form in forms:
        if isinstance(form, Distinct):
            columns = [table.columns[name] for name in form.columns]
            frame = {name: _within(table, name, bounds.get(name)) for name in form.columns}
            out.append(Uniqueness.fit(form.rule, columns, frame, table.grids))
    return out


def _within(table: Table, name: str, extent: Extent | None) -> pa.Array:
    if extent is None:
        return table.frame[name]
    natural = table.grids[name].natural(table.frame[name])
    return table.frame[name].filter(pa.array((natural >= extent[0]) & (natural <= extent[1])))


__all__ = ["TOLERATED", "Table", "Truth", "bounds", "depends", "judged", "steps_of", "unique"]

"""Conditions on a table's columns, where rules tie these together: what they mean for the free ones, and whether they
can be met at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from service.errors import InvalidCondition
from workers.modalities.conditions import Condition, OneOf, Shares, Value
from workers.modalities.table.contradictions import contradictions
from workers.modalities.table.structure.combinations import Combination
from workers.modalities.table.structure.copies import Copy
from workers.modalities.table.structure.cuts import Cuts
from workers.modalities.table.structure.grids import Flags
from workers.modalities.table.structure.lookups import Lookup
from workers.modalities.table.structure.predicted import Predicted
from workers.modalities.table.structure.predictors import Linear
from workers.modalities.table.structure.steps import ARROW, Frame, Step, there
from workers.modalities.table.structure.wishes import Wish, condition, meets, wish
from workers.modalities.table.writing import storage_type

if TYPE_CHECKING:
    from workers.modalities.table.structure.structure import Structure

Conditions = Mapping[str, Condition]


@dataclass
class Translated:
    """`free` are conditions for the codec, on free columns; `pinned` values and `wanted` sets and ranges are for
    `inverse`, on the table's own. Shares of a column that a step makes are `dealt`, row by row, and then pinned."""

    free: dict[str, Condition] = field(default_factory=dict)
    pinned: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, Condition] = field(default_factory=dict)
    dealt: dict[str, Shares] = field(default_factory=dict)


def translate(structure: Structure, conditions: Conditions) -> Translated:
    out = Translated()
    maker = structure.settling.maker
    for name, asked in conditions.items():
        if isinstance(asked, Shares):
            (out.dealt if name in maker else out.free)[name] = asked
            continue
        if isinstance(asked, Value) and asked.value is not None:
            out.pinned[name] = asked.value
        else:
            out.wanted[name] = asked
        if name not in maker:
            out.free[name] = asked
    wishes = _wishes(structure, conditions)
    for step in reversed(structure.steps):
        own = {name: wishes[name] for name in step.makes if name in wishes}
        if own:
            for name, found in _onward(structure, step, own).items():
                out.free.setdefault(name, found)
    return out


def _wishes(structure: Structure, conditions: Conditions) -> dict[str, Wish]:
    columns = {column["name"]: column for column in structure.original}
    out: dict[str, Wish] = {}
    for name, given in conditions.items():
        asked = wish(given, columns[name], structure.grids.get(name)) if name in columns else None
        if asked is not None:
            out[name] = asked
    return out


def _onward(structure: Structure, step: Step, own: Mapping[str, Wish]) -> dict[str, Condition]:
    """What a condition on columns that a step makes says of free columns, as far as it can be said of each alone."""
    if isinstance(step, Combination):
        return {step.free[0]["name"]: OneOf(tuple(_labels(structure, step, own)))}
    (asked,) = own.values()
    if isinstance(step, Cuts):
        return _of_cuts(structure, step, asked)
    if isinstance(step, Lookup):
        return _of_lookup(structure, step, asked)
    if isinstance(step, Copy):
        choice, value = step.free
        none = step.choices()[-1].as_py()
        found = condition(asked, _kind(structure, step.makes[0]), structure.grids[step.makes[0]])
        return {choice["name"]: Value(none)} | ({value["name"]: found} if found else {})
    if isinstance(step, Predicted):
        return _of_predicted(structure, step, asked)
    return {}


def _labels(structure: Structure, step: Combination, own: Mapping[str, Wish]) -> list[str]:
    allowed = {}
    for name, asked in own.items():
        array = step.entries.values[name].array
        allowed[name] = array.filter(pa.array(meets(asked, array, structure.grids.get(name)))).to_pylist()
    return step.labels_with(allowed)


def _of_cuts(structure: Structure, step: Cuts, asked: Wish) -> dict[str, Condition]:
    """A range of the number; of several ranges the widest."""
    (name,) = step.needs
    if name not in structure.kept or asked.values is None or asked.null:
        return {}
    low, high = structure.extents.get(name, (-np.inf, np.inf))
    spans = [span for span in step.intervals(list(asked.values)) if span[1] > low and span[0] <= high]
    if not spans:
        return {}
    first, last = max(spans, key=lambda span: min(span[1], high) - max(span[0], low))
    grid = structure.grids[name]
    top = float(grid.value(grid.below(np.array([last])))[0]) if np.isfinite(last) else last
    found = condition(Wish(None, first, top), _kind(structure, name), grid)
    return {name: found} if found else {}


def _kind(structure: Structure, name: str) -> pa.DataType:
    return next(storage_type(column) for column in structure.original if column["name"] == name)


def _of_lookup(structure: Structure, step: Lookup, asked: Wish) -> dict[str, Condition]:
    """Of each key the values that can lead there."""
    values = step.entries.values[step.target].array
    good = np.flatnonzero(meets(asked, values, structure.grids.get(step.target)))
    rows = np.isin(step.entries.codes[:, -1], good)
    out: dict[str, Condition] = {}
    for i, name in enumerate(step.needs):
        if step.part is None and name in structure.kept:
            keys = step.entries.values[name].array.take(pa.array(np.unique(step.entries.codes[rows, i]))).to_pylist()
            if keys:
                out[name] = OneOf(tuple(keys))
    return out


def _of_predicted(structure: Structure, step: Predicted, asked: Wish) -> dict[str, Condition]:
    """Whether it is missing; and of a column in another unit the same there."""
    entry = step.free[0] if step.free else None
    if asked.single and asked.null:
        if entry is None:
            return {}
        return {entry["name"]: Value(False if entry["type"] == "boolean" else None)}
    out: dict[str, Condition] = {}
    if entry is not None and step.mode == "lift":
        same = condition(asked, ARROW[step.storage], step.grid)
        return {entry["name"]: same} if same else {}
    if entry is not None and entry["type"] == "boolean":
        out[entry["name"]] = Value(True)
    alone = len(step.needs) == 1 and step.needs[0] in structure.kept
    if step.mode != "exact" or not isinstance(step.by, Linear) or not alone:
        return out
    (name,) = step.needs
    slope, rest, grid = step.by.coefficients[name], step.by.constant, structure.grids[name]
    if asked.values is None:
        ends = sorted([(asked.low - rest) / slope, (asked.high - rest) / slope])
        found = condition(Wish(None, ends[0], ends[1]), _kind(structure, name), grid)
    else:
        wanted = pa.array([value for value in asked.values if value is not None], ARROW[step.storage])
        back = grid.array(grid.nearest((step.grid.natural(wanted) - rest) / slope), _kind(structure, name)).to_pylist()
        found = Value(back[0]) if len(back) == 1 else OneOf(tuple(back)) if back else None
    return out | ({name: found} if found else {})


# -- what cannot be met -------------------------------------------------------------------------------------------


def check(structure: Structure, conditions: Conditions) -> None:
    """Raises InvalidCondition, naming the rule that stands against them."""
    wishes = _wishes(structure, conditions)
    names = structure.settling.names
    errors = contradictions(structure.original, structure.forms, names, conditions) or _against_steps(structure, wishes)
    if errors:
        listed = [{"path": f"conditions.{name}", "message": message} for name, message in errors]
        raise InvalidCondition(listed[0]["message"], errors=listed)


def _span(structure: Structure, name: str, wishes: Mapping[str, Wish]) -> tuple[float, float]:
    """How far a column's values go under its own condition, natural; a missing value goes anywhere."""
    asked = wishes.get(name)
    low, high = structure.extents.get(name, (-np.inf, np.inf))
    if asked is None:
        return low, high
    if asked.values is None:
        return asked.low, asked.high
    values = pa.array([value for value in asked.values if value is not None], _kind(structure, name))
    found = structure.grids[name].natural(values)
    return (-np.inf, np.inf) if asked.null or not len(found) else (float(found.min()), float(found.max()))


def _against_steps(structure: Structure, wishes: Mapping[str, Wish]) -> list[tuple[str, str]]:
    out = []
    for step in structure.steps:
        own = {name: wishes[name] for name in step.makes if name in wishes}
        if own and not _reachable(structure, step, own, wishes):
            name = next(iter(own))
            out.append((name, f"This cannot be met together with the rule {step.formula()!r}."))
    return out


def _reachable(structure: Structure, step: Step, own: Mapping[str, Wish], wishes: Mapping[str, Wish]) -> bool:
    if isinstance(step, Combination):
        return bool(_labels(structure, step, own))
    (asked,) = own.values()
    if isinstance(step, Lookup):
        return bool(_leads(structure, step, asked, wishes).any())
    if isinstance(step, Cuts):
        return _cut_reaches(structure, step, asked, wishes)
    if isinstance(step, Predicted) and step.mode == "exact" and isinstance(step.by, Linear) and not step.free:
        return _sum_reaches(structure, step, step.by, asked, wishes)
    return True


def _leads(structure: Structure, step: Lookup, asked: Wish, wishes: Mapping[str, Wish]) -> Flags:
    """Entries with the value, and with what is asked of their keys."""
    entries = step.entries
    met = meets(asked, entries.values[step.target].array, structure.grids.get(step.target))
    out = np.isin(entries.codes[:, -1], np.flatnonzero(met))
    for i, name in enumerate(step.needs):
        if name in wishes and step.part is None:
            good = meets(wishes[name], entries.values[name].array, structure.grids.get(name))
            out &= np.isin(entries.codes[:, i], np.flatnonzero(good))
    return out


def _cut_reaches(structure: Structure, step: Cuts, asked: Wish, wishes: Mapping[str, Wish]) -> bool:
    if asked.values is None or asked.null:
        return True
    low, high = _span(structure, step.needs[0], wishes)
    return any(first <= high and last > low for first, last in step.intervals(list(asked.values)))


def _sum_reaches(structure: Structure, step: Predicted, by: Linear, asked: Wish, wishes: Mapping[str, Wish]) -> bool:
    low = high = by.constant
    for name, c in by.coefficients.items():
        ends = sorted(c * end for end in _span(structure, name, wishes))
        low, high = low + ends[0], high + ends[1]
    first, last = _span(structure, step.target, wishes)
    room = step.grid.width / 2
    return bool(np.isnan(low) or np.isnan(high) or (first <= high + room and last >= low - room))


# -- rows to complete ---------------------------------------------------------------------------------------------


def determined(structure: Structure, pinned: Mapping[str, pa.Array]) -> Frame:
    out = {name: array for name, array in pinned.items() if name in structure.kept}
    rng = np.random.default_rng(0)
    for step in structure.steps:
        lifted = isinstance(step, Predicted) and step.mode == "lift"  # the free column is the column itself
        names = [*step.makes] if lifted else [*step.makes, *step.needs]
        if not step.free or not all(name in pinned for name in names):
            continue
        known = np.logical_and.reduce([there(pinned[name]) for name in names])
        for name, array in step.forward({name: pinned[name] for name in names}, rng).items():
            out[name] = pa.compute.if_else(pa.array(known), array, pa.scalar(None, array.type))
    return out

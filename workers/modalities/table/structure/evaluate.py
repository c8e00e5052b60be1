"""Expressions and rules worked out over many rows at once. What depends on a missing value is unknown, as in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.expressions import DAY, Node, names
from workers.modalities.table.ruleforms import Derived, Form, Limits, Order, Truth
from workers.modalities.table.structure.grids import Flags, Floats, Grid, missing
from workers.modalities.table.structure.steps import Frame

CLOSE = 1e-9  # relative: numbers nearer than this are equal, whatever the order they were added in
US = 1_000_000
ALL_TIME = 9e12  # seconds from 1970 that microseconds in 64 bits can count


@dataclass
class Truths:
    """True, false or unknown."""

    values: Flags
    known: Flags


@dataclass
class Texts:
    array: pa.Array


Values = Floats | Truths | Texts  # numbers and times are NaN where unknown

_ARITHMETIC: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.mod,
    "**": np.power,
}
_FUNCTIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
}
_PARTS: Mapping[str, Callable[[pa.Array], pa.Array]] = {
    "year": pc.year,
    "month": pc.month,
    "day": pc.day,
    "hour": pc.hour,
    "weekday": lambda times: pc.add(pc.day_of_week(times), 1),  # Monday is 1
}


def numbers_of(node: Node, frame: Frame, grids: Mapping[str, Grid]) -> Floats:
    """A number's or time's expression; infinities are unknown."""
    with np.errstate(all="ignore"):
        out = _worked(node, frame, grids)
    if not isinstance(out, np.ndarray):
        raise TypeError(node.op)
    return np.where(np.isfinite(out), out, np.nan)


def truths_of(node: Node, frame: Frame, grids: Mapping[str, Grid]) -> Truths:
    with np.errstate(all="ignore"):
        out = _worked(node, frame, grids)
    if not isinstance(out, Truths):
        raise TypeError(node.op)
    return out


def _rows(frame: Frame) -> int:
    return len(next(iter(frame.values())))


def _worked(node: Node, frame: Frame, grids: Mapping[str, Grid]) -> Values:
    if node.op == "name":
        return _column(frame[node.value], grids.get(node.value))
    if node.op == "literal":
        return _literal(node.value, _rows(frame))
    if node.op == "missing":
        gone = missing(frame[node.args[0].value])
        return Truths(gone, np.ones(len(gone), bool))
    args = [_worked(arg, frame, grids) for arg in node.args]
    if node.op in ("and", "or", "not"):
        return _logic(node.op, [arg for arg in args if isinstance(arg, Truths)])
    if node.op == "in":
        return _member(node, args[0])
    if node.op in ("==", "!=", "<", "<=", ">", ">="):
        return _compared(node.op, args[0], args[1])
    return _arithmetic(node.op, [arg for arg in args if isinstance(arg, np.ndarray)])


def _column(array: pa.Array, grid: Grid | None) -> Values:
    if pa.types.is_boolean(array.type):
        known = ~missing(array)
        return Truths(array.fill_null(False).to_numpy(zero_copy_only=False), known)
    return Texts(array) if grid is None else grid.natural(array)


def _literal(value: object, n: int) -> Values:
    if isinstance(value, bool):
        return Truths(np.full(n, value), np.ones(n, bool))
    return Texts(pa.repeat(pa.scalar(value, pa.string()), n)) if isinstance(value, str) else np.full(n, value, float)


def _arithmetic(op: str, args: list[Floats]) -> Floats:
    if op == "sum":
        out: Floats = np.sum(args, axis=0)
        return out
    if op in ("min", "max"):
        least: Floats = (np.minimum if op == "min" else np.maximum).reduce(args)
        return least
    if op in _FUNCTIONS:
        return _FUNCTIONS[op](args[0])
    if op in _PARTS:
        return _part(op, args[0])
    if op == "round":
        scale = 10.0 ** (args[1] if len(args) > 1 else 0)
        return np.rint(args[0] * scale) / scale
    return _ARITHMETIC[op](args[0], args[1])


def _part(op: str, seconds: Floats) -> Floats:
    gone = ~(np.abs(seconds) < ALL_TIME)
    times = pa.array(np.where(gone, 0, np.rint(seconds * US)).astype(np.int64)).cast(pa.timestamp("us"))
    out: Floats = _PARTS[op](times).to_numpy(zero_copy_only=False).astype(float)
    return np.where(gone, np.nan, out)


def _logic(op: str, args: list[Truths]) -> Truths:
    """Kleene's: false and unknown is false, true or unknown is true."""
    if op == "not":
        return Truths(~args[0].values, args[0].known)
    settled = [arg.known & (arg.values == (op == "or")) for arg in args]  # one of these decides
    decided = np.logical_or.reduce(settled)
    known = decided | np.logical_and.reduce([arg.known for arg in args])
    return Truths(decided if op == "or" else ~decided, known)


def _member(node: Node, found: Values) -> Truths:
    _, values = node.value
    if isinstance(found, Truths):
        return Truths(np.isin(found.values, list(values)), found.known)
    if isinstance(found, np.ndarray):
        near = [_near(found, np.full(len(found), value, float)) for value in values]
        return Truths(np.logical_or.reduce(near), ~np.isnan(found))
    inside = pc.is_in(found.array, pa.array(list(values), pa.string())).to_numpy(zero_copy_only=False)
    return Truths(inside, ~missing(found.array))


def _compared(op: str, a: Values, b: Values) -> Truths:
    if isinstance(a, Truths) and isinstance(b, Truths):
        same = a.values == b.values
        return Truths(same if op == "==" else ~same, a.known & b.known)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return Truths(_ordered(op, a, b), ~(np.isnan(a) | np.isnan(b)))
    if not (isinstance(a, Texts) and isinstance(b, Texts)):
        raise TypeError(op)
    equal = pc.equal(a.array, b.array)
    same = equal.fill_null(False).to_numpy(zero_copy_only=False)
    return Truths(same if op == "==" else ~same, ~missing(equal))


def _ordered(op: str, a: Floats, b: Floats) -> Flags:
    near = _near(a, b)
    if op in ("==", "!="):
        return near if op == "==" else ~near
    beyond: Flags = (a < b) if op in ("<", "<=") else (a > b)
    return beyond | near if op in ("<=", ">=") else beyond & ~near


def _near(a: Floats, b: Floats) -> Flags:
    out: Flags = (a == b) | (np.abs(a - b) <= CLOSE * np.maximum(np.abs(a), np.abs(b)))
    return out


# -- rules --------------------------------------------------------------------------------------------------------


def broken(form: Form, frame: Frame, grids: Mapping[str, Grid]) -> Flags:
    """Rows that certainly do not meet the rule: what is missing could. For what steps make, known combinations and the
    like, none."""
    match form:
        case Order():
            low, high = grids[form.low].natural(frame[form.low]), grids[form.high].natural(frame[form.high])
            crossed: Flags = (low >= high) if form.strict else (low > high)  # NaN compares as false
            return crossed
        case Limits():
            values = grids[form.column].natural(frame[form.column])
            out = np.zeros(len(values), bool)
            if form.low is not None:
                out |= (values <= form.low) if form.strict else (values < form.low)
            if form.high is not None:
                out |= (values >= form.high) if form.strict else (values > form.high)
            return out
        case Truth():
            return _untrue(form.node, frame, grids)
        case Derived():
            return _underived(form, frame, grids)
    return np.zeros(_rows(frame), bool)


def _untrue(node: Node, frame: Frame, grids: Mapping[str, Grid]) -> Flags:
    """Not true, or without a value where every column has one: the root of a number below zero."""
    truth = truths_of(node, frame, grids)
    out: Flags = truth.known & ~truth.values
    if not truth.known.all():
        there = [_present(frame[name], grids.get(name)) for name in names(node)]
        out |= np.logical_and.reduce([~truth.known, *there])
    return out


def _present(array: pa.Array, grid: Grid | None) -> Flags:
    return ~missing(array) if grid is None else ~np.isnan(grid.natural(array))


def _underived(form: Derived, frame: Frame, grids: Mapping[str, Grid]) -> Flags:
    """More than half a step of the column's grid off."""
    array = frame[form.column]
    if pa.types.is_boolean(array.type):
        truth = truths_of(form.node, frame, grids)
        mine = array.fill_null(False).to_numpy(zero_copy_only=False)
        wrong: Flags = truth.known & ~missing(array) & (truth.values != mine)
        return wrong
    grid = grids[form.column]
    own, made = grid.natural(array), numbers_of(form.node, frame, grids)
    room = 0.5 * grid.width * (1 + 1e-6) + CLOSE * np.maximum(np.abs(own), np.abs(made))
    off: Flags = np.abs(own - made) > room
    return off


__all__ = ["DAY", "Truths", "broken", "numbers_of", "truths_of"]

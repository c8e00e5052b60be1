"""How far an expression's values can go, when each column is known within bounds or by a few values. Torch-free,
numpy-free.

What is said here is never too narrow: a rule that comes out as impossible is met by no row; not the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from workers.modalities.table.expressions import Node

CLOSE = 1e-9  # relative: numbers nearer than this are equal
START = datetime(1970, 1, 1, tzinfo=UTC)
ENDLESS = math.inf
PARTS: Mapping[str, tuple[float, float]] = {"month": (1, 12), "day": (1, 31), "weekday": (1, 7), "hour": (0, 23)}


@dataclass(frozen=True)
class Span:
    """A number, or a time in seconds since 1970, from `low` to `high`; none at all where `low` is above."""

    low: float = -ENDLESS
    high: float = ENDLESS
    gone: bool = False  # whether it may be missing

    @property
    def single(self) -> bool:
        return self.low == self.high

    @property
    def empty(self) -> bool:
        return not self.low <= self.high


@dataclass(frozen=True)
class Texts:
    """One of these; any where `values` is None."""

    values: frozenset[str] | None = None
    gone: bool = False


@dataclass(frozen=True)
class Truth:
    """Whether it can be true, and false."""

    true: bool = True
    false: bool = True
    gone: bool = False


Reach = Span | Texts | Truth
NOTHING = Span(ENDLESS, -ENDLESS)


def reach(node: Node, columns: Mapping[str, Reach]) -> Reach:
    """Of a typed expression (`expressions.typed`), whose columns are all there."""
    if node.op == "name":
        return columns[node.value]
    if node.op == "literal":
        return _literal(node.value)
    if node.op == "missing":
        return _missing(columns[node.args[0].value])
    args = [reach(arg, columns) for arg in node.args]
    if node.op in ("and", "or", "not"):
        return _logic(node.op, [arg for arg in args if isinstance(arg, Truth)])
    if node.op == "in":
        return _among(args[0], node.value[1])
    if node.op in ("==", "!=", "<", "<=", ">", ">="):
        return _compared(node.op, args[0], args[1])
    return _number(node.op, [arg for arg in args if isinstance(arg, Span)])


def _literal(value: object) -> Reach:
    if isinstance(value, bool):
        return Truth(value, not value)
    if isinstance(value, str):
        return Texts(frozenset([value]))
    number = float(value)  # type: ignore[arg-type]
    return Span(number, number)


def _missing(found: Reach) -> Truth:
    there = not found.empty if isinstance(found, Span) else found.values != frozenset() if isinstance(found, Texts) \
        else found.true or found.false  # fmt: skip
    return Truth(found.gone, there)


def _logic(op: str, args: list[Truth]) -> Truth:
    gone = any(arg.gone for arg in args)
    if op == "not":
        return Truth(args[0].false, args[0].true, gone)
    if op == "or":
        return Truth(any(arg.true for arg in args), all(arg.false for arg in args), gone)
    return Truth(all(arg.true for arg in args), any(arg.false for arg in args), gone)


def _among(found: Reach, values: tuple[object, ...]) -> Truth:
    if isinstance(found, Texts):
        if found.values is None:
            return Truth(gone=found.gone)
        return Truth(not found.values.isdisjoint(values), not found.values <= set(values), found.gone)
    if isinstance(found, Truth):
        true = (found.true and True in values) or (found.false and False in values)
        return Truth(true, (found.true and True not in values) or (found.false and False not in values), found.gone)
    each = [_compared("==", found, _literal(value)) for value in values]
    return Truth(any(one.true for one in each), all(one.false for one in each), found.gone)


def _compared(op: str, a: Reach, b: Reach) -> Truth:
    gone = a.gone or b.gone
    if isinstance(a, Span) and isinstance(b, Span):
        return _ordered(op, a, b, gone)
    equal = _equal(a, b)
    return Truth(equal.true, equal.false, gone) if op == "==" else Truth(equal.false, equal.true, gone)


def _equal(a: Reach, b: Reach) -> Truth:
    if isinstance(a, Texts) and isinstance(b, Texts):
        if a.values is None or b.values is None:
            return Truth()
        one = len(a.values) == 1 and a.values == b.values
        return Truth(not a.values.isdisjoint(b.values), not one)
    if isinstance(a, Truth) and isinstance(b, Truth):
        return Truth((a.true and b.true) or (a.false and b.false), (a.true and b.false) or (a.false and b.true))
    return Truth()


def _ordered(op: str, a: Span, b: Span, gone: bool) -> Truth:
    if a.empty or b.empty:  # a root of a number below zero: neither true nor false
        return Truth(False, False, gone)
    if op in (">", ">="):
        return _ordered("<" if op == ">" else "<=", b, a, gone)
    meet = a.low <= b.high + near(a.low, b.high) and b.low <= a.high + near(b.low, a.high)
    same = a.single and b.single and meet
    if op in ("==", "!="):
        return Truth(meet, not same, gone) if op == "==" else Truth(not same, meet, gone)
    if op == "<":
        return Truth(a.low < b.high and not same, a.high >= b.low - near(a.high, b.low), gone)
    return Truth(a.low <= b.high + near(a.low, b.high), a.high > b.low and not same, gone)


def near(a: float, b: float) -> float:
    """How far apart two numbers are that count as equal."""
    larger = max(abs(a), abs(b))
    return CLOSE * larger if math.isfinite(larger) else 0.0


# -- numbers ------------------------------------------------------------------------------------------------------


def _number(op: str, args: list[Span]) -> Span:
    gone = any(arg.gone for arg in args)
    if any(arg.empty for arg in args):
        return Span(NOTHING.low, NOTHING.high, gone)
    try:
        low, high = _ends(op, args)
    except (OverflowError, ValueError, ZeroDivisionError):
        low, high = -ENDLESS, ENDLESS
    if math.isnan(low) or math.isnan(high):
        low, high = -ENDLESS, ENDLESS
    return Span(low, high, gone)


def _ends(op: str, args: list[Span]) -> tuple[float, float]:
    if op in _RISING:
        return _RISING[op](args[0].low), _RISING[op](args[0].high)
    if op == "sum":
        return sum(arg.low for arg in args), sum(arg.high for arg in args)
    if op in ("min", "max"):
        pick = min if op == "min" else max
        return pick(arg.low for arg in args), pick(arg.high for arg in args)
    if op in PARTS:
        return _part(op, args[0])
    if op == "neg":
        return -args[0].high, -args[0].low
    if op == "abs":
        low, high = args[0].low, args[0].high
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    if op in ("sqrt", "log"):
        return _defined(op, args[0])
    if op == "round":
        return tuple(_rounded(end, args[1].low if len(args) > 1 else 0) for end in (args[0].low, args[0].high))  # type: ignore[return-value]
    return _two(op, *args)


def _defined(op: str, arg: Span) -> tuple[float, float]:
    """Roots and logarithms, of what has any."""
    if arg.high < 0 or (op == "log" and arg.high <= 0):
        return NOTHING.low, NOTHING.high
    if op == "sqrt":
        return math.sqrt(max(arg.low, 0.0)), math.sqrt(arg.high)
    return (math.log(arg.low) if arg.low > 0 else -ENDLESS), math.log(arg.high)


def _rounded(x: float, digits: float) -> float:
    return round(x, int(digits)) if math.isfinite(x) else x


def _two(op: str, a: Span, b: Span) -> tuple[float, float]:
    if op == "+":
        return a.low + b.low, a.high + b.high
    if op == "-":
        return a.low - b.high, a.high - b.low
    if op == "*":
        return _corners(lambda x, y: 0.0 if 0.0 in (x, y) else x * y, a, b)
    if op in ("/", "//") and not b.low <= 0 <= b.high:
        low, high = _corners(lambda x, y: x / y, a, b)
        return (math.floor(low), math.floor(high)) if op == "//" and math.isfinite(low) and math.isfinite(high) else (
            low - (op == "//"), high)  # fmt: skip
    if op == "%" and b.single and b.low > 0:
        return (a.low % b.low, a.low % b.low) if a.single else (0.0, b.low)
    if op == "**" and a.low > 0:
        return _corners(lambda x, y: x**y, a, b)
    if op == "**" and a.single and b.single and (a.low != 0 or b.low >= 0):
        found = a.low**b.low
        return (found, found) if isinstance(found, float) else (NOTHING.low, NOTHING.high)  # no root of a negative
    if op == "**" and b.single and b.low > 0 and b.low % 2 == 0:
        return _ends("abs", [a])[0] ** b.low, _ends("abs", [a])[1] ** b.low
    return -ENDLESS, ENDLESS


def _corners(work: Callable[[float, float], float], a: Span, b: Span) -> tuple[float, float]:
    found = [work(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return (math.nan, math.nan) if any(map(math.isnan, found)) else (min(found), max(found))


def _whole(way: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(way(x)) if math.isfinite(x) else x


def _year(seconds: float) -> float:
    return float(_moment(seconds).year) if math.isfinite(seconds) else seconds


def _moment(seconds: float) -> datetime:
    """Raises OverflowError beyond the years that are counted."""
    return START + timedelta(microseconds=round(seconds * 1e6))


def _part(op: str, arg: Span) -> tuple[float, float]:
    if not arg.single:
        return PARTS[op]
    when = _moment(arg.low)
    found = float({"month": when.month, "day": when.day, "weekday": when.isoweekday(), "hour": when.hour}[op])
    return found, found


_RISING: Mapping[str, Callable[[float], float]] = {
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "exp": lambda x: ENDLESS if x > 700 else math.exp(x),
    "year": _year,
}

"""Whether conditions can be met beside stated rules, said when they are asked for. Torch-free and numpy-free.

It goes by the rules, the schema and bounds. What only the rows can tell (known combinations, rules that were found in
them) is the worker's to say: `structure.asking`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction
from itertools import islice, product
from typing import Any

from workers.modalities.conditions import Condition, Shares, Value
from workers.modalities.conditions import OneOf as Some
from workers.modalities.conditions import Range as Between
from workers.modalities.table import expressions, reaches
from workers.modalities.table.axes import KINDS
from workers.modalities.table.reaches import Reach, Span, Texts, Truth
from workers.modalities.table.ruleforms import (
    Column,
    Derived,
    Distinct,
    Form,
    Limits,
    OneOf,
    Order,
    parsed,
    read_forms,
    speaks_of,
    yes_and_no,
)
from workers.modalities.table.ruleforms import Truth as Expression
from workers.modalities.table.rules import described

LASTING = ("time", "duration")  # kept in microseconds, counted in seconds
MOST_STEPS = 100_000  # of working rules out, in all: where more values would have to be tried, their bounds count
Found = tuple[str, str]  # a column, and why its condition cannot be met


def against_rules(
    columns: Sequence[Column], constraints: Sequence[Mapping[str, Any]], conditions: Mapping[str, Condition]
) -> list[Found]:
    """Conditions (parsed, by column) that no row can meet together with the rules, each with the rule's name."""
    rules = parsed(constraints)
    forms, _ = read_forms(rules, columns)
    return contradictions(columns, forms, [described(rule) for rule in rules], conditions)


def contradictions(
    columns: Sequence[Column], forms: Sequence[Form], names: Sequence[str], conditions: Mapping[str, Condition]
) -> list[Found]:
    """`names` are the rules' own, by their place."""
    known, out = {column["name"]: column for column in columns}, list[Found]()
    about = [(form, asked) for form in forms if (asked := [name for name in speaks_of(form) if name in conditions])]
    for form, asked in about:
        text = names[form.rule]
        if isinstance(form, Derived) and form.column not in conditions:
            continue  # it becomes what follows, also beyond the values that rows have had
        if isinstance(form, Distinct):
            unique = f"its values are unique by the rule {text!r}."
            out.append((asked[0], f"No condition can be put on {asked[0]!r}: {unique}"))
        elif (why := _objection(form, known, conditions, MOST_STEPS // len(about))) is not None:
            out.append((asked[0], f"This contradicts the rule {text!r}{why}."))
    return out or list(_along_orders(forms, names, known, conditions))


def _objection(form: Form, known: Mapping[str, Column], conditions: Mapping[str, Condition], most: int) -> str | None:
    """None if some row can meet the rule; else what to add to the sentence that says so. Takes so many steps."""
    used = [name for name in speaks_of(form) if name in known]
    whole = {name: _reach(known[name], conditions.get(name)) for name in used}
    every, some = (
        {name: asked.values for name in used if isinstance(asked := conditions.get(name), kind)}
        for kind in (Shares, Some)
    )
    size = len(used) + (_cost(form.node) if isinstance(form, Derived | Expression) else 0)
    for values in (*every.values(), *some.values()):
        size *= len(values)
    if size > most:
        return None if _possible(form, known, whole) else ""
    for dealt in product(*every.values()):  # the shares of columns are dealt apart: all combinations occur
        given = dict(zip(every, dealt, strict=True))
        fixed = whole | {name: _reach(known[name], Value(value)) for name, value in given.items()}
        tried = (dict(zip(some, values, strict=True)) for values in product(*some.values()))
        if not any(
            _possible(form, known, fixed | {name: _reach(known[name], Value(value)) for name, value in one.items()})
            for one in tried
        ):
            told = " and ".join(f"{name[:60]!r} as {str(value)[:60]!r}" for name, value in islice(given.items(), 3))
            return f" in rows that have {told}" if told else ""
    return None


def _cost(node: expressions.Node) -> int:
    """About how many steps it takes to work out what an expression may be."""
    return sum(len(one.value[1]) if one.op == "in" else 1 for one in node.walk())


def _possible(form: Form, known: Mapping[str, Column], columns: Mapping[str, Reach]) -> bool:
    gone = any(found.gone for found in columns.values())
    match form:
        case Order():
            return gone or _true(reaches.reach(_node(form), columns))
        case Limits():
            return gone or _within(form, columns[form.column])
        case Expression():
            found = reaches.reach(form.node, columns)
            return _true(found) or found.gone
        case Derived():
            return gone or _follows(known[form.column], columns[form.column], reaches.reach(form.node, columns))
        case OneOf():
            sure = [_yes(known[name], columns[name]) for name in form.columns]
            return gone or (sure.count(True) <= 1 and sure.count(False) < len(sure))
    return True


def _true(found: Reach) -> bool:
    return isinstance(found, Truth) and found.true


def _node(form: Order) -> expressions.Node:
    ends = tuple(expressions.Node("name", value=name) for name in (form.low, form.high))
    return expressions.Node("<" if form.strict else "<=", ends)


def _within(form: Limits, found: Reach) -> bool:
    if not isinstance(found, Span):
        return True
    below = form.high is None or (found.low < form.high if form.strict else found.low <= form.high)
    return below and (form.low is None or (found.high > form.low if form.strict else found.high >= form.low))


def _follows(column: Column, own: Reach, made: Reach) -> bool:
    """Whether a column can be what its formula gives, to the digits that it has."""
    if isinstance(own, Span) and isinstance(made, Span):
        room = float(_step(column)) / 2 * (1 + 1e-6)
        low = made.low - room - reaches.near(made.low, made.low)
        high = made.high + room + reaches.near(made.high, made.high)
        return not made.empty and own.low <= high and own.high >= low
    return _true(reaches.reach(expressions.Node("==", _TWO), {"own": own, "made": made}))


_TWO = (expressions.Node("name", value="own"), expressions.Node("name", value="made"))


def _step(column: Column) -> Fraction:
    """Between two values of a column that is counted."""
    axis = KINDS[column["type"]](column) if column["type"] in KINDS else None
    step = axis.step if axis and axis.step else Fraction(0)
    if column["type"] == "date":
        return step * 86_400
    return step / 1_000_000 if column["type"] in ("datetime", *LASTING) else step


def _yes(column: Column, found: Reach) -> bool | None:
    """Whether it certainly says yes, or no."""
    words = yes_and_no(column)
    if words is None:
        return None
    yes = _number_of(column, words[0]) if isinstance(found, Span) else words[0]
    match found:
        case Span() if found.single:
            return found.low == yes
        case Texts(values=values) if values is not None and len(values) == 1:
            return values == {yes}
        case Truth() if found.true != found.false:
            return found.true
    return None


# -- what a condition leaves of a column --------------------------------------------------------------------------


def _reach(column: Column, asked: Condition | None) -> Reach:
    """Of a column without a condition, what the schema tells."""
    kind = expressions.kind_of(column)
    gone = bool(column.get("nullable", True))
    match asked:
        case None:
            levels = column.get("levels")
            if kind in ("text", "boolean") or levels is not None:
                return _of_values(column, kind, levels, gone)
            return _bounded(column, None, None, gone)
        case Between():
            return _bounded(column, asked.minimum, asked.maximum, False)
        case Value():
            return _of_values(column, kind, [asked.value], asked.value is None)
    return _of_values(column, kind, asked.values, None in asked.values)


def _of_values(column: Column, kind: str, values: Sequence[Any] | None, gone: bool) -> Reach:
    there = None if values is None else [value for value in values if value is not None]
    if kind == "text":
        return Texts(None if there is None else frozenset(map(str, there)), gone)
    if kind == "boolean":
        return Truth(True, True, gone) if there is None else Truth(True in there, False in there, gone)
    if there is None:
        return Span(gone=gone)
    numbers = [_number_of(column, value) for value in there]
    return Span(min(numbers), max(numbers), gone) if numbers else replace(reaches.NOTHING, gone=gone)


def _bounded(column: Column, low: Any, high: Any, gone: bool) -> Span:
    """Within the column's own bounds, where the schema tells them, and what is asked."""
    axis = KINDS[column["type"]](column) if column["type"] in KINDS else None
    own = axis.bounds if axis else (None, None)
    ends = [
        (None if bound is None else _seconds(column, float(bound))) if asked is None else _number_of(column, asked)
        for asked, bound in zip((low, high), own, strict=True)
    ]
    return Span(-reaches.ENDLESS if ends[0] is None else ends[0], reaches.ENDLESS if ends[1] is None else ends[1], gone)


def _seconds(column: Column, bound: float) -> float:
    """A number on the column's axis as expressions count it."""
    if column["type"] == "date":
        return (bound - date(1970, 1, 1).toordinal()) * 86_400
    return bound / 1e6 if column["type"] in ("datetime", *LASTING) else bound


def _number_of(column: Column, value: Any) -> float:
    """A value in storage units, or a level, as expressions count it."""
    if isinstance(value, date | datetime):
        return expressions.seconds(value)
    if isinstance(value, str):  # a level of a column of numbers, times or durations
        return _seconds(column, float(KINDS[column["type"]](column).number(value)))
    return float(value) / 1e6 if column["type"] in LASTING else float(value)


# -- orders that follow from each other ---------------------------------------------------------------------------


def _along_orders(
    forms: Sequence[Form], names: Sequence[str], known: Mapping[str, Column], conditions: Mapping[str, Condition]
) -> Iterator[Found]:
    """a <= b <= c, and c is asked to be below a: bounds are handed on from column to column. A column that may be
    missing hands on nothing."""
    orders = [form for form in forms if isinstance(form, Order)]
    spans = {name: _reach(known[name], conditions.get(name)) for form in orders for name in speaks_of(form)}
    low = {
        name: (span.low, [name], list[int]())
        for name, span in spans.items()
        if isinstance(span, Span) and not span.gone and not span.empty
    }
    for _ in orders:
        moved = False
        for form in orders:
            if form.low not in low or form.high not in low or low[form.low][0] <= low[form.high][0]:
                continue
            bound, path, rules = low[form.low]
            low[form.high], moved = (bound, [*path, form.high], [*rules, form.rule]), True
        if not moved:
            break
    for name, (bound, path, rules) in low.items():
        span, asked = spans[name], [one for one in path if one in conditions]
        if rules and asked and isinstance(span, Span) and bound > span.high + reaches.near(bound, span.high):
            told = " and ".join(repr(names[rule]) for rule in dict.fromkeys(rules))
            yield asked[-1], f"This contradicts the rules {told}."
            return

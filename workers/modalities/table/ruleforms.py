"""A user's rules on a schema, each as one of a few plain forms, or why it cannot be one. Torch-free, numpy-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from workers.modalities.table import expressions
from workers.modalities.table.expressions import ExpressionError, Kind, Node
from workers.modalities.table.rules import (
    Between,
    Constraint,
    Expression,
    FixedCombinations,
    Formula,
    Inequality,
    OneHot,
    Positive,
    Range,
    Rule,
    Sum,
    Unique,
)

LEARNED = ("integer", "float", "boolean", "category", "datetime", "date", "time", "duration")
KEYS = ("identifier",)  # unique as they are made
YES = ("true", "yes", "t", "y", "1")
FEWEST_UNIQUE = 10  # combinations below which uniqueness is no use: training alone needs as many rows
Column = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    rule: int  # its place among the constraints


@dataclass(frozen=True)
class Order(Form):
    low: str
    high: str
    strict: bool


@dataclass(frozen=True)
class Limits(Form):
    """In natural numbers; times in seconds since 1970."""

    column: str
    low: float | None
    high: float | None
    strict: bool


@dataclass(frozen=True)
class Derived(Form):
    column: str
    node: Node


@dataclass(frozen=True)
class Known(Form):
    columns: tuple[str, ...]


@dataclass(frozen=True)
class OneOf(Form):
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Distinct(Form):
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Truth(Form):
    node: Node


class Refused(ValueError):
    """The sentence says why the rule cannot be."""


_RULES: TypeAdapter[Rule] = TypeAdapter(Constraint)


def parsed(constraints: Sequence[Mapping[str, Any] | Rule]) -> list[Rule]:
    return [item if isinstance(item, Rule) else _RULES.validate_python(dict(item)) for item in constraints]


def forms(constraints: Sequence[Mapping[str, Any] | Rule], columns: Sequence[Column]) -> list[Form]:
    """The rules in their plain forms. Raises Refused for one that `check_constraints` refuses."""
    found, errors = read_forms(parsed(constraints), columns)
    if errors:
        raise Refused(errors[min(errors)])
    return found


def read_forms(rules: list[Rule], columns: Sequence[Column]) -> tuple[list[Form], dict[int, str]]:
    """The forms of the rules that can be kept on these columns, and for each other rule the reason why not."""
    reader, errors = _Reader(columns), dict[int, str]()
    found: list[Form] = []
    for i, rule in enumerate(rules):
        try:
            found += reader.forms(i, rule)
        except (Refused, ExpressionError) as refused:
            errors[i] = str(refused)
    return found, errors


class _Reader:
    """Reads rules one after the other; knows what earlier ones derive."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = {column["name"]: column for column in columns}
        self.kinds: dict[str, Kind] = {
            name: expressions.kind_of(column)
            for name, column in self.columns.items()
            if column["type"] in LEARNED
        }  # fmt: skip
        self.derived: set[str] = set()

    def column(self, name: str, *kinds: Kind) -> Column:
        column = self.columns.get(name)
        if column is None:
            raise Refused(f"The dataset has no column {name[:60]!r}.")
        if name not in self.kinds:
            raise Refused(f"Column {name[:60]!r} is of type {column['type']}, which no rule can speak of.")
        if kinds and self.kinds[name] not in kinds:
            raise Refused(
                f"Column {name[:60]!r} is of type {column['type']}; this rule takes a {' or a '.join(kinds)}."
            )
        return column

    def forms(self, i: int, rule: Rule) -> list[Form]:
        match rule:
            case Inequality():
                return [self._order(i, rule.low, rule.high, rule.strict)]
            case Between():
                return [
                    self._order(i, rule.low, rule.column, rule.strict),
                    self._order(i, rule.column, rule.high, rule.strict),
                ]
            case Range():
                return [self._range(i, rule)]
            case Positive():
                self.column(rule.column, "number")
                return [Limits(i, rule.column, 0.0, None, True)]
            case FixedCombinations():
                return [self._known(i, rule)]
            case Sum():
                return [self._sum(i, rule)]
            case Formula():
                self.column(rule.column)
                return [self._formula(i, rule.column, expressions.parse(rule.expression))]
            case OneHot():
                return [self._one_hot(i, rule)]
            case Unique():
                return self._unique(i, rule)
            case Expression():
                return self._expression(i, rule)
        raise TypeError(type(rule))

    def _order(self, i: int, low: str, high: str, strict: bool) -> Order:
        self.column(low, "number", "time")
        self.column(high, "number", "time")
        if self.kinds[low] != self.kinds[high]:
            raise Refused(f"A {self.kinds[low]} and a {self.kinds[high]} cannot be compared.")
        if low == high:
            raise Refused("A column is compared with itself.")
        return Order(i, low, high, strict)

    def _range(self, i: int, rule: Range) -> Limits:
        column = self.column(rule.column, "number", "time")
        low, high = (self._bound(rule.column, bound) for bound in (rule.minimum, rule.maximum))
        if low is None and high is None:
            raise Refused("A range needs a minimum or a maximum.")
        form = Limits(i, rule.column, low, high, rule.strict)
        _refuse_empty(form, column)
        return form

    def _bound(self, name: str, bound: float | str | None) -> float | None:
        if bound is None:
            return None
        if self.kinds[name] == "time":
            if not isinstance(bound, str):
                raise Refused(f"Bounds of {name[:60]!r} are dates or times such as '2024-03-01'.")
            return expressions.seconds(expressions.moment(bound))
        if isinstance(bound, str):
            raise Refused(f"Bounds of {name[:60]!r} are numbers.")
        if not abs(bound) <= 2.0**53:  # nor is what is no number; whole numbers of any length can be compared
            raise Refused("A bound may be no larger than 2**53.")
        return float(bound)

    def _known(self, i: int, rule: FixedCombinations) -> Known:
        for name in _each_once(rule.columns):
            column = self.column(name)
            if "levels" not in column and column["type"] in ("float", "datetime"):
                raise Refused(f"Column {name[:60]!r} is of type {column['type']}: its values are too many to combine.")
        return Known(i, tuple(rule.columns))

    def _sum(self, i: int, rule: Sum) -> Derived:
        for name in _each_once([rule.total, *rule.parts]):
            self.column(name, "number")
        self.derived.add(rule.total)
        return Derived(i, rule.total, Node("sum", tuple(Node("name", value=part) for part in rule.parts)))

    def _formula(self, i: int, column: str, node: Node) -> Derived:
        node, kind = expressions.typed(node, self.kinds)
        used = expressions.names(node)
        if column in used:
            raise Refused(f"The formula of {column[:60]!r} uses the column itself.")
        if not used:
            raise Refused("A formula speaks of at least one other column.")
        if kind != self.kinds[column] or kind == "text":
            raise Refused(f"The formula gives a {kind}, and column {column[:60]!r} holds a {self.kinds[column]}.")
        self.derived.add(column)
        return Derived(i, column, node)

    def _one_hot(self, i: int, rule: OneHot) -> OneOf:
        for name in _each_once(rule.columns):
            column = self.column(name)
            if yes_and_no(column) is None:
                raise Refused(f"Column {name[:60]!r} holds other values than 0 and 1, or true and false.")
        return OneOf(i, tuple(rule.columns))

    def _unique(self, i: int, rule: Unique) -> list[Form]:
        names = _each_once(rule.columns)
        if any(name in self.columns and self.columns[name]["type"] in KEYS for name in names):
            return []
        ways = 1
        for name in names:
            column = self.column(name)
            ways *= len(column["levels"]) if "levels" in column else 2**53
        if ways < FEWEST_UNIQUE:
            raise Refused(f"There are only {ways} different values, so no output could have more rows than that.")
        return [Distinct(i, tuple(names))]

    def _expression(self, i: int, rule: Expression) -> list[Form]:
        node, kind = expressions.typed(expressions.parse(rule.expression), self.kinds)
        if kind != "boolean":
            raise Refused(f"The expression gives a {kind}; a rule is a comparison, such as 'age >= 18'.")
        if not expressions.names(node):
            raise Refused("The expression speaks of no column.")
        return [self._part(i, part) for part in expressions.conjuncts(node)]

    def _part(self, i: int, node: Node) -> Form:
        """A comparison that is one of the other kinds of rule is met as that."""
        if node.op in ("<", "<=", ">", ">="):
            a, b = node.args if node.op in ("<", "<=") else node.args[::-1]
            strict = node.op in ("<", ">")
            if a.op == b.op == "name" and a.value != b.value:
                return Order(i, a.value, b.value, strict)
            if {a.op, b.op} == {"name", "literal"}:
                low, high = (None, b.value) if a.op == "name" else (a.value, None)
                form = Limits(i, a.value if a.op == "name" else b.value, low, high, strict)
                _refuse_empty(form, self.columns[form.column])
                return form
        if node.op == "==":
            for target, source in (node.args, node.args[::-1]):
                used = expressions.names(source)
                free = target.op == "name" and target.value not in used and target.value not in self.derived
                if free and used and self.kinds[target.value] != "text":
                    self.derived.add(target.value)
                    return Derived(i, target.value, source)
        return Truth(i, node)


def _each_once(names: list[str]) -> list[str]:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise Refused(f"Column {name[:60]!r} is named twice.")
        seen.add(name)
    return names


def yes_and_no(column: Column) -> tuple[Any, Any] | None:
    """Which of the column's levels stand for yes and no; None if others are there as well."""
    levels = column.get("levels")
    if levels is None or not 1 <= len(levels) <= 2:
        return None
    if all(isinstance(level, bool) for level in levels):
        return True, False
    if all(isinstance(level, int | float) for level in levels):
        return (1, 0) if set(levels) <= {0, 1} else None
    yes = [level for level in levels if str(level).strip().lower() in YES]
    return (yes[0], next(level for level in levels if level != yes[0])) if len(yes) == 1 and len(levels) == 2 else None


def extent(column: Column) -> tuple[float, float] | None:
    """Smallest and largest number of a column, as far as the schema tells."""
    if column["type"] not in ("integer", "float"):
        return None
    low, high = column.get("minimum"), column.get("maximum")
    return None if low is None or high is None else (float(low), float(high))


def _refuse_empty(form: Limits, column: Column) -> None:
    if form.low is not None and form.high is not None and _above(form.low, form.high, form.strict):
        raise Refused("The minimum is above the maximum: no value fits.")
    reach = extent(column)
    if reach and form.low is not None and _above(form.low, reach[1], form.strict):
        raise Refused(f"The column's values reach no higher than {reach[1]:g}: no row meets this rule.")
    if reach and form.high is not None and _above(reach[0], form.high, form.strict):
        raise Refused(f"The column's values begin at {reach[0]:g}: no row meets this rule.")


def _above(low: float, high: float, strict: bool) -> bool:
    return low > high or (strict and low == high)


def speaks_of(form: Form) -> list[str]:
    """The columns that a rule ties together."""
    match form:
        case Order():
            return [form.low, form.high]
        case Limits():
            return [form.column]
        case Derived():
            return [form.column, *expressions.names(form.node)]
        case Truth():
            return expressions.names(form.node)
        case Known() | OneOf() | Distinct():
            return list(form.columns)
    raise TypeError(type(form))

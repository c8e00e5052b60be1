"""The small language of rules over columns: read by Python's own parser, checked against a white list, never run.

`price * quantity`, `age >= 18 or status == 'minor'`, `end - start <= 30`. Names are columns; others than plain words
stand in backticks. Knows nothing of arrays: `structure.evaluate` works an expression out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

Kind = Literal["number", "text", "boolean", "time"]
MAX_LENGTH, MAX_NODES = 4_000, 600  # nodes of Python's tree: what reads it goes as deep
DAY = 86_400.0
DIGITS = 12  # that round() keeps, at most
WORDS = {"and", "or", "not", "in", "is", "True", "False", "None", "true", "false", "null"}
FUNCTIONS: Mapping[str, tuple[Kind, Kind, int, int]] = {  # of what, to what, fewest and most arguments
    "abs": ("number", "number", 1, 1),
    "round": ("number", "number", 1, 2),
    "floor": ("number", "number", 1, 1),
    "ceil": ("number", "number", 1, 1),
    "sqrt": ("number", "number", 1, 1),
    "log": ("number", "number", 1, 1),
    "exp": ("number", "number", 1, 1),
    "min": ("number", "number", 2, 20),
    "max": ("number", "number", 2, 20),
    "year": ("time", "number", 1, 1),
    "month": ("time", "number", 1, 1),
    "day": ("time", "number", 1, 1),
    "weekday": ("time", "number", 1, 1),
    "hour": ("time", "number", 1, 1),
}
_TOKENS = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`[^`]+`|(?:\d[\w.]*|\.\d\w*)|[^\W\d]\w*")
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_ORDERED = ("<", "<=", ">", ">=")


class ExpressionError(ValueError):
    """The sentence says what cannot be read, or what does not fit."""


@dataclass(frozen=True)
class Node:
    """`op` is "name" or "literal" (with a value), an operator, a function's name, or "in" (with a tuple of values)."""

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None

    def walk(self) -> Iterator[Node]:
        yield self
        for arg in self.args:
            yield from arg.walk()


def names(node: Node) -> list[str]:
    """The columns that an expression speaks of, each once, in order."""
    return list(dict.fromkeys(part.value for part in node.walk() if part.op == "name"))


def parse(text: str) -> Node:
    """Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"An expression may be {MAX_LENGTH} characters long.")
    plain, columns = _placeholders(text)
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"The expression {text[:80]!r} cannot be read.") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ExpressionError("The expression is too long; split it into several rules.")
    return _node(tree.body, columns)


def _placeholders(text: str) -> tuple[str, dict[str, str]]:
    """Each column's name as a word that Python reads as it stands; Python would fold some letters into others."""
    columns: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        token = match.group()
        following = text[match.end() :].lstrip()
        if token[0] in "'\"." or token[0].isdigit() or token in WORDS:
            return {"true": "True", "false": "False", "null": "None"}.get(token, token)
        if token[0] != "`" and following.startswith("(") and token in (*FUNCTIONS, "date", "missing"):
            return token
        columns[f"c{len(columns)}_"] = token.strip("`") if token[0] == "`" else token
        return f" c{len(columns) - 1}_ "

    return _TOKENS.sub(replace, text.replace("\n", " ")), columns


def _node(tree: ast.AST, columns: Mapping[str, str]) -> Node:
    def sub(part: ast.AST) -> Node:
        return _node(part, columns)

    match tree:
        case ast.Name(id=name) if name in columns:
            return Node("name", value=columns[name])
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            return _literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = sub(operand)
            return Node("literal", value=-inner.value) if _numeric(inner) else Node("neg", (inner,))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return sub(operand)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Node("not", (sub(operand),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return Node(_BINARY[type(op)], (sub(left), sub(right)))
        case ast.BoolOp(op=op, values=values):
            return Node("and" if isinstance(op, ast.And) else "or", tuple(sub(value) for value in values))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            ends = [left, *rights]
            pairs = tuple(_comparison(ends[i], op, ends[i + 1], sub) for i, op in enumerate(ops))
            return pairs[0] if len(pairs) == 1 else Node("and", pairs)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, tuple(sub(arg) for arg in args))
    raise ExpressionError(
        "An expression knows columns, numbers, texts, + - * / // % **, comparisons, and, or, not, in, "
        f"and the functions {', '.join([*FUNCTIONS, 'date', 'missing'])}."
    )


def _literal(value: Any) -> Node:
    if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= 2.0**53:
        raise ExpressionError("A number in an expression may be no larger than 2**53.")
    return Node("literal", value=value)


def _numeric(node: Node) -> bool:
    return node.op == "literal" and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _comparison(left: ast.AST, op: ast.cmpop, right: ast.AST, sub: Any) -> Node:
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
            raise ExpressionError("After 'in' stands a list of values: status in ['new', 'old'].")
        found = [sub(element) for element in right.elts]
        if any(element.op != "literal" or element.value is None for element in found):
            raise ExpressionError("After 'in' stands a list of values: status in ['new', 'old'].")
        inside = Node("in", (sub(left),), tuple(element.value for element in found))
        return inside if isinstance(op, ast.In) else Node("not", (inside,))
    a, b = sub(left), sub(right)
    nothing = next((x for x in (a, b) if x.op == "literal" and x.value is None), None)
    if nothing is not None and isinstance(op, ast.Is | ast.Eq | ast.IsNot | ast.NotEq):
        gone = Node("missing", (b if nothing is a else a,))
        return gone if isinstance(op, ast.Is | ast.Eq) else Node("not", (gone,))
    if type(op) not in _COMPARE:
        raise ExpressionError("Compare with ==, !=, <, <=, >, >= or in.")
    return Node(_COMPARE[type(op)], (a, b))


def _call(name: str, args: tuple[Node, ...]) -> Node:
    if name == "date":
        if len(args) != 1 or args[0].op != "literal" or not isinstance(args[0].value, str):
            raise ExpressionError("Write a date as date('2024-03-01').")
        return Node("literal", value=moment(args[0].value))
    if name == "missing":
        if len(args) != 1 or args[0].op != "name":
            raise ExpressionError("missing() takes one column.")
        return Node("missing", args)
    if name not in FUNCTIONS:
        raise ExpressionError(f"There is no function of this name; there are {', '.join(FUNCTIONS)}.")
    _, _, least, most = FUNCTIONS[name]
    if not least <= len(args) <= most:
        raise ExpressionError(f"{name}() takes {least if least == most else f'{least} to {most}'} values.")
    if name == "round" and len(args) == 2 and not (_numeric(args[1]) and args[1].value in range(-DIGITS, DIGITS + 1)):
        raise ExpressionError(f"round() takes a whole number of digits from {-DIGITS} to {DIGITS}.")
    return Node(name, args)


def moment(text: str) -> datetime:
    """A date or time as people write it in ISO 8601, in universal time. Raises ExpressionError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionError(f"{text[:40]!r} is no date of the form 2024-03-01 or 2024-03-01T12:30:00.") from None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise ExpressionError(f"{text[:40]!r} lies outside the years 1 to 9999 in universal time.") from None


def seconds(value: datetime | date) -> float:
    """Since 1970, as times are counted in expressions."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value).timestamp()


# -- kinds --------------------------------------------------------------------------------------------------------


def kind_of(column: Mapping[str, Any]) -> Kind:
    """What a schema's column is in an expression."""
    if column["type"] in ("date", "datetime"):
        return "time"
    arrow = str(column.get("arrow", ""))
    if column["type"] in ("integer", "float", "time", "duration") or arrow.startswith(
        ("int", "uint", "double", "float", "half", "decimal")
    ):
        return "number"
    return "boolean" if arrow == "bool" or (column["type"] == "boolean" and not arrow) else "text"


def typed(node: Node, kinds: Mapping[str, Kind]) -> tuple[Node, Kind]:
    """The expression with times counted in seconds and their differences in days, and what kind of value it gives.
    Raises ExpressionError for a column that is not there and for what does not fit together."""
    if node.op == "name":
        if node.value not in kinds:
            raise ExpressionError(f"There is no learned column {str(node.value)[:60]!r}.")
        return node, kinds[node.value]
    if node.op == "literal":
        return _typed_literal(node)
    parts = [typed(arg, kinds) for arg in node.args]
    args, found = tuple(part for part, _ in parts), [kind for _, kind in parts]
    if node.op in ("and", "or", "not"):
        _all(found, "boolean", node.op)
        return Node(node.op, args), "boolean"
    if node.op == "missing":
        return Node("missing", args), "boolean"
    if node.op == "in":
        return _typed_in(node, args[0], found[0]), "boolean"
    if node.op in _COMPARE.values():
        return _typed_comparison(node.op, args, found), "boolean"
    if node.op in ("+", "-") and "time" in found:
        return _typed_time(node.op, args, found)
    if node.op in ("min", "max") and found and set(found) == {"time"}:
        return Node(node.op, args), "time"
    wanted, given, _, _ = FUNCTIONS.get(node.op, ("number", "number", 0, 0))
    _all(found, wanted, node.op)
    return Node(node.op, args), given


def _typed_literal(node: Node) -> tuple[Node, Kind]:
    match node.value:
        case bool():
            return node, "boolean"
        case datetime():
            return Node("literal", value=seconds(node.value)), "time"
        case int() | float():
            return node, "number"
        case str():
            return node, "text"
    raise ExpressionError("Ask for a missing value with missing(column).")


def _all(found: Sequence[Kind], wanted: Kind, op: str) -> None:
    wrong = next((kind for kind in found if kind != wanted), None)
    if wrong:
        raise ExpressionError(f"{op!r} takes a {wanted}, and here stands a {wrong}.")


def _as_time(node: Node, kind: Kind, other: Kind) -> tuple[Node, Kind]:
    """A text beside a time is a date."""
    if other == "time" and node.op == "literal" and isinstance(node.value, str):
        return Node("literal", value=seconds(moment(node.value))), "time"
    return node, kind


def _typed_comparison(op: str, args: tuple[Node, ...], found: list[Kind]) -> Node:
    (a, first), (b, second) = _as_time(args[0], found[0], found[1]), _as_time(args[1], found[1], found[0])
    if first != second:
        raise ExpressionError(f"A {first} is compared with a {second}.")
    if op in _ORDERED and first in ("text", "boolean"):
        raise ExpressionError(f"{op!r} compares numbers and times, not a {first}.")
    return Node(op, (a, b), first)


def _typed_in(node: Node, inner: Node, kind: Kind) -> Node:
    values = [_as_time(Node("literal", value=value), "text", kind)[0] for value in node.value]
    fits = {"number": int | float, "text": str, "boolean": bool, "time": float}[kind]
    if any(not isinstance(v.value, fits) or (kind == "number" and isinstance(v.value, bool)) for v in values):
        raise ExpressionError(f"The values after 'in' are not each a {kind}.")
    return Node("in", (inner,), (kind, tuple(value.value for value in values)))


def _typed_time(op: str, args: tuple[Node, ...], found: list[Kind]) -> tuple[Node, Kind]:
    a, b = args
    if found == ["time", "time"] and op == "-":
        return Node("/", (Node("-", (a, b)), Node("literal", value=DAY))), "number"
    if sorted(found) == ["number", "time"] and (op == "+" or found[0] == "time"):
        days = tuple(
            x if kind == "time" else Node("*", (x, Node("literal", value=DAY)))
            for x, kind in zip(args, found, strict=True)
        )
        return Node(op, days), "time"
    raise ExpressionError(f"{' and '.join(found)} cannot be put together by {op!r}; a time takes a number of days.")


# -- parts --------------------------------------------------------------------------------------------------------


def conjuncts(node: Node) -> list[Node]:
    """The parts of which each must be true."""
    return [part for arg in node.args for part in conjuncts(arg)] if node.op == "and" else [node]

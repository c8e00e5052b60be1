"""Conditions that contradict stated rules are refused when they are asked for, by the rule's name, and no others."""

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidCondition, InvalidRequest
from workers.modalities.table import expressions
from workers.modalities.table.reaches import Span, Texts, Truth, reach
from workers.modalities.table.spec import check_conditions, check_target

COLUMNS: list[dict[str, Any]] = [
    {"name": "a", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 0, "maximum": 100},
    {"name": "b", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 0, "maximum": 100},
    {"name": "c", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 0, "maximum": 100},
    {"name": "maybe", "type": "integer", "arrow": "int64", "nullable": True, "minimum": 0, "maximum": 50},
    {"name": "price", "type": "float", "arrow": "double", "nullable": False, "minimum": 0.5, "maximum": 20.0,
     "decimals": 2},
    {"name": "total", "type": "float", "arrow": "double", "nullable": False, "minimum": 0.0, "maximum": 2000.0,
     "decimals": 2},
    {"name": "status", "type": "category", "arrow": "string", "nullable": False, "levels": ["new", "old", "minor"]},
    {"name": "yes", "type": "boolean", "arrow": "bool", "nullable": False, "levels": [True, False]},
    {"name": "no", "type": "boolean", "arrow": "bool", "nullable": False, "levels": [True, False]},
    {"name": "placed", "type": "date", "arrow": "date32[day]", "nullable": False, "format": "%Y-%m-%d"},
    {"name": "sent", "type": "date", "arrow": "date32[day]", "nullable": True, "format": "%Y-%m-%d"},
]  # fmt: skip
SCHEMA = {"columns": COLUMNS}
A_B = {"kind": "inequality", "low": "a", "high": "b"}
B_C = {"kind": "inequality", "low": "b", "high": "c"}
A_MAYBE = {"kind": "inequality", "low": "a", "high": "maybe"}
TOTAL = {"kind": "formula", "column": "total", "expression": "price * a"}
MINOR = {"kind": "expression", "expression": "a >= 18 or status == 'minor'"}
SENT = {"kind": "inequality", "low": "placed", "high": "sent", "strict": True}
ONE = {"kind": "one_hot", "columns": ["yes", "no"]}


@pytest.mark.parametrize(
    ("rules", "conditions", "said"),
    [
        ([A_B], {"a": 5, "b": 4}, "'a <= b'"),
        ([A_B | {"strict": True}], {"a": 100}, "'a < b'"),
        ([A_B, B_C], {"a": 50, "c": {"max": 49}}, "'a <= b' and 'b <= c'"),
        ([A_B], {"a": {"share": [[5, 0.5], [9, 0.5]]}, "b": 7}, "'a' as '9'"),
        ([A_B], {"a": {"share": [[5, 0.5], [9, 0.5]]}, "b": {"share": [[9, 0.5], [6, 0.5]]}}, "'a' as '9' and 'b' as"),
        ([{"kind": "range", "column": "a", "minimum": 10, "strict": True}], {"a": 10}, "10 < a"),
        ([{"kind": "positive", "column": "a"}], {"a": {"max": 0}}, "a > 0"),
        ([TOTAL], {"total": 7, "price": 2, "a": 3}, "total = price"),
        ([TOTAL], {"total": {"min": 101}, "a": {"max": 5}}, "total = price"),
        ([MINOR], {"a": 12, "status": "new"}, "'minor'"),
        ([MINOR], {"a": {"in": [3, 12]}, "status": {"in": ["new", "old"]}}, "'minor'"),
        ([MINOR], {"status": {"new": 0.5, "minor": 0.5}, "a": {"max": 17}}, "'status' as 'new'"),
        ([SENT], {"placed": "2024-03-01", "sent": "2024-03-01"}, "placed < sent"),
        ([SENT], {"placed": {"min": "2024-03-02"}, "sent": {"max": "2024-03-02"}}, "placed < sent"),
        ([ONE], {"yes": True, "no": True}, "exactly one"),
        ([ONE], {"yes": False, "no": False}, "exactly one"),
        ([{"kind": "unique", "columns": ["a", "status"]}], {"status": "new"}, "are unique by"),
        ([{"kind": "expression", "expression": "sqrt(a - 50) >= 0"}], {"a": 20}, "sqrt"),
        ([{"kind": "expression", "expression": "not missing(maybe) or a > 5"}], {"maybe": None, "a": 3}, "missing"),
        ([{"kind": "expression", "expression": "weekday(placed) < 6"}], {"placed": "2024-03-02"}, "weekday"),
    ],
    ids=str,
)  # fmt: skip
def test_what_no_row_can_meet_is_refused_by_the_rules_name(
    rules: list[dict[str, Any]], conditions: dict[str, Any], said: str
) -> None:
    check_conditions(SCHEMA, conditions, {})
    with pytest.raises(InvalidCondition, match=r"rules?|unique") as refused:
        check_conditions(SCHEMA, conditions, {"constraints": rules})
    assert said in str(refused.value)
    assert refused.value.errors[0]["path"].removeprefix("conditions.") in conditions


@pytest.mark.parametrize(
    ("rules", "conditions"),
    [
        ([A_B, B_C], {"a": 50, "c": 50}),
        ([A_B], {"a": {"in": [5, 9]}, "b": 7}),  # those that can be are drawn
        ([A_B], {"b": {"share": [[5, 0.5], [9, 0.5]]}}),
        ([A_MAYBE], {"a": 80}),  # as long as the other is missing
        ([A_MAYBE], {"a": 80, "maybe": None}),
        ([TOTAL], {"total": 7.01, "price": 7.01, "a": 1}),
        ([TOTAL], {"total": {"max": 0}}),
        (
            [{"kind": "formula", "column": "total", "expression": "100 * price * a"}],
            {"price": 20, "a": 90},
        ),  # new totals
        ([MINOR], {"a": 12}),
        ([MINOR], {"a": 12, "status": {"in": ["new", "minor"]}}),
        ([SENT], {"placed": "2024-03-01"}),
        ([SENT], {"placed": "2024-03-01", "sent": None}),
        ([ONE], {"yes": False}),
        ([{"kind": "unique", "columns": ["a", "status"]}], {"b": 3}),
        ([{"kind": "expression", "expression": "a / b <= 1"}], {"a": 3}),
        ([{"kind": "expression", "expression": "a % 3 == 0 or a ** 2 > 50"}], {"a": 8}),
        ([{"kind": "fixed_combinations", "columns": ["a", "status"]}], {"a": 8}),
    ],
    ids=str,
)
def test_what_some_row_can_meet_is_let_through(rules: list[dict[str, Any]], conditions: dict[str, Any]) -> None:
    check_conditions(SCHEMA, conditions, {"constraints": rules})


def test_a_class_that_a_rule_leaves_no_rows_cannot_be_balanced() -> None:
    rules = {"constraints": [{"kind": "expression", "expression": "status != 'old'"}]}
    with pytest.raises(InvalidRequest, match=r"status != 'old'.*'status' as 'old'") as refused:
        check_target(SCHEMA, "status", "balance", rules)
    assert refused.value.errors[0]["path"] == "target"
    check_target(SCHEMA, "status", "enlarge", rules)
    check_target(SCHEMA, "yes", "balance", rules)
    with pytest.raises(InvalidRequest, match="unique"):
        check_target(SCHEMA, "status", "balance", {"constraints": [{"kind": "unique", "columns": ["status", "a"]}]})


EXPRESSIONS = [
    "a + b * 2 - c", "a * b - b * c", "a / b", "a // b", "a % 7", "a ** 2", "b ** a", "abs(a - b)", "round(a / 3, 1)",
    "floor(a / 7)", "ceil(b / 7)", "sqrt(a + 9)", "log(a + 10)", "exp(a / 10)", "min(a, b, c)", "max(a, -b)",
    "a < b", "a <= b + 1", "a == b", "a != c", "a in [1, 2, 3]", "a not in [1, 2]", "a < b and b < c",
    "a < b or not (b <= c)", "(a < b) == (b < c)", "sqrt(a) > 1", "log(b) < 2", "a / b >= 2 or a == 0",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_whatever_an_expression_gives_lies_within_its_reach(text: str) -> None:
    """Bounds are drawn at random, values within them: each value of the expression is among those foreseen."""
    rng = np.random.default_rng(5)
    node, kind = expressions.typed(expressions.parse(text), dict.fromkeys("abc", "number"))
    for _ in range(60):
        low = rng.integers(-6, 6, 3)
        high = low + rng.integers(0, 5, 3)
        found = reach(node, {n: Span(float(x), float(y)) for n, x, y in zip("abc", low, high, strict=True)})
        for _ in range(10):
            values = {n: Span(v, v) for n, v in zip("abc", map(float, rng.integers(low, high + 1)), strict=True)}
            one = reach(node, values)
            if kind == "number":
                assert isinstance(one, Span)
                assert isinstance(found, Span)
                assert one.empty or not np.isfinite(one.low) or (found.low <= one.low <= one.high <= found.high)
            else:
                assert isinstance(one, Truth)
                assert isinstance(found, Truth)
                assert found.true >= one.true
                assert found.false >= one.false


def test_texts_are_one_of_those_that_are_left() -> None:
    node, _ = expressions.typed(expressions.parse("s == 'x' and s in ['x', 'y']"), {"s": "text"})
    assert reach(node, {"s": Texts(frozenset("x"))}) == Truth(True, False)
    assert reach(node, {"s": Texts(frozenset("yz"))}) == Truth(False, True)
    assert reach(node, {"s": Texts(None)}) == Truth(True, True)

"""Rules judged against a schema before anything is trained: by path, and by a sentence that names what is wrong."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import InvalidRequest
from workers.modalities.table import rules
from workers.modalities.table.rulecheck import check_constraints
from workers.modalities.table.ruleforms import parsed


def column(name: str, kind: str, arrow: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "arrow": arrow, "nullable": False, "missing": 0.0, "reason": ""} | more


SCHEMA = {
    "modality": "table",
    "columns": [
        column("a", "integer", "int64", minimum=0, maximum=100),
        column("b", "float", "double", minimum=-5.0, maximum=5.0, decimals=2),
        column("c", "integer", "int64", minimum=0, maximum=1, levels=[0, 1]),
        column("d", "integer", "int64", minimum=0, maximum=1, levels=[1, 0]),
        column("start", "date", "date32[day]"),
        column("end", "datetime", "timestamp[us]"),
        column("city", "category", "string", levels=["Rome", "Oslo"]),
        column("yes", "boolean", "bool", levels=[True, False]),
        column("id", "identifier", "int64"),
        column("note", "text", "string"),
        column("odd name, 'really'", "integer", "int64", minimum=0, maximum=9),
    ],
}


def refused(*constraints: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as found:
        check_constraints(SCHEMA, list(constraints))
    return {error["path"]: error["message"] for error in found.value.errors}


GOOD = [
    {"kind": "inequality", "low": "start", "high": "end"},
    {"kind": "inequality", "low": "b", "high": "a", "strict": True},
    {"kind": "between", "low": "c", "column": "a", "high": "odd name, 'really'"},
    {"kind": "range", "column": "a", "minimum": 5, "maximum": 50.5},
    {"kind": "range", "column": "start", "minimum": "2020-01-01"},
    {"kind": "positive", "column": "b"},
    {"kind": "fixed_combinations", "columns": ["city", "a"]},
    {"kind": "sum", "total": "a", "parts": ["b", "c"]},
    {"kind": "formula", "column": "a", "expression": "b * 2 + `odd name, 'really'`"},
    {"kind": "product", "column": "a", "expression": "b * c"},
    {"kind": "formula", "column": "yes", "expression": "b > 2 and city == 'Rome'"},
    {"kind": "formula", "column": "end", "expression": "start + a"},
    {"kind": "one_hot", "columns": ["c", "d", "yes"]},
    {"kind": "unique", "columns": ["a"]},
    {"kind": "unique", "columns": ["id"]},
    {"kind": "expression", "expression": "a >= 18 or city in ['Rome']"},
    {"kind": "expression", "expression": "end - start <= 30 and not missing(b)"},
    {"kind": "expression", "expression": "start > '2020-01-01'"},
    {"kind": "expression", "expression": "round(b, -12) < round(a, 12) + round(a)"},
]


@pytest.mark.parametrize("rule", GOOD, ids=lambda rule: str(rule)[:60])
def test_a_rule_that_can_be_kept_is_accepted(rule: dict[str, Any]) -> None:
    check_constraints(SCHEMA, [rule])
    assert rules.described(parsed([rule])[0])


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"kind": "positive", "column": "x"}, "no column 'x'"),
        ({"kind": "positive", "column": "city"}, "takes a number"),
        ({"kind": "positive", "column": "note"}, "of type text"),
        ({"kind": "inequality", "low": "a", "high": "start"}, "cannot be compared"),
        ({"kind": "inequality", "low": "a", "high": "a"}, "with itself"),
        ({"kind": "range", "column": "a"}, "needs a minimum or a maximum"),
        ({"kind": "range", "column": "a", "minimum": 9, "maximum": 8}, "above the maximum"),
        ({"kind": "range", "column": "a", "minimum": 9, "maximum": 9, "strict": True}, "above the maximum"),
        ({"kind": "range", "column": "a", "minimum": 200}, "no higher than 100"),
        ({"kind": "range", "column": "a", "maximum": -1}, "begin at 0"),
        ({"kind": "range", "column": "a", "minimum": "low"}, "are numbers"),
        ({"kind": "range", "column": "start", "minimum": 3}, "dates or times"),
        ({"kind": "range", "column": "start", "minimum": "yesterday"}, "no date"),
        ({"kind": "range", "column": "start", "minimum": "0001-01-01T00:00:00+23:59"}, "years 1 to 9999"),
        ({"kind": "expression", "expression": "end < date('9999-12-31T23:59:59-23:59')"}, "years 1 to 9999"),
        ({"kind": "expression", "expression": "end < '9999-12-31T23:59:59-23:59'"}, "years 1 to 9999"),
        ({"kind": "range", "column": "a", "minimum": 10**400}, "no larger than 2**53"),
        ({"kind": "range", "column": "b", "maximum": -(10**400)}, "no larger than 2**53"),
        ({"kind": "fixed_combinations", "columns": ["city", "b"]}, "too many to combine"),
        ({"kind": "fixed_combinations", "columns": ["city", "city"]}, "named twice"),
        ({"kind": "sum", "total": "a", "parts": ["a", "b"]}, "named twice"),
        ({"kind": "sum", "total": "a", "parts": ["city"]}, "takes a number"),
        ({"kind": "formula", "column": "a", "expression": "a + 1"}, "uses the column itself"),
        ({"kind": "formula", "column": "a", "expression": "3"}, "at least one other column"),
        ({"kind": "formula", "column": "a", "expression": "b > 1"}, "gives a boolean"),
        ({"kind": "formula", "column": "a", "expression": "b *"}, "cannot be read"),
        ({"kind": "one_hot", "columns": ["c", "a"]}, "other values than 0 and 1"),
        ({"kind": "unique", "columns": ["yes", "c"]}, "only 4 different values"),
        ({"kind": "expression", "expression": "a + 1"}, "a rule is a comparison"),
        ({"kind": "expression", "expression": "1 < 2"}, "no column"),
        ({"kind": "expression", "expression": "city > 3"}, "compared with a number"),
        ({"kind": "expression", "expression": "city < 'Rome'"}, "compares numbers and times"),
        ({"kind": "expression", "expression": "eval('1')"}, "no function of this name"),
        ({"kind": "expression", "expression": "a.__class__ == 3"}, "An expression knows"),
        ({"kind": "expression", "expression": "x > 3"}, "no learned column 'x'"),
        ({"kind": "expression", "expression": "round(b, 400) > 1"}, "digits from -12 to 12"),
        ({"kind": "expression", "expression": "round(b, -13) > 1"}, "digits from -12 to 12"),
        ({"kind": "expression", "expression": "round(b, 1.5) > 1"}, "digits from -12 to 12"),
        ({"kind": "expression", "expression": "round(b, a) > 1"}, "digits from -12 to 12"),
        ({"kind": "expression", "expression": "a + " * 400 + "a > 1"}, "too long"),
        ({"kind": "expression", "expression": "(" * 500 + "a > 1" + ")" * 500}, "cannot be read"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused_with_the_reason(rule: dict[str, Any], sentence: str) -> None:
    errors = refused({"kind": "positive", "column": "b"}, rule)
    assert list(errors) == ["config.constraints[1]"]
    assert sentence in errors["config.constraints[1]"]


@pytest.mark.parametrize(
    ("constraints", "sentence"),
    [
        (
            [{"kind": "inequality", "low": "a", "high": "b"}, {"kind": "inequality", "low": "b", "high": "a"}],
            "'b <= a'",
        ),
        (
            [
                {"kind": "inequality", "low": "a", "high": "b"},
                {"kind": "expression", "expression": "c > b"},
                {"kind": "inequality", "low": "c", "high": "a"},
            ],
            "no choice",
        ),
        (
            [
                {"kind": "formula", "column": "a", "expression": "b + 1"},
                {"kind": "formula", "column": "b", "expression": "a - 1"},
            ],
            "derives a column from itself",
        ),
        (
            [
                {"kind": "formula", "column": "a", "expression": "b + 1"},
                {"kind": "sum", "total": "a", "parts": ["c", "d"]},
            ],
            "made by constraints[0] already",
        ),
        (
            [{"kind": "range", "column": "a", "maximum": 10}, {"kind": "range", "column": "a", "minimum": 20}],
            "contradicts 'a <= 10'",
        ),
        (
            [
                {"kind": "range", "column": "a", "minimum": 3},
                {"kind": "inequality", "low": "a", "high": "b"},
                {"kind": "range", "column": "b", "maximum": 2},
            ],
            "contradicts '3 <= a'",
        ),
        (
            [{"kind": "unique", "columns": ["a"]}, {"kind": "inequality", "low": "a", "high": "b"}],
            "no other rule than a range",
        ),
        ([{"kind": "one_hot", "columns": ["c", "d"]}, {"kind": "one_hot", "columns": ["d", "yes"]}], "made by"),
    ],
)
def test_rules_that_contradict_each_other_are_refused_by_name(constraints: list[dict[str, Any]], sentence: str) -> None:
    assert any(sentence in message for message in refused(*constraints).values())


def test_every_wrong_rule_has_an_error_of_its_own() -> None:
    wrong = {"kind": "positive", "column": "x"}
    assert list(refused(wrong, {"kind": "positive", "column": "b"}, wrong)) == [
        "config.constraints[0]",
        "config.constraints[2]",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "magic", "column": "a"},
        {"kind": "positive"},
        {"kind": "positive", "column": "a", "extra": 1},
        {"kind": "one_hot", "columns": ["c"]},
        {"kind": "expression", "expression": ""},
        {"kind": "expression", "expression": "a" * 5_000},
    ],
)
def test_what_is_no_rule_is_no_rule(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parsed([rule])


def many(n: int) -> dict[str, Any]:
    return {"columns": [column(f"x{i}", "integer", "int64") for i in range(n)]}


def sums(rules: int, parts: int) -> list[dict[str, Any]]:
    """Each total is a part of the next."""
    return [
        {"kind": "sum", "total": f"x{i}", "parts": [f"x{j}" for j in range(i + 1, i + 1 + parts)]}
        for i in range(rules)
    ]  # fmt: skip


def test_rules_tied_closely_to_each_other_are_judged_at_once() -> None:
    start = time.process_time()
    check_constraints(many(100), sums(38, 50))
    chain = " < ".join(f"x{i}" for i in range(150))
    check_constraints(many(200), [{"kind": "expression", "expression": chain}] * 6)
    assert time.process_time() - start < 2


def test_a_circle_through_many_rules_is_found_and_told_in_short() -> None:
    ring = [{"kind": "inequality", "low": f"x{i}", "high": f"x{(i + 1) % 60}"} for i in range(60)]
    with pytest.raises(InvalidRequest) as found:
        check_constraints(many(60), ring)
    assert len(found.value.errors) == 60
    assert all(len(error["message"]) < 300 for error in found.value.errors)


def test_a_bound_is_followed_along_orders_however_they_are_listed() -> None:
    orders = [{"kind": "inequality", "low": f"x{i}", "high": f"x{i + 1}"} for i in reversed(range(50))]
    ends = [{"kind": "range", "column": "x0", "minimum": 5}, {"kind": "range", "column": "x50", "maximum": 4}]
    with pytest.raises(InvalidRequest, match="contradicts '5 <= x0'"):
        check_constraints(many(51), [*orders, *ends])


def test_rules_that_name_more_columns_than_can_be_judged_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="2000 columns in all") as found:
        check_constraints(many(100), sums(50, 50))
    assert found.value.errors[0]["path"] == "config.constraints[39]"

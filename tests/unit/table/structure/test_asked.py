"""Conditions where rules tie columns together: what they mean for the free columns, what is pinned, what is refused."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.errors import InvalidCondition, Rejected
from tests.unit.table.structure.test_stated import ALL, FORMULA, INEQUALITY, KNOWN, ONE_HOT, ORDERS, N, none_broken
from tests.unit.table.structure.toys import dates, fitted, made, numbers, shuffled
from workers.modalities.conditions import OneOf, Range, Shares, Value
from workers.modalities.table.structure import Structure

RNG = np.random.default_rng(21)
STRUCTURE = fitted(ORDERS, *ALL)


def pinned(structure: Structure, n: int, **values: Any) -> dict[str, pa.Array]:
    kinds = {name: ORDERS.schema.field(name).type for name in ORDERS.column_names}
    return {name: pa.array([value] * n, kinds[name]) for name, value in values.items()}


def day(number: int) -> Any:
    return dates([number])[0].as_py()


@pytest.mark.parametrize(
    "values",
    [
        {"total": 240.0},
        {"total": 1234.5},
        {"sent": day(18_200)},
        {"placed": day(18_200), "sent": day(18_200)},
        {"city": "Oslo"},
        {"country": "Peru"},
        {"card": True},
        {"card": False, "cash": False},
        {"age": 12},
        {"status": "minor"},
        {"status": "new", "total": 99.99, "sent": day(18_900), "country": "Italy", "cheque": True},
        {"price": 10.0, "total": 50.0},
        {"quantity": 7, "total": 70.07},
    ],
    ids=str,
)
def test_pinned_values_come_out_and_every_rule_is_kept(values: dict[str, Any]) -> None:
    rows = made(STRUCTURE, ORDERS, 1_000, pinned=pinned(STRUCTURE, 1_000, **values))
    for name, value in values.items():
        assert set(rows[name].to_pylist()) == {value}
    none_broken(rows)


def test_values_pinned_in_some_rows_leave_the_others_alone() -> None:
    n = 1_000
    asked = pa.array([250.0 if i % 3 == 0 else None for i in range(n)])
    rows = made(STRUCTURE, ORDERS, n, pinned={"total": asked})
    free = made(STRUCTURE, ORDERS, n)
    pins = asked.is_valid().to_numpy(zero_copy_only=False)
    total = numbers(rows, "total")
    assert (total[pins] == 250).all()
    none_broken(rows)
    others = pa.array(~pins)
    assert rows["total"].filter(others).equals(free["total"].filter(others))


def test_rows_to_complete_each_keep_their_own_values() -> None:
    given = ORDERS.slice(0, 800).select(["total", "sent", "country", "card"])
    arrays = {name: given[name].combine_chunks() for name in given.column_names}
    rows = made(STRUCTURE, ORDERS, 800, pinned=arrays)
    for name, array in arrays.items():
        kept = [a == b for a, b in zip(array.to_pylist(), rows[name].to_pylist(), strict=True) if a is not None]
        assert all(kept), name
    none_broken(rows)


@pytest.mark.parametrize(
    "wanted",
    [
        {"total": Range(100.0, 120.0)},
        {"total": Range(None, 50.0), "price": Range(10.0, 40.0)},
        {"sent": Range(day(18_300), day(18_310))},
        {"city": OneOf(("Oslo", "Lima"))},
        {"quantity": OneOf((3, 5)), "total": Range(200.0, None)},
        {"card": OneOf((True,)), "age": Range(20, 30)},
    ],
    ids=str,
)
def test_sets_and_ranges_are_met_and_every_rule_is_kept(wanted: dict[str, Any]) -> None:
    rows = made(STRUCTURE, ORDERS, 1_000, wanted=wanted)
    for name, condition in wanted.items():
        values = rows[name].to_pylist()
        if isinstance(condition, OneOf):
            assert set(values) <= set(condition.values)
        else:
            low, high = condition.minimum, condition.maximum
            assert all(v is not None and (low is None or v >= low) and (high is None or v <= high) for v in values)
    none_broken(rows)


def test_what_cannot_be_had_together_ends_with_the_rules_name() -> None:
    with pytest.raises(Rejected, match="total = price \\* quantity") as refused:
        made(STRUCTURE, ORDERS, 50, pinned=pinned(STRUCTURE, 50, total=50.0, price=40.0, quantity=3))
    assert refused.value.code == "conditions_against_rules"


def test_given_rows_against_a_rule_that_was_only_found_keep_their_values() -> None:
    start = RNG.integers(15_000, 19_000, N)
    table = pa.table({"start": dates(start), "end": dates(start + RNG.geometric(0.1, N)), "n": RNG.integers(0, 9, N)})
    structure = fitted(table)
    assert [entry["kind"] for entry in structure.describe()] == ["ordering"]
    given = {"start": dates([17_000, 17_000, 17_000]), "end": dates([16_000, 17_000, 17_500])}
    rows = made(structure, table, 3, pinned=given)
    assert all(rows[name].combine_chunks().equals(array) for name, array in given.items())
    stated = fitted(table, {"kind": "inequality", "low": "start", "high": "end"})
    with pytest.raises(Rejected, match="start <= end"):
        made(stated, table, 3, pinned=given)


# -- said before -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "rule"),
    [
        ({"placed": Value(day(18_500)), "sent": Value(day(18_499))}, "placed <= sent"),
        ({"placed": Range(day(18_600), None), "sent": Range(None, day(18_500))}, "placed <= sent"),
        ({"age": Range(90, 99)}, "10 <= age <= 89"),
        ({"weight": Value(0.0)}, "weight > 0"),
        ({"city": Value("Oslo"), "country": Value("Peru")}, "known combinations of city, country"),
        ({"cash": Value(True), "card": Value(True)}, "exactly one of cash, card, cheque"),
        ({"cash": Value(False), "card": Value(False), "cheque": Value(False)}, "exactly one of"),
        ({"age": Value(12), "status": Value("new")}, "age >= 18 or status == 'minor'"),
        ({"total": Value(7.0), "price": Value(2.0), "quantity": Value(3)}, "total = price * quantity"),
    ],
    ids=str,
)
def test_contradictions_are_refused_by_the_name_of_the_rule(conditions: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidCondition) as refused:
        STRUCTURE.check(conditions)
    assert rule in str(refused.value)
    assert refused.value.errors[0]["path"].startswith("conditions.")


@pytest.mark.parametrize(
    "conditions",
    [
        {"placed": Value(day(18_500)), "sent": Value(day(18_500))},
        {"city": OneOf(("Oslo", "Rome")), "country": Value("Italy")},
        {"cash": Value(False)},
        {"age": Value(12)},
        {"total": Value(6.0), "price": Value(2.0), "quantity": Value(3)},
        {"sent": Value(None)},
    ],
    ids=str,
)
def test_what_is_possible_is_not_refused(conditions: dict[str, Any]) -> None:
    STRUCTURE.check(conditions)


def test_a_sum_out_of_its_parts_reach_is_refused() -> None:
    a, b = RNG.integers(0, 50, N), RNG.integers(0, 50, N)
    structure = fitted(pa.table({"a": a, "b": b, "sum": a + b}), {"kind": "sum", "total": "sum", "parts": ["a", "b"]})
    structure.check({"sum": Value(80), "a": Range(None, 40)})
    with pytest.raises(InvalidCondition, match="sum = a \\+ b"):
        structure.check({"sum": Value(95), "a": Range(None, 40)})


# -- translated ------------------------------------------------------------------------------------------------------


def test_a_column_that_passes_through_is_asked_for_as_it_is() -> None:
    found = STRUCTURE.translate({"age": Range(20, 30), "weight": Value(2.5), "status": Shares(("new",), (1.0,))})
    assert found.free == {"age": Range(20, 30), "weight": Value(2.5), "status": Shares(("new",), (1.0,))}
    assert found.pinned == {"weight": 2.5}
    assert found.wanted == {"age": Range(20, 30)}


def test_a_known_combination_is_asked_for_by_its_levels() -> None:
    found = fitted(ORDERS, KNOWN).translate({"city": OneOf(("Oslo", "Lima"))})
    assert {name: set(c.values) for name, c in found.free.items()} == {"city, country": {"Oslo, Norway", "Lima, Peru"}}  # type: ignore[union-attr]


def test_a_one_hot_group_is_asked_for_by_its_level() -> None:
    structure = fitted(ORDERS, ONE_HOT, search=False)
    assert structure.translate({"card": Value(True)}).free == {"cash, card, cheque": OneOf(("card",))}
    found = structure.translate({"card": Value(False)}).free["cash, card, cheque"]
    assert set(found.values) == {"cash", "cheque"}  # type: ignore[union-attr]


def test_a_category_by_thresholds_is_asked_for_as_a_range_of_the_number() -> None:
    age = RNG.integers(18, 91, N)
    group = pa.array(np.select([age < 30, age < 65], ["young", "middle"], "old"))
    structure = fitted(pa.table({"age": age, "group": group, "x": RNG.integers(0, 99, N)}))
    assert structure.translate({"group": Value("middle")}).free == {"age": Range(30, 64)}
    assert structure.translate({"group": OneOf(("young", "middle"))}).free == {"age": Range(None, 64)}
    with pytest.raises(InvalidCondition, match="group follows from age"):
        structure.check({"group": Value("old"), "age": Range(20, 40)})
    free = shuffled(structure, pa.table({"age": age, "group": group, "x": age}), 500)
    rows = structure.inverse(free, RNG, {"group": pa.array(["old"] * 500)})
    assert set(rows["group"].to_pylist()) == {"old"}
    assert numbers(rows, "age").min() >= 65


def test_another_unit_is_asked_for_in_the_one_that_is_learned() -> None:
    celsius = np.round(RNG.normal(12, 9, N), 1)
    table = pa.table({"celsius": celsius, "fahrenheit": np.round(celsius * 1.8 + 32, 2)})
    structure = fitted(table)
    (kept,) = structure.kept
    other = {"celsius": "fahrenheit", "fahrenheit": "celsius"}[kept]
    asked = {"celsius": (10.0, 20.0), "fahrenheit": (50.0, 68.0)}
    assert structure.translate({other: Range(*asked[other])}).free == {kept: Range(*asked[kept])}
    rows = made(structure, table, 500, wanted={other: Range(*asked[other])})
    assert (numbers(rows, other) >= asked[other][0]).all()
    assert (numbers(rows, other) <= asked[other][1]).all()


def test_a_missing_value_is_asked_for_where_it_is_learned() -> None:
    found = fitted(ORDERS, INEQUALITY, search=False).translate({"sent": Value(None)})
    (name,) = found.free
    assert name == "sent above placed"
    assert found.free[name] == Value(None)


def test_a_number_that_categories_determine_narrows_these_down() -> None:
    a, b = RNG.integers(0, 6, 6 * N), RNG.integers(0, 7, 6 * N)
    distance = RNG.permutation(9_000)[:42]
    table = pa.table(
        {"from": pa.array([f"a{i}" for i in a]), "to": pa.array([f"b{i}" for i in b]), "distance": distance[a * 7 + b]}
    )
    structure = fitted(table)
    value = int(distance[2 * 7 + 5])
    found = structure.translate({"distance": Value(value)})
    assert found.free == {"from": OneOf(("a2",)), "to": OneOf(("b5",))}
    rows = made(structure, table, 300, pinned={"distance": pa.array([value] * 300)})
    assert set(zip(rows["from"].to_pylist(), rows["to"].to_pylist(), strict=True)) == {("a2", "b5")}
    with pytest.raises(InvalidCondition, match="distance follows from"):
        structure.check({"distance": Value(value), "to": Value("b4")})
    some = OneOf(tuple(int(d) for d in distance[:9]))
    rows = made(structure, table, 300, wanted={"distance": some, "from": Value("a1")})
    assert set(rows["from"].to_pylist()) == {"a1"}
    assert set(rows["distance"].to_pylist()) <= {int(d) for d in distance[7:9]}


def test_shares_of_a_column_that_a_step_makes_are_left_to_be_dealt() -> None:
    structure = fitted(ORDERS, KNOWN, search=False)
    shares = Shares(("Oslo", "Rome"), (0.5, 0.5))
    found = structure.translate({"city": shares})
    assert found.dealt == {"city": shares}
    assert not found.free


def test_free_values_follow_from_rows_to_complete_where_these_have_all_that_it_takes() -> None:
    structure = fitted(ORDERS, INEQUALITY, FORMULA, search=False)
    placed, sent = ORDERS["placed"].combine_chunks(), ORDERS["sent"].combine_chunks()
    found = structure.determined({"placed": placed, "sent": sent})
    gap = found["sent above placed"]
    assert gap.is_null().equals(sent.is_null())
    assert found["placed"].equals(placed)
    assert "sent above placed" not in structure.determined({"sent": sent})

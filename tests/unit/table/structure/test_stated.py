"""Rules that users state: judged against the training rows, and met by every row of whatever generator."""

import numpy as np
import pyarrow as pa
import pytest

from service.errors import Rejected
from tests.unit.table.structure.toys import (
    columns,
    dates,
    fitted,
    formulas,
    made,
    numbers,
    same,
    shuffled,
    there_and_back,
)
from workers.modalities.table.ruleforms import forms
from workers.modalities.table.structure import Structure
from workers.modalities.table.structure.evaluate import broken as broken_rows
from workers.modalities.table.structure.grids import grids

RNG = np.random.default_rng(11)
N = 2_000


def orders(n: int = N) -> pa.Table:
    """A shop's: everything in it is tied to something else."""
    quantity, price = RNG.integers(1, 30, n), RNG.integers(100, 20_000, n) / 100
    placed = RNG.integers(18_000, 19_000, n)
    sent = placed + RNG.geometric(0.3, n) - 1
    age = RNG.integers(10, 90, n)
    status = np.where(age < 18, "minor", RNG.choice(["new", "old"], n))
    city = RNG.integers(0, 4, n)
    paid = RNG.integers(0, 3, n)
    return pa.table(
        {
            "quantity": quantity,
            "price": price,
            "total": np.round(quantity * price, 2),
            "placed": dates(placed),
            "sent": dates(sent, RNG.random(n) < 0.2),
            "age": age,
            "status": pa.array(status),
            "city": pa.array(["Rome", "Oslo", "Lima", "Bonn"]).take(pa.array(city)),
            "country": pa.array(["Italy", "Norway", "Peru", "Germany"]).take(pa.array(city)),
            "cash": paid == 0,
            "card": paid == 1,
            "cheque": paid == 2,
            "weight": np.round(RNG.gamma(2, 3, n) + 0.1, 1),
        }
    )


ORDERS = orders()
INEQUALITY = {"kind": "inequality", "low": "placed", "high": "sent"}
FORMULA = {"kind": "formula", "column": "total", "expression": "price * quantity"}
KNOWN = {"kind": "fixed_combinations", "columns": ["city", "country"]}
ONE_HOT = {"kind": "one_hot", "columns": ["cash", "card", "cheque"]}
RANGE = {"kind": "range", "column": "age", "minimum": 10, "maximum": 89}
POSITIVE = {"kind": "positive", "column": "weight"}
ADULTS = {"kind": "expression", "expression": "age >= 18 or status == 'minor'"}
MINORS = {"kind": "expression", "expression": "status != 'minor' or age < 18"}
ALL = [INEQUALITY, FORMULA, KNOWN, ONE_HOT, RANGE, POSITIVE, ADULTS, MINORS]


def broken(rows: pa.Table) -> dict[str, int]:
    """How many rows break each rule, worked out without the code that keeps them."""
    x = {name: rows[name].to_pylist() for name in rows.column_names}
    total, price, quantity = (numbers(rows, name) for name in ("total", "price", "quantity"))
    pairs = {("Rome", "Italy"), ("Oslo", "Norway"), ("Lima", "Peru"), ("Bonn", "Germany")}
    return {
        "inequality": sum(b is not None and b < a for a, b in zip(x["placed"], x["sent"], strict=True)),
        "formula": int((np.abs(total - price * quantity) > 0.005 + 1e-6).sum()),
        "known": sum(pair not in pairs for pair in zip(x["city"], x["country"], strict=True)),
        "one hot": sum(sum(row) != 1 for row in zip(x["cash"], x["card"], x["cheque"], strict=True)),
        "range": sum(not 10 <= age <= 89 for age in x["age"]),
        "positive": sum(not weight > 0 for weight in x["weight"]),
        "adults": sum(age < 18 and status != "minor" for age, status in zip(x["age"], x["status"], strict=True)),
        "minors": sum(age >= 18 and status == "minor" for age, status in zip(x["age"], x["status"], strict=True)),
    }


def none_broken(rows: pa.Table) -> None:
    assert not any(broken(rows).values()), broken(rows)


def test_the_toy_itself_breaks_no_rule() -> None:
    none_broken(ORDERS)


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_all_rules_together_are_met_by_rows_of_any_generator(search: bool, seed: int) -> None:
    structure = fitted(ORDERS, *ALL, search=search)
    rows = made(structure, ORDERS, 5_000, seed)
    none_broken(rows)
    assert rows.schema.equals(ORDERS.schema)


def test_real_rows_come_back_as_they_were() -> None:
    back = there_and_back(fitted(ORDERS, *ALL), ORDERS)
    assert {name: same(ORDERS, back, name) for name in ORDERS.column_names} == dict.fromkeys(ORDERS.column_names, 1.0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_rows_meets_all_rules_too(n: int) -> None:
    structure = fitted(ORDERS, *ALL)
    for seed in range(20):
        none_broken(made(structure, ORDERS, n, seed))


def test_expressions_that_are_other_kinds_of_rule_are_built_in_as_those() -> None:
    structure = fitted(
        ORDERS,
        {"kind": "expression", "expression": "placed <= sent and age >= 10 and total == quantity * price"},
        search=False,
    )
    assert {entry["kind"] for entry in structure.describe()} == {"ordering", "identity", "expression"}
    assert "total" not in structure.kept
    rows = made(structure, ORDERS)
    counts = broken(rows)
    assert counts["inequality"] == counts["formula"] == counts["range"] == 0


def test_each_rule_is_described_with_its_source_and_the_way_it_is_met() -> None:
    described = fitted(ORDERS, *ALL, search=False).describe()
    assert {entry["source"] for entry in described} == {"user"}
    ways = {entry["formula"]: entry["met_by"] for entry in described}
    assert ways["sent >= placed"] == "built in"
    assert ways["weight > 0"] == "kept within the bounds"
    assert ways[ADULTS["expression"]] == "rows that break it take values of others"
    assert len(described) == len(ALL)


def test_strict_orders_and_bounds_are_strict() -> None:
    low = RNG.integers(0, 5, N)
    table = pa.table({"low": low, "high": low + RNG.integers(1, 4, N), "x": RNG.integers(1, 9, N) / 10})
    structure = fitted(
        table,
        {"kind": "inequality", "low": "low", "high": "high", "strict": True},
        {"kind": "range", "column": "x", "minimum": 0, "maximum": 0.9, "strict": False},
        {"kind": "positive", "column": "x"},
    )
    rows = made(structure, table)
    assert (numbers(rows, "low") < numbers(rows, "high")).all()
    assert (numbers(rows, "x") > 0).all()


def test_bounds_of_one_end_of_an_order_hold_beside_the_order() -> None:
    low = RNG.integers(0, 60, N)
    table = pa.table({"low": low, "high": np.minimum(low + RNG.integers(0, 80, N), 70)})
    structure = fitted(
        table,
        {"kind": "inequality", "low": "low", "high": "high"},
        {"kind": "range", "column": "high", "minimum": 0, "maximum": 70},
    )
    rows = made(structure, table)
    assert (numbers(rows, "low") <= numbers(rows, "high")).all()
    assert numbers(rows, "high").max() <= 70


def test_a_column_between_two_others_stays_there() -> None:
    low, step, more = RNG.normal(0, 5, N).round(2), RNG.gamma(1, 1, N).round(2), RNG.gamma(1, 1, N).round(2)
    table = pa.table({"b": (low + step).round(2), "a": low, "c": (low + step + more).round(2)})
    rows = made(fitted(table, {"kind": "between", "column": "b", "low": "a", "high": "c"}), table)
    a, b, c = (numbers(rows, name) for name in "abc")
    assert ((a <= b) & (b <= c)).all()


def test_a_sum_whose_total_is_bounded_keeps_both() -> None:
    a, b = RNG.integers(0, 60, N), RNG.integers(0, 60, N)
    table = pa.table({"a": a, "b": b, "total": a + b}).filter(pa.array(a + b <= 100))
    structure = fitted(
        table,
        {"kind": "sum", "total": "total", "parts": ["a", "b"]},
        {"kind": "range", "column": "total", "maximum": 100},
    )
    rows = made(structure, table)
    assert (numbers(rows, "total") == numbers(rows, "a") + numbers(rows, "b")).all()
    assert numbers(rows, "total").max() <= 100
    assert min(numbers(rows, "a").min(), numbers(rows, "b").min()) >= 0


def test_overlapping_sets_of_known_combinations_are_both_kept() -> None:
    a, b = RNG.integers(0, 4, N), RNG.integers(0, 3, N)
    table = pa.table({"a": a, "b": (a + b) % 5, "c": (a * b) % 4, "d": RNG.integers(0, 3, N)})
    structure = fitted(
        table,
        {"kind": "fixed_combinations", "columns": ["a", "b"]},
        {"kind": "fixed_combinations", "columns": ["b", "c"]},
    )
    rows = made(structure, table)
    for pair in (("a", "b"), ("b", "c")):
        real = set(zip(*(table[name].to_pylist() for name in pair), strict=True))
        assert set(zip(*(rows[name].to_pylist() for name in pair), strict=True)) <= real


def test_combinations_that_fewer_than_five_rows_share_are_kept_by_nobody() -> None:
    a = np.concatenate([RNG.integers(0, 3, N), [0, 0]])
    b = np.concatenate([a[:N], [2, 2]])
    table = pa.table({"a": a, "b": b})
    structure = fitted(table, {"kind": "fixed_combinations", "columns": ["a", "b"]})
    rows = made(structure, table)
    assert set(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True)) == {(0, 0), (1, 1), (2, 2)}
    assert there_and_back(structure, table)["a"].to_pylist()[:N] == a[:N].tolist()


def test_a_boolean_that_a_formula_decides_follows_it() -> None:
    age = RNG.integers(5, 90, N)
    table = pa.table({"age": pa.array(age, mask=RNG.random(N) < 0.1), "adult": age >= 18, "x": RNG.integers(0, 99, N)})
    structure = fitted(table, {"kind": "formula", "column": "adult", "expression": "age >= 18"}, search=False)
    assert same(table, there_and_back(structure, table), "adult") == 1
    rows = made(structure, table)
    wrong = [
        a is not None and (a >= 18) != b
        for a, b in zip(rows["age"].to_pylist(), rows["adult"].to_pylist(), strict=True)
    ]
    assert not any(wrong)
    assert rows["adult"].null_count == 0


def test_a_formula_with_dates_gives_a_date() -> None:
    start, days = RNG.integers(18_000, 19_000, N), RNG.integers(1, 60, N)
    table = pa.table({"start": dates(start), "days": days, "due": dates(start + days)})
    structure = fitted(table, {"kind": "formula", "column": "due", "expression": "start + days"}, search=False)
    rows = made(structure, table)
    assert (numbers(rows, "due") == numbers(rows, "start") + numbers(rows, "days")).all()


def test_a_rule_that_many_training_rows_break_is_refused_with_their_share() -> None:
    with pytest.raises(Rejected, match=r"33\.\d+ % of the training rows break the rule 'age >= 40'|age") as refused:
        fitted(ORDERS, {"kind": "range", "column": "age", "minimum": 40})
    assert refused.value.code == "constraint_violated"


def test_a_few_rows_that_break_a_rule_are_learned_as_if_they_met_it_and_told_of() -> None:
    total = numbers(ORDERS, "total") + 5 * (np.arange(N) < 10)
    table = ORDERS.set_column(2, "total", pa.array(total))
    structure = fitted(table, FORMULA, search=False)
    (entry,) = structure.describe()
    assert entry["holds_in"] == 0.995
    assert "0.5 %" in entry["reason"]
    assert broken(made(structure, table))["formula"] == 0


def test_rules_that_no_shared_values_can_meet_are_refused_before_training() -> None:
    a = RNG.integers(0, 10**6, N)
    table = pa.table({"a": a, "b": a * 1_000_003 % 10**9})
    with pytest.raises(Rejected) as refused:
        fitted(table, {"kind": "expression", "expression": "(a * 1000003 - b) % 1000000000 == 0"})
    assert refused.value.code == "constraint_unmeetable"


def test_numbers_that_cannot_be_counted_exactly_are_refused_by_name() -> None:
    big = RNG.integers(2**60, 2**61, N)
    table = pa.table({"big": big, "bigger": big + 5})
    with pytest.raises(Rejected, match="'big'") as refused:
        fitted(table, {"kind": "inequality", "low": "big", "high": "bigger"})
    assert refused.value.code == "constraint_unsupported"


def test_generated_values_that_break_a_rule_of_several_columns_come_from_rows_that_keep_it() -> None:
    structure = fitted(ORDERS, ADULTS, MINORS, search=False)
    worst = shuffled(structure, ORDERS, 4_000)
    x = [worst["age"].to_pylist(), worst["status"].to_pylist()]
    bad = np.array([(a < 18) != (s == "minor") for a, s in zip(*x, strict=True)])
    assert bad.mean() > 0.05
    rows = structure.inverse(worst, np.random.default_rng(0))
    none = broken(rows)
    assert none["adults"] == none["minors"] == 0
    kept = pa.array(~bad)
    assert rows.filter(kept).equals(worst.select(rows.column_names).filter(kept)), "rows in order stay as they are"
    assert rows["price"].equals(worst["price"]), "columns that the rule does not speak of stay too"


def test_what_is_saved_holds_no_value_of_a_single_row() -> None:
    secret = np.concatenate([RNG.integers(0, 500, N), [98_765]])
    table = pa.table({"a": secret, "b": np.concatenate([secret[:N] + RNG.integers(0, 99, N), [99_999]])})
    bare = [{key: value for key, value in c.items() if key not in ("minimum", "maximum")} for c in columns(table)]
    structure = Structure.fit(bare, table, [{"kind": "inequality", "low": "a", "high": "b"}], np.random.default_rng(0))
    saved = {key: value for key, value in structure.to_json().items() if key != "columns"}
    assert "98765" not in str(saved)
    assert "99999" not in str(saved)


def test_columns_of_any_name_can_have_rules() -> None:
    low, odd = RNG.integers(0, 50, N), 'a "b", `c` and 😀\n'
    table = pa.table({odd: low, "min": low + RNG.integers(0, 9, N), "not": low * 2, "µ": RNG.integers(1, 9, N)})
    structure = fitted(
        table,
        {"kind": "inequality", "low": odd, "high": "min"},
        {"kind": "expression", "expression": "`not` >= 0 and µ > 0 and min >= 0"},
        {"kind": "positive", "column": "µ"},
    )
    rows = made(structure, table)
    assert (numbers(rows, odd) <= numbers(rows, "min")).all()
    assert numbers(rows, "µ").min() > 0


def test_the_same_seed_gives_the_same_rows() -> None:
    structure = fitted(ORDERS, *ALL)
    assert made(structure, ORDERS, 500, 7).equals(made(structure, ORDERS, 500, 7))
    assert formulas(structure) == formulas(fitted(ORDERS, *ALL))


def test_what_has_no_value_though_all_columns_have_one_breaks_a_rule() -> None:
    x = np.arange(-50, 50, dtype=np.int64)
    table = pa.table({"x": pa.array(x, mask=x % 10 == 7), "y": x % 3})
    counted = grids(columns(table), {name: table[name].combine_chunks() for name in table.column_names})

    def off(expression: str) -> np.ndarray:
        (form,) = forms([{"kind": "expression", "expression": expression}], columns(table))
        return broken_rows(form, {name: table[name].combine_chunks() for name in table.column_names}, counted)

    there = x % 10 != 7
    assert (off("sqrt(x - 5) >= 0") == (there & (x < 5))).all()
    assert (off("sqrt(x - 5) >= 0 or y == 1") == (there & (x < 5) & (x % 3 != 1))).all()
    assert not off("missing(x) or x == x").any()
    with pytest.raises(Rejected, match="sqrt"):
        fitted(table, {"kind": "expression", "expression": "sqrt(x - 5) >= 0"})

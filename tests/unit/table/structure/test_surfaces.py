"""Numbers that are a smooth function of others, another one for each level of a category."""

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.table.structure.toys import dates, fitted, formulas, made, numbers, same, there_and_back

RNG = np.random.default_rng(8)
N = 4_000


def instalments(amount: np.ndarray, rate: np.ndarray, term: np.ndarray) -> np.ndarray:
    """What pays a loan back in so many months."""
    monthly = rate / 1200
    return np.round(amount * monthly / (1 - (1 + monthly) ** -term), 2)


def loans(n: int = N) -> pa.Table:
    amount = RNG.integers(20, 800, n) * 50.0
    rate = np.round(RNG.uniform(5, 30, n), 2)
    term = RNG.choice([36, 60], n, p=[0.7, 0.3])
    return pa.table(
        {
            "income": RNG.integers(10_000, 200_000, n),
            "amount": amount,
            "rate": rate,
            "term": term,
            "instalment": instalments(amount, rate, term),
        }
    )


def off(rows: pa.Table) -> np.ndarray:
    """How far an instalment is from the right one, as a share."""
    right = instalments(*(numbers(rows, name) for name in ("amount", "rate", "term")))
    return np.abs(numbers(rows, "instalment") / right - 1)


LOANS = loans()
STRUCTURE = fitted(LOANS)


def test_a_function_for_each_level_of_a_category_is_found() -> None:
    (formula,) = formulas(STRUCTURE, "near identity")
    assert formula == "instalment = a smooth function of amount, rate, for each term"
    assert same(LOANS, there_and_back(STRUCTURE, LOANS), "instalment") >= 0.999


def test_it_holds_in_rows_of_any_generator() -> None:
    rows = made(STRUCTURE, LOANS)
    assert np.quantile(off(rows), 0.99) < 0.005


@pytest.mark.parametrize("values", [{"instalment": 500.0}, {"instalment": 200.0, "term": 60}], ids=str)
def test_a_wanted_value_comes_out_and_its_columns_move_there(values: dict[str, float]) -> None:
    pinned = {name: pa.array([value] * 1_000, LOANS.schema.field(name).type) for name, value in values.items()}
    rows = made(STRUCTURE, LOANS, 1_000, pinned=pinned)
    for name, value in values.items():
        assert set(rows[name].to_pylist()) == {value}
    assert np.quantile(off(rows), 0.9) < 0.02  # amounts are multiples of 50


def test_a_category_that_explains_nothing_is_left_out() -> None:
    base = RNG.lognormal(3, 0.5, N)
    table = pa.table(
        {
            "size": np.round(base, 3),
            "kind": RNG.choice(["a", "b"], N),
            "cost": np.round(2 * base**1.3 * np.exp(0.05 * np.log(base / 20) ** 2), 3),
        }
    )
    for formula in formulas(fitted(table), "near identity"):
        assert "kind" not in formula


def test_columns_that_have_nothing_to_do_with_each_other_give_no_function() -> None:
    table = pa.table({name: np.round(RNG.lognormal(2, 1, N), 2) for name in "abcd"} | {"k": RNG.choice(["x", "y"], N)})
    assert formulas(fitted(table), "near identity") == []


def test_a_level_that_the_function_does_not_know_and_what_is_not_positive_get_a_value_too() -> None:
    rows = {name: LOANS[name].combine_chunks().slice(0, 6) for name in LOANS.column_names}
    rows["term"] = pa.array([36, 60, 48, None, 36, 60])
    rows["amount"] = pa.array([1000.0, 0.0, 1000.0, 1000.0, 1e9, 1e-9])
    free = STRUCTURE.forward(pa.table(rows), np.random.default_rng(1))
    back = STRUCTURE.inverse(free, np.random.default_rng(2))
    assert back["instalment"].null_count == 0
    assert np.isfinite(numbers(back, "instalment")).all()


def test_a_date_of_few_values_is_no_category_of_a_function() -> None:
    quarters = dates([19_800, 19_890, 19_980])
    quarter = RNG.integers(0, 3, N)
    size = np.round(RNG.lognormal(3, 0.5, N), 3)
    price = np.round(np.array([2.0, 5.0, 11.0])[quarter] * size**1.2 * np.exp(RNG.normal(0, 0.003, N)), 3)
    table = pa.table({"quarter": quarters.take(pa.array(quarter)), "size": size, "price": price})
    structure = fitted(table)
    assert not any("quarter" in formula for formula in formulas(structure))
    named = pa.table({"quarter": pa.array(["a", "b", "c"]).take(pa.array(quarter)), "size": size, "price": price})
    assert any("for each quarter" in formula for formula in formulas(fitted(named)))

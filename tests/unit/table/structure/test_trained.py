"""The whole road: a model trained for a moment keeps every rule in every row, with conditions and without."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidCondition, Rejected
from tests.unit.table.structure.test_stated import ALL, none_broken, orders
from tests.unit.table.structure.toys import numbers
from tests.unit.table.tables import ingest, no_progress, trained
from workers.modalities import Given
from workers.modalities.table.sampler import TableSampler

N = 2_000


def shop() -> pa.Table:
    table = orders(N)
    return table.append_column("invoice", pa.array(np.random.default_rng(3).permutation(90_000)[:N] + 10_000))


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> TableSampler:
    folder = tmp_path_factory.mktemp("rules")
    _, dataset = ingest(folder, "orders.parquet", shop(), types={"invoice": "integer"})
    return trained(dataset, folder / "model", constraints=[*ALL, {"kind": "unique", "columns": ["invoice"]}])


def test_no_row_of_a_barely_trained_model_breaks_a_rule(sampler: TableSampler) -> None:
    rows = sampler.table(0, 4_000, 1, {})
    none_broken(rows)
    assert len(np.unique(numbers(rows, "invoice"))) == 4_000


def test_rules_that_nobody_stated_are_not_looked_for_where_that_is_asked(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "orders.parquet", shop(), types={"invoice": "integer"})
    rule = {"kind": "inequality", "low": "placed", "high": "sent"}
    sampler = trained(dataset, tmp_path / "model", constraints=[rule], structure="stated")
    assert {entry["source"] for entry in sampler.codec.structure.describe()} == {"user"}


def test_rows_that_break_a_stated_rule_are_told_in_the_report(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(1_000), "b": np.where(np.arange(1_000) % 200 == 7, -1, np.arange(1_000) + 5)})
    _, dataset = ingest(tmp_path, "t.parquet", table, types={"a": "integer", "b": "integer"})
    rule = {"kind": "inequality", "low": "a", "high": "b"}
    rows = trained(dataset, tmp_path / "model", constraints=[rule], structure="stated").table(0, 500, 1, {})
    assert (numbers(rows, "a") <= numbers(rows, "b")).all()
    report = json.loads((tmp_path / "model" / "report.json").read_text())
    (warning,) = report["warnings"]
    assert "a <= b" in warning
    assert "% of the training rows break" in warning


def test_no_more_rows_are_made_than_can_be_told_apart(sampler: TableSampler) -> None:
    capacity = sampler.codec.structure.capacity
    assert capacity is not None
    with pytest.raises(Rejected) as refused:
        sampler.table(capacity - 10, 20, 1, {})
    assert refused.value.code == "too_many_unique_rows"
    assert sampler.table(capacity - 10, 10, 1, {}).num_rows == 10
    assert sampler.at_most(2 * capacity) == capacity


@pytest.mark.parametrize(
    ("invoices", "copies", "said"),
    [
        ([1, 2, 1], 1, "the same"),
        ([1, 2, 3], 2, "repeatedly"),
        ([1, None, 3], 1, "in all rows, or in none"),
        ([7, 8, 9], 1, None),
        ([None, None, None], 4, None),
    ],
)
def test_given_values_of_a_unique_column_are_unique(
    sampler: TableSampler, tmp_path: Path, invoices: list[int | None], copies: int, said: str | None
) -> None:
    pq.write_table(pa.table({"invoice": pa.array(invoices, pa.int64()), "age": [30, 40, 50]}), tmp_path / "given")
    given, out = Given(tmp_path / "given", {}, copies), tmp_path / "out.parquet"
    if said is not None:
        with pytest.raises(Rejected, match=said) as refused:
            sampler.write(out, 0, 3 * copies, 1, "parquet", {}, no_progress, given)
        assert refused.value.code == "given_not_unique"
        return
    assert sampler.write(out, 0, 3 * copies, 1, "parquet", {}, no_progress, given) == 3 * copies
    found = pq.read_table(out)["invoice"].to_pylist()
    assert len(set(found)) == 3 * copies
    assert invoices[0] is None or found == invoices


def test_conditions_and_rules_are_met_together(sampler: TableSampler) -> None:
    asked = {"country": "Peru", "total": {"min": 100, "max": 200}, "card": True, "status": "old"}
    rows = sampler.table(0, 1_000, 1, asked)
    none_broken(rows)
    assert set(rows["city"].to_pylist()) == {"Lima"}
    assert set(rows["card"].to_pylist()) == {True}
    total = numbers(rows, "total")
    assert total.min() >= 100
    assert total.max() <= 200


def test_shares_of_columns_that_rules_make_are_met(sampler: TableSampler) -> None:
    rows = sampler.table(0, 1_000, 1, {"city": {"share": {"Oslo": 0.25, "Bonn": 0.75}}})
    none_broken(rows)
    assert abs(rows["city"].to_pylist().count("Oslo") - 250) <= 2


def test_a_condition_against_a_rule_is_refused_by_its_name(sampler: TableSampler) -> None:
    with pytest.raises(InvalidCondition, match="known combinations of city, country"):
        sampler.table(0, 10, 1, {"city": "Oslo", "country": "Peru"})


def test_a_training_on_rows_that_break_a_rule_ends_before_it_begins(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "orders.parquet", shop())
    with pytest.raises(Rejected, match="age >= 40") as refused:
        trained(
            dataset, tmp_path / "model", constraints=[{"kind": "expression", "expression": "age >= 40 or price < 0"}]
        )
    assert refused.value.code == "constraint_violated"

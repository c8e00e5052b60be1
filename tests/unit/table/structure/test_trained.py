"""The whole road: a model trained for a moment keeps every rule in every row, with conditions and without."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from service.errors import InvalidCondition, Rejected
from tests.unit.table.structure.test_stated import ALL, none_broken, orders
from tests.unit.table.structure.toys import numbers
from tests.unit.table.tables import ingest, trained
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

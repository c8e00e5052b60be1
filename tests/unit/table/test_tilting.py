"""Rows under conditions are as free rows are that happen to meet them: also in columns that are drawn earlier."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.unit.table.tables import ingest, no_progress, trained
from workers.modalities import Given
from workers.modalities.table.sampler import TableSampler

Met = Callable[[pa.Table], pa.Array]


def weather(n: int = 4_000) -> pa.Table:
    """Cities, and temperatures that say much about them."""
    rng = np.random.default_rng(0)
    city = rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.5, 0.3, 0.2])
    centre = np.array([{"Rome": 18, "Oslo": 4, "Lima": 24}[c] for c in city])
    coat = rng.random(n) < 1 / (1 + np.exp((centre - 12) / 3))
    return pa.table(
        {
            "city": city,
            "coat": pa.array(coat).cast(pa.string()),
            "degrees": np.round(centre + rng.normal(0, 4, n)).astype(int),
            "age": rng.integers(18, 80, n),
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tilting")
    _, dataset = ingest(folder, "weather.parquet", weather())
    trained(dataset, folder / "model", steps=150, width=64)
    return folder / "model"


@pytest.fixture(scope="module")
def sampler(model: Path) -> TableSampler:
    return TableSampler(model, "cpu")


@pytest.fixture(scope="module")
def free(sampler: TableSampler) -> pa.Table:
    return sampler.table(0, 200_000, 99, {})


def apart(one: pa.Table, other: pa.Table, name: str) -> float:
    """Total variation of a column's values."""
    first, second = (Counter(table[name].to_pylist()) for table in (one, other))
    return float(sum(abs(first[k] / one.num_rows - second[k] / other.num_rows) for k in {*first, *second})) / 2


ASKED: list[tuple[dict[str, Any], Met]] = [
    ({"degrees": {"min": 22}}, lambda t: pc.greater_equal(t["degrees"], 22)),
    ({"degrees": {"max": 3}}, lambda t: pc.less_equal(t["degrees"], 3)),
    ({"degrees": {"in": [5, 6, 25]}}, lambda t: pc.is_in(t["degrees"], pa.array([5, 6, 25]))),
    ({"degrees": 11}, lambda t: pc.equal(t["degrees"], 11)),
    ({"coat": "true"}, lambda t: pc.equal(t["coat"], "true")),
    (
        {"city": {"in": ["Rome", "Oslo"]}, "degrees": {"min": 8, "max": 12}},
        lambda t: pc.and_(
            pc.not_equal(t["city"], "Lima"), pc.and_(pc.greater_equal(t["degrees"], 8), pc.less_equal(t["degrees"], 12))
        ),
    ),
]


@pytest.mark.parametrize(("asked", "met"), ASKED)
def test_all_columns_are_as_in_free_rows_that_meet_the_condition(
    sampler: TableSampler, free: pa.Table, asked: dict[str, Any], met: Met
) -> None:
    found, chance = sampler.table(0, 20_000, 5, asked), free.filter(met(free))
    assert pc.all(met(found)).as_py()
    assert chance.num_rows > 500
    for name in ("city", "coat", "degrees"):
        assert apart(found, chance, name) < 0.05, name


def test_each_share_of_a_column_has_rows_of_its_own_kind(sampler: TableSampler, free: pa.Table) -> None:
    found = sampler.table(0, 20_000, 5, {"coat": {"true": 0.5, "false": 0.5}})
    for coat in ("true", "false"):
        one, other = (table.filter(pc.equal(table["coat"], coat)) for table in (found, free))
        assert max(apart(one, other, name) for name in ("city", "degrees")) < 0.07


def test_what_is_drawn_does_not_depend_on_what_was_asked_before(sampler: TableSampler, model: Path) -> None:
    asked: dict[str, Any] = {"degrees": {"min": 22}}
    fresh = TableSampler(model, "cpu")
    fresh.table(0, 50, 1, {"coat": "true", "age": {"min": 70}})
    assert fresh.table(0, 3_000, 5, asked).equals(sampler.table(0, 3_000, 5, asked))


def test_a_handful_of_rows_meets_a_condition_as_sensibly_as_many(sampler: TableSampler) -> None:
    cities = [sampler.table(0, 10, seed, {"degrees": {"min": 24}})["city"].to_pylist() for seed in range(20)]
    assert Counter(city for some in cities for city in some)["Oslo"] <= 4


def test_what_hardly_ever_happens_is_drawn_all_the_same(sampler: TableSampler) -> None:
    found = sampler.table(0, 500, 5, {"city": "Oslo", "degrees": {"min": 24}, "age": 18, "coat": "false"})
    assert pc.min(found["degrees"]).as_py() >= 24
    assert set(found["city"].to_pylist()) == {"Oslo"}


def test_many_shares_at_once_and_given_cells_go_together(sampler: TableSampler, tmp_path: Path) -> None:
    ages = {"share": [[age, 1 / 50] for age in range(20, 70)]}
    found = sampler.table(0, 5_000, 5, {"age": ages, "city": {"Rome": 0.5, "Oslo": 0.5}})
    assert all(abs(count - 100) <= 5 for count in Counter(found["age"].to_pylist()).values())
    cities = ["Oslo", None, "Rome", None] * 250
    pq.write_table(pa.table({"city": cities}), tmp_path / "given")
    path = tmp_path / "out.parquet"
    given = Given(tmp_path / "given", {})
    sampler.write(path, 0, 1_000, 5, "parquet", {"degrees": {"min": 23}}, no_progress, given)
    out = pq.read_table(path)
    assert all(city in (made, None) for city, made in zip(cities, out["city"].to_pylist(), strict=True))
    made = Counter(out["city"].to_pylist()[1::2])
    assert made["Lima"] > made["Oslo"]
    assert pc.min(out["degrees"]).as_py() >= 23

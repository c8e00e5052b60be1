"""Unique values: across shards, chunks and seeds of one output, in bounded memory, refused where there are too few."""

import json

import numpy as np
import pyarrow as pa
import pytest

from service.errors import InvalidCondition, Rejected
from tests.unit.table.structure.toys import dates, fitted, numbers, shuffled
from workers.modalities.conditions import Value
from workers.modalities.table.structure import Structure

RNG = np.random.default_rng(31)
N = 2_000


def people() -> pa.Table:
    age = RNG.integers(18, 90, N)
    income = np.unique(RNG.lognormal(10, 0.6, 3 * N).round(2))
    income = RNG.permutation(income)[:N]
    return pa.table(
        {
            "income": income,
            "spent": np.round(income * RNG.uniform(0.3, 0.9, N), 2),
            "age": age,
            "number": RNG.permutation(900_000)[:N] + 100_000,
            "reading": RNG.normal(size=N),
        }
    )


PEOPLE = people()


def output(structure: Structure, table: pa.Table, rows: int, chunk: int = 700) -> pa.Table:
    """As shards make it: each chunk alone, with no memory of the others, last one first."""
    starts = list(range(0, rows, chunk))[::-1]
    parts = []
    for start in starts:
        n = min(chunk, rows - start)
        index = np.arange(start, start + n, dtype=np.uint64)
        free = shuffled(structure, table, n, seed=start)
        parts.append(structure.inverse(free, np.random.default_rng(start), index=index))
    return pa.concat_tables(parts)


def test_every_value_of_a_narrow_column_is_used_before_any_is_used_twice() -> None:
    seat = np.concatenate([RNG.permutation(2_000)[:1_500], 2_000 + RNG.permutation(18_000)[:500]])
    table = pa.table({"seat": seat, "x": RNG.normal(size=N)})
    structure = fitted(table, {"kind": "unique", "columns": ["seat"]}, search=False)
    assert structure.capacity is not None
    assert structure.capacity >= 19_000
    assert len(np.unique(numbers(output(structure, table, structure.capacity), "seat"))) == structure.capacity


@pytest.mark.parametrize("name", ["income", "number", "reading"])
def test_a_unique_number_is_so_across_an_output(name: str) -> None:
    structure = fitted(PEOPLE, {"kind": "unique", "columns": [name]}, search=False)
    rows = output(structure, PEOPLE, 20_000)
    values = numbers(rows, name)
    assert len(np.unique(values)) == 20_000
    low, high = numbers(PEOPLE, name).min(), numbers(PEOPLE, name).max()
    assert low <= values.min()
    assert values.max() <= high


def test_unique_numbers_are_distributed_as_they_were_and_follow_what_was_generated() -> None:
    structure = fitted(PEOPLE, {"kind": "unique", "columns": ["income"]}, search=False)
    free = structure.forward(PEOPLE, RNG)
    rows = structure.inverse(free, RNG)
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(
        np.quantile(numbers(rows, "income"), shares), np.quantile(numbers(PEOPLE, "income"), shares), rtol=0.08
    )
    real, synthetic = (np.corrcoef(numbers(t, "income"), numbers(t, "spent"))[0, 1] for t in (PEOPLE, rows))
    assert synthetic > 0.95 * real


def test_unique_dates_and_numbers_together_are_combined() -> None:
    table = pa.table(
        {
            "day": dates(18_000 + RNG.permutation(60 * 50)[:N] % 60),
            "slot": pa.array([f"s{i}" for i in range(50)]).take(pa.array(RNG.permutation(60 * 50)[:N] // 60)),
        }
    )
    pairs = RNG.permutation(60 * 50)[:N]
    table = pa.table({"day": dates(18_000 + pairs % 60), "slot": pa.array([f"s{i}" for i in pairs // 60])})
    structure = fitted(table, {"kind": "unique", "columns": ["day", "slot"]}, search=False)
    (entry,) = structure.describe()
    assert entry["capacity"] == structure.capacity == 60 * 50
    rows = output(structure, table, 3_000)
    assert len(set(zip(rows["day"].to_pylist(), rows["slot"].to_pylist(), strict=True))) == 3_000
    structure.refuse_beyond(3_000)
    with pytest.raises(Rejected, match="3000 rows") as refused:
        structure.refuse_beyond(3_001)
    assert refused.value.code == "too_many_unique_rows"


def test_given_values_stay_and_what_follows_from_them_follows() -> None:
    table = PEOPLE.append_column("twice", pa.array(numbers(PEOPLE, "number").astype(np.int64) * 2))
    structure = fitted(table, {"kind": "unique", "columns": ["number"]})
    given = pa.array(RNG.permutation(900_000)[:N] + 100_000, mask=np.arange(N) % 2 == 0)
    rows = structure.inverse(shuffled(structure, table), np.random.default_rng(1), {"number": given})
    assert (numbers(rows, "number")[1::2] == given.drop_null().to_numpy()).all()
    assert (numbers(rows, "twice") == 2 * numbers(rows, "number")).all()


def test_uniqueness_survives_the_way_through_json_and_another_seed() -> None:
    structure = fitted(PEOPLE, {"kind": "unique", "columns": ["number"]}, search=False)
    again = Structure.from_json(json.loads(json.dumps(structure.to_json())))
    assert output(structure, PEOPLE, 3_000).equals(output(again, PEOPLE, 3_000))


def test_a_condition_on_a_unique_column_is_refused() -> None:
    structure = fitted(PEOPLE, {"kind": "unique", "columns": ["number"]}, search=False)
    with pytest.raises(InvalidCondition, match="unique number"):
        structure.check({"number": Value(123_456)})


def test_values_that_repeat_in_the_training_rows_are_not_unique() -> None:
    with pytest.raises(Rejected) as refused:
        fitted(PEOPLE, {"kind": "unique", "columns": ["age"]})
    assert refused.value.code == "constraint_violated"


def test_no_other_rule_makes_a_unique_column() -> None:
    table = PEOPLE.append_column("twice", pa.array(numbers(PEOPLE, "number").astype(np.int64) * 2))
    structure = fitted(table, {"kind": "unique", "columns": ["number"]})
    assert "number" in structure.kept
    rows = output(structure, table, 2_000)
    assert (numbers(rows, "twice") == 2 * numbers(rows, "number")).all()

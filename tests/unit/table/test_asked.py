"""Conditions and given rows through a trained model: whatever is asked for is met in every row of every type."""

import json
import re
from collections import Counter
from datetime import date, datetime, time, timedelta
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

ROWS = 1_500


def everything(n: int = ROWS, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    day = datetime(2023, 1, 1)
    missing = rng.random(n) < 0.2
    seconds = rng.integers(0, 86_400, n)
    return pa.table(
        {
            "id": pa.array([f"K-{i:05d}" for i in range(n)]),
            "kind": pa.array(rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])),
            "grade": pa.array(rng.choice(["x", "y"], n), mask=rng.random(n) < 0.3),
            "flag": pa.array(rng.random(n) < 0.1),
            "doors": pa.array(rng.choice([2, 4, 5], n)),
            "visits": pa.array(rng.poisson(40, n)),
            "price": pa.array(np.round(rng.lognormal(3, 1, n), 2), mask=missing),
            "ratio": pa.array(rng.normal(size=n)),
            "born": pa.array([(day + timedelta(days=int(d))).date() for d in rng.integers(0, 3_000, n)]),
            "seen": pa.array([day + timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, n)]),
            "opens": pa.array([(day + timedelta(seconds=int(s))).time() for s in seconds], pa.time32("s")),
            "lasts": pa.array(rng.integers(0, 9_000, n) * 10**6, pa.duration("us")),
            "note": pa.array([f"note {i} of person {i * 7 % 101} about {i * 13 % 997}" for i in range(n)]),
        }
    )


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> TableSampler:
    folder = tmp_path_factory.mktemp("asked")
    _, dataset = ingest(folder, "all.parquet", everything())
    return trained(dataset, folder / "model", steps=30)


def rows(sampler: TableSampler, folder: Path, conditions: dict[str, Any], n: int = 2_000, **given: Any) -> pa.Table:
    path = folder / "out.parquet"
    assert sampler.write(path, 0, n, 5, "parquet", conditions, no_progress, **given) == n
    return pq.read_table(path)


def inside(low: Any, high: Any) -> Any:
    return lambda values: all(low <= value <= high for value in values)


MET: list[tuple[str, Any, Any]] = [
    ("kind", "c", {"c"}.issuperset),
    ("kind", {"in": ["b", "c"]}, {"b", "c"}.issuperset),
    ("grade", None, {None}.issuperset),
    ("grade", {"in": ["x", None]}, {"x", None}.issuperset),
    ("flag", True, {True}.issuperset),
    ("doors", 4, {4}.issuperset),
    ("doors", {"min": 3}, {4, 5}.issuperset),
    ("visits", 41, {41}.issuperset),
    ("visits", {"in": [30, 41]}, {30, 41}.issuperset),
    ("visits", {"min": 44, "max": 46}, {44, 45, 46}.issuperset),
    ("visits", {"above": 55}, inside(56, 200)),
    ("price", 20.07, {20.07}.issuperset),
    ("price", None, {None}.issuperset),
    ("price", {"in": [None, 10]}, {None, 10.0}.issuperset),
    ("price", {"min": 10, "below": 10.5}, inside(10, 10.49)),
    ("ratio", 0.125, {0.125}.issuperset),
    ("ratio", {"min": 0.1, "max": 0.1001}, inside(0.1, 0.1001)),
    ("ratio", {"above": 1.5}, inside(1.5, 10)),
    ("born", "2024-02-29", {date(2024, 2, 29)}.issuperset),
    ("born", {"min": "2024-02-27", "max": "2024-03-02"}, inside(date(2024, 2, 27), date(2024, 3, 2))),
    ("born", {"in": ["2024-02-29", "2025-01-01"]}, {date(2024, 2, 29), date(2025, 1, 1)}.issuperset),
    ("seen", "2023-03-01T10:00", {datetime(2023, 3, 1, 10)}.issuperset),
    (
        "seen",
        {"min": "2023-03-01T10:00", "max": "2023-03-01T18:30"},
        inside(datetime(2023, 3, 1, 10), datetime(2023, 3, 1, 18, 30)),
    ),
    ("opens", "08:30", {time(8, 30)}.issuperset),
    ("opens", {"min": "08:30", "below": "09:00"}, inside(time(8, 30), time(8, 59, 59))),
    ("lasts", 90, {timedelta(seconds=90)}.issuperset),
    ("lasts", {"min": "1:00:00", "max": "1:10:00"}, inside(timedelta(hours=1), timedelta(minutes=70))),
]


@pytest.mark.parametrize(("name", "asked", "met"), MET)
def test_every_row_meets_a_condition_on_a_column_of_any_type(
    sampler: TableSampler, tmp_path: Path, name: str, asked: Any, met: Any
) -> None:
    out = rows(sampler, tmp_path, {name: asked})
    assert met(out[name].to_pylist())
    if isinstance(asked, dict) and "in" in asked:
        assert len(set(out[name].to_pylist())) == 2
    others = [column for column in ("kind", "visits", "ratio", "born") if column != name]
    assert all(len(set(out[column].to_pylist())) > 2 for column in others)


def test_a_preview_shows_dates_times_and_durations_as_they_are_written(sampler: TableSampler) -> None:
    seen = json.loads(sampler.preview(20, 1))
    row = dict(zip(seen["columns"], seen["rows"][0], strict=True))
    forms = {"born": r"\d{4}-\d\d-\d\d", "opens": r"\d\d:\d\d:\d\d(\.000)?", "lasts": r"P.*T?.*"}
    assert [name for name, form in forms.items() if not re.fullmatch(form, str(row[name]))] == [], str(row)


def test_several_conditions_at_once_are_all_met(sampler: TableSampler, tmp_path: Path) -> None:
    conditions = {
        "kind": {"a": 0.5, "b": 0.5},
        "grade": {"share": [["x", 0.2], [None, 0.8]]},
        "visits": {"min": 35, "max": 45},
        "price": {"min": 5},
        "flag": True,
        "born": {"share": {"2024-02-29": 0.25, "2025-01-01": 0.75}},
    }
    out = rows(sampler, tmp_path, conditions, n=4_000)
    assert abs(Counter(out["kind"].to_pylist())["a"] - 2_000) <= 5
    assert abs(Counter(out["grade"].to_pylist())[None] - 3_200) <= 5
    assert abs(Counter(out["born"].to_pylist())[date(2024, 2, 29)] - 1_000) <= 5
    assert set(out["visits"].to_pylist()) <= set(range(35, 46))
    assert pc.min(out["price"]).as_py() >= 5
    assert out["price"].null_count == 0
    assert set(out["flag"].to_pylist()) == {True}


def test_cells_that_are_given_stay_and_all_others_are_made(sampler: TableSampler, tmp_path: Path) -> None:
    n, rng = 3_000, np.random.default_rng(1)
    whole = everything(n, seed=9)
    holes = {name: rng.random(n) < 0.5 for name in whole.column_names}
    given = pa.table(
        {name: pc.if_else(pa.array(holes[name]), None, whole[name].combine_chunks()) for name in whole.column_names}
    )
    pq.write_table(given, tmp_path / "given")
    out = rows(sampler, tmp_path, {}, n=2 * n, given=Given(tmp_path / "given", {}, copies=2))
    twice = pa.array(np.arange(2 * n) // 2)
    for name in whole.column_names:
        kept = given[name].combine_chunks().take(twice).cast(out[name].type)
        there = kept.is_valid()
        assert out[name].combine_chunks().filter(there).equals(kept.filter(there)), name
        if name not in ("grade", "price"):
            assert out[name].null_count == 0, name
    for name in ("visits", "ratio"):
        pairs = out[name].to_numpy().reshape(-1, 2)[holes[name]]
        assert (pairs[:, 0] != pairs[:, 1]).mean() > 0.5  # the copies differ where they were made


def test_conditions_fill_the_holes_of_given_rows(sampler: TableSampler, tmp_path: Path) -> None:
    kinds = ["a", None, "c", None] * 250
    pq.write_table(pa.table({"kind": kinds}), tmp_path / "given")
    out = rows(sampler, tmp_path, {"kind": "b", "doors": 2}, n=1_000, given=Given(tmp_path / "given", {}))
    assert out["kind"].to_pylist() == [kind or "b" for kind in kinds]
    assert set(out["doors"].to_pylist()) == {2}


def test_a_later_shard_goes_on_with_the_same_given_rows(sampler: TableSampler, tmp_path: Path) -> None:
    visits = np.arange(1_200_000) % 60 + 20
    pq.write_table(pa.table({"visits": visits}), tmp_path / "given")
    path = tmp_path / "out.parquet"
    conditions = {"kind": {"a": 0.5, "b": 0.5}}
    sampler.write(path, 1_000_000, 500, 5, "parquet", conditions, no_progress, Given(tmp_path / "given", {}))
    out = pq.read_table(path)
    assert out["visits"].to_pylist() == visits[1_000_000:1_000_500].tolist()
    assert abs(Counter(out["kind"].to_pylist())["a"] - 250) <= 3

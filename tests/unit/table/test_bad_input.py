"""Odd tables: each is read as well as it can be, or refused with a sentence that says what to do."""

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import Rejected
from tests.unit.table.tables import columns, csv, ingest, rows
from workers.modalities.table.writing import write_file

N = 200
RNG = np.random.default_rng(8)


def typed(folder: Path, values: list[Any], **options: Any) -> tuple[dict[str, Any], list[str], pa.Table]:
    found, dataset = ingest(folder, "t.csv", csv(x=values, y=[i % 7 for i in range(len(values))]), **options)
    json.dumps([found.schema, found.profile], allow_nan=False)
    return columns(found)["x"], found.warnings, rows(dataset)


def test_columns_that_are_all_constant_are_read(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", csv(a=["x"] * N, b=[7] * N, c=["2.50"] * N, d=[""] * N, e=["true"] * N))
    assert [(c["type"], c["value"]) for c in columns(found).values()] == [
        ("constant", "x"), ("constant", 7), ("constant", 2.5), ("constant", None), ("constant", "true"),
    ]  # fmt: skip


def test_two_rows_are_read(tmp_path: Path) -> None:
    found, dataset = ingest(tmp_path, "t.csv", "a,b,c\n1,x,2020-01-01\n2,y,2020-01-02\n")
    assert found.rows == 2
    assert rows(dataset)["a"].to_pylist() == [1, 2]


@pytest.mark.slow
def test_a_million_different_texts_are_read_in_little_memory(tmp_path: Path) -> None:
    content = "t,n\n" + "".join(f"letter {i} of {i * 7919 % 10**6} to somebody,{i % 7}\n" for i in range(1_000_000))
    tracemalloc.start()
    found, _ = ingest(tmp_path, "t.csv", content)
    peak = tracemalloc.get_traced_memory()[1] - len(content)
    tracemalloc.stop()
    assert (columns(found)["t"]["type"], found.rows) == ("text", 1_000_000)
    assert peak < 100 << 20
    assert len(json.dumps(found.schema)) < 10_000


@pytest.mark.parametrize("big", ["1e400", "-1e999", "1.8e308"])
def test_numbers_beyond_floats_are_missing(tmp_path: Path, big: str) -> None:
    column, warnings, table = typed(tmp_path, [big if i == 50 else f"{i / 7:.3f}" for i in range(N)])
    assert (column["type"], column["unreadable"]) == ("float", 1)
    assert table["x"].null_count == 1
    assert "no numbers" in warnings[0]


def test_values_near_the_limits_of_floats_are_read(tmp_path: Path) -> None:
    ends = [sys.float_info.max, -sys.float_info.max, sys.float_info.min, 5e-324, 0.1]
    for name in ("t.csv", "t.parquet"):
        values = [ends[i % 5] * (1 - i / 1e6) for i in range(N)]
        content = csv(x=values, y=range(N)) if name == "t.csv" else pa.table({"x": values, "y": range(N)})
        found, dataset = ingest(tmp_path, name, content)
        assert sorted(rows(dataset)["x"].to_pylist()) == sorted(values)
        assert columns(found)["x"]["maximum"] == max(values)
        json.dumps([found.schema, found.profile], allow_nan=False)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_whole_numbers_beyond_floats_stay_exact(tmp_path: Path, name: str) -> None:
    values = [2**53 + 1 + (i * 7919 % 150) * 10**12 for i in range(N)]
    values[0], values[1] = 2**63 - 1, -(2**63)
    content: Any = csv(x=values, y=range(N)) if name == "t.csv" else pa.table({"x": values, "y": range(N)})
    if name == "t.jsonl":
        content = "".join(f'{{"x": {x}, "y": {i}}}\n' for i, x in enumerate(values))
    found, dataset = ingest(tmp_path, name, content)
    assert columns(found)["x"]["type"] == "integer"
    assert sorted(rows(dataset)["x"].to_pylist()) == sorted(values)


def test_whole_numbers_of_more_than_64_bits_are_read_as_text(tmp_path: Path) -> None:
    column, warnings, table = typed(tmp_path, [str(2**63 + i * 7919 % 9) for i in range(N)])
    assert column["type"] == "category"
    assert {int(x) for x in table["x"].to_pylist()} == {2**63 + i for i in range(9)}
    assert "more than 64 bits" in warnings[0]
    unique, *_ = typed(tmp_path, [str(10**20 + i * 7919**3) for i in range(N)])
    assert unique["type"] == "identifier"


def test_a_few_words_among_numbers_are_missing_and_said(tmp_path: Path) -> None:
    values = ["ask" if i in (7, 90) else "closed" if i == 30 else str(i * 37 % 113 / 4) for i in range(N)]
    column, warnings, table = typed(tmp_path, values)
    assert (column["type"], column["unreadable"], column["nullable"]) == ("float", 3, True)
    assert table["x"].null_count == 3
    assert warnings[0].startswith("3 values of column 'x' are no numbers and were read as missing")
    assert "ask" not in str(column)


def test_many_words_among_numbers_make_no_number(tmp_path: Path) -> None:
    values = [["low", "high", "none yet"][i % 3] if i % 4 == 0 else str(i * 37 % 23) for i in range(N)]
    column, warnings, _ = typed(tmp_path, values)
    assert column["type"] == "category"
    assert "mixes numbers with words (in 25% of the rows)" in warnings[0]
    column, warnings, table = typed(tmp_path, values, types={"x": "integer"})
    assert (column["type"], column["unreadable"], table["x"].null_count) == ("integer", 50, 50)


@pytest.mark.parametrize(
    ("values", "wanted", "why"),
    [
        ([f"w{i % 5}" for i in range(N)], "float", "not all of its values are numbers"),
        ([i / 4 for i in range(N)], "integer", "not whole"),
        ([f"w{i % 5}" for i in range(N)], "date", "in the same format"),
        ([f"w{i % 5}" for i in range(N)], "boolean", "more than two"),
        ([i % 5 for i in range(N)], "constant", "several different values"),
        ([f"2020-01-{1 + i % 28:02d}" for i in range(N)], "datetime", "its values read as date"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(tmp_path: Path, values: list[Any], wanted: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        typed(tmp_path, values, types={"x": wanted})
    assert refused.value.code == "invalid_options"
    assert "'x'" in refused.value.detail


def test_a_wish_is_met_where_it_can_be(tmp_path: Path) -> None:
    assert typed(tmp_path, [i % 5 for i in range(N)], types={"x": "float"})[0]["type"] == "float"
    column = typed(tmp_path, [i % 2 for i in range(N)], types={"x": "boolean"})[0]
    assert (column["type"], column["levels"]) == ("boolean", [0, 1])
    assert typed(tmp_path, ["", *range(1, N)], types={"x": "text"})[0]["type"] == "text"


def test_ten_thousand_columns_are_refused_and_a_thousand_are_read(tmp_path: Path) -> None:
    wide = RNG.integers(0, 50, (60, 10_000)).astype(str)
    with pytest.raises(Rejected, match="10000 columns; at most 2000") as refused:
        ingest(tmp_path, "t.csv", "\n".join([",".join(f"c{i}" for i in range(10_000)), *map(",".join, wide)]))
    assert refused.value.code == "too_many_columns"
    found, dataset = ingest(
        tmp_path,
        "t.csv",
        "\n".join([",".join(f"c{i}" for i in range(1_000)), *(",".join(row[:1_000]) for row in wide)]),
    )
    assert len(columns(found)) == 1_000
    assert rows(dataset).shape == (60, 1_000)


def test_odd_column_names_come_back(tmp_path: Path) -> None:
    names = ["a,b", 'say "x"', "two\nlines", "🦉 owl", " spaced ", "=SUM(A1)", "ünï", "a.b", "{}"]
    table = pa.table({name: RNG.integers(0, 9, N) for name in names})
    for form in ("parquet", "csv", "jsonl"):
        found, dataset = ingest(tmp_path, "t.parquet", table)
        assert list(columns(found)) == names
        write_file(tmp_path / f"out.{form}", form, found.schema, iter([rows(dataset)]))
        again, _ = ingest(tmp_path, f"again.{form}", (tmp_path / f"out.{form}").read_bytes())
        assert list(columns(again)) == names, form
    assert pq.read_schema(tmp_path / "out.parquet").names == names


def test_many_levels_are_counted_and_kept(tmp_path: Path) -> None:
    """30,000 levels of ten rows each, and a tail of levels that too few rows share."""
    codes = np.concatenate([np.repeat(np.arange(30_000), 10), np.arange(30_000, 60_000)])
    shops = [f"shop number {i}" for i in RNG.permutation(codes)]
    found, _ = ingest(tmp_path, "t.parquet", pa.table({"shop": shops, "x": RNG.normal(size=len(shops))}))
    column = columns(found)["shop"]
    assert column["type"] == "category"
    assert len(column["levels"]) > 29_900
    assert set(column["levels"]) <= {f"shop number {i}" for i in range(30_000)}
    assert column["pooled"]["levels"] == 60_000 - len(column["levels"])
    assert found.profile["columns"][0]["distinct"] == len(column["levels"])
    assert len(found.profile["columns"][0]["levels"]) == 10


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("lat", "lon"), "latitude"), (("Latitude", "Longitude"), "latitude"), (("a_lat", "a_lng"), "latitude"),
        (("start latitude", "start long"), "latitude"), (("x", "y"), None), (("lat", "b"), None),
        (("flat", "long"), None), (("start_lat", "end_lon"), None),
    ],
)  # fmt: skip
def test_places_on_the_earth_are_paired(tmp_path: Path, names: tuple[str, str], role: str | None) -> None:
    values = {names[0]: np.round(RNG.uniform(40, 60, N), 5), names[1]: np.round(RNG.uniform(-120, 20, N), 5)}
    found, _ = ingest(tmp_path, "t.parquet", pa.table(values))
    first, second = (columns(found)[name].get("geo") for name in names)
    assert (first or {}).get("role") == role
    if role:
        assert (first, second) == ({"role": role, "with": names[1]}, {"role": "longitude", "with": names[0]})


def test_numbers_out_of_range_are_no_places(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.parquet", pa.table({"lat": RNG.uniform(0, 99, N), "lon": RNG.uniform(0, 99, N)}))
    assert not any("geo" in column for column in columns(found).values())

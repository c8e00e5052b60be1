"""What types columns are given, and that values come through as they were."""

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.errors import Rejected
from tests.unit.table.tables import columns, csv, ingest, rows
from workers.modalities.table.writing import as_text

RNG = np.random.default_rng(1)
N = 200


def typed(folder: Path, values: list[Any], **options: Any) -> dict[str, Any]:
    """The schema's entry for a CSV column of these values, beside another column."""
    found, _ = ingest(folder, "t.csv", csv(x=values, other=[i % 7 for i in range(len(values))]), **options)
    return columns(found)["x"]


@pytest.mark.parametrize(
    ("values", "kind", "arrow"),
    [
        ([int(x) for x in RNG.integers(-900, 900, N)], "integer", "int64"),
        ([f"{x:.2f}" for x in RNG.normal(size=N)], "float", "double"),
        ([f"{x:.3e}" for x in RNG.normal(size=N)], "float", "double"),
        ([["true", "false"][i % 2] for i in range(N)], "boolean", "bool"),
        ([["Yes", "No"][i % 2] for i in range(N)], "boolean", "string"),
        ([["red", "green", "blue"][i % 3] for i in range(N)], "category", "string"),
        ([["007", "010", "0123"][i % 3] for i in range(N)], "category", "string"),
        ([f"20{10 + i % 9}-0{1 + i % 9}-1{i % 10}" for i in range(N)], "date", "date32[day]"),
        ([f"{1 + i % 28}.{1 + i % 12}.2019" for i in range(N)], "date", "date32[day]"),
        ([f"{1 + i % 12:02d}/{1 + i % 28:02d}/2019" for i in range(N)], "date", "date32[day]"),
        ([f"2020-02-{1 + i % 28:02d}T{i % 24:02d}:15:00Z" for i in range(N)], "datetime", "timestamp[us]"),
        ([f"2020-02-{1 + i % 28:02d} 10:00:00.{i % 1000:03d}" for i in range(N)], "datetime", "timestamp[us]"),
        ([f"2020-02-{1 + i % 28:02d} {i % 24:02d}:15:00+00:00" for i in range(N)], "datetime", "timestamp[us]"),
        (
            [f"2020-02-{1 + i % 28:02d}T{i % 24:02d}:15:{i % 60:02d}+02:00" for i in range(N)],
            "datetime",
            "timestamp[us]",
        ),
        ([f"2020-02-{1 + i % 28:02d}T10:00:00.{i % 1000:03d}-0530" for i in range(N)], "datetime", "timestamp[us]"),
        (
            [f"0{1 + i % 9}/1{i % 10}/2024 {1 + i % 12:02d}:04 {'AP'[i % 2]}M" for i in range(N)],
            "datetime",
            "timestamp[us]",
        ),
        (["Infinity" if i % 50 == 0 else f"{x:.2f}" for i, x in enumerate(RNG.normal(size=N))], "float", "double"),
        ([i + 5000 for i in range(N)], "identifier", "int64"),
        ([f"C-{i:06d}" for i in range(N)], "identifier", "string"),
        ([str(uuid.UUID(int=int.from_bytes(RNG.bytes(16), "big"))) for _ in range(N)], "identifier", "string"),
        (["same"] * N, "constant", "string"),
        ([""] * N, "constant", "string"),
        ([f"the customer {i} wrote a letter of {i * 31} words" for i in range(N)], "text", "string"),
    ],
)
def test_each_kind_of_column_is_recognised(tmp_path: Path, values: list[Any], kind: str, arrow: str) -> None:
    column = typed(tmp_path, values)
    assert (column["type"], column["arrow"]) == (kind, arrow), column
    assert column["reason"]


def test_a_question_mark_among_numbers_is_missing(tmp_path: Path) -> None:
    column = typed(tmp_path, ["?" if i % 10 == 0 else i * 37 % 101 for i in range(N)])
    assert column["type"] == "integer"
    assert column["missing"] == pytest.approx(0.1)
    assert column["missing_token"] == "?"


@pytest.mark.parametrize(
    "form",
    [
        "{0:%Y-%m-%d %H:%M:%S}+00:00",
        "{0:%Y-%m-%dT%H:%M:%S}.{1:03d}-05:30",
        "{0:%Y-%m-%dT%H:%M}+02",
        "{0:%m/%d/%Y %I:%M %p}",
        "{0:%Y-%m-%d %I:%M:%S %p}",
        "{0.month}/{0.day}/2023 {0:%I:%M %p}",
    ],
)
def test_times_come_back_as_they_were_written(tmp_path: Path, form: str) -> None:
    start = datetime.datetime(2023, 1, 1)
    written = [form.format(start + datetime.timedelta(seconds=i * 77_777), i % 1000) for i in range(N)]
    if "{0.month}" in form:
        written = [text.replace(" 0", " ") for text in written]
    found, dataset = ingest(tmp_path, "t.csv", csv(x=written))
    column = columns(found)["x"]
    assert column["type"] == "datetime"
    assert sorted(as_text(rows(dataset)["x"].combine_chunks(), column).to_pylist()) == sorted(written)


def test_a_question_mark_among_words_is_a_level(tmp_path: Path) -> None:
    column = typed(tmp_path, ["?" if i % 10 == 0 else f"w{i % 3}" for i in range(N)])
    assert column["type"] == "category"
    assert column["missing"] == 0
    assert "?" in column["levels"]


@pytest.mark.parametrize("token", ["", "NA", "N/A", "null", "None", "NaN"])
def test_the_usual_words_for_missing_are_missing_everywhere(tmp_path: Path, token: str) -> None:
    column = typed(tmp_path, [token if i % 4 == 0 else f"w{i % 3}" for i in range(N)])
    assert column["missing"] == pytest.approx(0.25)
    assert token not in column["levels"]


def test_two_levels_written_as_zero_and_one_stay_integers(tmp_path: Path) -> None:
    column = typed(tmp_path, [i % 2 for i in range(N)])
    assert (column["type"], column["arrow"]) == ("integer", "int64")
    assert set(column["levels"]) == {0, 1}


def test_a_number_that_repeats_is_no_key_though_its_name_says_so(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", csv(customer_id=[i % 50 for i in range(N)]))
    assert columns(found)["customer_id"]["type"] == "integer"


def test_what_the_user_says_of_a_column_goes_before_inference(tmp_path: Path) -> None:
    values = [i + 5000 for i in range(N)]
    assert typed(tmp_path, values)["type"] == "identifier"
    assert typed(tmp_path, [i % 13 for i in range(N)], types={"x": "category"})["type"] == "category"
    with pytest.raises(Rejected, match="no column of the file"):
        typed(tmp_path, values, types={"nowhere": "category"})


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        (pa.timestamp("us"), {"category", "identifier"}),
        (pa.date32(), {"category", "identifier"}),
        (pa.decimal128(18, 2), {"category", "identifier"}),
        (pa.float64(), {"identifier"}),
        (pa.bool_(), {"identifier"}),
        (pa.int32(), set()),
        (pa.string(), set()),
    ],
)
@pytest.mark.parametrize("wanted", ["category", "identifier"])
def test_a_type_that_a_column_cannot_have_is_refused(
    tmp_path: Path, kind: pa.DataType, refused: set[str], wanted: str
) -> None:
    numbers = pa.array([i % 5 for i in range(N)], pa.int32())
    values = numbers.cast(pa.int64()).cast(kind) if kind == pa.timestamp("us") else numbers.cast(kind)
    table = pa.table({"x": values, "y": RNG.normal(size=N)})
    if wanted in refused:
        with pytest.raises(Rejected) as error:
            ingest(tmp_path, "t.parquet", table, types={"x": wanted})
        assert error.value.code == "invalid_options"
    else:
        found, _ = ingest(tmp_path, "t.parquet", table, types={"x": wanted})
        assert columns(found)["x"]["type"] == wanted
        json.dumps(found.schema)


def test_decimal_commas_are_read(tmp_path: Path) -> None:
    lines = "price;name\n" + "".join(f"{i * 37 % 91},{i % 10}5;Müller{i % 4}\n" for i in range(N))
    found, dataset = ingest(tmp_path, "t.csv", lines.encode("cp1252"))
    assert columns(found)["price"]["type"] == "float"
    assert columns(found)["price"]["decimals"] == 2
    assert set(rows(dataset)["name"].to_pylist()) == {f"Müller{i}" for i in range(4)}


@pytest.mark.parametrize(("places", "kind"), [(0, "integer"), (2, "float")])
def test_commas_between_thousands_are_read_and_written(tmp_path: Path, places: int, kind: str) -> None:
    numbers = [round((i * 7919 % 99_991) ** 1.5 / 100, places) for i in range(N)]
    text = "n,price\n" + "".join(f'{i % 9},"{x:,.{places}f}"\n' for i, x in enumerate(numbers))
    found, dataset = ingest(tmp_path, "t.csv", text)
    column = columns(found)["price"]
    assert column["type"] == kind
    assert column["maximum"] == max(numbers)
    stored = rows(dataset)["price"].combine_chunks()
    assert sorted(stored.to_pylist()) == sorted(numbers)
    assert sorted(as_text(stored, column).to_pylist()) == sorted(f"{x:,.{places}f}" for x in numbers)


def test_a_comma_before_three_decimals_stays_a_comma_where_others_have_two(tmp_path: Path) -> None:
    text = "n,x\n" + "".join(f'{i % 9},"{i * 37 % 91},{i % 90 + 10}"\n' for i in range(N)) + '3,"1,580"\n'
    found, _ = ingest(tmp_path, "t.csv", text)
    assert columns(found)["x"]["type"] == "float"
    assert columns(found)["x"]["maximum"] < 91


def test_parquet_types_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "small": pa.array(RNG.integers(0, 100, N), pa.int8()),
            "day": pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(int(i)) for i in RNG.integers(0, 900, N)]),
            "when": pa.array(RNG.integers(0, 10**15, N), pa.timestamp("us", "UTC")),
            "word": pa.array(RNG.choice(["a", "b"], N)).dictionary_encode(),
            "long": pa.array(RNG.choice(["a", "b"], N), pa.large_string()),
            "half": pa.array(RNG.normal(size=N), pa.float32()),
            "nothing": pa.nulls(N),
        }
    )
    found, _ = ingest(tmp_path, "t.parquet", table)
    kinds = {name: (column["type"], column["arrow"]) for name, column in columns(found).items()}
    assert kinds == {
        "small": ("integer", "int8"),
        "day": ("date", "date32[day]"),
        "when": ("datetime", "timestamp[us, tz=UTC]"),
        "word": ("category", "string"),
        "long": ("category", "string"),
        "half": ("float", "float"),
        "nothing": ("constant", "null"),
    }


@pytest.mark.parametrize(
    ("values", "kind", "decimals"),
    [
        (RNG.integers(6 * 10**10, 7 * 10**10, N) / 100, pa.float64(), 2),
        (RNG.integers(600_000, 900_000, N) / 100, pa.float32(), 2),
        (RNG.integers(4 * 10**6, 6 * 10**6, N) / 4, pa.float32(), 2),
        (RNG.integers(0, 9_000, N) * 0.1, pa.float64(), 1),
        (RNG.integers(0, 9_000, N) * 1.0, pa.float32(), 0),
        (RNG.normal(size=N), pa.float64(), None),
    ],
)
def test_decimals_are_counted_at_any_size(tmp_path: Path, values: Any, kind: pa.DataType, decimals: int | None) -> None:
    table = pa.table({"x": pa.array(values).cast(kind, safe=False)})
    found, _ = ingest(tmp_path, "t.parquet", table)
    assert columns(found)["x"]["decimals"] == decimals


def test_types_that_the_first_lines_do_not_show_are_found(tmp_path: Path) -> None:
    """A column that is whole for 100,000 rows and then is not must not be cut to whole numbers."""
    values = [str(i % 1000) for i in range(100_000)] + ["0.5"] * 10
    column = typed(tmp_path, values)
    assert column["type"] == "float"
    assert column["decimals"] == 1

"""Times of day, durations, and dates at several offsets: recognised, kept to the microsecond, written as they were."""

import datetime
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import Rejected
from tests.unit.table.tables import columns, csv, ingest, rows
from workers.modalities.table.writing import as_text, write_file

N = 200
MINUTE, HOUR = 60 * 10**6, 3_600 * 10**6


def clock(i: int, form: str) -> str:
    at = datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=i * 7_919 % 86_400, microseconds=i * 1_001)
    return at.strftime(form)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([clock(i, "%H:%M") for i in range(N)], "time"),
        ([clock(i, "%H:%M:%S") for i in range(N)], "time"),
        ([clock(i, "%H:%M:%S.%f") for i in range(N)], "time"),
        ([clock(i, "%I:%M %p") for i in range(N)], "time"),
        ([clock(i, "%I:%M:%S%p").lower() for i in range(N)], "time"),
        ([f"{i % 24}:{i % 60:02d}" for i in range(N)], "time"),
        ([f"{i % 40}:{i % 60:02d}:{i * 7 % 60:02d}" for i in range(N)], "duration"),
        ([f"{'-' if i % 3 == 1 else ''}{1 + i % 20}:{i % 60:02d}" for i in range(N)], "duration"),
        ([f"{i * 7 % 95} min" for i in range(N)], "duration"),
        ([f"{i * 7 % 95}.{i % 10}h" for i in range(N)], "duration"),
        ([f"{i % 9} days {i % 24:02d}:{i % 60:02d}:07" for i in range(N)], "duration"),
        ([f"PT{1 + i % 20}H{1 + i % 50}M" for i in range(N)], "duration"),
        ([f"P{1 + i % 9}DT{1 + i % 50}.5S" for i in range(N)], "duration"),
    ],
)  # fmt: skip
def test_times_and_durations_come_back_as_they_were_written(tmp_path: Path, values: list[str], kind: str) -> None:
    values = ["" if i % 11 == 0 else value for i, value in enumerate(values)]
    found, dataset = ingest(tmp_path, "t.csv", csv(x=values, other=range(N)))
    column = columns(found)["x"]
    assert column["type"] == kind, column
    stored = rows(dataset)["x"].combine_chunks()
    assert stored.type == pa.int64()
    written = as_text(stored, column).to_pylist()
    assert sorted(value or "" for value in written) == sorted(values)
    assert column["minimum"] == min(stored.drop_null().to_pylist())
    assert set(found.profile["columns"][0]["quantiles"].values()) <= set(values)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("08:30", 8 * HOUR + 30 * MINUTE), ("12:15 AM", 15 * MINUTE), ("12:15 PM", 12 * HOUR + 15 * MINUTE),
        ("30:00:00.25", 30 * HOUR + 250_000), ("-1:30", -HOUR - 30 * MINUTE), ("90 min", 90 * MINUTE),
        ("1.5 hours", 90 * MINUTE), ("PT1H30M", 90 * MINUTE), ("P1DT0.001S", 24 * HOUR + 1_000),
        ("2 days 01:00:00", 49 * HOUR), ("250 ms", 250_000),
    ],
)  # fmt: skip
def test_times_are_kept_in_microseconds(tmp_path: Path, text: str, micros: int) -> None:
    other = re.sub(r"\d", lambda digit: "1" if digit[0] == "0" else "0", text, count=1)
    _, dataset = ingest(tmp_path, "t.csv", csv(x=[text, other, ""] * 30, y=range(90)))
    assert micros in set(rows(dataset)["x"].to_pylist())


def test_a_name_that_speaks_of_durations_makes_one_of_a_time(tmp_path: Path) -> None:
    values = [f"{i % 20:02d}:{i % 60:02d}" for i in range(N)]
    found, _ = ingest(tmp_path, "t.csv", csv(start=values, trip_duration=values))
    assert [columns(found)[name]["type"] for name in ("start", "trip_duration")] == ["time", "duration"]
    found, _ = ingest(tmp_path, "t.csv", csv(start=values, end=values), types={"start": "duration"})
    assert [columns(found)[name]["type"] for name in ("start", "end")] == ["duration", "time"]
    with pytest.raises(Rejected, match="not all of its values"):
        ingest(tmp_path, "t.csv", csv(start=values, end=["x", "y"] * 100), types={"end": "time"})


def test_typed_times_and_durations_keep_their_types(tmp_path: Path) -> None:
    whole = [i * 7_919 % 86_400 for i in range(N)]
    table = pa.table({
        "s": pa.array(whole, pa.int32()).cast(pa.time32("s")),
        "us": pa.array([x * 10**6 + 5 for x in whole]).cast(pa.time64("us")),
        "ns": pa.array([x * 10**9 for x in whole]).cast(pa.time64("ns")),
        "took": pa.array([x - 40_000 if x else None for x in whole]).cast(pa.duration("s")),
        "took_ns": pa.array([x * 10**9 for x in whole]).cast(pa.duration("ns")),
    })  # fmt: skip
    found, dataset = ingest(tmp_path, "t.parquet", table)
    assert [c["type"] for c in columns(found).values()] == ["time"] * 3 + ["duration"] * 2
    stored = rows(dataset)
    assert set(stored["s"].to_pylist()) == {x * 10**6 for x in whole}
    write_file(tmp_path / "out.parquet", "parquet", found.schema, iter([stored]))
    out = pq.read_table(tmp_path / "out.parquet")
    assert [out.schema.field(name).type for name in ("s", "took")] == [pa.time32("ms"), pa.duration("s")]
    for name in table.column_names:
        wanted = table[name].cast(out.schema.field(name).type)
        assert sorted(map(str, out[name].to_pylist())) == sorted(map(str, wanted.to_pylist())), name


def test_a_duration_beyond_64_bits_of_microseconds_is_no_duration(tmp_path: Path) -> None:
    column = columns(ingest(tmp_path, "t.csv", csv(x=[f"{i * 10**16 + i % 7} days" for i in range(N)]))[0])["x"]
    assert column["type"] != "duration"


@pytest.mark.parametrize("sorted_file", [False, True])
def test_times_at_several_offsets_become_the_same_moments_at_one(tmp_path: Path, sorted_file: bool) -> None:
    start = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
    summer = [i % 3 == 0 for i in range(N)]
    summer = sorted(summer) if sorted_file else summer
    zones = [datetime.timezone(datetime.timedelta(hours=2 if warm else 1)) for warm in summer]
    moments = [start + datetime.timedelta(seconds=i * 77_777) for i in range(N)]
    written = [at.astimezone(zone).isoformat() for at, zone in zip(moments, zones, strict=True)]
    found, dataset = ingest(tmp_path, "t.csv", csv(x=written))
    column = columns(found)["x"]
    assert (column["type"], column["format"]) == ("datetime", "%Y-%m-%dT%H:%M:%S+01:00")
    assert "several offsets" in found.warnings[0]
    texts = as_text(rows(dataset)["x"].combine_chunks(), column).to_pylist()
    assert sorted(datetime.datetime.fromisoformat(text) for text in texts) == moments


def test_dates_of_zeros_are_missing(tmp_path: Path) -> None:
    values: list[Any] = ["0000-00-00" if i % 5 == 0 else f"2020-02-{1 + i % 28:02d}" for i in range(N)]
    column = columns(ingest(tmp_path, "t.csv", csv(x=values))[0])["x"]
    assert (column["type"], column["missing"]) == ("date", 0.2)

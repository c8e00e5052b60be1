"""Rows to complete: read with the model's types whatever the file looks like, in order, in pieces of one size."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidRequest, Rejected
from workers.modalities import Given
from workers.modalities.table.given import chunks
from workers.modalities.table.spec import SPEC
from workers.modalities.table.writing import storage_type

COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "type": "integer", "arrow": "int64", "nullable": False, "minimum": 17, "maximum": 90},
    {"name": "price", "type": "float", "arrow": "double", "nullable": False, "decimals": 2, "comma": True},
    {"name": "state", "type": "category", "arrow": "string", "nullable": False, "levels": ["CA", "7"]},
    {"name": "yes", "type": "boolean", "arrow": "bool", "nullable": False, "levels": [True, False]},
    {"name": "born", "type": "date", "arrow": "date32[day]", "nullable": False, "format": "%d.%m.%Y"},
    {"name": "seen", "type": "datetime", "arrow": "timestamp[us]", "nullable": False, "format": "%Y-%m-%d %H:%M"},
    {"name": "opens", "type": "time", "arrow": "string", "nullable": False, "form": "clock",
     "style": {"fraction": 0, "seconds": True, "padded": True}},
    {"name": "key", "type": "identifier", "arrow": "int64", "nullable": False},
    {"name": "note", "type": "text", "arrow": "string", "nullable": True},
]  # fmt: skip
SCHEMA = {"columns": COLUMNS}


def a_file(folder: Path, content: str | pa.Table, name: str = "rows") -> Path:
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path, row_group_size=1_000)
    else:
        path.write_text(content)
    return path


def whole(path: Path, copies: int = 1, start: int = 0, count: int | None = None, size: int = 65_536) -> pa.Table:
    rows = 10**6 if count is None else count
    return pa.concat_tables(chunks(Given(path, {}, copies), SCHEMA, start, rows, size))


def test_a_csv_is_read_with_the_models_types_and_its_empty_cells_are_to_be_made(tmp_path: Path) -> None:
    text = (
        "note,age,price,state,yes,born,seen,opens,key\n"
        "hi,41,\"1,50\",CA,TRUE,03.02.2001,2024-05-01 10:00,08:30:00,5\n"
        ",NA,,,,,?,,\n"
        "x,200,2.5,WA,false,01.01.1999,2024-05-01 11:30,NaN,-\n"
    )  # fmt: skip
    found = whole(a_file(tmp_path, text), count=3)
    assert found.column_names == [column["name"] for column in COLUMNS]
    assert found.schema.types == [storage_type(column) for column in COLUMNS]
    rows = found.to_pylist()
    assert list(rows[0].values()) == [
        41, 1.5, "CA", True, date(2001, 2, 3), datetime(2024, 5, 1, 10), 30_600_000_000, 5, "hi",
    ]  # fmt: skip
    assert set(rows[1].values()) == {None}
    assert rows[2]["age"] == 200  # beyond what was seen, and kept
    assert rows[2]["state"] == "WA"
    assert rows[2]["price"] == 2.5
    assert rows[2]["key"] is None


def test_times_in_iso_8601_are_read_where_the_models_format_is_another(tmp_path: Path) -> None:
    rows = whole(a_file(tmp_path, "born,seen\n2001-02-03,2024-05-01T10:00:30\n,\n"), count=2).to_pylist()
    assert rows == [{"born": date(2001, 2, 3), "seen": datetime(2024, 5, 1, 10, 0, 30)}, {"born": None, "seen": None}]


def test_a_parquet_file_with_other_types_is_cast_where_nothing_is_lost(tmp_path: Path) -> None:
    table = pa.table(
        {
            "age": pa.array([41.0, None]),  # as pandas has whole numbers with holes
            "price": pa.array([3, None], pa.int8()),
            "state": pa.array([7, None]),
            "yes": pa.array([None, None], pa.null()),
            "opens": pa.array([3600, None], pa.time32("s")),
            "seen": pa.array([datetime(2024, 5, 1), None], pa.timestamp("ns", "UTC")),
            "born": pa.array(["03.02.2001", None]).dictionary_encode(),
        }
    )
    assert whole(a_file(tmp_path, table), count=2).to_pylist() == [
        {"age": 41, "price": 3.0, "state": "7", "yes": None, "born": date(2001, 2, 3), "seen": datetime(2024, 5, 1),
         "opens": 3_600_000_000},
        dict.fromkeys(("age", "price", "state", "yes", "born", "seen", "opens")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "age\nold\n",
        "age\n1.5\n",
        "yes\nperhaps\n",
        "born\n32.13.2001\n",
        "seen\nsoon\n",
        "opens\n8 o'clock\n",
        "key\nK-17\n",
        pa.table({"age": [1.5]}),
        pa.table({"age": [True], "born": [date(2000, 1, 1)], "key": ["x"]}),
        pa.table({"opens": ["morning"]}),
    ],
)
def test_a_value_that_is_none_of_the_models_type_is_refused_by_its_columns_name(content: Any, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        whole(a_file(tmp_path, content), count=1)
    assert refused.value.code == "given_unreadable"
    names = content.column_names if isinstance(content, pa.Table) else [content.split("\n")[0]]
    assert any(f"'{name}'" in refused.value.detail for name in names)


def test_a_column_that_the_model_does_not_have_is_refused_before_and_while_reading(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="'smell'"):
        whole(a_file(tmp_path, "age,smell\n1,a\n2,b\n"), count=2)
    other = {"columns": [*COLUMNS[:2], {"name": "smell"}, {"name": "taste"}]}
    assert SPEC.check_given is not None
    with pytest.raises(InvalidRequest, match="'smell', nor 1 others"):
        SPEC.check_given(SCHEMA, other)
    SPEC.check_given(SCHEMA, {"columns": COLUMNS[3:5]})


@pytest.mark.parametrize("copies", [1, 3, 50_000])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_slice_is_the_same_rows_in_pieces_of_one_size(kind: str, copies: int, tmp_path: Path) -> None:
    ages = np.arange(150_000)
    table = pa.table({"age": ages, "state": pa.array(ages % 7).cast(pa.string())})
    path = tmp_path / "rows"
    (pq.write_table if kind == "parquet" else pacsv.write_csv)(table, path)
    total = len(ages) * copies
    for start, count in ((0, 10), (0, 140_000), (70_001, 66_000), (total - 65_000, 65_000)):
        pieces = list(chunks(Given(path, {}, copies), SCHEMA, start, count, 10_000))
        assert [piece.num_rows for piece in pieces[:-1]] == [10_000] * (len(pieces) - 1)
        found = pa.concat_tables(pieces)
        rows = np.arange(start, start + count) // copies
        assert np.array_equal(found["age"].to_numpy(), rows)
        assert found["state"].to_pylist() == (rows % 7).astype(str).tolist()


def test_row_groups_before_the_first_row_are_not_read(tmp_path: Path) -> None:
    """Their bytes are overwritten: who reads them finds the file damaged."""
    path = a_file(tmp_path, pa.table({"age": np.random.default_rng(0).integers(0, 2**40, 10_000)}))  # ten row groups
    rows = pq.read_table(path)["age"].to_pylist()
    content = bytearray(path.read_bytes())
    for group in range(7):
        column = pq.ParquetFile(path).metadata.row_group(group).column(0)
        begin = column.dictionary_page_offset or column.data_page_offset
        content[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    assert whole(path, start=7_500, count=2_500)["age"].to_pylist() == rows[7_500:]
    assert whole(path, copies=2, start=14_000, count=10)["age"].to_pylist() == np.repeat(rows[7000:7005], 2).tolist()
    with pytest.raises(Rejected, match="damaged"):
        whole(path, start=6_999, count=2)


def test_a_file_that_became_shorter_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        whole(a_file(tmp_path, "age\n1\n2\n"), count=3)
    assert refused.value.code == "given_too_short"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    path = a_file(tmp_path, pa.table({"age": np.arange(3_000_000)}))
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in chunks(Given(path, {}), SCHEMA, 300_000, 2_600_000, 65_536)]
    assert max(held) < 4 << 20  # the column has 24 MB

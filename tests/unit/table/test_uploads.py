"""Uploads good and bad: what is read, what is skipped, what is refused and with which code."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from service.errors import Rejected
from tests.unit.table.tables import columns, csv, ingest, people, rows
from workers.modalities.table.spec import TableOptions, recognises

GOOD = csv(a=[i * 37 % 101 for i in range(120)], b=[f"w{i % 3}" for i in range(120)])


def parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    out: bytes = sink.getvalue().to_pybytes()
    return out


WHOLE = parquet_bytes(people(300))
NESTED = parquet_bytes(pa.table({"a": [[1], [2]]}))
BYTES = parquet_bytes(pa.table({"a": [b"1", b"2"]}))
NO_ROWS = parquet_bytes(people(5).slice(0, 0))


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("empty_file", b""),
        ("empty_file", b"\n \n\n"),
        ("no_rows", b"a,b,c\n"),
        ("no_rows", NO_ROWS),
        ("too_few_rows", b"a,b,c\n1,2,3\n"),
        ("all_missing", b"a,b\n" + b",\n" * 20),
        ("all_missing", b"a,b\n" + b"NA,null\n" * 20),
        ("ragged_lines", b"a,b,c\n" + b"1,2,3\n1,2\n" * 30),
        ("duplicate_columns", b"a,b,a\n" + b"1,2,3\n" * 30),
        ("too_many_columns", (",".join(f"c{i}" for i in range(2001)) + "\n").encode() * 2),
        ("unsupported_format", b"PK\x03\x04" + bytes(100)),
        ("unsupported_format", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("unsupported_format", bytes(range(256)) * 20),
        ("unsupported_format", b'{\n  "a": 1,\n  "b": 2\n}\n'),
        ("wrong_encoding", bytes(np.random.default_rng(0).integers(1, 256, 5000).astype(np.uint8))),
        ("corrupt_file", WHOLE[: len(WHOLE) // 2]),
        ("corrupt_file", WHOLE[:-3]),
        ("corrupt_file", gzip.compress(GOOD.encode())[:-20]),
        ("nested_column", NESTED),
        ("nested_column", b'{"a": {"b": [1]}}\n{"a": {"b": [2]}}\n'),
        ("nested_column", b'{"a": {"b": 1}}\n{"a": 3}\n' * 20),
        ("nested_column", b'{"data": [{"a": 1}, {"a": 2}]}\n'),
        (
            "nested_column",
            parquet_bytes(pa.table({"a": [[("k", 1)]] * 30}, pa.schema([("a", pa.map_("str", "int8"))]))),
        ),
        ("nested_column", b'{"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}\n' * 30),
        ("malformed_json", b'[{"a": 1}, {"a": 2}'),
        ("malformed_json", b'[{"a": 1}, 2]'),
        ("duplicate_columns", b'{"a.b": 1, "a": {"b": 2}}\n' * 30),
        ("duplicate_columns", parquet_bytes(pa.table([[1] * 30, [2] * 30], names=["a", "a"]))),
        ("no_columns", b"{}\n{}\n"),
        ("unsupported_column", BYTES),
        ("unsupported_column", parquet_bytes(pa.table({"a": ["one", "t\0wo"]}))),
        ("unsupported_column", parquet_bytes(pa.table({"a\0": ["one", "two"]}))),
        ("unsupported_column", b'{"a": "u\\u0000"}\n' * 30),
        ("unsupported_column", b'{"a\\u0000": "u"}\n' * 30),
        ("unsupported_column", parquet_bytes(pa.table({"a": pa.array([2**63 + 7] * 30, pa.uint64())}))),
        ("unsupported_column", parquet_bytes(pa.table({"a": pa.array([2**63 + i for i in range(300)], pa.uint64())}))),
        ("unsupported_column", parquet_bytes(pa.table({"a": pa.array([bytes(16)] * 30, pa.uuid())}))),
        ("unsupported_column", parquet_bytes(pa.table({"a": pa.array([2**50] * 30).cast(pa.duration("s"))}))),
        ("unsupported_column", f'{{"a": {2**70}, "b": "x"}}\n{{"a": 1, "b": 3}}\n'.encode() * 30),
        ("malformed_json", b'{"a": "\\ud800x", "b": 1}\n' * 30),
        ("malformed_json", b'{"a": "\\ud800x", "b": 1}\n{"a": "y", "b": "z"}\n' * 30),
        ("malformed_json", b'{"\\ud800x": 1, "b": 1}\n{"\\ud800x": "y", "b": "z"}\n' * 30),
        ("malformed_json", b'{"a": 1}\n{"a": \n'),
        ("malformed_csv", b'a,b\n"never closed,' + b"x,1\n" * 2_000_000),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(tmp_path: Path, code: str, content: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        ingest(tmp_path, "upload.csv", content)
    assert refused.value.code == code
    assert len(refused.value.detail) > 15


def test_the_name_of_a_wrong_encoding_is_refused(tmp_path: Path) -> None:
    for encoding in ("ascii", "no-such", "hex", "base64", "zip", "rot13", "utf\0", "undefined", "idna"):
        with pytest.raises(Rejected) as refused:
            ingest(tmp_path, "t.csv", GOOD.replace("w0", "ü"), encoding=encoding)
        assert refused.value.code == "wrong_encoding"


@pytest.mark.parametrize("delimiter", ["é", "\0", '"', "\n", ",,", ""])
def test_a_delimiter_that_no_csv_can_have_is_refused(delimiter: str) -> None:
    with pytest.raises(ValidationError):
        TableOptions.model_validate({"delimiter": delimiter})


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", "\x1f"])
def test_any_other_ascii_character_may_delimit(tmp_path: Path, delimiter: str) -> None:
    options = TableOptions.model_validate({"delimiter": delimiter}).model_dump(exclude_none=True)
    found, _ = ingest(tmp_path, "t.csv", GOOD.replace(",", delimiter), **options)
    assert list(columns(found)) == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_usual_encoding_and_delimiter_is_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = GOOD.replace(",", delimiter).replace("w0", "żółw" if encoding.startswith("utf") else "été")
    found, dataset = ingest(tmp_path, "t.csv", text.encode(encoding))
    assert list(columns(found)) == ["a", "b"]
    assert found.rows == 120
    assert set(rows(dataset)["b"].to_pylist()) == {"żółw" if encoding.startswith("utf") else "été", "w1", "w2"}


def test_quoted_values_may_hold_delimiters_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    odd = ['one, two\nthree "four"', "plain", ""]
    lines = [f'{i},"{odd[i % 3].replace(chr(34), chr(34) * 2)}"' for i in range(90)]
    _, dataset = ingest(tmp_path, "t.csv", "n,odd\n" + "\n".join(lines))
    assert set(rows(dataset)["odd"].to_pylist()) == {odd[0], "plain", None}


def test_a_few_ragged_lines_are_skipped_with_a_warning(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", GOOD + "1,2,3\n4\n")
    assert found.rows == 120
    assert "2 lines" in found.warnings[0]


@pytest.mark.parametrize("blank", ["\n", "\r\n\r\n", "  \n\n"])
@pytest.mark.parametrize("name", ["a", "a,b", '"a\nb",c'])
def test_blank_lines_before_the_header_are_skipped(tmp_path: Path, blank: str, name: str) -> None:
    text = blank + "\n".join([name, *(",".join([str(i * 37 % 101)] * (name.count(",") + 1)) for i in range(60))])
    found, _ = ingest(tmp_path, "t.csv", text)
    assert found.rows == 60
    assert ",".join(columns(found)) == name.replace('"', "")
    assert {column["type"] for column in columns(found).values()} == {"integer"}


def test_blank_lines_before_data_without_a_header_are_skipped(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", "\n\n" + GOOD.split("\n", 1)[1])
    assert found.rows == 120


def test_a_file_without_header_gets_column_names(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", GOOD.split("\n", 1)[1])
    assert list(columns(found)) == ["column_1", "column_2"]
    assert found.rows == 120
    assert found.warnings


def test_years_as_column_names_are_a_header(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", csv(**{"2019": range(30), "2020": range(30)}))
    assert list(columns(found)) == ["2019", "2020"]


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "really.csv", WHOLE)
    assert found.rows == 300


def test_gzipped_text_is_read(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv.gz", gzip.compress(GOOD.encode()))
    assert found.rows == 120


def test_json_lines_may_leave_columns_out_and_mix_types(tmp_path: Path) -> None:
    def line(i: int) -> dict[str, Any]:
        row = {"n": i * 37 % 101, "mixed": i % 5 if i % 2 else f"w{i % 3}", "day": f"2020-01-{1 + i % 28:02d}"}
        return row | ({"some": i / 4} if i % 2 else {"some": None} if i % 4 else {})

    found, dataset = ingest(tmp_path, "t.jsonl", "".join(json.dumps(line(i)) + "\n" for i in range(200)))
    kinds = {name: column["type"] for name, column in columns(found).items()}
    assert kinds == {"n": "integer", "mixed": "category", "day": "date", "some": "float"}
    assert rows(dataset)["some"].null_count == 100


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_what_is_no_number_is_missing(tmp_path: Path, kind: pa.DataType) -> None:
    odd = [np.nan if i % 10 < 3 else np.inf if i % 10 == 3 else i % 7 / 2 for i in range(200)]
    table = pa.table(
        {"x": pa.array(np.array(odd, kind.to_pandas_dtype())), "y": pa.array(np.full(200, np.nan), pa.float64())}
    )
    found, dataset = ingest(tmp_path, "t.parquet", table)
    x, y = found.schema["columns"]
    assert (x["nullable"], x["missing"]) == (True, 0.4)
    assert (y["type"], y["value"], y["missing"]) == ("constant", None, 1.0)
    assert rows(dataset)["x"].null_count == 80
    json.dumps([found.schema, found.profile], allow_nan=False)


def test_json_lines_that_hold_nan_have_missing_values(tmp_path: Path) -> None:
    text = "".join(f'{{"x": {"NaN" if i % 4 == 0 else i / 8}, "n": {i % 7}}}\n' for i in range(200))
    found, dataset = ingest(tmp_path, "t.jsonl", text)
    assert columns(found)["x"]["missing"] == 0.25
    assert rows(dataset)["x"].null_count == 50


def test_no_row_is_lost_or_changed_on_the_way_into_the_parts(tmp_path: Path) -> None:
    table = people(5_000)
    _, dataset = ingest(tmp_path, "t.parquet", table)
    stored = rows(dataset).sort_by("key")
    for name in ("key", "city", "temperature", "wind", "windy", "visits", "note"):
        assert stored[name].to_pylist() == table[name].to_pylist()


def test_a_tenth_of_the_rows_is_held_out_and_the_same_each_time(tmp_path: Path) -> None:
    held = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, dataset = ingest(folder, "t.parquet", people(1_000))
        (part,) = (part for part in dataset.parts if part.split == "holdout")
        held.append(pq.read_table(part.path)["key"].to_pylist())
    assert len(held[0]) == 100
    assert held[0] == held[1]


def test_small_tables_hold_nothing_out(tmp_path: Path) -> None:
    _, dataset = ingest(tmp_path, "t.parquet", people(99))
    assert {part.split for part in dataset.parts} == {"train"}


@pytest.mark.parametrize(
    ("head", "name", "ours"),
    [
        (b"a,b\n1,2\n", "t.csv", True),
        (b"a,b\n1,2\n", "photo.png", True),
        ("a,b\n1,2\n".encode("utf-16"), "t.csv", True),
        ("a,b\n1,2\n".encode("utf-16-le"), "t.csv", True),
        (b"PAR1\x00\x00", "x", True),
        (b"", "t.csv", True),
        (b"", "t.zip", False),
        (b"PK\x03\x04....", "t.csv", False),
        (b"\x89PNG\r\n", "t.csv", False),
        (b"\xff\xd8\xff\xe0", "t.csv", False),
        (b"\x1f\x8b\x08\x00\x00", "t.csv.gz", True),
        (b"\x1f\x8b\x08\x00\x00", "t.tar.gz", False),
        (b"x" * 257 + b"ustar\x0000" + bytes(200), "t.csv", False),
        (bytes(512), "t.csv", False),
    ],
)
def test_a_table_is_recognised_by_its_first_bytes(head: bytes, name: str, ours: bool) -> None:
    assert recognises(head, name) is ours

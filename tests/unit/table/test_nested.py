"""Objects within rows: columns with dotted names on the way in, objects again on the way out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.table.tables import columns, ingest, rows
from workers.modalities.table.jsonarrays import Unwrapped
from workers.modalities.table.writing import write_file

N = 120


def row(i: int) -> dict[str, Any]:
    place = {"city": ["Oslo", "Rome"][i % 2], "geo": {"lat": i / 4, "lng": -i / 2}}
    return {"n": i * 37 % 101, "home": place if i % 5 else None, "since": f"2020-01-{1 + i % 28:02d}"}


def order(one: dict[str, Any]) -> tuple[int, str]:
    return one["n"], one["since"]


ROWS = [row(i) for i in range(N)]
NAMES = ["n", "home.city", "home.geo.lat", "home.geo.lng", "since"]


def uploads(folder: Path) -> dict[str, bytes]:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "nested.parquet")
    return {
        "t.jsonl": "".join(json.dumps(one) + "\n" for one in ROWS).encode(),
        "t.json": json.dumps(ROWS).encode(),
        "pretty.json": json.dumps(ROWS, indent=2).encode(),
        "t.parquet": (folder / "nested.parquet").read_bytes(),
    }


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "pretty.json", "t.parquet"])
def test_objects_become_columns_and_objects_again(tmp_path: Path, name: str) -> None:
    found, dataset = ingest(tmp_path, name, uploads(tmp_path)[name])
    assert found.rows == N
    assert list(columns(found)) == NAMES
    stored = rows(dataset)
    assert sorted(stored["home.geo.lat"].drop_null().to_pylist()) == [i / 4 for i in range(N) if i % 5]
    assert stored["home.city"].null_count == N // 5
    assert columns(found)["home.geo.lat"]["geo"] == {"role": "latitude", "with": "home.geo.lng"}
    for form in ("jsonl", "parquet"):
        write_file(tmp_path / "out", form, found.schema, iter([stored]))
        if form == "jsonl":
            back = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
            back = [one | {"home": one["home"] if one["home"]["city"] else None} for one in back]
        else:
            back = pq.read_table(tmp_path / "out").to_pylist()
        back = [one | {"since": str(one["since"])} for one in back]
        assert sorted(back, key=order) == sorted(ROWS, key=order), form
    write_file(tmp_path / "out.csv", "csv", found.schema, iter([stored]))
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == ",".join(NAMES)


def test_objects_that_come_late_lie_beside_their_like(tmp_path: Path) -> None:
    lines = [{"a": {"x": i % 9}, "b": i % 7} | ({"a": {"x": 1, "y": i % 3}} if i > 60 else {}) for i in range(N)]
    found, _ = ingest(tmp_path, "t.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert list(columns(found)) == ["a.x", "a.y", "b"]


def test_mixed_values_within_objects_become_text(tmp_path: Path) -> None:
    lines = [{"a": {"x": i % 3 if i % 2 else f"w{i % 3}", "z": "1\u2028"}} for i in range(N)]
    found, dataset = ingest(tmp_path, "t.jsonl", "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    assert columns(found)["a.x"]["type"] == "category"
    assert set(rows(dataset)["a.x"].to_pylist()) == {"0", "1", "2", "w0", "w1", "w2"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_an_array_becomes_lines_however_its_bytes_come(size: int) -> None:
    odd = ['a "quoted" [1, {2}]', "back\\slash\\", '\\"', "tab\t, comma", "Ünï", "", "\\\\"]
    some = [{"s": odd[i % len(odd)], "o": {"k": [1, 2, {"deep": "]"}]}, "n": -i / 3} for i in range(50)]
    for text in (json.dumps(some), json.dumps(some, indent=3), json.dumps(some, ensure_ascii=False)):
        data, unwrapped = text.encode(), Unwrapped()
        lines = b"".join(unwrapped.feed(data[at : at + size]) for at in range(0, len(data), size))
        unwrapped.end()
        assert [json.loads(line) for line in lines.split(b"\n")] == some


def test_a_long_array_is_read_in_blocks(tmp_path: Path) -> None:
    """Longer than the longest line: no end of line anywhere in it."""
    numbers = np.arange(150_000) * 7919 % 100_003
    found, dataset = ingest(tmp_path, "t.json", json.dumps([{"number": int(n), "word": "w" * 20} for n in numbers]))
    assert found.rows == len(numbers)
    assert sorted(rows(dataset)["number"].to_pylist()) == sorted(numbers.tolist())

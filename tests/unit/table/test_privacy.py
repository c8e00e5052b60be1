"""What must not leave a table: values that are some row's own, in the schema, in a model or in generated rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.table.tables import columns, csv, ingest, trained
from workers.modalities.table.levels import Levels

RNG = np.random.default_rng(4)
N = 600
FIRST = ["Anna", "Ben", "Clara", "David", "Eva", "Frank", "Greta", "Hugo", "Ines", "Jan", "Karl", "Lena"]
LAST = ["Adler", "Brandt", "Conrad", "Dietz", "Ehlers", "Fuchs", "Graf", "Haas", "Illing", "Jung", "Krüger", "O'Neil"]
NAMES = [f"{first} {last}" for first in FIRST for last in LAST]


def made(folder: Path, values: list[Any], n: int = 2_000) -> tuple[dict[str, Any], set[Any], str]:
    """The schema's entry of a CSV column of these values, what is generated for it, and all of the model's JSON."""
    content = csv(v=values, x=np.round(RNG.normal(size=len(values)), 3))
    found, dataset = ingest(folder, "t.csv", content)
    sampler = trained(dataset, folder / "model", steps=5)
    known = json.dumps([found.schema, found.profile]) + "".join(
        p.read_text() for p in (folder / "model").glob("*.json")
    )
    return columns(found)["v"], set(sampler.table(0, n, 1, {})["v"].to_pylist()), known


def test_a_level_that_occurs_once_is_neither_published_nor_drawn(tmp_path: Path) -> None:
    rare = [f"rare-{i}" for i in range(40)]
    column, drawn, known = made(tmp_path, [*rare, *RNG.choice(["a", "b", "c"], N - 40)])
    assert column["type"] == "category"
    assert drawn == {"a", "b", "c"} == set(column["levels"])
    assert "rare-" not in known


def test_a_level_of_held_out_rows_is_neither_published_nor_drawn(tmp_path: Path) -> None:
    """Fives of rows, of which the split takes some apart: four alone are too few."""
    values = [*np.repeat([f"five-{i}" for i in range(40)], 5), *RNG.choice(["a", "b"], N - 200)]
    found, dataset = ingest(tmp_path, "t.csv", csv(v=values, x=np.round(RNG.normal(size=N), 3)))
    (train,) = (pq.read_table(part.path)["v"].to_pylist() for part in dataset.parts if part.split == "train")
    shared = {value for value in values if train.count(value) >= 5}
    assert len(shared) < 42
    assert set(columns(found)["v"]["levels"]) == shared


def test_levels_that_are_not_learned_leave_the_shares_of_the_others_alone() -> None:
    column = {"name": "v", "type": "category", "arrow": "string", "nullable": True, "levels": ["a", "b", "c"]}
    array = pa.array(["a"] * 600 + ["b"] * 300 + ["c"] + ["never seen"] * 89 + [None] * 10)
    levels = Levels.fit(array, column, 300)
    assert levels.kept == [0, 1, 3], "c occurs once"
    np.testing.assert_array_equal(np.bincount(levels.encode([array])[:, 0]), [660, 330, 10])


@pytest.mark.parametrize(
    ("values", "entity"),
    [
        ([f"{NAMES[i % 200 % 144].replace(' ', '.').lower()}{i % 200}@example.com" for i in range(N)], "email"),
        ([f"+49 {170 + i % 5} {1_000_000 + 7919 * (i % 200)}" for i in range(N)], "phone"),
        ([f"({200 + i % 200}) 555-{1000 + i % 200}" for i in range(N)], "phone"),
        (NAMES[:12], "name"),
        (NAMES[:12] + NAMES[:4], "name"),
        ([*NAMES, *NAMES[:100]], "name"),
    ],
)
def test_addresses_telephones_and_names_that_few_rows_share_are_not_categories(
    tmp_path: Path, values: list[str], entity: str
) -> None:
    column, drawn, known = made(tmp_path, values)
    assert (column["type"], column["entity"]) == ("personal", entity), column
    assert not drawn & set(values)
    assert not any(value in known for value in values)


@pytest.mark.parametrize(
    "values",
    [
        [f"agent {i % 5}" for i in range(N)],
        [["New York", "Los Angeles", "San Diego", "Las Vegas"][i % 4] for i in range(N)],
        [f"{20_000 + i % 90:06d}" for i in range(N)],
    ],
)
def test_values_that_many_rows_share_stay_categories(tmp_path: Path, values: list[str]) -> None:
    column, drawn, _ = made(tmp_path, values)
    assert column["type"] == "category", column
    assert drawn <= set(values)
    assert len(drawn) > 0.9 * len(set(values))


def test_a_column_with_a_single_value_does_not_tell_it(tmp_path: Path) -> None:
    column, drawn, known = made(tmp_path, ["my own" if i == 40 else "" for i in range(N)])
    assert column["type"] == "constant"
    assert drawn == {None}
    assert "my own" not in known


def test_what_a_user_calls_a_category_is_none_where_no_rows_share_a_value(tmp_path: Path) -> None:
    content = csv(v=NAMES, x=np.round(RNG.normal(size=len(NAMES)), 3))
    found, _ = ingest(tmp_path, "t.csv", content, types={"v": "category"})
    assert columns(found)["v"]["type"] == "text"
    assert "no 3 rows share a value" in found.warnings[0]


@pytest.mark.parametrize(("wanted", "shown"), [(None, 2), (1, 4), (3, 3), (60, 1)])
def test_how_many_rows_must_share_a_level_can_be_said(tmp_path: Path, wanted: int | None, shown: int) -> None:
    values = ["a"] * 900 + ["b"] * 45 + ["c"] * 4 + ["d"]
    options = {} if wanted is None else {"min_level_rows": wanted}
    found, dataset = ingest(tmp_path, "t.csv", csv(v=values, x=range(950)), **options)
    column = columns(found)["v"]
    (train,) = (pq.read_table(part.path)["v"].to_pylist() for part in dataset.parts if part.split == "train")
    counts = {level: train.count(level) for level in "abcd"}
    assert column["levels"] == [level for level in "abcd" if counts[level] >= (wanted or 5)]
    gone = [counts[level] for level in "abcd" if level not in column["levels"]]
    assert len(column["levels"]) <= shown
    assert column.get("pooled", {"levels": 0, "rows": 0}) == {"levels": len(gone), "rows": sum(gone)}
    assert found.profile["columns"][0].get("pooled") == column.get("pooled")
    assert ("Fewer than" in column["reason"]) == bool(gone)


def test_fewer_rows_must_share_a_level_in_a_small_table(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", csv(v=["a"] * 30 + ["b"] * 3 + ["c"], x=range(34)))
    assert columns(found)["v"]["levels"] == ["a", "b"]


def test_true_and_false_are_nobodys_secret(tmp_path: Path) -> None:
    found, _ = ingest(tmp_path, "t.csv", csv(v=["yes"] + ["no"] * 599, x=range(600)), min_level_rows=50)
    assert columns(found)["v"]["type"] == "boolean"
    assert len(columns(found)["v"]["levels"]) >= 1

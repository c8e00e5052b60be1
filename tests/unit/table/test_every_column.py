"""A table with every kind of column, from the upload through a model to each format of output."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faker import Faker

from tests.unit.table.tables import columns, ingest, no_progress, trained
from workers.modalities.table.people import plain
from workers.modalities.table.sampler import TableSampler

N = 400
RNG = np.random.default_rng(6)


def customers() -> list[dict[str, Any]]:
    fake = Faker("de_DE")
    fake.seed_instance(2)
    out = []
    for i in range(N):
        first, last = fake.first_name(), fake.last_name()
        out.append({
            "customer_id": f"C{i:05d}",
            "first_name": first,
            "last_name": last,
            "contact": {
                "email": f"{first}.{last}{i}@web.de".lower().replace(" ", ""),
                "phone": f"+49 {170 + i % 9} {RNG.integers(10**6, 10**7)}",
                "iban": fake.iban(),
            },
            "home": {"street": fake.street_address(), "city": ["Bonn", "Jena", "Kiel"][i % 3],
                     "lat": round(float(RNG.normal([50.7, 50.9, 54.3][i % 3], 0.05)), 5),
                     "lon": round(float(RNG.normal([7.1, 11.6, 10.1][i % 3], 0.05)), 5)},
            "opens": f"{7 + i % 4:02d}:{[0, 15, 30][i % 3]:02d}",
            "visit_duration": f"{RNG.integers(0, 3)}:{RNG.integers(0, 60):02d}:{RNG.integers(0, 60):02d}",
            "wait": f"{RNG.integers(1, 60)} min",
            "since": f"2023-0{1 + i % 9}-1{i % 10}T10:{i % 60:02d}:00+0{1 + (i % 3 > 1)}:00",
            "spent": None if i % 9 == 0 else round(float(RNG.gamma(2, 50)), 2),
            "note": f"asked for {i * 31 % 97} things and got {i * 7 % 89} of them, says {first}",
        })  # fmt: skip
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], TableSampler, Path]:
    folder = tmp_path_factory.mktemp("every")
    text = "".join(json.dumps(one) + "\n" for one in customers())
    found, dataset = ingest(folder, "t.jsonl", text)
    return columns(found), trained(dataset, folder / "model", steps=10), folder


def written(made: tuple[Any, TableSampler, Path], form: str, count: int = 300) -> Path:
    path = made[2] / f"out.{form}"
    made[1].write(path, 0, count, 7, form, {}, no_progress)
    return path


def test_each_column_has_its_type(made: tuple[dict[str, dict[str, Any]], TableSampler, Path]) -> None:
    kinds = {name: column.get("entity") or column["type"] for name, column in made[0].items()}
    assert kinds == {
        "customer_id": "identifier", "first_name": "first_name", "last_name": "last_name", "contact.email": "email",
        "contact.phone": "phone", "contact.iban": "iban", "home.street": "address", "home.city": "category",
        "home.lat": "float", "home.lon": "float", "opens": "time", "visit_duration": "duration", "wait": "duration",
        "since": "datetime", "spent": "float", "note": "text",
    }  # fmt: skip
    assert {column["locale"] for column in made[0].values() if column["type"] == "personal"} == {"de_DE"}


def test_no_real_person_comes_out(made: tuple[dict[str, dict[str, Any]], TableSampler, Path]) -> None:
    real = customers()
    known = {one["contact"][what] for one in real for what in ("email", "phone", "iban")}
    known |= {one["home"]["street"] for one in real} | {one["note"] for one in real}
    for form in ("jsonl", "csv"):
        text = written(made, form).read_text()
        assert not [value for value in known if value in text]
    for path in (made[2] / "model").glob("*.json"):
        text = path.read_text()
        assert not [value for value in known if value in text], path.name


def test_a_row_is_one_person_in_the_uploads_own_forms(
    made: tuple[dict[str, dict[str, Any]], TableSampler, Path],
) -> None:
    rows = [json.loads(line) for line in written(made, "jsonl").read_text().splitlines()]
    for row in rows:
        assert re.fullmatch(r"[a-z]+\.[a-z]+\d*@example\.(com|org|net)", row["contact"]["email"])
        assert re.fullmatch(r"DE\d{20}", row["contact"]["iban"])
        assert row["contact"]["phone"].startswith("+49 ")
        assert re.fullmatch(r"\d\d:(00|15|30)", row["opens"])
        assert re.fullmatch(r"\d:\d\d:\d\d", row["visit_duration"])
        assert re.fullmatch(r"\d+ min", row["wait"])
        assert re.fullmatch(r"2023-\d\d-\d\dT\d\d:\d\d:00\+01:00", row["since"])
    assert len({row["contact"]["email"] for row in rows}) == len(rows)
    for row in rows:
        assert row["contact"]["email"].startswith(f"{plain(row['first_name'])}.{plain(row['last_name'])}")


def test_parquet_has_the_objects_again(made: tuple[dict[str, dict[str, Any]], TableSampler, Path]) -> None:
    table = pq.read_table(written(made, "parquet"))
    assert pa.types.is_struct(table.schema.field("home").type)
    assert table.column_names == list(dict.fromkeys(name.split(".")[0] for name in made[0]))


def test_rows_of_another_shard_are_other_people(made: tuple[dict[str, dict[str, Any]], TableSampler, Path]) -> None:
    one, other = (made[1].table(start, 200, 7, {}) for start in (0, 1_000_000))
    for name in ("customer_id", "contact.email", "contact.iban", "contact.phone"):
        both = one[name].to_pylist() + other[name].to_pylist()
        assert len(set(both)) == 400, name
    preview = json.loads(made[1].preview(5, 3))
    assert ":" in preview["rows"][0][preview["columns"].index("visit_duration")]

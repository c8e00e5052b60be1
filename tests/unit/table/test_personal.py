"""Columns that hold what is somebody's own: they are found, ordinary ones are not, and a user has the last word."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from faker import Faker

from service.errors import Rejected
from tests.unit.table.tables import columns, csv, ingest, rows

N = 300
RNG = np.random.default_rng(3)
OTHER = np.round(RNG.normal(size=N), 3)


def faked(kind: str, locale: str = "en_US", n: int = N) -> list[str]:
    fake = Faker(locale)
    fake.seed_instance(1)
    return [str(getattr(fake, kind)()).replace("\n", " ").replace(",", " ") for _ in range(n)]


def told(folder: Path, name: str, values: list[Any], **options: Any) -> dict[str, Any]:
    found, _ = ingest(folder, "t.parquet", pa.table({name: values, "x": OTHER[: len(values)]}), **options)
    return columns(found)[name]


@pytest.mark.parametrize(
    ("kind", "entity"),
    [
        ("email", "email"), ("ipv4", "ip"), ("ipv6", "ip"), ("iban", "iban"), ("credit_card_number", "credit_card"),
        ("ssn", "ssn"), ("url", "url"), ("name", "name"), ("street_address", "address"),
    ],
)  # fmt: skip
def test_values_alone_tell_what_they_are(tmp_path: Path, kind: str, entity: str) -> None:
    values = faked(kind)
    if kind == "street_address":
        values = [f"{i} {street} Street" for i, street in enumerate(faked("last_name"))]
    column = told(tmp_path, "v", values)
    assert (column["type"], column["entity"]) == ("personal", entity), column
    assert "made up" in column["reason"]


@pytest.mark.parametrize(
    ("name", "kind", "entity"),
    [
        ("First Name", "first_name", "first_name"), ("lastName", "last_name", "last_name"),
        ("nachname", "last_name", "last_name"), ("customer_name", "name", "name"),
        ("userName", "user_name", "username"),
        ("phone", "phone_number", "phone"), ("home-address", "street_address", "address"),
        ("Employer", "company", "company"), ("postal_code", "postcode", "postcode"),
        ("contact_email", "email", "email"),
        ("client ip address", "ipv4", "ip"),
    ],
)  # fmt: skip
def test_a_columns_name_tells_where_values_are_not_enough(tmp_path: Path, name: str, kind: str, entity: str) -> None:
    column = told(tmp_path, name, faked(kind))
    assert (column["type"], column.get("entity")) == ("personal", entity), column


@pytest.mark.parametrize(
    ("name", "values", "entity"),
    [
        ("card", [int(x) for x in faked("credit_card_number")], "credit_card"),
        ("mobile", [4_155_550_000 + i * 7919 for i in range(N)], "phone"),
        ("ssn", [100_000_000 + i * 7919 for i in range(N)], "ssn"),
    ],
)
def test_whole_numbers_may_be_personal(tmp_path: Path, name: str, values: list[int], entity: str) -> None:
    column = told(tmp_path, name, values)
    assert (column["type"], column["entity"], column["arrow"]) == ("personal", entity, "int64")
    found, _ = ingest(tmp_path, "t.csv", csv(**{name: values, "x": OTHER}))
    assert columns(found)[name]["type"] == "personal"
    assert columns(found)[name]["arrow"] == "int64"


def test_whole_numbers_with_missing_ones_may_be_personal(tmp_path: Path) -> None:
    """As pandas writes them: with a decimal."""
    values = [None if i % 9 == 0 else float(4_155_550_000 + i * 7919) for i in range(N)]
    assert told(tmp_path, "phone", values)["type"] == "personal"
    found, dataset = ingest(tmp_path, "t.csv", csv(phone=["" if v is None else v for v in values], x=OTHER))
    assert columns(found)["phone"]["entity"] == "phone"
    assert rows(dataset)["phone"].null_count == len([v for v in values if v is None])
    halves = [x + 0.5 for x in range(10**6, 10**6 + N)]
    assert told(tmp_path, "phone", halves)["type"] == "float"


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("city", [faked("city", n=50)[i % 50] for i in range(N)], "category"),
        ("country", [faked("country", n=40)[i % 40] for i in range(N)], "category"),
        ("company", [["IBM", "SAP", "Bosch"][i % 3] for i in range(N)], "category"),
        ("email", [i % 2 == 0 for i in range(N)], "boolean"),
        ("phone", [["iPhone", "Pixel", "Nokia"][i % 3] for i in range(N)], "category"),
        ("address_type", [["home", "work"][i % 2] for i in range(N)], "category"),
        ("name", [["small box", "large box", "bag"][i % 3] for i in range(N)], "category"),
        ("zip", [10_000 + i * 37 % 199 for i in range(N)], "integer"),
        ("amount", [int(x) for x in RNG.integers(10**14, 10**15, N)], "integer"),
        ("v", [["https://a.example/x", "https://b.example/y"][i % 2] for i in range(N)], "category"),
        ("state", [["North Carolina", "South Dakota", "New Mexico"][i % 3] for i in range(N)], "category"),
        ("ratio", [f"{i % 7}.{i % 10}" for i in range(N)], "float"),
        ("day", [f"0{1 + i % 9}-1{i % 3}-20{10 + i % 10}" for i in range(N)], "date"),
        ("product", [f"AB-{i % 9}-{i % 7}" for i in range(N)], "category"),
    ],
)
def test_ordinary_columns_stay_what_they_are(tmp_path: Path, name: str, values: list[Any], kind: str) -> None:
    assert told(tmp_path, name, values)["type"] == kind


@pytest.mark.parametrize(
    ("kind", "name", "home", "guess"),
    [
        ("name", "customer_name", "de_DE", "de_DE"), ("name", "customer_name", "fr_FR", "fr_FR"),
        ("name", "customer_name", "pl_PL", "pl_PL"), ("name", "customer_name", "ru_RU", "ru_RU"),
        ("name", "customer_name", "en_US", "en_US"), ("iban", "iban", "it_IT", "it_IT"),
        ("last_name", "last_name", "ja_JP", "zh_CN"),
    ],
)  # fmt: skip
def test_the_locale_is_guessed_from_the_values(tmp_path: Path, kind: str, name: str, home: str, guess: str) -> None:
    assert told(tmp_path, name, faked(kind, home))["locale"] == guess


def test_the_locale_can_be_said(tmp_path: Path) -> None:
    assert told(tmp_path, "customer_name", faked("name"), locale="sv_SE")["locale"] == "sv_SE"
    assert told(tmp_path, "tel", [f"+46 70 {i * 7919 % 10**7:07d}" for i in range(N)])["locale"] == "sv_SE"


def test_a_user_has_the_last_word(tmp_path: Path) -> None:
    values = faked("name")
    assert told(tmp_path, "v", values)["type"] == "personal"
    assert told(tmp_path, "v", values, types={"v": "text"})["type"] == "text"
    keys = told(tmp_path, "v", [i * 7919 % 9_973 for i in range(N)], types={"v": "personal:name"})
    assert (keys["entity"], keys["arrow"]) == ("name", "string")
    assert told(tmp_path, "v", pa.nulls(N, pa.string()), types={"v": "personal:iban"})["type"] == "personal"
    codes = [f"K{i * 7919 % 997}" for i in range(N)]
    column = told(tmp_path, "v", codes, types={"v": "personal:username"})
    assert (column["type"], column["entity"]) == ("personal", "username")
    assert told(tmp_path, "full_name", codes, types={"full_name": "personal"})["entity"] == "name"
    for wish, what in ((codes, "say what it holds"), ([0.5] * N, "type double, not text")):
        with pytest.raises(Rejected, match=what) as refused:
            told(tmp_path, "v", wish, types={"v": "personal"})
        assert refused.value.code == "invalid_options"


def test_no_personal_value_is_in_the_schema_or_the_profile(tmp_path: Path) -> None:
    values = {kind: faked(kind) for kind in ("name", "email", "phone_number", "iban", "ssn", "ipv4")}
    found, _ = ingest(tmp_path, "t.parquet", pa.table({**values, "x": OTHER}))
    known = str(found)
    assert not [value for some in values.values() for value in some if value in known]


def test_columns_of_one_person_are_told_from_those_of_another(tmp_path: Path) -> None:
    one = {"first_name": faked("first_name"), "last_name": faked("last_name"), "email": faked("email"), "x": OTHER}
    found, _ = ingest(tmp_path, "a.parquet", pa.table(one))
    assert {c.get("person") for c in columns(found).values()} == {"person", None}
    two = {f"{who}_{kind}": faked(kind) for who in ("buyer", "seller") for kind in ("name", "email")}
    found, _ = ingest(tmp_path, "b.parquet", pa.table({**two, "x": OTHER}))
    assert {n: c.get("person") for n, c in columns(found).items()} == {
        "buyer_name": "buyer", "buyer_email": "buyer", "seller_name": "seller", "seller_email": "seller", "x": None,
    }  # fmt: skip
    found, _ = ingest(tmp_path, "c.parquet", pa.table(one), consistent_people=False)
    assert {c.get("person") for c in columns(found).values()} == {None}

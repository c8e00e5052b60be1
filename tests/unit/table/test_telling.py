"""Personal values that many rows share: made up all the same, and never among the levels of a column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.table.tables import columns, csv, ingest, trained
from workers.modalities.table import telling

N = 1_000
RNG = np.random.default_rng(6)
OTHER = np.round(RNG.normal(size=N), 3)
NAMES = [f"{first} {last}" for first in ("James", "Mary", "Robert", "Linda", "David", "Susan", "Paul", "Karen",
         "Mark", "Nancy") for last in ("Smith", "Brown", "Miller", "Davis", "Garcia", "Wilson", "Moore", "Taylor",
         "Clark", "Lewis")]  # fmt: skip
MAILS = [f"{name.lower().replace(' ', '.')}@firm.de" for name in NAMES]


def spread(values: list[Any], n: int = N) -> list[Any]:
    return [values[i % len(values)] for i in range(n)]


def told(folder: Path, name: str, values: list[Any], **options: Any) -> tuple[dict[str, Any], str, list[str]]:
    """The column's entry, all that is published, and the warnings."""
    found, _ = ingest(folder, "t.csv", csv(**{name: values, "x": OTHER}), **options)
    return columns(found)[name], json.dumps([found.schema, found.profile, found.warnings]), found.warnings


@pytest.mark.parametrize(
    ("name", "values", "entity"),
    [
        ("assigned_to", MAILS[:15], "email"), ("owner", MAILS[:1], "email"),
        ("phone2", [f"030-{1_234_500 + 17 * i}" for i in range(18)], "phone"),
        ("v", [f"+49 170 {1_234_500 + 17 * i}" for i in range(18)], "phone"),
        ("v", [f"(415) 555-{1_200 + i}" for i in range(9)], "phone"),
        ("v", ["DE89 3704 0044 0532 0130 00", "GB29 NWBK 6016 1331 9268 19"], "iban"),
        ("v", ["4111111111111111", "5500005555555559", "378282246310005"], "credit_card"),
        ("v", ["4111 1111 1111 1111"], "credit_card"), ("v", ["123-45-6789", "234-56-7890"], "ssn"),
        ("customer", NAMES, "name"), ("name", NAMES, "name"), ("rep", NAMES, "name"),
        ("author_name", NAMES[:4], "name"),
        ("customer_name", NAMES[:1], "name"), ("rep", ["James", "Mary", "Linda", "Paul"], "first_name"),
        ("mixed", [*MAILS[:70], *["dept 71"] * 30], "email"),
    ],
)  # fmt: skip
def test_what_is_somebodys_own_is_made_up_whoever_shares_it(
    tmp_path: Path, name: str, values: list[str], entity: str
) -> None:
    column, known, _ = told(tmp_path, name, spread(values))
    assert (column["type"], column.get("entity")) == ("personal", entity), column
    assert not [value for value in values if value in known]


def test_made_up_values_are_shared_as_the_real_ones_were(tmp_path: Path) -> None:
    content = csv(owner=spread(MAILS[:1]), rep=spread(NAMES[:15]), email=[f"p{i}@firm.de" for i in range(N)], x=OTHER)
    found, dataset = ingest(tmp_path, "t.csv", content)
    sampler = trained(dataset, tmp_path / "model", steps=3)
    made = sampler.table(0, N, 1, {})
    distinct = {name: len(set(made[name].to_pylist())) for name in ("owner", "rep", "email")}
    assert distinct == {"owner": 1, "rep": 15, "email": N}
    files = "".join(path.read_text() for path in (tmp_path / "model").glob("*.json"))
    assert not [value for value in MAILS[:1] + NAMES[:15] if value in files or value in str(made.to_pylist())]
    assert "shared" not in str(found.schema)


def test_levels_that_hold_an_address_are_neither_shown_nor_learned(tmp_path: Path) -> None:
    bad = ["Mary Brown <mary.brown@firm.de>", "call James Brown at 030-1234567", "paid by 4111 1111 1111 1111 in May"]
    values = spread(["open", "closed", "late", "waiting", "lost", *bad])
    found, dataset = ingest(tmp_path, "t.csv", csv(note=values, x=OTHER))
    column = columns(found)["note"]
    assert (column["type"], set(column["levels"])) == ("category", {"open", "closed", "late", "waiting", "lost"})
    assert column["pooled"]["levels"] == 3
    assert 300 < column["pooled"]["rows"] < 376
    assert "3 hold somebody's" in column["reason"]
    assert [text for text in found.warnings if "'note'" in text and "3 of its values" in text]
    sampler = trained(dataset, tmp_path / "model", steps=3)
    files = "".join(path.read_text() for path in (tmp_path / "model").glob("*.json"))
    known = json.dumps([found.schema, found.profile, found.warnings]) + files
    assert not [value for value in bad if json.dumps(value)[1:-1] in known]
    assert set(sampler.table(0, N, 1, {})["note"].to_pylist()) <= set(column["levels"])


@pytest.mark.parametrize("values", [[f"{n} <{m}>" for n, m in zip(NAMES[:9], MAILS, strict=False)],
                                    ["call James Brown at +49 30 1234567"]])  # fmt: skip
def test_where_little_is_left_all_is_made_up(tmp_path: Path, values: list[str]) -> None:
    column, known, warnings = told(tmp_path, "sender_raw", spread(values))
    assert column["type"] == "text"
    assert "made up afresh" in warnings[0]
    assert not [value for value in values if value in known]


def test_a_user_may_say_that_names_are_none_and_not_that_addresses_are_none(tmp_path: Path) -> None:
    column, _, _ = told(tmp_path, "customer", spread(NAMES), types={"customer": "category"})
    assert len(column["levels"]) > 90
    column, known, warnings = told(tmp_path, "v", spread(MAILS[:15]), types={"v": "category"})
    assert (column["type"], column["entity"]) == ("personal", "email")
    assert "cannot be learned" in warnings[0]
    assert MAILS[0] not in known
    column, known, _ = told(tmp_path, "v", spread(MAILS[:1]), types={"v": "constant"})
    assert (column["type"], MAILS[0] in known) == ("personal", False)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("isbn", ["0-306-40615-2", "0-19-852663-6"]), ("part", ["0012-34567", "00 12345678", "AB12 3456 7890"]),
        ("day", ["2019-01-02 to 2019-02-03", "2020-01-02 to 2020-02-03"]), ("handle", ["@anna", "@ben", "@clara"]),
        ("owner", ["Private Company", "Federal State", "City Council"]), ("customer", ["Home Depot", "Wal Mart"]),
        ("name", ["American Airlines", "Delta Air Lines", "Virgin America", "Island Air"]),
        ("user", ["admin", "guest", "service"]), ("name", ["New York", "San Diego", "Las Vegas", "Los Angeles"]),
    ],
)  # fmt: skip
def test_ordinary_levels_stay(tmp_path: Path, name: str, values: list[str]) -> None:
    column, _, _ = told(tmp_path, name, spread(values))
    assert (column["type"], sorted(column.get("levels", []))) == ("category", sorted(values)), column


def test_telling_values_are_told_within_words() -> None:
    yes = [
        "a@b.example",
        "to: x.y+z@mail.firm.com.",
        "no 123-45-6789",
        "acct DE89370400440532013000 ok",
        "00 49 30 123",
    ]
    no = ["a @ b", "123-456", "DE89370400440532013001", "4111111111111112", "v1.2.3.4", "+5", "2020-01-02", "10-20-30"]
    assert telling.telling([*yes, *no, True, 7]) == set(yes[:-1])


def test_whole_numbers_with_a_plus_may_be_telephones(tmp_path: Path) -> None:
    column, known, _ = told(tmp_path, "v", spread([f"+49170{1_234_500 + 17 * i}" for i in range(18)]))
    assert (column["type"], column.get("entity")) == ("personal", "phone")
    assert "491701234500" not in known


def test_numbers_of_a_type_that_the_file_states(tmp_path: Path) -> None:
    cards = spread([4111111111111111, 5500005555555559, 6011111111111117])
    found, _ = ingest(tmp_path, "t.parquet", pa.table({"v": cards, "x": OTHER}))
    assert columns(found)["v"]["type"] == "personal"

"""Values that are made up: unique, of the right form, nobody's, the same however rows are cut into files."""

import ipaddress
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from workers.modalities.table import afresh, forms, people

INDEX = np.arange(100_000, dtype=np.uint64)
SHAPE = {"pattern": {"kind": "places", "places": [["d"]] * 8 + [["u"]]}}


def column(entity: str, locale: str = "en_US", **more: Any) -> dict[str, Any]:
    plain = {
        "name": entity,
        "type": "personal",
        "entity": entity,
        "arrow": "string",
        "locale": locale,
        "distinct": None,
    }
    return plain | more


def made(*columns: dict[str, Any], index: np.ndarray = INDEX, seed: int = 5) -> list[pa.Array]:
    out = afresh.make(columns, index, seed, np.random.default_rng(0), {})
    return [out[one["name"]] for one in columns]


UNIQUE = [
    column("email"), column("name"), column("username"), column("phone", mask="(###) ###-####"), column("address"),
    column("iban", country="GB"), column("credit_card"), column("ssn"), column("ip", version=4),
    column("ip", version=6), column("url"), column("national_id", **SHAPE), column("email", "de_DE"),
    column("name", "ja_JP"), column("email", "ja_JP"), column("name", "pt_BR"),
    column("phone", "de_DE", mask="+## ### #######"),
]  # fmt: skip


@pytest.mark.parametrize("one", UNIQUE, ids=lambda one: f"{one['entity']}-{one['locale']}")
def test_no_two_rows_share_a_value_that_was_unique(one: dict[str, Any]) -> None:
    far = INDEX + np.uint64(3_000_000)
    values = pa.concat_arrays([*made(one), *made(one, index=far)])
    assert values.null_count == 0
    assert pc.count_distinct(values).as_py() == 2 * len(INDEX)


@pytest.mark.parametrize("one", UNIQUE, ids=lambda one: f"{one['entity']}-{one['locale']}")
def test_a_row_does_not_depend_on_how_rows_are_cut(one: dict[str, Any]) -> None:
    (whole,) = made(one)
    (part,) = made(one, index=INDEX[70_000:70_010])
    assert part.equals(whole[70_000:70_010])
    assert not made(one, seed=6)[0][:50].equals(whole[:50])


def test_what_is_made_up_has_its_form_and_its_check_digits() -> None:
    for entity in ("email", "url", "ip", "iban", "credit_card", "ssn"):
        (values,) = made(column(entity), index=INDEX[:300])
        form = next(form for name, form, _ in forms.BY_CONTENT if name == entity)
        assert all(map(form, values.to_pylist())), entity
    for country in ("DE", "GB", "FR", "IT", "NL", "NO", "TR", "MT"):
        (values,) = made(column("iban", country=country, spaced=True), index=INDEX[:50])
        assert all(map(forms._iban, values.to_pylist())), country
        assert all(value.startswith(country) and value[4] == " " for value in values.to_pylist())


def test_what_is_made_up_is_nobodys() -> None:
    emails, cards, ssns, hosts = (made(column(e))[0].to_pylist() for e in ("email", "credit_card", "ssn", "ip"))
    assert {email.split("@")[1] for email in emails} <= {"example.com", "example.org", "example.net"}
    assert all(card.startswith("400000") for card in cards)
    assert all(re.fullmatch(r"9\d\d-(0[1-9]|[1-4]\d)-\d{4}", ssn) for ssn in ssns)
    assert all(ipaddress.ip_address(host).is_private for host in hosts[:500])
    six = ipaddress.ip_network("2001:db8::/32")
    assert all(ipaddress.ip_address(host) in six for host in made(column("ip", version=6))[0][:500].to_pylist())
    phones = made(column("phone", mask="(###) ###-####"), index=INDEX[:80_000])[0].to_pylist()
    assert all(re.fullmatch(r"\([2-9]\d\d\) 555-01\d\d", phone) for phone in phones)
    drama = made(column("phone", "en_GB", mask="0#### ######".replace("0", "#")), index=INDEX[:13_000])[0].to_pylist()
    assert all(re.match(r"0(7700 900|\d{4} \d)", phone) for phone in drama), drama[:3]


def test_columns_of_one_person_agree() -> None:
    own = [column(e, person="person") for e in ("first_name", "last_name", "name", "email", "username")]
    first, last, name, email, user = (array.to_pylist() for array in made(*own, index=INDEX[:2_000]))
    for i in range(2_000):
        assert name[i] == f"{first[i]} {last[i]}"
        assert email[i].split("@")[0] == f"{people.plain(first[i])}.{people.plain(last[i])}"
        assert user[i].startswith(people.plain(first[i])[0] + people.plain(last[i]))
    (other,) = made(column("name", person="other"), index=INDEX[:2_000])
    assert sum(a == b for a, b in zip(name, other.to_pylist(), strict=True)) < 20


def test_names_are_written_as_in_the_upload() -> None:
    ((value, *_),) = (array.to_pylist() for array in made(column("name", family_first=True, letters="upper")))
    assert re.fullmatch(r"[A-Z'’ -]+, [A-Z'’ -]+", value)
    ((value, *_),) = (array.to_pylist() for array in made(column("name", "hu_HU")))
    assert value.split(" ")[0] in people.names("hu_HU").last.to_pylist()


def test_people_come_again_as_often_as_in_the_upload() -> None:
    (values,) = made(column("email", distinct=700))
    counts = pc.value_counts(values).field(1).to_numpy()
    assert 690 < len(counts) <= 700
    assert counts.max() < 3 * counts.mean()


def test_missing_values_and_other_kinds_of_columns_are_made_too() -> None:
    columns = [
        column("email"), {"name": "id", "type": "identifier", "arrow": "int64", "pattern": {
            "kind": "count", "prefix": "", "suffix": "", "width": 0, "next": 7}},
        {"name": "note", "type": "text", "arrow": "string", "words": [2, 3]},
        {"name": "seven", "type": "constant", "arrow": "int64", "value": 7},
        {"name": "on", "type": "constant", "arrow": "bool", "value": True},
        column("phone") | {"arrow": "int64"},
    ]  # fmt: skip
    gaps = np.arange(len(INDEX)) % 3 == 0
    out = afresh.make(columns, INDEX, 1, np.random.default_rng(0), {"email": gaps, "id": gaps})
    assert np.array_equal(out["email"].is_null().to_numpy(zero_copy_only=False), gaps)
    assert out["id"][:3].to_pylist() == [None, 8, 9]
    assert all(2 <= len(text.split()) <= 3 for text in out["note"][:100].to_pylist())
    assert (out["seven"][5].as_py(), out["on"][5].as_py()) == (7, True)
    assert out["phone"].type == pa.int64()
    assert pc.count_distinct(out["phone"]).as_py() == len(INDEX)


def test_keys_keep_their_pattern() -> None:
    places = [["="], ["="]]
    places = [["=", "Ü"], ["u"], ["d"], ["d"], ["=", "-"], *[["h"]] * 6]
    one = {"name": "k", "type": "identifier", "arrow": "string", "pattern": {"kind": "places", "places": places}}
    (values,) = made(one)
    assert all(re.fullmatch(r"Ü[A-Z]\d\d-[0-9a-f]{6}", value) for value in values[:1000].to_pylist())
    assert pc.count_distinct(values).as_py() == len(INDEX)

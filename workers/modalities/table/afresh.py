"""Columns of which nothing is learned but where they are missing: keys, free text, constants, personal values.

A row's values follow from the seed and the row's global number, so that they do not depend on how rows are cut into
files, and no two rows of a stream share what was unique in the upload."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.modalities.table import accounts, patterns, people
from workers.modalities.table.people import Numbers
from workers.modalities.table.writing import storage_type

Column = Mapping[str, Any]
AFRESH = ("identifier", "text", "constant", "personal")
WHOLE = {"phone": "#", "ssn": "#########"}  # how whole numbers are written: digits alone
POOLED = {"city": "city", "postcode": "postcode", "company": "company"}  # entity: what Faker calls it


def make(
    columns: Iterable[Column],
    index: NDArray[np.uint64],
    seed: int,
    rng: np.random.Generator,
    missing: Mapping[str, NDArray[np.bool_]],
) -> dict[str, pa.Array]:
    """Storage values for the rows with these global numbers, by column; null where `missing` has the column and says
    so. Only free text draws from `rng`, in the order of the columns."""
    out: dict[str, pa.Array] = {}
    for column in columns:
        array = _made(column, index, seed, rng)
        gaps = missing.get(column["name"])
        if gaps is not None and gaps.any():
            array = pc.if_else(pa.array(gaps), pa.scalar(None, array.type), array)
        out[column["name"]] = array
    return out


def _made(column: Column, index: Numbers, seed: int, rng: np.random.Generator) -> pa.Array:
    kind = storage_type(dict(column))
    if column["type"] == "identifier":
        return patterns.make(column["pattern"], index, seed).cast(kind)
    if column["type"] == "text":
        return patterns.text(column["words"], len(index), rng)
    if column["type"] == "personal":
        return _someones(column, index, seed).cast(kind)
    value = column.get("value")
    text = None if value is None else value if isinstance(value, str) else _plain(value)
    return pa.array([text], pa.string()).cast(kind).take(pa.array(np.zeros(len(index), np.int64)))


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _someones(column: Column, index: Numbers, seed: int) -> pa.Array:
    salt = zlib.crc32(str(column.get("person") or column["name"]).encode())
    numbers, locale, entity = _who(column, index, seed, salt), str(column["locale"]), column["entity"]
    mask = column.get("mask")
    if column["arrow"] != "string" and set(mask or "") != {"#"}:
        mask = WHOLE.get(entity)
    if entity in ("email", "name", "first_name", "last_name", "username"):
        return _cased(_name(column, people.People.of(numbers, locale, seed, salt)), column)
    if entity == "phone":
        return accounts.phones(numbers, locale, seed, salt, mask)
    if entity == "address":
        return people.addresses(numbers, locale, seed, salt, bool(column.get("whole")))
    if entity == "iban":
        return accounts.ibans(numbers, seed, salt, str(column.get("country", "DE")), bool(column.get("spaced")))
    if entity == "credit_card":
        return accounts.cards(numbers, seed, salt, mask)
    if entity == "ssn":
        return accounts.social(numbers, seed, salt, mask)
    if entity == "ip":
        return accounts.hosts(numbers, seed, salt, int(column.get("version", 4)))
    if entity == "url":
        return people.urls(numbers, seed, salt)
    if entity in POOLED:
        return people.drawn(numbers, locale, seed, salt, POOLED[entity])
    return patterns.make(column["pattern"], numbers, seed).cast(pa.string())


def _who(column: Column, index: Numbers, seed: int, salt: int) -> Numbers:
    """The people of the rows: each row its own, or as many different ones as the upload had."""
    if not column.get("distinct"):
        return index
    key = np.uint64(np.random.default_rng([seed, salt]).integers(0, 2**62))
    return patterns.mixed(index ^ key) % np.uint64(column["distinct"])


def _name(column: Column, who: people.People) -> pa.Array:
    if column["entity"] == "name":
        return who.full_names(bool(column.get("family_first")))
    return {"email": who.emails, "first_name": who.first_names, "last_name": who.last_names,
            "username": who.usernames}[column["entity"]]()  # fmt: skip


def _cased(array: pa.Array, column: Column) -> pa.Array:
    letters = column.get("letters")
    return pc.utf8_upper(array) if letters == "upper" else pc.utf8_lower(array) if letters == "lower" else array

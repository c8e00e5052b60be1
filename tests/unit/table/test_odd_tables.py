"""Tables thrown together from odd values: each is refused with a sentence, or read, made afresh and written."""

import csv
import io
import json
import random
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from service.errors import Rejected
from tests.unit.table.tables import ingest, rows
from workers.modalities import Ingested
from workers.modalities.table import afresh
from workers.modalities.table.spec import ColumnType
from workers.modalities.table.writing import write_file

VALUES = [
    "", "NA", "?", "-", "0", "1", "-1", "007", "1.5", "1,5", "1,234", "1e5", "1e400", "inf", "0x1F", "+5", "9" * 25,
    "true", "FALSE", "yes", "2020-01-01", "01/02/2020", "0000-00-00", "2020-13-45", "9999-12-31", "10:00", "25:61",
    "1:02:03",
    "10:00 PM", "PT1H", "P1D", "90 min", "-5 s", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00", "a@b.co",
    "2020-01-01T00:00:00.123456-05:30", "+49 170 123", "(415) 555-0100", "DE89370400440532013000", "4111111111111111",
    "123-45-6789", "10.0.0.1", "::1", "http://x.y", "John Smith", "Smith, John", "12 Main St", "é", "日本", "🦉", " x ",
    'a"b', "a,b", "l1\nl2", "=1+1", "{}", "[1]", "null", "3.", "..", "x" * 300, "5 days 01:02:03",
]  # fmt: skip
NAMES = [
    "email",
    "name",
    "phone",
    "city",
    "iban",
    "ssn",
    "ip",
    "x",
    "lat",
    "lon",
    "id",
    "duration",
    "credit_card",
    "a.b",
]
KINDS = [
    pa.int8(), pa.uint64(), pa.float16(), pa.bool_(), pa.date32(), pa.timestamp("s", "Europe/Berlin"), pa.time32("s"),
    pa.duration("ms"), pa.decimal128(25, 3), pa.dictionary(pa.int8(), pa.string()), pa.struct({"q": pa.int64()}),
]  # fmt: skip


def drawn(chance: random.Random) -> tuple[str, Any, dict[str, Any]]:
    """A file name, a content and options."""
    count, names = chance.choice([2, 3, 10, 60, 250]), chance.sample(NAMES, chance.randint(1, 4))
    options: dict[str, Any] = {}
    if chance.random() < 0.4:
        options["types"] = {chance.choice(names): chance.choice(get_args(ColumnType))}
    if chance.random() < 0.3:
        return "t.parquet", pa.table({name: typed(chance, count) for name in names}), options
    data = {name: texts(chance, count) for name in names}
    if chance.random() < 0.5:
        lines = [json.dumps({name: data[name][i] for name in names if data[name][i]}) for i in range(count)]
        return "t.jsonl", "\n".join(lines), options
    text = io.StringIO()
    csv.writer(text).writerows([names, *zip(*data.values(), strict=True)])
    return "t.csv", text.getvalue(), options


def texts(chance: random.Random, count: int) -> list[str]:
    some = chance.sample(VALUES, chance.choice([1, 2, 3, 8, len(VALUES)]))
    values = [chance.choice(some) for _ in range(count)]
    return [f"{value}{i}" for i, value in enumerate(values)] if chance.random() < 0.3 else values


def typed(chance: random.Random, count: int) -> pa.Array:
    kind = chance.choice(KINDS)
    numbers = pa.array([None if chance.random() < 0.2 else chance.choice([0, 1, 5, 100]) for _ in range(count)])
    if pa.types.is_struct(kind):
        return pa.array([None if n is None else {"q": n} for n in numbers.to_pylist()], kind)
    step = {pa.bool_(): pa.int64(), pa.date32(): pa.int32(), pa.time32("s"): pa.int32()}.get(kind)
    step = pa.string() if pa.types.is_dictionary(kind) else step or numbers.type
    return numbers.cast(step).cast(kind)


def attempt(folder: Path, chance: random.Random) -> tuple[Ingested, pa.Table] | str:
    """What was read, or why it was refused."""
    name, content, options = drawn(chance)
    try:
        found, dataset = ingest(folder, name, content, **options)
    except Rejected as refused:
        return refused.detail
    return found, rows(dataset)


@pytest.mark.parametrize("seed", range(5))
def test_odd_tables_are_refused_or_read_and_written(tmp_path: Path, seed: int) -> None:
    outcomes = [attempt(tmp_path, random.Random(1_000 * seed + one)) for one in range(16)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert all(text.endswith(".") and len(text.split()) > 3 for text in refusals), refusals
    assert len(refusals) < 13
    for found, stored in (outcome for outcome in outcomes if not isinstance(outcome, str)):
        json.dumps([found.schema, found.profile, found.warnings], allow_nan=False)
        assert stored.num_rows == found.rows
        fresh = [column for column in found.schema["columns"] if column["type"] in afresh.AFRESH]
        made = afresh.make(fresh, np.arange(found.rows, dtype=np.uint64), seed, np.random.default_rng(0), {})
        whole = pa.table([made.get(at, stored[at]) for at in stored.column_names], names=stored.column_names)
        for form in ("csv", "jsonl", "parquet"):
            assert write_file(tmp_path / f"out.{form}", form, found.schema, iter([whole])) == found.rows

"""Conditions of every form, and rows that are completed, on a real stack: met in every row of what is downloaded."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.test_stack import Mint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("conditions"), pytest.mark.timeout(300)]
ADULT = Path(__file__).parents[2] / "examples" / "data" / "adult.parquet"
ROWS = 900


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    made = Mint(tmp_path_factory.mktemp("conditions"))
    made.run(*made.up, "--detach")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def model(mint: Mint) -> str:
    pq.write_table(pq.read_table(ADULT).slice(0, ROWS), mint.folder / "adult.parquet")
    dataset = mint.json("datasets", "upload", "adult.parquet")
    trained = mint.json("train", dataset["id"], "--preset", "draft", "--steps", "20", "--seed", "3")
    return str(trained["result"]["model_id"])


def generated(mint: Mint, model: str, out: str, *arguments: str) -> list[dict[str, Any]]:
    job = mint.json("generate", model, "--seed", "5", "--out", out, *arguments)
    assert job["state"] == "succeeded"
    rows: list[dict[str, Any]] = pq.read_table(next((mint.folder / out).glob("*.parquet"))).to_pylist()
    return rows


def test_ranges_sets_shares_and_values_are_met_in_every_row(mint: Mint, model: str) -> None:
    where = ("age>=30", "age<40", "race in White,Black", "income:share=>50K:0.5,<=50K:0.5", "sex=Female")
    rows = generated(mint, model, "met", "--count", "1000", *(word for one in where for word in ("--where", one)))
    assert len(rows) == 1000
    assert {row["age"] for row in rows} <= set(range(30, 40))
    assert len({row["age"] for row in rows}) > 5
    assert {row["race"] for row in rows} == {"White", "Black"}
    assert {row["sex"] for row in rows} == {"Female"}
    assert abs(Counter(row["income"] for row in rows)[">50K"] - 500) <= 3


def test_given_rows_come_out_in_order_with_their_empty_cells_filled(mint: Mint, model: str) -> None:
    with (mint.folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["income", "age", "sex", "education"])
        for i in range(300):
            rows.writerow(["" if i % 3 else ">50K", "" if i % 2 else 20 + i % 50, "Male", "" if i % 5 else "HS-grad"])
        rows.writerow(["", "150", "Unheard of", "Masters"])  # what no training row had is kept as well
    out = generated(mint, model, "full", "--complete", "rows.csv", "--copies", "2", "--where", "income=<=50K")
    assert len(out) == 602
    for i in range(300):
        for row in out[2 * i : 2 * i + 2]:
            assert row["income"] == ("<=50K" if i % 3 else ">50K")
            assert row["sex"] == "Male"
            assert 17 <= row["age"] <= 90 if i % 2 else row["age"] == 20 + i % 50
            assert i % 5 or row["education"] == "HS-grad"
            assert row["hours_per_week"] is not None
    assert [(row["age"], row["sex"], row["education"]) for row in out[600:]] == [(150, "Unheard of", "Masters")] * 2


def test_what_cannot_be_asked_for_is_said_before_anything_runs(mint: Mint, model: str) -> None:
    done = mint.run("generate", model, "--count", "5", "--where", "age>200", expect=1)
    assert "they lie from 17 to" in done.stderr
    (mint.folder / "odd.csv").write_text("age,smell\n30,good\n31,bad\n")
    assert "'smell'" in mint.run("generate", model, "--complete", "odd.csv", expect=1).stderr
    (mint.folder / "old.csv").write_text("age\nold\nolder\n")
    assert "[given_unreadable]" in mint.run("generate", model, "--complete", "old.csv", expect=1).stderr

"""A real table balanced on a real stack: uploaded, trained on, augmented, downloaded, and scored."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.test_stack import Mint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("augment"), pytest.mark.timeout(300)]
ADULT = Path(__file__).parents[2] / "examples" / "data" / "adult.parquet"
ROWS = 900


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    made = Mint(tmp_path_factory.mktemp("augment"))
    made.run(*made.up, "--detach")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def dataset(mint: Mint) -> str:
    pq.write_table(pq.read_table(ADULT).slice(0, ROWS), mint.folder / "adult.parquet")
    found = mint.json("datasets", "upload", "adult.parquet")
    assert found["status"] == "ready"
    return str(found["id"])


@pytest.fixture(scope="module")
def balanced(mint: Mint, dataset: str) -> dict[str, Any]:
    """What a job that trains and balances told at its end; its files are in `out`."""
    options = ["--preset", "draft", "--steps", "20", "--seed", "3", "--out", "out"]
    job = mint.json("augment", dataset, "--target", "income", *options)
    assert job["state"] == "succeeded"
    told: dict[str, Any] = job["result"]
    return told


def test_a_table_is_balanced_with_rows_that_are_marked_and_scored(mint: Mint, balanced: dict[str, Any]) -> None:
    told = balanced
    source, out = pq.read_table(ADULT).slice(0, ROWS), pq.read_table(next((mint.folder / "out").glob("*.parquet")))
    assert out.schema.names == [*source.schema.names, "is_synthetic"]
    kinds = [str(kind).removeprefix("large_") for kind in source.schema.types]
    assert [str(out.schema.field(name).type) for name in source.schema.names] == kinds
    flags = out["is_synthetic"].to_pylist()
    assert (flags.count(False), flags.count(True)) == (told["real_rows"], told["synthetic_rows"])
    assert told["real_rows"] + told["holdout_rows"] == ROWS
    assert len(set(Counter(out["income"].to_pylist()).values())) == 1
    rows = out.slice(0, told["real_rows"]).drop_columns(["is_synthetic"]).to_pylist()
    assert not any(flags[: told["real_rows"]])
    assert not Counter(map(str, rows)) - Counter(
        map(str, source.to_pylist())
    )  # as they were uploaded, each at most as often
    for side in ("before", "after", "weighted"):
        assert 0 < told[side]["roc_auc"] <= 1
        assert set(told[side]["recall"]) == {"<=50K", ">50K"}
    assert told["verdict"].startswith("The synthetic rows ")
    manifest = json.loads((mint.folder / "out" / "manifest.json").read_text())
    assert manifest["augmented"]["verdict"] == told["verdict"]
    assert mint.json("models", "show", told["model_id"])["status"] == "ready"


def test_the_model_that_was_made_enlarges_the_table_without_another_training(
    mint: Mint, dataset: str, balanced: dict[str, Any]
) -> None:
    options = [
        "--model",
        balanced["model_id"],
        "--method",
        "enlarge",
        "--factor",
        "1.5",
        "--target",
        "age",
        "--format",
        "csv",
    ]
    shown = mint.run("augment", dataset, *options, "--out", "more")
    assert "r2" in shown.stdout
    assert "synthetic rows" in shown.stdout
    lines = (mint.folder / "more" / "part-00000.csv").read_text().splitlines()
    assert lines[0].endswith(",is_synthetic")
    marks = Counter(line.rpartition(",")[2] for line in lines[1:])
    assert marks["true"] == round(marks["false"] / 2)
    assert len(mint.json("models", "list")["data"]) == 1


def test_a_target_that_cannot_be_one_is_refused_in_words(mint: Mint, dataset: str) -> None:
    refused = mint.run("augment", dataset, "--target", "salary", expect=1)
    assert "no column 'salary'" in refused.stderr
    assert "[invalid_request]" in refused.stderr

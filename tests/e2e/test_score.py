"""Rows judged on a real stack: a model trained, a file of real and of spoilt rows scored by it, verdicts fetched."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.test_stack import Mint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("score"), pytest.mark.timeout(300)]
ADULT = Path(__file__).parents[2] / "examples" / "data" / "adult.parquet"
ROWS, FRESH = 2_000, 100


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    made = Mint(tmp_path_factory.mktemp("score"))
    made.run(*made.up, "--detach")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def model(mint: Mint) -> str:
    pq.write_table(pq.read_table(ADULT).slice(0, ROWS), mint.folder / "adult.parquet")
    dataset = mint.json("datasets", "upload", "adult.parquet")
    job = mint.json("train", dataset["id"], "--preset", "draft", "--steps", "100")
    return str(job["model_id"])


@pytest.fixture(scope="module")
def told(mint: Mint, model: str) -> dict[str, Any]:
    """What a scoring of 100 real rows and 100 whose values were mixed tells; its file is in `out`."""
    real, rng = pq.read_table(ADULT).slice(ROWS, FRESH), np.random.default_rng(0)
    mixed = pa.table({name: real[name].take(pa.array(rng.permutation(FRESH))) for name in real.column_names})
    pq.write_table(pa.concat_tables([real, mixed]), mint.folder / "rows.parquet")
    job = mint.json("score", model, "rows.parquet", "--out", "out")
    assert (job["state"], job["kind"]) == ("succeeded", "score")
    found: dict[str, Any] = job["result"]
    return found


def test_rows_that_were_mixed_up_are_told_from_real_ones(mint: Mint, told: dict[str, Any]) -> None:
    [path] = (mint.folder / "out").glob("*.parquet")
    lines = pq.read_table(path)
    assert lines["index"].to_pylist() == list(range(2 * FRESH))
    scores = np.array(lines["score"].to_pylist())
    assert np.median(scores[FRESH:]) < 0.1 < 0.3 < np.median(scores[:FRESH])
    assert told["output"]["rows"] == 2 * FRESH
    assert told["calibrated_on"] == "held-out rows"
    assert {one["what"] for one in told["planted"]} >= {"random values", "columns independent of each other"}
    manifest = json.loads((mint.folder / "out" / "manifest.json").read_text())
    assert manifest["scored"]["verdict"] == told["verdict"]


@pytest.mark.usefixtures("told")  # which writes the rows
def test_what_was_found_is_shown_and_columns_that_are_missing_are_named(mint: Mint, model: str) -> None:
    shown = mint.run("score", model, "rows.parquet", "--out", "again")
    assert "random values" in shown.stdout
    assert "ROC AUC" in shown.stdout
    pq.write_table(pq.read_table(ADULT).slice(0, 50).drop_columns(["income"]), mint.folder / "less.parquet")
    refused = mint.run("score", model, "less.parquet", expect=1)
    assert "no column 'income'" in refused.stderr
    assert "[invalid_request]" in refused.stderr

"""Rows judged one by one, by a model of a few steps: what breaks relations is seen, what is real is let pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from service.errors import InvalidRequest, Rejected
from tests.unit.table import tables
from workers.modalities import Dataset
from workers.modalities.scoring import Upload, judged
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.neighbours import Neighbours
from workers.modalities.table.scored import check_scored

pytestmark = pytest.mark.slow
ROWS = 200


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    folder = tmp_path_factory.mktemp("scored")
    _, dataset = tables.ingest(folder, "people.parquet", tables.people(3_000))
    tables.trained(dataset, folder / "model", steps=200)
    return dataset, folder / "model"


def score(
    trained: tuple[Dataset, Path], folder: Path, rows: pa.Table | str, count: int = ROWS, reference: bool = True
) -> tuple[dict[str, Any], pa.Table]:
    """(what the job tells, the lines of its output)."""
    path = folder / "upload"
    if isinstance(rows, str):
        path.write_text(rows)
    else:
        pq.write_table(rows, path)
    scorer = MODALITY.scorer(trained[0] if reference else None, Upload(path, {}, count, {}), trained[1], "cpu", 0)
    number, told = judged(scorer, folder / "out.parquet", tables.no_progress)
    lines = pq.read_table(folder / "out.parquet")
    assert number == lines.num_rows == count
    return json.loads(json.dumps(told, allow_nan=False)), lines


def called(told: dict[str, Any], rate: str = "at_5_percent") -> float:
    return float(told["counterfeit"][rate])


def test_fresh_rows_pass_at_the_promised_rate_and_planted_counterfeits_do_not(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    told, _ = score(trained, tmp_path, tables.people(2_000, seed=9), 2_000)
    assert (told["calibrated_on"], told["calibration_samples"]) == ("held-out rows", 300)
    assert 0.02 < called(told) < 0.1
    assert called(told, "at_1_percent") < 0.03
    assert 0.45 < told["roc_auc"] < 0.55
    planted = {one["what"]: one["roc_auc"] for one in told["planted"]}
    assert planted["random values"] > 0.95
    assert planted["columns independent of each other"] > 0.9
    assert planted["one value swapped"] > 0.6


def test_rows_that_break_a_rule_or_have_values_that_nobody_had_are_called_counterfeit(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    fresh = tables.people(ROWS, seed=9)
    other = pc.replace_substring(fresh["country"], "Italy", "Peru")
    broken = fresh.set_column(fresh.column_names.index("country"), "country", other)
    _, lines = score(trained, tmp_path, broken)
    wrong = np.array(fresh["city"].to_pylist()) == "Rome"
    verdicts = np.array(lines["at_1_percent"].to_pylist())
    assert (verdicts[wrong] == "counterfeit").mean() > 0.9
    assert (verdicts[~wrong] == "real-looking").mean() > 0.9
    unknown = fresh.set_column(fresh.column_names.index("city"), "city", pa.array(["Atlantis"] * ROWS))
    assert called(score(trained, tmp_path, unknown)[0]) > 0.9
    far = fresh.set_column(fresh.column_names.index("visits"), "visits", pa.array([10_000] * ROWS))
    assert called(score(trained, tmp_path, far)[0]) > 0.9


def test_keys_and_texts_may_be_left_out_and_the_same_rows_get_the_same_scores(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    fresh = tables.people(ROWS, seed=9)
    told, whole = score(trained, tmp_path, fresh)
    again, bare = score(trained, tmp_path, fresh.drop_columns(["key", "note", "seven"]))
    assert whole.equals(bare)
    assert told == again


def test_a_model_whose_rows_may_not_be_looked_at_is_calibrated_on_its_own_samples(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    told, _ = score(trained, tmp_path, tables.people(ROWS, seed=9), reference=False)
    assert told["calibrated_on"] == "the model's own samples"
    assert "own samples" in told["warnings"][0]
    assert "the model's own samples" not in {one["what"] for one in told["planted"]}
    assert {one["what"]: one["roc_auc"] for one in told["planted"]}["random values"] > 0.9


def test_values_of_another_type_fail_with_a_sentence_that_names_the_column(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    fresh = tables.people(ROWS, seed=9)
    odd = fresh.set_column(fresh.column_names.index("visits"), "visits", pa.array(["many"] * ROWS))
    with pytest.raises(Rejected) as refused:
        score(trained, tmp_path, odd)
    assert refused.value.code == "given_unreadable"
    assert "'visits'" in refused.value.detail


def test_a_schema_that_does_not_fit_is_refused_before_any_work() -> None:
    model = {"columns": [{"name": "a", "type": "integer"}, {"name": "k", "type": "identifier"}]}
    check_scored(model, {"columns": [{"name": "a", "type": "category"}]})
    for columns in ([{"name": "k"}], [{"name": "a"}, {"name": "b"}]):
        with pytest.raises(InvalidRequest):
            check_scored(model, {"columns": columns})
    with pytest.raises(InvalidRequest):
        check_scored({"columns": model["columns"][1:]}, {"columns": [{"name": "k"}]})


def test_distances_add_up_over_columns() -> None:
    known = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1])]
    found = Neighbours(known, "cpu").distance([np.array([0.0, 3.0, np.nan]), np.array([0, 0, 1])])
    assert found[0] == 0
    assert found[1] == pytest.approx(0.5)  # another number, two ranks off, or another code
    assert found[2] == pytest.approx(1.0)  # a value that only one has; its rank is as good as the middle

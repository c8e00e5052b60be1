"""Scorings over HTTP: what is asked for, refused, made and told; on both databases."""

from typing import Any

import pytest
from sqlalchemy import update

from service.db.tables import Dataset, Model
from service.domain.ids import new_id
from service.usecases import units
from tests.integration.api.conftest import SCHEMA, SHARD, Api, refused

TOLD = {"counterfeit": {"at_5_percent": 0.1, "at_1_percent": 0.0}, "roc_auc": 0.6, "verdict": "Good."}


def finish(api: Api, job_id: str) -> dict[str, Any]:
    """Do the job's unit, as a worker does; returns what the worker was told."""
    claimed = api.claim(job_id)
    assert claimed.kind == "score"
    api.context.storage.put(claimed.payload["key"], SHARD)
    file = {"key": claimed.payload["key"], "rows": 1, "bytes": len(SHARD), "sha256": "0"}
    assert units.finish(api.context, claimed.unit_id, claimed.attempt, {"files": [file], "told": TOLD})
    return claimed.payload


def test_a_dataset_is_scored_by_a_model_beside_the_held_out_rows_of_its_own_dataset(api: Api) -> None:
    model_id, dataset_id = api.model(), api.ready()
    job = api.submit(kind="score", model_id=model_id, dataset_id=dataset_id, name="check")
    assert job["spec"] == {"modality": "table", "calibration": "held_out", "seed": 0, "format": "parquet"}
    payload = finish(api, job["id"])
    assert payload["source"]["key"].startswith(f"projects/{api.project}/datasets/{dataset_id}/source/")
    assert payload["source"] | {"key": ""} == {"key": "", "options": {}, "schema": SCHEMA, "rows": 1}
    assert [part["split"] for part in payload["reference"]["parts"]] == ["train"]
    done = api.get(f"/v1/jobs/{job['id']}")
    output = {"files": 1, "rows": 1, "bytes": len(SHARD)}
    assert (done["state"], done["result"]) == ("succeeded", {"model_id": model_id, "output": output} | TOLD)
    manifest = api.get(f"/v1/jobs/{job['id']}/output")
    assert (manifest["count"], manifest["scored"], manifest["files"][0]["name"]) == (1, TOLD, "part-00000.parquet")
    assert [one["id"] for one in api.get("/v1/jobs?kind=score")["data"]] == [job["id"]]


def test_a_private_model_is_calibrated_on_its_own_samples(lite: Api) -> None:
    model_id = lite.model()
    with lite.context.database.begin() as session:
        session.execute(update(Model).where(Model.id == model_id).values(config={"privacy": {"epsilon": 3.0}}))
    job = lite.submit(kind="score", model_id=model_id, dataset_id=lite.ready())
    assert job["spec"]["calibration"] == "model_samples"
    assert finish(lite, job["id"])["reference"] is None


def test_a_model_whose_dataset_is_gone_or_was_read_anew_is_calibrated_without_it(lite: Api) -> None:
    model_id, dataset_id = lite.model(), lite.ready()
    own = lite.get(f"/v1/models/{model_id}")["dataset_id"]
    with lite.context.database.begin() as session:
        changed = SCHEMA | {"columns": SCHEMA["columns"][:1]}  # type: ignore[index]
        session.execute(update(Dataset).where(Dataset.id == own).values(schema=changed))
    job = lite.submit(kind="score", model_id=model_id, dataset_id=dataset_id)
    assert finish(lite, job["id"])["reference"] is None
    assert lite.http.delete(f"/v1/datasets/{own}").status_code == 204
    job = lite.submit(kind="score", model_id=model_id, dataset_id=dataset_id)
    assert finish(lite, job["id"])["reference"] is None


COLUMNS: list[tuple[list[dict[str, Any]], str]] = [
    ([{"name": "age", "type": "integer"}], "no column 'income'"),
    ([{"name": "wage", "type": "integer"}], "no column 'age', nor 1 others"),
    (
        [{"name": "age", "type": "integer"}, {"name": "income", "type": "category"}, {"name": "x", "type": "text"}],
        "no column 'x'",
    ),
]


@pytest.mark.parametrize(("columns", "said"), COLUMNS)
def test_rows_of_other_columns_are_refused(lite: Api, columns: list[dict[str, Any]], said: str) -> None:
    model_id, dataset_id = lite.model(), lite.ready()
    with lite.context.database.begin() as session:
        schema = {"modality": "table", "columns": columns}
        session.execute(update(Dataset).where(Dataset.id == dataset_id).values(schema=schema))
    problem = refused(
        lite.http.post("/v1/jobs", json={"kind": "score", "model_id": model_id, "dataset_id": dataset_id}),
        422,
        "invalid_request",
    )
    assert said in problem["detail"]
    assert problem["errors"][0]["path"] == "dataset_id"


def test_what_is_not_ready_not_there_or_of_another_kind_is_refused(lite: Api) -> None:
    model_id, dataset_id = lite.model(), lite.ready()
    body = {"kind": "score", "model_id": model_id, "dataset_id": dataset_id}
    refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": lite.dataset()}), 409, "dataset_not_ready")
    refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": new_id("ds")}), 404, "not_found")
    refused(lite.http.post("/v1/jobs", json=body | {"model_id": new_id("mdl")}), 404, "not_found")
    refused(lite.stranger().post("/v1/jobs", json=body), 404, "not_found")
    refused(lite.http.post("/v1/jobs", json={"kind": "score", "model_id": model_id}), 422, "invalid_request")
    refused(lite.http.post("/v1/jobs", json=body | {"colour": 1}), 422, "invalid_request")
    training = lite.submit(kind="train", dataset_id=dataset_id)
    refused(lite.http.post("/v1/jobs", json=body | {"model_id": training["model_id"]}), 409, "model_not_ready")
    with lite.context.database.begin() as session:
        session.execute(update(Dataset).where(Dataset.id == dataset_id).values(modality="images"))
    problem = refused(lite.http.post("/v1/jobs", json=body), 422, "invalid_request")
    assert "holds no tables" in problem["detail"]
    assert lite.get("/v1/jobs?kind=score")["data"] == []


def test_dataset_and_model_stay_while_they_are_used_and_a_cancelled_scoring_spoils_neither(lite: Api) -> None:
    model_id, dataset_id = lite.model(), lite.ready()
    job = lite.submit(kind="score", model_id=model_id, dataset_id=dataset_id)
    refused(lite.http.delete(f"/v1/datasets/{dataset_id}"), 409, "in_use")
    refused(lite.http.delete(f"/v1/models/{model_id}"), 409, "in_use")
    lite.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert lite.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled"
    assert lite.get(f"/v1/models/{model_id}")["status"] == "ready"
    assert lite.get(f"/v1/datasets/{dataset_id}")["status"] == "ready"

"""Augmentations over HTTP: what is asked for, refused, made and told; on both databases."""

import hashlib
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from service.db.tables import Dataset, Unit
from service.domain.ids import new_id
from service.usecases import units
from tests.integration.api.conftest import SHARD, TOLD, Api, refused

COLUMNS = [
    {"name": "age", "type": "integer", "nullable": False},
    {"name": "income", "type": "category", "nullable": False, "levels": ["<=50K", ">50K"]},
    {"name": "rooms", "type": "integer", "nullable": False, "levels": [1, 2, 3]},
    {"name": "id", "type": "identifier", "nullable": False},
    {"name": "note", "type": "text", "nullable": False},
    {"name": "seven", "type": "constant", "nullable": False, "value": 7},
    {"name": "mail", "type": "personal", "nullable": False},
    {"name": "one", "type": "category", "nullable": True, "levels": ["a"]},
    {"name": "many", "type": "category", "nullable": True, "levels": [f"l{i}" for i in range(1001)]},
]


def columns(api: Api, dataset_id: str, found: list[dict[str, Any]] = COLUMNS) -> str:
    """Give the dataset these columns, and 100 rows of which 90 are for training."""
    parts = [
        {"key": "k", "rows": rows, "split": split} for rows, split in ((60, "train"), (30, "train"), (10, "holdout"))
    ]
    with api.context.database.begin() as session:
        session.execute(
            update(Dataset)
            .where(Dataset.id == dataset_id)
            .values(schema={"modality": "table", "columns": found}, parts=parts, rows=100)
        )
    return dataset_id


def test_a_dataset_is_augmented_by_a_model_that_is_trained_first_and_stays(api: Api) -> None:
    dataset_id = api.ready()
    job = api.submit(kind="augment", dataset_id=dataset_id, target="income", seed=7, config={"steps": 9})
    config = job["spec"].pop("config")
    assert (config["steps"], config["preset"]) == (9, "standard")
    assert job["spec"] == {
        "modality": "table", "target": "income", "method": "balance", "count": None,
        "max_count": api.context.settings.max_count, "seed": 7, "format": "parquet",
    }  # fmt: skip
    assert api.get(f"/v1/models/{job['model_id']}")["status"] == "training"
    api.work(job["id"])
    model = api.get(f"/v1/models/{job['model_id']}")
    assert (model["status"], model["job_id"], model["name"]) == ("ready", job["id"], "people")
    going = api.get(f"/v1/jobs/{job['id']}")
    assert (going["state"], going["result"], going["progress"]["fraction"]) == ("running", None, 0.8)
    claimed = api.claim(job["id"])
    assert claimed.payload["wish"]["target"] == "income"
    told = {"type": "progress", "fraction": 0.5, "step": 5, "steps": 10, "eta_seconds": None}
    units.report(api.context, claimed.unit_id, claimed.attempt, [told])
    progress = api.get(f"/v1/jobs/{job['id']}")["progress"]
    assert (progress["fraction"], progress["step"], progress["steps"]) == (0.9, 5, 10)
    refused(api.http.get(f"/v1/jobs/{job['id']}/output"), 409, "job_not_succeeded")
    units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    done = api.get(f"/v1/jobs/{job['id']}")
    output = {"files": 1, "rows": 2, "bytes": len(SHARD)}
    assert (done["state"], done["result"]) == ("succeeded", {"model_id": model["id"], "output": output} | TOLD)
    manifest = api.get(f"/v1/jobs/{job['id']}/output")
    assert (manifest["count"], manifest["augmented"], manifest["format"]) == (2, TOLD, "parquet")
    [file] = manifest["files"]
    assert file["name"] == "part-00000.parquet"
    assert hashlib.sha256(httpx.get(file["url"]).content).hexdigest() == file["sha256"]


def test_a_model_that_is_there_is_used_and_nothing_is_trained(api: Api) -> None:
    model_id = api.model()
    dataset_id = api.get(f"/v1/models/{model_id}")["dataset_id"]
    job = api.submit(kind="augment", dataset_id=dataset_id, model_id=model_id, target="income", format="csv", count=5)
    assert "config" not in job["spec"]
    claimed = api.claim(job["id"])
    assert claimed.kind == "augment"
    assert claimed.payload["model"]["id"] == model_id
    assert claimed.payload["wish"]["count"] == 5
    assert claimed.payload["keys"].endswith("part-{index:05d}-a1.csv")
    units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "succeeded"
    assert len(api.get("/v1/models")["data"]) == 1
    assert [one["id"] for one in api.get("/v1/jobs?kind=augment")["data"]] == [job["id"]]


@pytest.mark.parametrize(
    ("wish", "count"), [({}, 90), ({"factor": 1.5}, 45), ({"factor": 1.001}, 1), ({"count": 7}, 7)]
)
def test_enlarging_counts_the_training_rows(lite: Api, wish: dict[str, Any], count: int) -> None:
    dataset_id = columns(lite, lite.ready())
    for more in ({}, {"target": "age"}, {"target": "income"}):
        job = lite.submit(kind="augment", dataset_id=dataset_id, method="enlarge", **wish, **more)
        assert job["spec"]["count"] == count


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "target", "needs a target"),
    ({"target": "colour"}, "target", "no column 'colour'"),
    ({"target": "colour", "method": "enlarge"}, "target", "no column"),
    ({"target": "id"}, "target", "a key"),
    ({"target": "note", "method": "enlarge"}, "target", "free text"),
    ({"target": "seven", "method": "enlarge"}, "target", "always says the same"),
    ({"target": "mail", "method": "enlarge"}, "target", "personal"),
    ({"target": "age"}, "target", "no levels"),
    ({"target": "one"}, "target", "a single class"),
    ({"target": "one", "method": "enlarge"}, "target", "a single class"),
    ({"target": "many"}, "target", "1001 classes"),
    ({"target": "income", "method": "shrink"}, "method", ""),
    ({"target": "income", "factor": 2.0}, "factor", "enlarge"),
    ({"method": "enlarge", "factor": 1.0}, "factor", ""),
    ({"method": "enlarge", "factor": 11.2}, "factor", "918"),
    ({"target": "income", "count": 901}, "count", "901"),
    ({"target": "income", "count": 0}, "count", ""),
    ({"target": "income", "format": "xls"}, "format", "xls"),
    ({"target": "income", "config": {"smell": 1}}, "config.smell", ""),
    ({"target": "income", "colour": 1}, "colour", ""),
    ({"target": 5}, "target", ""),
]


def test_what_cannot_be_augmented_is_refused_and_leaves_nothing(lite: Api, subtests: pytest.Subtests) -> None:
    dataset_id = columns(lite, lite.ready())
    object.__setattr__(lite.context, "settings", lite.context.settings.model_copy(update={"max_count": 900}))
    for body, path, said in REFUSED:
        with subtests.test(body=body):
            answer = lite.http.post("/v1/jobs", json={"kind": "augment", "dataset_id": dataset_id} | body)
            problem = refused(answer, 422, "invalid_request")
            assert path in [error["path"] for error in problem["errors"]]
            assert said in problem["detail"]
    assert lite.get("/v1/jobs?kind=augment")["data"] == []
    assert lite.get("/v1/models")["data"] == []


def test_a_model_that_does_not_fit_is_refused(lite: Api) -> None:
    model_id = lite.model()
    own = lite.get(f"/v1/models/{model_id}")["dataset_id"]
    body = {"kind": "augment", "target": "income", "model_id": model_id}
    other = refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": lite.ready()}), 422, "invalid_request")
    assert "another dataset" in other["detail"]
    both = lite.http.post("/v1/jobs", json=body | {"dataset_id": own, "config": {"preset": "draft"}})
    assert refused(both, 422, "invalid_request")["errors"][0]["path"] == "config"
    columns(lite, own)
    again = refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": own}), 422, "invalid_request")
    assert "read again" in again["detail"]
    training = lite.submit(kind="train", dataset_id=own)
    waits = lite.http.post("/v1/jobs", json=body | {"dataset_id": own, "model_id": training["model_id"]})
    refused(waits, 409, "model_not_ready")
    refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": own, "model_id": new_id("mdl")}), 404, "not_found")


def test_a_dataset_that_is_not_ready_or_of_pictures_is_refused(lite: Api) -> None:
    body = {"kind": "augment", "target": "label"}
    refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": lite.dataset()}), 409, "dataset_not_ready")
    pictures = lite.ready()
    with lite.context.database.begin() as session:
        session.execute(update(Dataset).where(Dataset.id == pictures).values(modality="images"))
    problem = refused(lite.http.post("/v1/jobs", json=body | {"dataset_id": pictures}), 422, "invalid_request")
    assert "Images" in problem["detail"]
    able = {one["name"]: one["augments"] for one in lite.get("/v1/modalities")["data"]}
    assert able == {"table": True, "images": False}


def test_a_stranger_can_neither_augment_nor_fetch(api: Api) -> None:
    model_id, stranger = api.model(), api.stranger()
    dataset_id = api.get(f"/v1/models/{model_id}")["dataset_id"]
    body = {"kind": "augment", "dataset_id": dataset_id, "target": "income"}
    refused(stranger.post("/v1/jobs", json=body), 404, "not_found")
    job = api.submit(**body, model_id=model_id)
    api.work(job["id"])
    for path in ("", "/output", "/events"):
        refused(stranger.get(f"/v1/jobs/{job['id']}{path}"), 404, "not_found")
        assert api.http.get(f"/v1/jobs/{job['id']}{path}").status_code == 200


def test_dataset_and_model_stay_while_they_are_used(lite: Api) -> None:
    model_id = lite.model()
    dataset_id = lite.get(f"/v1/models/{model_id}")["dataset_id"]
    job = lite.submit(kind="augment", dataset_id=dataset_id, model_id=model_id, target="income")
    refused(lite.http.delete(f"/v1/datasets/{dataset_id}"), 409, "in_use")
    refused(lite.http.delete(f"/v1/models/{model_id}"), 409, "in_use")
    refused(lite.http.patch(f"/v1/datasets/{dataset_id}", json={"options": {"delimiter": ";"}}), 409, "in_use")
    lite.work(job["id"])
    assert lite.http.delete(f"/v1/models/{model_id}").status_code == 204
    assert lite.get(f"/v1/jobs/{job['id']}/output")["count"] == 2


@pytest.mark.parametrize("trained", [False, True])
def test_a_cancelled_augmentation_keeps_the_model_that_it_has_trained(api: Api, trained: bool) -> None:
    job = api.submit(kind="augment", dataset_id=api.ready(), target="income")
    if trained:
        api.work(job["id"])
    claimed = api.claim(job["id"])
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert units.heartbeat(api.context, claimed.unit_id, claimed.attempt).cancel
    assert units.cancelled(api.context, claimed.unit_id, claimed.attempt)
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled"
    assert api.get(f"/v1/models/{job['model_id']}")["status"] == ("ready" if trained else "failed")
    with api.context.database.read() as session:
        assert len(session.scalars(select(Unit.id).where(Unit.job_id == job["id"])).all()) == 1 + trained

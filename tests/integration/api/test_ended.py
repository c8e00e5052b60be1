"""Jobs that have ended, over HTTP: retried, deleted, and outputs and datasets that are kept for so long."""

from sqlalchemy import func, select, update

from service.db.database import now
from service.db.tables import Dataset, Event, Job, Unit
from service.usecases import sweep, units
from tests.integration.api.conftest import Api, refused

EACH = 4  # objects of an output: one file of data, two cards, the manifest


def failed(api: Api) -> str:
    """A generation of three shards, of which one is done and one has failed."""
    job_id = str(api.submit(kind="generate", model_id=api.model(), count=3_000_000, format="csv")["id"])
    done, lost = api.claim(job_id), api.claim(job_id)
    assert units.finish(api.context, done.unit_id, done.attempt, api.result(done))
    assert units.fail(api.context, lost.unit_id, lost.attempt, "storage_unavailable", "The storage is away.")
    return job_id


def objects(api: Api, prefix: str = "") -> list[str]:
    return list(api.context.storage.keys(f"projects/{api.project}/{prefix}"))


def test_a_failed_job_is_retried_once_for_one_request_and_ends_with_all_its_files(api: Api) -> None:
    job_id = failed(api)
    told = api.get(f"/v1/jobs/{job_id}")
    assert (told["state"], told["error"]["code"]) == ("failed", "storage_unavailable")
    assert told["retry_until"] > told["finished_at"]
    url, key = f"/v1/jobs/{job_id}/retry", {"Idempotency-Key": "again"}
    first, second = (api.http.post(url, headers=key) for _ in range(2))
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    assert (first.json()["error"], first.json()["retry_until"], first.json()["finished_at"]) == (None, None, None)
    assert (second.json(), second.headers["idempotent-replayed"]) == (first.json(), "true")
    refused(api.http.post(url), 409, "not_retryable")
    for _ in range(2):
        claimed = api.claim(job_id)
        assert units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    names = [file["name"] for file in api.get(f"/v1/jobs/{job_id}/output")["files"]]
    assert names == ["part-00000.csv", "part-00001.csv", "part-00002.csv"]


def test_what_did_not_fail_or_is_not_ones_own_is_not_retried(lite: Api) -> None:
    done = lite.output()
    assert "succeeded" in refused(lite.http.post(f"/v1/jobs/{done}/retry"), 409, "not_retryable")["detail"]
    refused(lite.stranger().post(f"/v1/jobs/{failed(lite)}/retry"), 404, "not_found")


def test_a_job_is_deleted_with_its_rows_and_its_output_and_its_model_stays(api: Api) -> None:
    model_id = api.model()
    training = api.get("/v1/jobs?kind=train")["data"][0]["id"]
    job_id = str(api.submit(kind="generate", model_id=model_id, count=10, format="csv")["id"])
    refused(api.http.delete(f"/v1/jobs/{job_id}"), 409, "conflict")
    api.work(job_id)
    assert len(objects(api, f"outputs/{job_id}/")) == EACH
    refused(api.stranger().delete(f"/v1/jobs/{job_id}"), 404, "not_found")
    for id in (job_id, training):
        assert api.http.delete(f"/v1/jobs/{id}").status_code == 204
        refused(api.http.get(f"/v1/jobs/{id}"), 404, "not_found")
    with api.context.database.read() as session:
        for table in (Unit, Event):
            left = select(func.count()).select_from(table).where(table.job_id.in_([job_id, training]))
            assert session.scalar(left) == 0
    sweep.tidy(api.context)
    assert objects(api, f"outputs/{job_id}/") == []
    assert len(objects(api, f"models/{model_id}/")) == 1
    assert api.get(f"/v1/models/{model_id}")["status"] == "ready"


def test_a_deleted_failed_training_takes_its_model_with_it(lite: Api) -> None:
    job = lite.submit(kind="train", dataset_id=lite.ready())
    claimed = lite.claim(job["id"])
    key = f"{claimed.payload['prefix']}generator.safetensors"
    lite.context.storage.put(key, b"1")
    assert units.fail(lite.context, claimed.unit_id, claimed.attempt, "training_diverged", "It went wrong.")
    sweep.tidy(lite.context)
    assert objects(lite, "models/") == [key]  # it could be retried
    assert lite.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    refused(lite.http.get(f"/v1/models/{job['model_id']}"), 404, "not_found")
    sweep.tidy(lite.context)
    assert objects(lite, "models/") == []


def test_an_output_goes_when_its_time_is_over_and_its_job_stays(api: Api) -> None:
    asked = {"kind": "generate", "model_id": api.model(), "count": 10, "format": "csv"}
    kept, short = (str(api.submit(**asked, **more)["id"]) for more in ({}, {"retention_seconds": 60}))
    for job_id in (kept, short):
        api.work(job_id)
    assert api.get(f"/v1/jobs/{kept}")["expires_at"] is None
    assert api.get(f"/v1/jobs/{short}")["expires_at"] > api.get(f"/v1/jobs/{short}")["finished_at"]
    sweep.tidy(api.context)
    assert len(objects(api, "outputs/")) == 2 * EACH
    with api.context.database.begin() as session:
        session.execute(update(Job).where(Job.id == short).values(expires_at=now() - 1.0))
    refused(api.http.get(f"/v1/jobs/{short}/output"), 404, "not_found")  # before any sweep
    sweep.tidy(api.context)
    sweep.tidy(api.context)
    assert len(objects(api, "outputs/")) == len(objects(api, f"outputs/{kept}/")) == EACH
    refused(api.http.get(f"/v1/jobs/{short}/output"), 404, "not_found")
    told = api.get(f"/v1/jobs/{short}")
    assert (told["state"], told["result"]["output"]["deleted"], told["expires_at"]) == ("succeeded", True, None)
    said = [event["message"] for event in api.get(f"/v1/jobs/{short}/events")["data"]]
    assert len([message for message in said if "The output was deleted" in message]) == 1


def test_a_dataset_goes_when_its_time_is_over_and_no_job_reads_it(api: Api) -> None:
    short = api.http.post("/v1/datasets", json={"name": "d", "retention_seconds": 60}).json()
    assert short["expires_at"] > short["created_at"]
    read = api.ready()
    training = api.submit(kind="train", dataset_id=read)
    with api.context.database.begin() as session:
        session.execute(update(Dataset).values(expires_at=now() - 1.0))
    sweep.tidy(api.context)
    refused(api.http.get(f"/v1/datasets/{short['id']}"), 404, "not_found")
    assert api.get(f"/v1/datasets/{read}")["status"] == "ready"
    api.work(training["id"])
    with api.context.database.begin() as session:
        session.execute(update(Dataset).values(expires_at=now() - 1.0))
    sweep.tidy(api.context)
    refused(api.http.get(f"/v1/datasets/{read}"), 404, "not_found")
    assert objects(api, "datasets/") == []


def test_retention_is_at_least_a_minute(lite: Api) -> None:
    refused(lite.http.post("/v1/datasets", json={"name": "d", "retention_seconds": 0}), 422, "invalid_request")

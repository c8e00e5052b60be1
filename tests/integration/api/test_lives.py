"""Lists under inserts, cancelling, deleting what is in use, very large generations."""

import time

from sqlalchemy import func, select

from service.db.tables import Job, Trash, Unit
from service.domain.states import State
from service.usecases import units
from tests.integration.api.conftest import Api, refused


def pages(api: Api, path: str, limit: int) -> list[list[str]]:
    """Follow the cursors; before each further page, something new is made."""
    found, cursor = [], ""
    while True:
        page = api.get(f"{path}?limit={limit}{cursor}")
        found.append([item["id"] for item in page["data"]])
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
        api.dataset(name="made meanwhile")


def test_pages_neither_repeat_nor_skip_while_things_are_made(api: Api) -> None:
    made = [api.dataset(name=str(number)) for number in range(7)]
    found = pages(api, "/v1/datasets", 3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [id for page in found for id in page] == sorted(made, reverse=True)


def test_a_list_that_ends_with_a_full_page_has_no_further_one(lite: Api) -> None:
    for _ in range(4):
        lite.dataset()
    assert [len(page) for page in pages(lite, "/v1/datasets", 4)] == [4]


def test_jobs_are_listed_by_kind_and_state(api: Api) -> None:
    job_id = api.output()
    waiting = api.uploaded()["job_id"]
    jobs = api.get("/v1/jobs")["data"]
    assert [job["kind"] for job in jobs] == ["ingest", "generate", "train", "ingest"]
    assert [job["id"] for job in api.get("/v1/jobs?kind=generate")["data"]] == [job_id]
    assert [job["id"] for job in api.get("/v1/jobs?state=queued")["data"]] == [waiting]
    assert len(api.get("/v1/jobs?kind=ingest&state=succeeded")["data"]) == 1
    assert api.get("/v1/jobs?kind=train&state=failed")["data"] == []


def test_a_waiting_job_is_cancelled_at_once_and_twice_is_once(api: Api) -> None:
    job = api.submit(kind="train", dataset_id=api.ready())
    first = api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    second = api.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (second.status_code, second.json()) == (202, first.json())
    assert api.get(f"/v1/models/{job['model_id']}")["status"] == "failed"
    with api.context.database.read() as session:
        [unit] = session.scalars(select(Unit).where(Unit.job_id == job["id"]))
    assert unit.state == "cancelled"
    assert units.claim(api.context, unit.id, "wrk_late") is None


def test_a_running_job_is_cancelled_at_its_workers_next_heartbeat(api: Api) -> None:
    job = api.submit(kind="generate", model_id=api.model(), count=3_000_000)
    claimed = api.claim(job["id"])
    for _ in range(2):
        answer = api.http.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert answer.json()["cancel_requested_at"] is not None
    assert units.heartbeat(api.context, claimed.unit_id, claimed.attempt).cancel
    with api.context.database.read() as session:
        states = session.scalars(select(Unit.state).where(Unit.job_id == job["id"]).order_by(Unit.index)).all()
    assert states == ["running", "cancelled", "cancelled"]
    assert units.cancelled(api.context, claimed.unit_id, claimed.attempt)
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled"


def test_a_job_that_has_succeeded_cannot_be_cancelled(api: Api) -> None:
    refused(api.http.post(f"/v1/jobs/{api.output()}/cancel"), 409, "conflict")


def test_a_dataset_is_not_deleted_while_a_job_reads_it(api: Api) -> None:
    dataset = api.uploaded()
    url = f"/v1/datasets/{dataset['id']}"
    refused(api.http.delete(url), 409, "in_use")
    api.work(dataset["job_id"])
    training = api.submit(kind="train", dataset_id=dataset["id"])
    refused(api.http.delete(url), 409, "in_use")
    refused(api.http.patch(url, json={"options": {}}), 409, "in_use")
    api.work(training["id"])
    assert api.http.delete(url).status_code == 204
    refused(api.http.get(url), 404, "not_found")
    refused(api.http.delete(url), 404, "not_found")
    with api.context.database.read() as session:
        assert f"projects/{api.project}/datasets/{dataset['id']}/" in session.scalars(select(Trash.prefix)).all()
    assert api.get(f"/v1/models/{training['model_id']}")["status"] == "ready"


def test_a_model_is_not_deleted_while_a_job_uses_it(api: Api) -> None:
    training = api.submit(kind="train", dataset_id=api.ready())
    url = f"/v1/models/{training['model_id']}"
    refused(api.http.delete(url), 409, "in_use")
    api.work(training["id"])
    generation = api.submit(kind="generate", model_id=training["model_id"], count=5)
    refused(api.http.delete(url), 409, "in_use")
    api.work(generation["id"])
    assert api.http.delete(url).status_code == 204
    refused(api.http.get(url), 404, "not_found")
    assert len(api.get(f"/v1/jobs/{generation['id']}/output")["files"]) == 1


def test_a_billion_rows_are_a_thousand_units_that_wake_some_workers(api: Api) -> None:
    api.context.doorbell.app.control.purge()
    job = api.submit(kind="generate", model_id=api.model(), count=10**9)
    with api.context.database.read() as session:
        where = Unit.job_id == job["id"]
        assert session.scalar(select(func.count()).where(where)) == 1_000
        last = session.scalars(select(Unit).where(where, Unit.index == 999)).one()
        assert last.payload == {"start": 999_000_000, "count": 1_000_000}
    assert api.context.doorbell.waiting("gpu") == 64


def test_a_hundred_thousand_units_are_made_in_seconds(api: Api) -> None:
    model_id = api.model()
    with api.context.database.begin() as session:
        session.connection().exec_driver_sql("UPDATE models SET modality = 'images', schema = '{\"classes\": null}'")
    start = time.monotonic()
    job = api.submit(kind="generate", model_id=model_id, count=10**9)
    assert time.monotonic() - start < 30  # 3 s where nothing else runs
    with api.context.database.read() as session:
        units_total = session.scalar(select(Job.units_total).where(Job.id == job["id"]))
        assert session.scalar(select(func.count()).where(Unit.job_id == job["id"])) == units_total == 100_000
    start = time.monotonic()
    cancelled = api.http.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert cancelled["state"] == State.CANCELLED
    assert time.monotonic() - start < 20

"""A request that is repeated with its Idempotency-Key creates once, on both databases, however many repeat it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import func, select

from service.db.tables import Job, Unit
from tests.integration.api.conftest import Api, refused

KEY = {"Idempotency-Key": "6f1c2a34-5b8e-4b0f-9a57-0f2b7f0f2d11"}


def cases(api: Api) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every creating POST: its address, a body, another body."""
    train = {"kind": "train", "dataset_id": api.ready()}
    generate = {"kind": "generate", "model_id": api.model(), "count": 5}
    augment = {"kind": "augment", "dataset_id": api.ready(), "target": "income"}
    upload = {"filename": "a", "size_bytes": 4}
    return [
        ("/v1/datasets", {"name": "a"}, {"name": "b"}),
        (f"/v1/datasets/{api.dataset()}/uploads", upload, upload | {"filename": "b"}),
        ("/v1/jobs", train, train | {"name": "x"}),
        ("/v1/jobs", generate, generate | {"count": 6}),
        ("/v1/jobs", augment, augment | {"count": 6}),
    ]


def test_a_repeated_request_gets_the_same_answer_and_makes_nothing(api: Api) -> None:
    for number, (path, body, other) in enumerate(cases(api)):
        headers = {"Idempotency-Key": f"key-{number}"}
        first = api.http.post(path, json=body, headers=headers)
        again = api.http.post(path, json=body, headers=headers)
        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        refused(api.http.post(path, json=other, headers=headers), 409, "idempotency_key_reused")
    bucket = api.context.storage
    open_uploads = bucket.client.list_multipart_uploads(Bucket=bucket.bucket, Prefix=f"projects/{api.project}/")
    assert len(open_uploads.get("Uploads", [])) == 1


def test_without_a_key_a_repeated_request_makes_two(lite: Api) -> None:
    assert lite.dataset() != lite.dataset()


def test_requests_at_the_same_time_create_once(api: Api) -> None:
    body = {"kind": "train", "dataset_id": api.ready()}

    def send(_: int) -> Any:
        return api.client(api.key).post("/v1/jobs", json=body, headers=KEY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    with api.context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job).where(Job.kind == "train")) == 1
        assert session.scalar(select(func.count()).select_from(Unit).where(Unit.kind == "train")) == 1


def test_a_refused_request_is_not_remembered_and_may_be_corrected(api: Api) -> None:
    dataset_id = api.dataset()
    body = {"kind": "train", "dataset_id": dataset_id}
    refused(api.http.post("/v1/jobs", json=body, headers=KEY), 409, "dataset_not_ready")
    refused(api.http.post("/v1/jobs", json=body | {"x": 1}, headers=KEY), 422, "invalid_request")
    job_id = api.http.put(f"/v1/datasets/{dataset_id}/content", content=b"a\n1\n").json()["job_id"]
    api.work(job_id)
    assert api.http.post("/v1/jobs", json=body, headers=KEY).status_code == 201


def test_a_key_belongs_to_its_project(api: Api) -> None:
    mine = api.http.post("/v1/datasets", json={"name": "a"}, headers=KEY)
    theirs = api.stranger().post("/v1/datasets", json={"name": "a"}, headers=KEY)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


def test_a_key_that_is_none_is_refused(lite: Api) -> None:
    for key in ("", "x" * 256, "two words", "tab\tkey"):
        answer = lite.http.post("/v1/datasets", json={"name": "a"}, headers={"Idempotency-Key": key})
        problem = refused(answer, 422, "invalid_request")
        assert problem["errors"][0]["path"] == "idempotency-key"

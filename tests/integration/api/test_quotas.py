"""What a project may have: too many jobs or bytes are refused with the figures, and what ends or goes makes room."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service import admin
from service.usecases import quotas, units
from tests.integration.api.conftest import SHARD, Api, refused

UPLOAD = b"age,income\n39,<=50K\n"


def run_admin(api: Api, *arguments: str) -> str:
    return admin.run(api.context, admin.parser().parse_args(arguments))


def test_jobs_over_the_quota_are_refused_until_one_ends(api: Api) -> None:
    model = api.model()
    quotas.change(api.context, api.project, {"quota_jobs": 2})
    body = {"kind": "generate", "model_id": model, "count": 5, "format": "csv"}
    first, _ = api.submit(**body), api.submit(**body)
    answer = api.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    problem = refused(answer, 429, "quota_exceeded")
    assert problem["detail"] == "2 jobs of this project wait or run, and it may have 2. Wait for one to end."
    assert answer.headers["retry-after"] == "30"
    refused(api.http.put(f"/v1/datasets/{api.dataset()}/content", content=UPLOAD), 429, "quota_exceeded")
    assert api.get("/v1/usage")["jobs"] == {"used": 2, "limit": 2}
    api.work(first["id"])
    assert api.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).status_code == 201
    stranger = api.stranger().get("/v1/usage").json()
    assert stranger["jobs"] == {"used": 0, "limit": api.context.settings.quota_jobs}


def test_of_many_that_submit_at_once_no_more_get_in_than_may(api: Api) -> None:
    model = api.model()
    quotas.change(api.context, api.project, {"quota_jobs": 3})
    body = {"kind": "generate", "model_id": model, "count": 5, "format": "csv"}
    with ThreadPoolExecutor(12) as pool:
        codes = sorted(pool.map(lambda _: api.http.post("/v1/jobs", json=body).status_code, range(12)))
    assert codes == [201] * 3 + [429] * 9


def test_bytes_over_the_quota_are_refused_until_something_is_deleted(api: Api) -> None:
    dataset = api.ready()
    size = len(UPLOAD) + 1  # and the part that was read from it
    assert api.get("/v1/usage")["bytes"]["used"] == size
    quotas.change(api.context, api.project, {"quota_bytes": size + 5})
    empty = api.dataset()
    answer = api.http.put(f"/v1/datasets/{empty}/content", content=UPLOAD)
    problem = refused(answer, 429, "quota_exceeded")
    assert f"keeps {size} bytes, this upload has {len(UPLOAD)}, and it may keep {size + 5}" in problem["detail"]
    assert answer.headers["retry-after"] == "3600"
    asked = {"filename": "a.csv", "size_bytes": 6}
    refused(api.http.post(f"/v1/datasets/{empty}/uploads", json=asked), 429, "quota_exceeded")
    quotas.change(api.context, api.project, {"quota_bytes": size})
    body = {"kind": "train", "dataset_id": dataset, "config": {"preset": "draft"}}
    refused(api.http.post("/v1/jobs", json=body), 429, "quota_exceeded")
    assert api.http.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert api.http.put(f"/v1/datasets/{empty}/content", content=UPLOAD).status_code == 202


def test_models_and_outputs_count_as_they_are_made_and_not_once_they_are_spoilt(lite: Api) -> None:
    model = lite.model()
    before = lite.get("/v1/usage")["bytes"]["used"]
    assert before == len(UPLOAD) + 1 + 7
    body = {"kind": "generate", "model_id": model, "count": 2_000_000, "format": "csv"}
    done, spoilt = lite.submit(**body), lite.submit(**body)
    lite.work(done["id"])
    assert lite.get("/v1/usage")["bytes"]["used"] == before + 2 * len(SHARD)
    claimed = lite.claim(spoilt["id"])
    lite.context.storage.put(claimed.payload["key"], SHARD)

    assert units.finish(lite.context, claimed.unit_id, claimed.attempt, lite.result(claimed))
    assert lite.get("/v1/usage")["bytes"]["used"] == before + 3 * len(SHARD)
    assert lite.http.post(f"/v1/jobs/{spoilt['id']}/cancel").status_code == 202
    assert lite.get("/v1/usage")["bytes"]["used"] == before + 2 * len(SHARD)


def test_an_operator_says_what_a_project_may_have(lite: Api) -> None:
    said = run_admin(lite, "set-quota", lite.project, "--jobs", "5", "--gpu-units", "2")
    assert said.splitlines() == ["jobs: 0 of 5", "bytes: 0 of 1,099,511,627,776", "gpu units: 0 of 2"]
    assert lite.get("/v1/usage")["gpu_units"] == {"used": 0, "limit": 2}
    run_admin(lite, "set-quota", lite.project, "--jobs", "default")
    assert lite.get("/v1/usage")["jobs"]["limit"] == lite.context.settings.quota_jobs
    with pytest.raises(ValueError, match="whole number"):
        run_admin(lite, "set-quota", lite.project, "--jobs", "few")


def test_a_job_says_its_priority_and_knows_no_other_than_three(lite: Api) -> None:
    model = lite.model()
    body = {"kind": "generate", "model_id": model, "count": 5, "format": "csv"}
    assert lite.submit(**body)["priority"] == "normal"
    job = lite.submit(**body, priority="high")
    assert lite.get(f"/v1/jobs/{job['id']}")["priority"] == "high"
    problem = refused(lite.http.post("/v1/jobs", json=body | {"priority": "urgent"}), 422, "invalid_request")
    assert problem["errors"][0]["path"] == "priority"

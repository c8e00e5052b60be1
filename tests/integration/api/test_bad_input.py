"""What users get wrong: each gives a 4xx with a stable code and a sentence, and changes nothing."""

from typing import Any

import pytest

from service.domain.ids import new_id
from tests.integration.api.conftest import Api, refused

DATASETS: list[tuple[Any, str]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": "   "}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": 5}, "name"),
    ({"name": None}, "name"),
    ({"name": "a", "colour": "red"}, "colour"),
    ({"name": "a", "modality": "smells"}, "modality"),
    ({"name": "a", "modality": ["table"]}, "modality"),
    ({"name": "a", "modality": "table", "options": {"smell": 1}}, "options.smell"),
    ({"name": "a", "modality": "table", "options": {"delimiter": ";;"}}, "options.delimiter"),
    ({"name": "a", "options": {"smell": 1}}, "options"),
    ({"name": "a", "options": []}, "options"),
]


def test_a_dataset_that_makes_no_sense_is_refused(lite: Api, subtests: pytest.Subtests) -> None:
    for body, path in DATASETS:
        with subtests.test(body=body):
            problem = refused(lite.http.post("/v1/datasets", json=body), 422, "invalid_request")
            assert path in [error["path"] for error in problem["errors"]]
    assert lite.get("/v1/datasets")["data"] == []


def test_text_that_no_database_can_hold_is_refused(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (r'{"name": "a\u0000b"}', r'{"name": "\ud800"}', r'{"name": "a", "options": {"\u0000": "a"}}'):
        refused(api.http.post("/v1/datasets", content=body, headers=headers), 422, "invalid_request")


BODIES = [
        b"{", b"", b"null", b"[]", b'"name"', b"\xff\xfe", b'{"name": "a", "options": {"x": NaN}}', b"[" * 100_000,
        b'{"name": "a", "options": {"x": 1e999}}', b'{"name": "a", "options": {"x": %s}}' % (b"9" * 400),
        b'{"name": "a", "options": ' + b'{"x":' * 50 + b"1" + b"}" * 51,
]  # fmt: skip


def test_a_body_that_is_no_json_object_is_refused(lite: Api, subtests: pytest.Subtests) -> None:
    for body in BODIES:
        with subtests.test(body=body[:40]):
            answer = lite.http.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 422), answer.text
            refused(answer, answer.status_code, "invalid_request" if answer.status_code == 422 else "bad_request")


def test_a_body_without_its_content_type_is_refused(lite: Api) -> None:
    answer = lite.http.post("/v1/datasets", content=b'{"name": "a"}', headers={"Content-Type": "text/plain"})
    refused(answer, 422, "invalid_request")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_json_body_over_the_limit_is_refused(lite: Api, chunked: bool) -> None:
    whole = b'{"name": "' + b"x" * (lite.context.settings.max_body_bytes + 1) + b'"}'
    content: Any = iter([whole[: len(whole) // 2], whole[len(whole) // 2 :]]) if chunked else whole
    answer = lite.http.post("/v1/datasets", content=content, headers={"Content-Type": "application/json"})
    refused(answer, 413, "body_too_large")


JOBS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"kind": "evaluation"}, ""),
    ({"kind": "ingest", "dataset_id": "ds_x"}, ""),
    ({"kind": "train"}, "dataset_id"),
    ({"kind": "train", "dataset_id": 7}, "dataset_id"),
    ({"kind": "train", "dataset_id": "DATASET", "count": 3}, "count"),
    ({"kind": "train", "dataset_id": "DATASET", "config": "draft"}, "config"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"preset": "fast"}}, "config.preset"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"steps": 0}}, "config.steps"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"steps": "10"}}, "config.steps"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"seed": -1}}, "config.seed"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"gpus": 0}}, "config.gpus"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"gpus": 9}}, "config.gpus"),
    ({"kind": "train", "dataset_id": "DATASET", "config": {"gpus": 2}}, "config.gpus"),  # of a table
    ({"kind": "train", "dataset_id": "DATASET", "config": {"smell": 1}}, "config.smell"),
    ({"kind": "generate", "count": 5}, "model_id"),
    ({"kind": "generate", "model_id": "MODEL"}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": 0}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": -1}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": 10**12}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": 10**30}, ""),
    ({"kind": "generate", "model_id": "MODEL", "count": 1.5}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": "10"}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": True}, "count"),
    ({"kind": "generate", "model_id": "MODEL", "count": 5, "seed": -1}, "seed"),
    ({"kind": "generate", "model_id": "MODEL", "count": 5, "seed": 2**63}, "seed"),
    ({"kind": "generate", "model_id": "MODEL", "count": 5, "format": "xls"}, "format"),
    ({"kind": "generate", "model_id": "MODEL", "count": 5, "conditions": ["income"]}, "conditions"),
    ({"kind": "generate", "model_id": "MODEL", "count": 5, "config": {}}, "config"),
]


def test_a_job_that_makes_no_sense_is_refused(lite: Api, subtests: pytest.Subtests) -> None:
    model_id = lite.model()
    ids = {"MODEL": model_id, "DATASET": lite.get(f"/v1/models/{model_id}")["dataset_id"]}
    before = lite.get("/v1/jobs")["data"]
    for body, path in JOBS:
        with subtests.test(body=body):
            filled = {name: ids.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
            problem = refused(lite.http.post("/v1/jobs", json=filled), 422, "invalid_request")
            assert path in [error["path"] for error in problem["errors"]]
    assert lite.get("/v1/jobs")["data"] == before


def test_a_condition_that_no_sample_can_meet_is_refused(lite: Api) -> None:
    body = {"kind": "generate", "model_id": lite.model(), "count": 5}
    for conditions in ({"smell": "good"}, {"income": "a lot"}, {"age": "old"}):
        answer = lite.http.post("/v1/jobs", json=body | {"conditions": conditions})
        problem = refused(answer, 422, "invalid_condition")
        assert problem["errors"][0]["path"] == f"conditions.{next(iter(conditions))}"


def test_training_on_a_dataset_that_is_not_ready_is_refused(api: Api) -> None:
    for dataset_id in (api.dataset(), api.uploaded()["id"]):
        body = {"kind": "train", "dataset_id": dataset_id}
        refused(api.http.post("/v1/jobs", json=body), 409, "dataset_not_ready")


def test_generating_from_a_model_that_is_not_ready_is_refused(api: Api) -> None:
    job = api.submit(kind="train", dataset_id=api.ready())
    body = {"kind": "generate", "model_id": job["model_id"], "count": 5}
    refused(api.http.post("/v1/jobs", json=body), 409, "model_not_ready")
    refused(api.http.get(f"/v1/models/{job['model_id']}/samples"), 409, "model_not_ready")
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    problem = refused(api.http.post("/v1/jobs", json=body), 409, "model_not_ready")
    assert "failed" in problem["detail"]


PATHS = [
    "/v1/datasets/{ds}", "/v1/datasets/{ds}/uploads/{up}", "/v1/jobs/{job}", "/v1/jobs/{job}/events",
    "/v1/jobs/{job}/metrics", "/v1/jobs/{job}/output", "/v1/models/{mdl}", "/v1/models/{mdl}/report",
    "/v1/models/{mdl}/report.html", "/v1/models/{mdl}/samples", "/v1/datasets/x", "/v1/datasets/a%00b",
    "/v1/datasets/%ff", "/v1/jobs/" + 5000 * "j", "/v2", "/v1/nothing", "/v1/jobs/",
]  # fmt: skip


def test_unknown_ids_and_addresses_are_not_found(api: Api, subtests: pytest.Subtests) -> None:
    ids = {name: new_id(name) for name in ("ds", "up", "job", "mdl")}
    for path in PATHS:
        with subtests.test(path=path[:60]):
            refused(api.http.get(path.format(**ids)), 404, "not_found")


def test_unknown_ids_in_bodies_are_not_found(api: Api) -> None:
    for unknown in (new_id("ds"), "people"):
        refused(api.http.post("/v1/jobs", json={"kind": "train", "dataset_id": unknown}), 404, "not_found")
    body = {"kind": "generate", "model_id": new_id("mdl"), "count": 5}
    refused(api.http.post("/v1/jobs", json=body), 404, "not_found")


QUERIES = [
    "limit=0", "limit=101", "limit=x", "cursor=x", "cursor=%00", "cursor=ds_'; drop table datasets;--", "page=2",
    "state=asleep", "kind=preview",
]  # fmt: skip


def test_a_query_that_makes_no_sense_is_refused(lite: Api, subtests: pytest.Subtests) -> None:
    for query in QUERIES:
        with subtests.test(query=query):
            problem = refused(lite.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")
            assert problem["errors"][0]["path"] == query.split("=")[0]


def test_a_method_that_an_address_does_not_take_is_refused(lite: Api) -> None:
    answer = lite.http.put("/v1/jobs")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


def test_every_code_leads_to_a_page_that_explains_it(lite: Api) -> None:
    answer = lite.http.get("/v1/jobs?limit=0").json()
    page = lite.http.get(answer["type"])
    assert page.status_code == 200
    assert "invalid_request" in page.text
    refused(lite.http.get("/problems/<script>"), 404, "not_found")


def test_the_request_id_of_a_caller_is_kept_if_it_is_harmless(lite: Api) -> None:
    assert lite.http.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert lite.http.get("/healthz", headers={"X-Request-Id": "a b\t<c>"}).headers["x-request-id"].startswith("req_")

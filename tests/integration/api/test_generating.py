"""What can be asked of a model: conditions of every form, and given rows that it completes."""

from typing import Any

import pytest

from service.domain.ids import new_id
from service.usecases import units
from tests.integration.api.conftest import SCHEMA, Api, refused

MET: list[dict[str, Any]] = [
    {"income": ">50K"},
    {"income": {">50K": 0.5, "<=50K": 0.5}},
    {"income": {"share": [[">50K", 1]]}},
    {"income": {"in": [">50K", "<=50K"]}, "age": {"min": 18, "below": 65}},
    {"age": {"share": {"20": 0.1, "30": 0.9}}},
]
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"income": {">50K": 0.5, "<=50K": 0.4}}, ["conditions.income"]),
    ({"income": {"min": 1}, "age": {"min": 60, "max": 20}}, ["conditions.income", "conditions.age"]),
    ({"income": {"in": [{"in": []}]}}, ["conditions.income"]),
    ({"income": [[]], "age": {"a": {"b": {}}}, "": None}, ["conditions.income", "conditions.age", "conditions."]),
]


def read(lite: Api, **changed: Any) -> str:
    """A dataset as a worker has read it, with some of it changed."""
    found = lite.uploaded()
    claimed = lite.claim(found["job_id"])
    assert units.finish(lite.context, claimed.unit_id, claimed.attempt, lite.result(claimed) | changed)
    return str(found["id"])


def generate(lite: Api, model_id: str, **body: Any) -> Any:
    return lite.http.post("/v1/jobs", json={"kind": "generate", "model_id": model_id} | body)


def test_conditions_reach_the_worker_as_they_were_sent(lite: Api, subtests: pytest.Subtests) -> None:
    model_id = lite.model()
    for conditions in MET:
        with subtests.test(conditions=conditions):
            job = lite.submit(kind="generate", model_id=model_id, count=5, conditions=conditions)
            assert job["spec"]["conditions"] == conditions
            payload = lite.claim(job["id"]).payload
            assert (payload["conditions"], payload["given"]) == (conditions, None)


def test_every_condition_that_cannot_be_met_has_its_own_error(lite: Api, subtests: pytest.Subtests) -> None:
    model_id = lite.model()
    for conditions, paths in REFUSED:
        with subtests.test(conditions=conditions):
            problem = refused(generate(lite, model_id, count=5, conditions=conditions), 422, "invalid_condition")
            assert [error["path"] for error in problem["errors"]] == paths


def test_given_rows_are_counted_and_handed_to_the_worker_with_their_upload(api: Api) -> None:
    model_id, given = api.model(), read(api, rows=1_500_000)
    job = api.submit(kind="generate", model_id=model_id, given=given, copies=2, conditions={"age": 30})
    assert job["dataset_id"] == given
    assert {name: job["spec"][name] for name in ("given", "copies", "count")} == {
        "given": given, "copies": 2, "count": 3_000_000,
    }  # fmt: skip
    shards = [api.claim(job["id"]).payload for _ in range(3)]
    assert [(shard["start"], shard["count"]) for shard in shards] == [(i * 10**6, 10**6) for i in range(3)]
    for shard in shards:
        assert shard["given"]["copies"] == 2
        assert api.context.storage.get(shard["given"]["key"]) == b"age,income\n39,<=50K\n"
        assert shard["given"]["options"] == {}


def test_a_count_takes_the_first_of_the_given_rows(lite: Api) -> None:
    model_id, given = lite.model(), read(lite, rows=100)
    assert lite.submit(kind="generate", model_id=model_id, given=given)["spec"]["count"] == 100
    assert lite.submit(kind="generate", model_id=model_id, given=given, count=7)["spec"]["count"] == 7
    for body, path in (
        ({"given": given, "count": 101}, "count"),
        ({"given": given, "copies": 0}, "copies"),
        ({"given": given, "copies": 1_000_000, "count": 10**12}, "count"),
        ({"given": given, "count": 0}, "count"),
        ({"given": 7}, "given"),
        ({"count": 5, "copies": 2}, "copies"),
        ({}, "count"),
    ):
        problem = refused(generate(lite, model_id, **body), 422, "invalid_request")
        assert path in [error["path"] for error in problem["errors"]]


def test_more_completions_than_a_job_may_make_are_refused(lite: Api) -> None:
    given = read(lite, rows=lite.context.settings.max_count)
    problem = refused(generate(lite, lite.model(), given=given, copies=2), 422, "invalid_request")
    assert problem["errors"][0]["path"] == "copies"


def test_rows_that_the_model_cannot_complete_are_refused(lite: Api) -> None:
    model_id = lite.model()
    columns = [*SCHEMA["columns"], {"name": "smell", "type": "text", "nullable": False}]
    for changed, said in (
        ({"schema": SCHEMA | {"columns": columns}}, "'smell'"),
        ({"modality": "images", "schema": {"modality": "images", "classes": None}}, "no tables"),
    ):
        problem = refused(generate(lite, model_id, given=read(lite, **changed)), 422, "invalid_request")
        assert problem["errors"][0]["path"] == "given"
        assert said in problem["detail"]


def test_given_rows_must_be_there_be_read_and_be_ones_own(api: Api) -> None:
    model_id = api.model()
    refused(generate(api, model_id, given=new_id("ds")), 404, "not_found")
    for unread in (api.dataset(), api.uploaded()["id"]):
        refused(generate(api, model_id, given=unread), 409, "dataset_not_ready")
    other = api.stranger().post("/v1/datasets", json={"name": "theirs"}).json()["id"]
    refused(generate(api, model_id, given=other), 404, "not_found")


def test_given_rows_are_in_use_until_the_job_has_ended(api: Api) -> None:
    model_id, given = api.model(), api.ready()
    job = api.submit(kind="generate", model_id=model_id, given=given)
    refused(api.http.delete(f"/v1/datasets/{given}"), 409, "in_use")
    refused(api.http.patch(f"/v1/datasets/{given}", json={"options": {"delimiter": ";"}}), 409, "in_use")
    api.work(job["id"])
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "succeeded"
    assert api.http.delete(f"/v1/datasets/{given}").status_code == 204


def test_tables_are_completed_and_pictures_projected(lite: Api) -> None:
    found = {one["name"]: one["completes"] for one in lite.get("/v1/modalities")["data"]}
    assert found == {"table": True, "images": True}


def test_long_conditions_are_shown_with_their_job_and_left_out_of_lists(lite: Api) -> None:
    model_id = lite.model()
    conditions = {"age": {"in": list(range(1_000))}}
    job = lite.submit(kind="generate", model_id=model_id, count=5, conditions=conditions)
    assert lite.get(f"/v1/jobs/{job['id']}")["spec"]["conditions"] == conditions
    [listed] = lite.get("/v1/jobs?kind=generate")["data"]
    assert "conditions" not in listed["spec"]
    assert listed["spec"]["left_out"] == ["conditions"]
    assert listed["spec"]["count"] == 5

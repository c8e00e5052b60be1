"""Rules in a training's config, judged when it is submitted."""

from typing import Any

import pytest
from sqlalchemy import text

from service.usecases import jobs
from tests.integration.api.conftest import Api, refused


def test_a_rule_that_the_schema_cannot_keep_is_refused_by_its_path(lite: Api) -> None:
    good = {"kind": "range", "column": "age", "minimum": 0}
    body = {
        "kind": "train",
        "dataset_id": lite.ready(),
        "config": {"constraints": [good, {"kind": "positive", "column": "income"}]},
    }
    answer = lite.http.post("/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    (error,) = problem["errors"]
    assert error["path"] == "config.constraints[1]"
    assert "takes a number" in error["message"]


def test_rules_that_contradict_each_other_are_refused(lite: Api) -> None:
    rules = [{"kind": "range", "column": "age", "maximum": 10}, {"kind": "expression", "expression": "age >= 20"}]
    body = {"kind": "train", "dataset_id": lite.ready(), "config": {"constraints": rules}}
    answer = lite.http.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert "'age <= 10'" in answer.json()["detail"]


def test_what_is_no_rule_is_refused(lite: Api) -> None:
    for rule in ({"kind": "magic"}, {"kind": "positive"}, 7, {"kind": "expression", "expression": "__import__('os')"}):
        body = {"kind": "train", "dataset_id": lite.ready(), "config": {"constraints": [rule]}}
        answer = lite.http.post("/v1/jobs", json=body)
        assert answer.status_code == 422, rule
        assert all(error["path"].startswith("config.constraints") for error in answer.json()["errors"])


def test_a_rule_that_can_be_kept_is_in_the_jobs_config(lite: Api) -> None:
    rule = {"kind": "range", "column": "age", "minimum": 0}
    job = lite.submit(kind="train", dataset_id=lite.ready(), config={"constraints": [rule]})
    assert job["spec"]["config"]["constraints"] == [rule | {"maximum": None, "strict": False}]


def test_numbers_and_times_beyond_all_measure_are_refused(lite: Api) -> None:
    for rule in (
        {"kind": "range", "column": "age", "minimum": 10**400},
        {"kind": "expression", "expression": "age < date('9999-12-31T23:59:59-23:59')"},
    ):
        body = {"kind": "train", "dataset_id": lite.ready(), "config": {"constraints": [rule]}}
        refused(lite.http.post("/v1/jobs", json=body), 422, "invalid_request")


@pytest.mark.parametrize("wish", [{"kind": "train"}, {"kind": "augment", "target": "income"}])
def test_others_can_write_while_rules_are_judged(
    lite: Api, monkeypatch: pytest.MonkeyPatch, wish: dict[str, str]
) -> None:
    judge, written = jobs.resolve_config, list[bool]()

    def watched(*args: Any) -> dict[str, Any]:
        with lite.context.database.begin() as session:  # waits, and fails, where the request holds the database
            session.execute(text("UPDATE datasets SET name = name"))
        written.append(True)
        return judge(*args)

    monkeypatch.setattr(jobs, "resolve_config", watched)
    lite.submit(**wish, dataset_id=lite.ready(), config={})
    assert written == [True]


def test_a_repeated_request_is_answered_though_its_dataset_is_gone(lite: Api) -> None:
    dataset_id, headers = lite.ready(), {"Idempotency-Key": "once"}
    body = {"kind": "train", "dataset_id": dataset_id}
    first = lite.http.post("/v1/jobs", json=body, headers=headers)
    assert lite.http.post(f"/v1/jobs/{first.json()['id']}/cancel").status_code == 202
    assert lite.http.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    again = lite.http.post("/v1/jobs", json=body, headers=headers)
    assert again.json() == first.json()


RICH = {"kind": "expression", "expression": "age >= 30 or income == '<=50K'"}


def test_conditions_that_contradict_a_models_rules_are_refused_by_the_rules_name(lite: Api) -> None:
    job = lite.submit(kind="train", dataset_id=lite.ready(), config={"constraints": [RICH]})
    lite.work(job["id"])
    body = {"kind": "generate", "model_id": job["model_id"], "count": 5}
    for conditions in (
        {"age": 20, "income": ">50K"},
        {"age": {"max": 29}, "income": {">50K": 0.5, "<=50K": 0.5}},
    ):
        problem = refused(lite.http.post("/v1/jobs", json=body | {"conditions": conditions}), 422, "invalid_condition")
        assert RICH["expression"] in problem["detail"]
        assert problem["errors"][0]["path"] in ("conditions.age", "conditions.income")
    lite.submit(**body, conditions={"age": 20})


def test_a_target_whose_classes_a_rule_forbids_is_refused_with_a_model_and_without(lite: Api) -> None:
    dataset_id, rule = lite.ready(), {"kind": "expression", "expression": "income == '<=50K'"}
    job = lite.submit(kind="train", dataset_id=dataset_id, config={"constraints": [rule]})
    lite.work(job["id"])
    wish = {"kind": "augment", "dataset_id": dataset_id, "target": "income"}
    for more in ({"config": {"constraints": [rule]}}, {"model_id": job["model_id"]}):
        problem = refused(lite.http.post("/v1/jobs", json=wish | more), 422, "invalid_request")
        assert [error["path"] for error in problem["errors"]] == ["target"]
        assert rule["expression"] in problem["detail"]
        assert ">50K" in problem["detail"]

"""Rules in a training's config, judged when it is submitted."""

from tests.integration.api.conftest import Api


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

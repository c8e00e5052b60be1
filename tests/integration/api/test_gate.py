"""Gates over HTTP: models that are marked, jobs that are refused, and what an explicit override leaves behind."""

from typing import Any

import pytest

from service.usecases import units
from tests.integration.api.conftest import Api, refused

GOOD = {"c2st_auc": 0.6, "dcr_share": 0.5, "shape": 0.95, "trend": 0.9}
BAD = GOOD | {"c2st_auc": 0.83}
REQUIRE = {"c2st_auc": {"max": 0.7}}
FAILED = [{"figure": "c2st_auc", "value": 0.83, "min": None, "max": 0.7}]
SENTENCE = "c2st_auc is 0.83, at most 0.7 was required."


def planted(api: Api, job_id: str, report: dict[str, Any]) -> None:
    """Do the training with this report."""
    claimed = api.claim(job_id)
    assert claimed.kind == "train"
    assert "require" not in claimed.payload["config"]
    assert units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed) | {"report": report})


def trained(api: Api, report: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A model with this report, as the API shows it."""
    job = api.submit(kind="train", dataset_id=api.ready(), **body)
    planted(api, job["id"], report)
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "succeeded"
    return api.get(f"/v1/models/{job['model_id']}")


def asked(api: Api, model: dict[str, Any], **body: Any) -> Any:
    return api.http.post("/v1/jobs", json={"kind": "generate", "model_id": model["id"], "count": 5} | body)


def events(api: Api, job_id: str) -> list[tuple[str, str]]:
    return [(one["level"], one["message"]) for one in api.get(f"/v1/jobs/{job_id}/events")["data"]]


def test_a_model_that_passes_its_gate_says_so_and_generates(api: Api) -> None:
    job = api.submit(kind="train", dataset_id=api.ready(), require=REQUIRE)
    assert job["spec"]["require"] == REQUIRE
    waits = api.get(f"/v1/models/{job['model_id']}")
    assert waits["gate"] == {"require": REQUIRE, "passed": None, "failed": [], "missing": []}
    planted(api, job["id"], GOOD)
    model = api.get(f"/v1/models/{job['model_id']}")
    assert model["gate"] == {"require": REQUIRE, "passed": True, "failed": [], "missing": []}
    assert "require" not in model["config"]
    assert not [one for one in events(api, job["id"]) if one[0] == "warning"]
    made = asked(api, model).json()
    assert made["spec"]["gate"]["passed"] is True
    api.work(made["id"])
    manifest = api.get(f"/v1/jobs/{made['id']}/output")
    assert manifest["gate"] == made["spec"]["gate"]
    assert "override" not in manifest["gate"]


def test_a_model_that_fails_its_gate_is_kept_marked_and_refused(api: Api) -> None:
    model = trained(api, BAD, require=REQUIRE)
    assert model["status"] == "ready"
    assert model["gate"] == {"require": REQUIRE, "passed": False, "failed": FAILED, "missing": []}
    assert [one["gate"] for one in api.get("/v1/models")["data"]] == [model["gate"]]
    assert ("warning", f"The model is kept and fails its gate. {SENTENCE}") in events(api, model["job_id"])
    problem = refused(asked(api, model), 409, "gate_failed")
    assert problem["errors"] == [{"path": "require.c2st_auc", "message": SENTENCE}]
    augment = {"kind": "augment", "dataset_id": model["dataset_id"], "model_id": model["id"], "target": "income"}
    refused(api.http.post("/v1/jobs", json=augment), 409, "gate_failed")
    kinds = {one["kind"] for one in api.get("/v1/jobs")["data"]}
    assert kinds == {"ingest", "train"}
    assert api.http.get(f"/v1/models/{model['id']}/report").status_code == 200


@pytest.mark.parametrize("value", [None, "absent", "high"])
def test_a_figure_that_the_report_lacks_fails_the_gate_and_is_said_as_missing(api: Api, value: str | None) -> None:
    report = {name: figure for name, figure in GOOD.items() if name != "dcr_share"}
    model = trained(
        api, report if value == "absent" else report | {"dcr_share": value}, require={"dcr_share": {"max": 1}}
    )
    assert (model["gate"]["passed"], model["gate"]["failed"], model["gate"]["missing"]) == (False, [], ["dcr_share"])
    problem = refused(asked(api, model), 409, "gate_failed")
    assert problem["errors"][0]["path"] == "require.dcr_share"
    assert "does not have it" in problem["detail"]


def test_a_job_may_require_more_than_its_model(lite: Api) -> None:
    model = trained(lite, GOOD, require=REQUIRE)
    refused(asked(lite, model, require={"c2st_auc": {"max": 0.55}, "shape": {"min": 0.99}}), 409, "gate_failed")
    ungated = trained(lite, GOOD)
    assert ungated["gate"] is None
    problem = refused(
        asked(lite, ungated, require={"c2st_auc": {"max": 0.55}, "shape": {"min": 0.99}}), 409, "gate_failed"
    )
    assert [error["path"] for error in problem["errors"]] == ["require.c2st_auc", "require.shape"]
    assert problem["detail"].count("was required.") == 2
    assert asked(lite, ungated, require={"shape": {"min": 0.9}}).status_code == 201
    assert "gate" not in asked(lite, ungated).json()["spec"]
    assert refused(asked(lite, model, require={"c2st_auc": {"max": 0.99}, "trend": {"min": 1}}), 409, "gate_failed")


def test_an_override_is_logged_with_who_and_why_and_stands_in_spec_and_manifest(api: Api) -> None:
    model = trained(api, BAD, require=REQUIRE)
    job = asked(api, model, override_gate=True, reason="A demo.").json()
    override = {"key": "first", "reason": "A demo."}
    told = {"require": REQUIRE, "passed": False, "failed": [{"figure": "c2st_auc", "value": 0.83, "max": 0.7}]}
    assert job["spec"]["gate"] == told | {"missing": [], "override": override}
    assert ("warning", f"The gate was overridden by key first: A demo. {SENTENCE}") in events(api, job["id"])
    api.work(job["id"])
    assert api.get(f"/v1/jobs/{job['id']}/output")["gate"] == job["spec"]["gate"]
    without = asked(api, model, override_gate=True).json()
    assert ("warning", f"The gate was overridden by key first. {SENTENCE}") in events(api, without["id"])


def test_an_override_of_a_gate_that_passes_warns_of_nothing(lite: Api) -> None:
    job = asked(lite, trained(lite, GOOD, require=REQUIRE), override_gate=True).json()
    assert job["spec"]["gate"]["passed"] is True
    assert not [one for one in events(lite, job["id"]) if one[0] == "warning"]


def test_outputs_that_exist_are_still_downloaded(lite: Api) -> None:
    model = trained(lite, BAD, require=REQUIRE)
    job = asked(lite, model, override_gate=True).json()
    lite.work(job["id"])
    refused(asked(lite, model), 409, "gate_failed")
    assert lite.get(f"/v1/jobs/{job['id']}/output")["count"] == 5


@pytest.mark.parametrize("reported", [BAD, {"shape": 0.9}])
def test_an_augmentation_ends_after_its_training_where_the_gate_fails_and_the_model_stays(
    api: Api, reported: dict[str, Any]
) -> None:
    job = api.submit(kind="augment", dataset_id=api.ready(), target="income", require=REQUIRE)
    assert job["spec"]["gate"] == {"require": REQUIRE, "passed": None, "failed": [], "missing": []}
    planted(api, job["id"], reported)
    ended = api.get(f"/v1/jobs/{job['id']}")
    assert (ended["state"], ended["error"]["code"], ended["retry_until"]) == ("failed", "gate_failed", None)
    assert ("0.83" in ended["error"]["message"]) == (reported is BAD)
    assert "c2st_auc" in ended["error"]["message"]
    model = api.get(f"/v1/models/{job['model_id']}")
    assert (model["status"], model["gate"]["passed"]) == ("ready", False)
    assert api.context.storage.get(f"projects/{api.project}/models/{model['id']}/a1/generator.safetensors")
    refused(api.http.post(f"/v1/jobs/{job['id']}/retry"), 409, "not_retryable")
    again = {"kind": "augment", "dataset_id": job["dataset_id"], "model_id": model["id"], "target": "income"}
    refused(api.http.post("/v1/jobs", json=again), 409, "gate_failed")
    assert api.submit(**again, override_gate=True)["spec"]["gate"]["override"] == {"key": "first", "reason": None}


@pytest.mark.parametrize("report", [GOOD, BAD])
def test_an_augmentation_goes_on_where_its_gate_passes_or_is_overridden(api: Api, report: dict[str, Any]) -> None:
    wish: dict[str, Any] = {"override_gate": True, "reason": "Just a try"} if report is BAD else {}
    job = api.submit(kind="augment", dataset_id=api.ready(), target="income", require=REQUIRE, **wish)
    planted(api, job["id"], report)
    claimed = api.claim(job["id"])
    units.finish(api.context, claimed.unit_id, claimed.attempt, api.result(claimed))
    assert api.get(f"/v1/jobs/{job['id']}")["state"] == "succeeded"
    gate = api.get(f"/v1/jobs/{job['id']}/output")["gate"]
    assert (gate["passed"], "override" in gate) == (report is GOOD, report is BAD)
    said = ("warning", f"The gate was overridden by key first: Just a try. {SENTENCE}")
    assert (said in events(api, job["id"])) == (report is BAD)


def test_a_cancelled_augmentation_is_cancelled_whatever_its_gate_says(lite: Api) -> None:
    job = lite.submit(kind="augment", dataset_id=lite.ready(), target="income", require=REQUIRE)
    claimed = lite.claim(job["id"])
    lite.http.post(f"/v1/jobs/{job['id']}/cancel")
    units.finish(lite.context, claimed.unit_id, claimed.attempt, lite.result(claimed) | {"report": BAD})
    assert lite.get(f"/v1/jobs/{job['id']}")["state"] == "cancelled"
    assert lite.get(f"/v1/models/{job['model_id']}")["status"] == "ready"


WRONG: list[tuple[Any, str]] = [
    ({"beauty": {"min": 1}}, "require.beauty"),
    ({"coverage": {"min": 0.8}}, "require.coverage"),  # of pictures
    ({"c2st_auc": {}}, "require.c2st_auc"),
    ({"c2st_auc": {"min": 0.8, "max": 0.7}}, "require.c2st_auc"),
    ({"c2st_auc": {"max": "0.7"}}, "require.c2st_auc.max"),
    ({"c2st_auc": {"max": True}}, "require.c2st_auc.max"),
    ({"c2st_auc": {"most": 0.7}}, "require.c2st_auc.most"),
    ({"c2st_auc": 0.7}, "require.c2st_auc"),
    ([], "require"),
]


def test_what_no_report_has_and_what_is_no_bound_is_refused(lite: Api, subtests: pytest.Subtests) -> None:
    model = trained(lite, GOOD)
    dataset = {"dataset_id": model["dataset_id"]}
    for require, path in WRONG:
        for job in (
            {"kind": "train"} | dataset,
            {"kind": "augment", "target": "income"} | dataset,
            {"kind": "generate", "model_id": model["id"], "count": 1},
        ):
            with subtests.test(require=require, kind=job["kind"]):
                problem = refused(lite.http.post("/v1/jobs", json=job | {"require": require}), 422, "invalid_request")
                assert path in [error["path"] for error in problem["errors"]]
    known = refused(asked(lite, model, require={"beauty": {"min": 1}}), 422, "invalid_request")["detail"]
    assert "c2st_auc, dcr_share, shape, trend" in known
    infinite = (
        b'{"kind": "train", "dataset_id": "%s", "require": {"shape": {"min": 1e999}}}' % dataset["dataset_id"].encode()
    )
    headers = {"Content-Type": "application/json"}
    refused(lite.http.post("/v1/jobs", content=infinite, headers=headers), 422, "invalid_request")
    refused(lite.http.post("/v1/jobs", json={"kind": "train", "override_gate": True} | dataset), 422, "invalid_request")
    assert len(lite.get("/v1/models")["data"]) == 1


def test_the_figures_that_can_be_required_are_listed(lite: Api) -> None:
    figures = {one["name"]: one["figures"] for one in lite.get("/v1/modalities")["data"]}
    assert figures["table"] == ["c2st_auc", "dcr_share", "shape", "trend"]
    assert "coverage" in figures["images"]

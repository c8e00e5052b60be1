"""The whole road over HTTP on both databases: upload, train, generate, download."""

import hashlib

import httpx
import pytest
from sqlalchemy import select

from service.db.tables import Dataset, Trash
from service.usecases import units
from tests.integration.api.conftest import REPORT, SCHEMA, SHARD, Api, refused


def test_an_upload_becomes_a_ready_dataset(api: Api) -> None:
    dataset = api.uploaded(b"age,income\n39,<=50K\n")
    assert dataset["status"] == "ingesting"
    assert (dataset["filename"], dataset["bytes"]) == ("people.csv", 20)
    job = api.get(f"/v1/jobs/{dataset['job_id']}")
    assert (job["kind"], job["state"], job["dataset_id"]) == ("ingest", "queued", dataset["id"])
    assert "key" not in job["spec"]["source"]
    api.work(job["id"])
    ready = api.get(f"/v1/datasets/{dataset['id']}")
    assert (ready["status"], ready["modality"], ready["rows"], ready["schema"]) == ("ready", "table", 1, SCHEMA)
    assert api.get(f"/v1/jobs/{job['id']}")["result"] == {"dataset_id": dataset["id"]}


def test_what_was_uploaded_lies_in_the_bucket_byte_for_byte(api: Api) -> None:
    content = bytes(range(256)) * 1000
    job_id = api.uploaded(content)["job_id"]
    source = api.claim(job_id).payload["source"]
    assert api.context.storage.get(source["key"]) == content
    assert (source["filename"], source["size_bytes"]) == ("people.csv", len(content))


def test_a_training_makes_a_model_with_its_report(api: Api) -> None:
    dataset_id = api.ready()
    job = api.submit(kind="train", dataset_id=dataset_id, name="first", config={"preset": "draft", "steps": 10})
    assert job["spec"]["config"] | {"preset": "draft", "steps": 10, "seed": 0} == job["spec"]["config"]
    model = api.get(f"/v1/models/{job['model_id']}")
    assert (model["name"], model["status"], model["job_id"]) == ("first", "training", job["id"])
    refused(api.http.get(f"/v1/models/{model['id']}/report"), 409, "model_not_ready")
    api.work(job["id"])
    assert api.get(f"/v1/jobs/{job['id']}")["result"] == {"model_id": job["model_id"]}
    model = api.get(f"/v1/models/{job['model_id']}")
    assert model["status"] == "ready"
    assert httpx.get(model["files"][0]["url"]).content == b"weights"
    assert api.get(f"/v1/models/{model['id']}/report") == REPORT


def test_a_report_is_a_page_in_which_nothing_of_the_data_is_markup(lite: Api) -> None:
    page = lite.http.get(f"/v1/models/{lite.model()}/report.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert "&lt;script&gt;" in page.text
    assert "<script" not in page.text
    assert "0.97" in page.text


def test_a_generation_is_downloaded_with_its_checksums(api: Api) -> None:
    job = api.submit(kind="generate", model_id=api.model(), count=10, seed=7, conditions={"income": ">50K"})
    assert job["spec"] == {
        "modality": "table", "count": 10, "seed": 7, "format": "parquet", "conditions": {"income": ">50K"},
    }  # fmt: skip
    refused(api.http.get(f"/v1/jobs/{job['id']}/output"), 409, "job_not_succeeded")
    api.work(job["id"])
    assert api.get(f"/v1/jobs/{job['id']}")["result"] == {"output": {"files": 1, "rows": 10, "bytes": len(SHARD)}}
    output = api.get(f"/v1/jobs/{job['id']}/output")
    assert (output["count"], output["seed"], output["format"]) == (10, 7, "parquet")
    [file] = output["files"]
    body = httpx.get(file["url"]).content
    assert (file["name"], file["bytes"], file["rows"]) == ("part-00000.parquet", len(body), 10)
    assert hashlib.sha256(body).hexdigest() == file["sha256"]


def test_a_presigned_url_says_under_which_name_to_save_and_nobody_else_may_read(lite: Api) -> None:
    [file] = lite.get(f"/v1/jobs/{lite.output()}/output")["files"]
    assert httpx.get(file["url"]).headers["content-disposition"] == 'attachment; filename="part-00000.csv"'
    assert httpx.get(file["url"].split("?")[0]).status_code == 403


def test_an_ingest_job_has_no_output(lite: Api) -> None:
    refused(lite.http.get(f"/v1/jobs/{lite.uploaded()['job_id']}/output"), 404, "not_found")


def test_progress_of_a_training_is_its_workers_own(api: Api) -> None:
    job = api.submit(kind="train", dataset_id=api.ready())
    claimed = api.claim(job["id"])
    told = {"type": "progress", "fraction": 0.25, "step": 5, "steps": 20, "eta_seconds": 9.0, "stage": "training"}
    assert units.report(api.context, claimed.unit_id, claimed.attempt, [told])
    job = api.get(f"/v1/jobs/{job['id']}")
    assert (job["state"], job["attempt"]) == ("running", 1)
    assert job["progress"] == {name: value for name, value in told.items() if name != "type"}
    assert job["started_at"] > job["created_at"]


def test_progress_of_a_generation_adds_up_its_shards(api: Api) -> None:
    job = api.submit(kind="generate", model_id=api.model(), count=4_000_000)
    first = api.claim(job["id"])
    assert (first.payload["start"], first.payload["count"]) == (0, 1_000_000)
    units.finish(api.context, first.unit_id, first.attempt, api.result(first))
    second = api.claim(job["id"])
    told = {"type": "progress", "fraction": 0.5, "step": None, "steps": None, "eta_seconds": None}
    units.report(api.context, second.unit_id, second.attempt, [told])
    progress = api.get(f"/v1/jobs/{job['id']}")["progress"]
    assert (progress["fraction"], progress["step"], progress["steps"]) == (0.375, 1_500_000, 4_000_000)
    assert progress["eta_seconds"] is not None


def test_two_generations_without_a_seed_differ(lite: Api) -> None:
    model_id = lite.model()
    seeds = {lite.submit(kind="generate", model_id=model_id, count=1)["spec"]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_a_failed_job_says_why_and_its_dataset_too(api: Api) -> None:
    dataset = api.uploaded()
    claimed = api.claim(dataset["job_id"])
    units.fail(api.context, claimed.unit_id, claimed.attempt, "no_columns", "The file has no columns.")
    wanted = {"code": "no_columns", "message": "The file has no columns."}
    job = api.get(f"/v1/jobs/{dataset['job_id']}")
    assert (job["state"], job["error"]) == ("failed", wanted)
    dataset = api.get(f"/v1/datasets/{dataset['id']}")
    assert (dataset["status"], dataset["error"]) == ("rejected", wanted)


@pytest.mark.parametrize("body", [{"name": "renamed"}, {"options": {"delimiter": ";"}}])
def test_a_dataset_can_be_renamed_and_read_again_with_other_options(api: Api, body: dict[str, object]) -> None:
    dataset_id = api.ready()
    before = api.get(f"/v1/datasets/{dataset_id}")
    changed = api.http.patch(f"/v1/datasets/{dataset_id}", json=body)
    assert changed.status_code == 200, changed.text
    if "name" in body:
        assert changed.json() == before | body
        return
    assert (changed.json()["status"], changed.json()["rows"]) == ("ingesting", None)
    assert changed.json()["options"]["delimiter"] == ";"
    assert changed.json()["job_id"] != before["job_id"]
    refused(api.http.patch(f"/v1/datasets/{dataset_id}", json=body), 409, "conflict")
    api.work(changed.json()["job_id"])
    assert api.get(f"/v1/datasets/{dataset_id}")["status"] == "ready"
    with api.context.database.read() as session:  # the parts of the reading before go, those of this one stay
        [prefix] = session.scalars(select(Trash.prefix))
        [part] = session.scalars(select(Dataset.parts).where(Dataset.id == dataset_id)).one()
    assert prefix.endswith(f"/{dataset_id}/parts/{before['job_id']}-")
    assert not part["key"].startswith(prefix)


def test_a_schema_override_becomes_an_option_and_is_checked(lite: Api) -> None:
    dataset_id = lite.ready()
    bad = {"schema": {"columns": {"age": {"type": "colour"}}}}
    problem = refused(lite.http.patch(f"/v1/datasets/{dataset_id}", json=bad), 422, "invalid_request")
    assert problem["errors"][0]["path"] == "options.types.age"
    good = {"schema": {"columns": {"age": {"type": "category"}}}}
    unknown = {"schema": {"columns": {"aeg": {"type": "category"}}}}
    problem = refused(lite.http.patch(f"/v1/datasets/{dataset_id}", json=unknown), 422, "invalid_request")
    assert problem["errors"][0]["path"] == "schema.columns.aeg"
    changed = lite.http.patch(f"/v1/datasets/{dataset_id}", json=good).json()
    assert changed["options"]["types"] == {"age": "category"}


def test_a_personal_column_can_be_said_and_what_it_holds(lite: Api) -> None:
    dataset_id = lite.ready()
    body = {"schema": {"columns": {"age": {"type": "personal:phone"}}}}
    assert lite.http.patch(f"/v1/datasets/{dataset_id}", json=body).json()["options"]["types"] == {
        "age": "personal:phone"
    }


def test_of_many_levels_the_first_are_shown_and_all_are_kept(lite: Api) -> None:
    dataset = lite.uploaded()
    claimed = lite.claim(dataset["job_id"])
    result = lite.result(claimed)
    many = {"name": "zip", "type": "category", "nullable": False, "levels": [f"{i:05d}" for i in range(100_000)]}
    result["schema"] = SCHEMA | {"columns": [*SCHEMA["columns"], many]}
    assert units.finish(lite.context, claimed.unit_id, claimed.attempt, result)
    answers = (lite.http.get(f"/v1/datasets/{dataset['id']}"), lite.http.get("/v1/datasets"))
    shown, listed = (answer.json() for answer in answers)
    for column, length in ((shown["schema"]["columns"][2], 1_000), (listed["data"][0]["schema"]["columns"][2], 20)):
        assert (column["levels"], column["levels_count"]) == (many["levels"][:length], 100_000)
    assert "levels_count" not in shown["schema"]["columns"][1]
    assert max(len(answer.content) for answer in answers) < 20_000
    job = lite.submit(kind="train", dataset_id=dataset["id"], config={"preset": "draft"})
    assert len(lite.claim(job["id"]).payload["dataset"]["schema"]["columns"][2]["levels"]) == 100_000

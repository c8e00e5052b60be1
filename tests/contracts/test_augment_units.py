"""The units of an augmentation on both kinds of database: the training that comes first, and the files after it."""

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Dataset, Job, Model, Project, Trash, Unit
from service.domain.ids import new_id
from service.domain.states import JobKind, State
from service.usecases import sweep, units
from service.usecases.opening import open_job
from tests.contracts.test_units import INGESTED, MODEL_FILES, claimed, let_expire, row, unit_of

TRAINED = {"report": {"a": 1}, "files": MODEL_FILES, "steps": 3}
SPEC = {
    "target": "y",
    "method": "balance",
    "count": None,
    "max_count": 9,
    "seed": 3,
    "format": "csv",
    "config": {"steps": 3},
}


@pytest.fixture
def owner(context: Context) -> str:
    with context.database.begin() as session:
        project = Project(id=new_id("prj"), name="test", created_at=0.0)
        session.add(project)
    return project.id


def augment_job(context: Context, owner: str, trains: bool = True) -> str:
    """One that trains first, or one that is given a model."""
    with context.database.begin() as session:
        dataset = Dataset(
            id=new_id("ds"), project_id=owner, created_at=0.0, name="d", status="ready", options={}, bytes=5,
            rows=7, schema={}, parts=INGESTED["parts"], modality="table",
        )  # fmt: skip
        model_id = new_id("mdl")

        job = open_job(
            session,
            owner,
            JobKind.AUGMENT,
            SPEC,
            dataset_id=dataset.id,
            model_id=model_id,
            first=JobKind.TRAIN if trains else None,
            total=1 + trains,
        )
        model = Model(
            id=model_id, project_id=owner, created_at=0.0, name="m", status="training" if trains else "ready",
            modality="table", dataset_id=dataset.id, job_id=job.id if trains else "job_x", schema={}, config={},
            prefix=None if trains else "projects/p/models/m/a1/",
        )  # fmt: skip
        session.add_all([dataset, model])
    return job.id


def made(got: units.Claimed, *attempts: int) -> dict[str, Any]:
    """A result with a file for each of these attempts, which wrote it."""
    keys = got.payload["keys"].replace(f"-a{got.attempt}.", "-a{attempt}.")
    files = [
        {"key": keys.format(index=index, attempt=attempt), "rows": 10, "bytes": 5, "sha256": str(index)}
        for index, attempt in enumerate(attempts)
    ]
    return {"files": files, "told": {"verdict": "Good.", "before": {}, "after": {}}}


def trash(context: Context) -> set[str]:
    with context.database.read() as session:
        return set(session.scalars(select(Trash.prefix)))


def test_the_training_comes_first_and_its_end_opens_the_rest_which_is_rung_for(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner)
    first = claimed(context, job_id)
    assert (first.kind, first.payload["config"]) == (JobKind.TRAIN, {"steps": 3})
    assert units.finish(context, first.unit_id, first.attempt, TRAINED)
    job = row(context, Job, job_id)
    assert (job.state, job.units_done, job.result) == (State.RUNNING, 1, None)
    assert row(context, Model, job.model_id).status == "ready"
    context.doorbell.app.control.purge()
    sweep.reconcile(context)
    assert context.doorbell.waiting("gpu") == 1
    second = claimed(context, job_id, 1)
    assert second.kind == JobKind.AUGMENT
    assert second.payload["model"] == {"id": job.model_id, "prefix": first.payload["prefix"]}
    assert second.payload["dataset"]["parts"] == [{"key": "k", "rows": 7, "split": "train", "sha256": "0"}]
    assert second.payload["wish"] == {name: SPEC[name] for name in ("target", "method", "count", "seed", "max_count")}
    assert units.finish(context, second.unit_id, second.attempt, made(second, 1, 1))
    job = row(context, Job, job_id)
    output = {"files": 2, "rows": 20, "bytes": 10}
    assert (job.state, job.result["output"], job.result["model_id"]) == (State.SUCCEEDED, output, job.model_id)
    manifest = json.loads(context.storage.get(f"projects/{owner}/outputs/{job_id}/manifest.json"))
    assert [file["name"] for file in manifest["files"]] == ["part-00000.csv", "part-00001.csv"]
    assert (manifest["count"], manifest["augmented"]["verdict"]) == (20, "Good.")


def test_a_training_that_ends_twice_opens_the_rest_once(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner)
    first = claimed(context, job_id)
    let_expire(context, first.unit_id)
    second = claimed(context, job_id)
    assert not units.finish(context, first.unit_id, first.attempt, TRAINED)
    assert units.finish(context, second.unit_id, second.attempt, TRAINED)
    assert not units.finish(context, second.unit_id, second.attempt, TRAINED)
    with context.database.read() as session:
        assert len(session.scalars(select(Unit.id).where(Unit.job_id == job_id)).all()) == 2
    assert row(context, Job, job_id).units_done == 1


def test_files_of_lost_attempts_go_but_those_that_the_last_went_on_from(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner, trains=False)
    first = claimed(context, job_id)
    note: units.Message = {"type": "checkpoint", "key": "n1", "step": 10, "seconds": None}
    assert units.report(context, first.unit_id, first.attempt, [note])
    let_expire(context, first.unit_id)
    second = claimed(context, job_id)
    assert second.payload["checkpoint"] == "n1"
    assert "-a2." in second.payload["keys"]
    result = made(second, 1, 2)
    assert not units.finish(context, first.unit_id, first.attempt, made(first, 1, 1))
    assert units.finish(context, second.unit_id, second.attempt, result)
    prefix = f"projects/{owner}/outputs/{job_id}/"
    assert {key for key in trash(context) if key.startswith(prefix)} == {f"{prefix}part-00001-a1.csv"}
    assert f"projects/{owner}/jobs/{job_id}/written/" in trash(context)
    manifest = json.loads(context.storage.get(prefix + "manifest.json"))
    assert [file["key"] for file in manifest["files"]] == [file["key"] for file in result["files"]]


def test_what_the_training_notes_and_what_the_files_need_are_kept_apart(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner)
    first = claimed(context, job_id)
    units.finish(context, first.unit_id, first.attempt, TRAINED)
    second = claimed(context, job_id, 1)
    assert not any(second.payload["checkpoint_prefix"].startswith(prefix) for prefix in trash(context))
    assert first.payload["checkpoint_prefix"] in trash(context)


@pytest.mark.parametrize("trains", [True, False])
def test_files_that_cannot_be_made_fail_the_job_and_leave_the_model(context: Context, owner: str, trains: bool) -> None:
    job_id = augment_job(context, owner, trains)
    if trains:
        first = claimed(context, job_id)
        units.finish(context, first.unit_id, first.attempt, TRAINED)
    got = claimed(context, job_id, int(trains))
    assert units.fail(context, got.unit_id, got.attempt, "odd", "This is odd.")
    job = row(context, Job, job_id)
    assert (job.state, job.error) == (State.FAILED, {"code": "odd", "message": "This is odd."})
    assert row(context, Model, job.model_id).status == "ready"
    assert f"projects/{owner}/outputs/{job_id}/" in trash(context)
    assert not any(prefix.startswith(f"projects/{owner}/models/") for prefix in trash(context))


def test_a_training_that_fails_takes_its_model_and_the_job_with_it(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner)
    got = claimed(context, job_id)
    assert units.fail(context, got.unit_id, got.attempt, "odd", "This is odd.")
    job = row(context, Job, job_id)
    assert (job.state, row(context, Model, job.model_id).status) == (State.FAILED, "failed")
    assert f"projects/{owner}/models/{job.model_id}/" in trash(context)


def test_a_job_that_was_cancelled_while_it_trained_to_the_end_opens_nothing(context: Context, owner: str) -> None:
    job_id = augment_job(context, owner)
    got = claimed(context, job_id)
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=now()))
    assert units.finish(context, got.unit_id, got.attempt, TRAINED)
    job = row(context, Job, job_id)
    assert (job.state, row(context, Model, job.model_id).status) == (State.CANCELLED, "ready")
    assert unit_of(context, job_id, 1).state == State.CANCELLED
    assert units.claim(context, unit_of(context, job_id, 1).id, "wrk_a") is None


def test_an_augmentation_whose_last_worker_died_before_the_manifest_is_ended_by_a_sweep(
    context: Context, owner: str
) -> None:
    job_id = augment_job(context, owner, trains=False)
    got = claimed(context, job_id)
    with context.database.begin() as session:  # all of finish but its last line
        done = {"state": State.SUCCEEDED, "result": made(got, 1), "finished_at": now()}
        session.execute(update(Unit).where(Unit.id == got.unit_id).values(done))
        session.execute(update(Job).where(Job.id == job_id).values(units_done=1))
    sweep.reconcile(context)
    assert row(context, Job, job_id).state == State.SUCCEEDED

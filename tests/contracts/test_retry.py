"""A failed job that goes on, on both kinds of database: what its failure spoilt is undone, and nothing else."""

import time

import pytest
from sqlalchemy import select, update

from service.bootstrap import Context
from service.db.database import now
from service.db.tables import Dataset, Event, Job, Model, Trash, Unit
from service.domain.machine import impossible
from service.domain.states import JobKind, State
from service.errors import NotFound, NotRetryable
from service.usecases import datasets, ended, models, sweep, units
from service.usecases.idempotency import Once
from service.usecases.opening import open_job
from tests.contracts.test_units import (
    INGESTED,
    MODEL_FILES,
    claimed,
    generate_job,
    ingest_job,
    project,
    row,
    train_job,
    unit_of,
)

__all__ = ["project"]  # the fixture
FILE = {"key": "k", "rows": 10, "bytes": 1, "sha256": "0"}


def retry(context: Context, owner: str, job_id: str) -> None:
    ended.retry(context, Once(owner, None, ""), job_id)


def trash(context: Context) -> dict[str, float]:
    with context.database.read() as session:
        return {one.prefix: one.due_at for one in session.scalars(select(Trash))}


def history(context: Context, job_id: str) -> list[str]:
    with context.database.read() as session:
        told = select(Event.data).where(Event.job_id == job_id, Event.type == "state").order_by(Event.seq)
        return [data["state"] for data in session.scalars(told)]


def test_a_failed_generation_goes_on_with_the_shards_that_are_missing(context: Context, project: str) -> None:
    job_id = generate_job(context, project, 4)
    done, lost, running = (claimed(context, job_id, index) for index in range(3))
    assert units.finish(context, done.unit_id, done.attempt, FILE)
    assert units.fail(context, lost.unit_id, lost.attempt, "internal_error", "Oh.")
    assert units.cancelled(context, running.unit_id, running.attempt)
    job = row(context, Job, job_id)
    assert job.retry_until == pytest.approx(time.time() + 7 * 86_400, abs=60)
    kept = trash(context)
    assert set(kept) == {f"projects/{project}/jobs/{job_id}/", f"projects/{project}/outputs/{job_id}/"}
    assert min(kept.values()) > job.retry_until
    retry(context, project, job_id)
    job = row(context, Job, job_id)
    assert (job.state, job.error, job.finished_at, job.retry_until, job.units_done) == ("queued", None, None, None, 1)
    assert trash(context) == {}
    states = [unit_of(context, job_id, index).state for index in range(4)]
    assert states == ["succeeded", "queued", "queued", "queued"]
    assert unit_of(context, job_id, 1).error is None
    for index in (1, 2, 3):
        got = claimed(context, job_id, index)
        assert got.attempt == (1 if index == 3 else 2)
        assert units.finish(context, got.unit_id, got.attempt, FILE)
    assert row(context, Job, job_id).state == State.SUCCEEDED
    assert history(context, job_id) == ["queued", "running", "failed", "queued", "running", "succeeded"]
    assert impossible(history(context, job_id)) is None


def test_a_part_that_is_still_stopping_when_the_job_is_retried_is_done_again(context: Context, project: str) -> None:
    job_id = generate_job(context, project, 2)
    lost, running = claimed(context, job_id, 0), claimed(context, job_id, 1)
    assert units.fail(context, lost.unit_id, lost.attempt, "internal_error", "Oh.")
    assert units.heartbeat(context, running.unit_id, running.attempt).cancel
    retry(context, project, job_id)
    assert not units.heartbeat(context, running.unit_id, running.attempt).cancel
    assert units.cancelled(context, running.unit_id, running.attempt)  # it was told to before
    assert unit_of(context, job_id, 1).state == State.QUEUED
    for index in range(2):
        got = claimed(context, job_id, index)
        assert units.finish(context, got.unit_id, got.attempt, FILE)
    assert row(context, Job, job_id).state == State.SUCCEEDED


def test_a_failed_training_goes_on_from_its_checkpoint(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    got = claimed(context, job_id)
    assert units.report(context, got.unit_id, got.attempt, [{"type": "checkpoint", "key": "c1", "step": 5}])
    assert units.fail(context, got.unit_id, got.attempt, "storage_unavailable", "Oh.")
    model_id = row(context, Job, job_id).model_id
    assert row(context, Model, model_id).status == "failed"
    assert f"projects/{project}/models/{model_id}/" in trash(context)
    retry(context, project, job_id)
    assert row(context, Model, model_id).status == "training"
    assert trash(context) == {}
    again = claimed(context, job_id)
    assert (again.attempt, again.payload["checkpoint"]) == (2, "c1")
    assert not units.finish(context, got.unit_id, got.attempt, {"report": {}, "files": [], "steps": 1})
    stopped = {"reason": "time_limit", "step": 5, "steps": 9, "message": "The time limit of 1 s is reached."}
    made = {"report": {}, "files": MODEL_FILES, "steps": 5, "stopped_early": stopped}
    assert units.finish(context, again.unit_id, again.attempt, made)
    assert row(context, Job, job_id).stopped_early == row(context, Model, model_id).stopped_early == stopped


def test_a_rejected_dataset_is_read_again(context: Context, project: str) -> None:
    job_id = ingest_job(context, project)
    got = claimed(context, job_id)
    assert units.fail(context, got.unit_id, got.attempt, "storage_unavailable", "Oh.")
    dataset_id = row(context, Job, job_id).dataset_id
    retry(context, project, job_id)
    dataset = row(context, Dataset, dataset_id)
    assert (dataset.status, dataset.error) == ("ingesting", None)
    again = claimed(context, job_id)
    assert units.finish(context, again.unit_id, again.attempt, INGESTED)
    assert row(context, Dataset, dataset_id).status == "ready"


def failed(context: Context, job_id: str) -> None:
    got = claimed(context, job_id)
    assert units.fail(context, got.unit_id, got.attempt, "internal_error", "Oh.")


def test_only_a_failed_job_whose_remains_are_kept_is_retried(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    with pytest.raises(NotRetryable, match="The job is queued"):
        retry(context, project, job_id)
    failed(context, job_id)
    with pytest.raises(NotFound):
        retry(context, "prj_other", job_id)
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(retry_until=now() - 1.0))
    with pytest.raises(NotRetryable, match="not kept any more"):
        retry(context, project, job_id)
    assert row(context, Job, job_id).state == State.FAILED


@pytest.mark.parametrize("gone", ["dataset", "model"])
def test_a_job_whose_dataset_or_model_is_gone_is_not_retried(context: Context, project: str, gone: str) -> None:
    job_id = train_job(context, project)
    failed(context, job_id)
    job = row(context, Job, job_id)
    if gone == "dataset":
        datasets.delete(context, project, job.dataset_id)
    else:
        models.delete(context, project, job.model_id)
        assert trash(context)[f"projects/{project}/models/{job.model_id}/"] <= time.time() + 5.0  # sooner than kept
    with pytest.raises(NotRetryable, match=f"The job's {gone} was deleted"):
        retry(context, project, job_id)


def test_a_job_whose_dataset_was_read_again_is_not_retried(context: Context, project: str) -> None:
    """Its checkpoint knows other columns."""
    job_id = train_job(context, project)
    failed(context, job_id)
    with context.database.begin() as session:
        dataset = session.get_one(Dataset, session.get_one(Job, job_id).dataset_id)
        dataset.job_id = open_job(session, project, JobKind.INGEST, {}, dataset_id=dataset.id).id
    with pytest.raises(NotRetryable, match="read again since"):
        retry(context, project, job_id)


def test_what_a_failed_job_left_goes_when_it_cannot_be_retried_any_more(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    key = f"projects/{project}/jobs/{job_id}/checkpoints/a1-5-0.safetensors"
    context.storage.put(key, b"1")
    failed(context, job_id)
    sweep.tidy(context)
    assert list(context.storage.keys(key)) == [key]
    with context.database.begin() as session:
        session.execute(update(Trash).values(due_at=now() - 1.0))
    sweep.tidy(context)
    assert list(context.storage.keys(key)) == []


def test_cancelling_deletes_at_once_and_once_more_what_a_frozen_worker_writes_later(
    context: Context, project: str
) -> None:
    job_id = generate_job(context, project, 2)
    got = claimed(context, job_id)
    key = got.payload["key"]
    context.storage.put(key, b"1")
    with context.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(cancel_requested_at=now()))
    assert units.cancelled(context, got.unit_id, got.attempt)
    sweep.tidy(context)
    assert list(context.storage.keys(key)) == []
    context.storage.put(key, b"late")
    sweep.tidy(context)
    assert list(context.storage.keys(key)) == [key]  # not yet
    with context.database.begin() as session:
        session.execute(update(Trash).values(due_at=now() - 1.0))
    sweep.tidy(context)
    assert list(context.storage.keys(key)) == []
    assert trash(context) == {}


def test_a_retried_job_may_fail_and_be_retried_again(context: Context, project: str) -> None:
    job_id = train_job(context, project)
    for attempt in (1, 2, 3):
        failed(context, job_id)
        assert len(trash(context)) == 2
        retry(context, project, job_id)
        assert unit_of(context, job_id).attempt == attempt
        with context.database.read() as session:
            assert session.scalar(select(Unit.failures).where(Unit.job_id == job_id)) == 0
    assert impossible(history(context, job_id)) is None

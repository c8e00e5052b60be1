"""What ends before its time, with real workers: by its time limit, by a cancel, by a failure that is retried."""

import json

from service.db.tables import Model
from service.domain.states import State
from service.usecases import ended, models, sweep
from service.usecases.idempotency import Once
from tests.integration.workers.conftest import Worker, Yard
from tests.integration.workers.test_faults import LONG, has_checkpoint, trains, weights

CANCELS = 2


def test_a_time_limit_is_a_success_that_says_where_it_stopped(yard: Yard) -> None:
    yard.worker()
    job = yard.wait(yard.train(steps=10_000, pause=0.02, time_limit_seconds=2))
    assert job.state == State.SUCCEEDED, job.error
    told = job.stopped_early or {}
    assert (told["reason"], told["steps"]) == ("time_limit", 10_000)
    assert 0 < told["step"] < 10_000
    assert f"stopped at step {told['step']} of 10000" in told["message"]
    model = yard.row(Model, job.model_id)
    assert (model.stopped_early, model.report["stopped_early"]) == (told, told)
    report = json.loads(yard.context.storage.get(f"{model.prefix}report.json"))
    assert (report["stopped_early"], report["warnings"]) == (told, [told["message"]])
    whole = yard.wait(yard.train(steps=5, time_limit_seconds=300))
    assert whole.stopped_early is None
    assert "stopped_early" not in yard.row(Model, whole.model_id).report


def cancelled(yard: Yard, worker: Worker, model_id: str) -> None:
    """Cancel a generation in the middle of its second file."""
    job_id = yard.generate(model_id, 300, seconds=3.0)
    yard.until(lambda: yard.job(job_id).units_done >= 1)  # a file is there, the next is being written
    yard.until(lambda: yard.unit(job_id, 1).state == State.RUNNING)
    yard.cancel(job_id)
    took = yard.until(lambda: yard.job(job_id).state == State.CANCELLED, 10.0)
    gone = yard.until(lambda: not worker.children(), 10.0)
    print(f"cancelled in {took:.2f} s, its process gone {gone:.2f} s later")
    assert took + gone < 2.0
    sweep.tidy(yard.context)
    assert list(yard.context.storage.keys(f"projects/{yard.project}/outputs/{job_id}/")) == []
    assert list(yard.context.storage.multipart_uploads(f"projects/{yard.project}/")) == []


def test_a_cancelled_generation_stops_within_two_seconds_and_leaves_nothing(yard: Yard) -> None:
    yard.with_settings(heartbeat_seconds=0.8)  # as it is by default
    worker = yard.worker(slots=1)
    model_id = yard.model()
    for _ in range(CANCELS):
        cancelled(yard, worker, model_id)
    assert yard.wait(yard.generate(model_id), 90.0).state == State.SUCCEEDED


def test_a_deleted_model_is_not_kept_loaded(yard: Yard) -> None:
    worker = yard.worker(slots=1)
    kept, deleted = yard.model(), yard.model()
    yard.wait(yard.generate(kept))
    [first] = worker.children()
    yard.wait(yard.generate(deleted))
    [second] = [child for child in worker.children() if child != first]
    models.delete(yard.context, yard.project, deleted)
    yard.until(lambda: second not in worker.children(), 15.0)
    assert worker.children() == [first]


def test_a_failed_training_is_retried_from_its_checkpoint_to_the_same_weights(yard: Yard) -> None:
    yard.with_settings(max_attempts=1)
    worker = yard.worker()
    dataset = yard.dataset()
    whole = yard.wait(yard.train(dataset, **LONG), 90.0)
    job_id = yard.train(dataset, **LONG)
    yard.until(lambda: has_checkpoint(yard, job_id) and trains(yard, job_id, 20))
    [child] = worker.children()
    child.kill()
    failed = yard.wait(job_id, 90.0)
    assert (failed.state, (failed.error or {})["code"]) == (State.FAILED, "worker_lost")
    assert yard.row(Model, failed.model_id).status == "failed"
    sweep.tidy(yard.context)  # what it left is kept
    ended.retry(yard.context, Once(yard.project, None, ""), job_id)
    job = yard.wait(job_id, 90.0)
    assert job.state == State.SUCCEEDED, job.error
    assert any(message.startswith("Training goes on from step") for message in yard.messages(job_id))
    assert yard.row(Model, job.model_id).status == "ready"
    assert weights(yard, job.model_id, 2) == weights(yard, whole.model_id, 1)

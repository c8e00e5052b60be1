"""Real workers: a large job keeps no small one waiting, and nobody waits for the sweep."""

from service.domain.states import State
from tests.integration.workers.conftest import Yard


def test_a_small_job_does_not_wait_behind_a_large_one(yard: Yard) -> None:
    yard.with_settings(sweep_seconds=60.0)
    yard.worker(slots=1)
    model = yard.model()
    large = yard.generate(model, 20_000)
    yard.until(lambda: yard.job(large).units_done > 0)
    before = yard.job(large).units_done
    assert yard.wait(yard.generate(model, 10)).state == State.SUCCEEDED
    now = yard.job(large)
    assert now.state == State.RUNNING
    assert now.units_done - before < 20
    yard.cancel(large)


def test_workers_of_one_queue_leave_the_other_to_its_own(yard: Yard) -> None:
    yard.worker("gpu", slots=1)
    upload = yard.ingest("TINY 1.0 2.0")
    assert yard.wait(yard.generate(yard.model(), 10)).state == State.SUCCEEDED
    assert yard.job(upload).state == State.QUEUED
    yard.worker("cpu", slots=1)
    assert yard.wait(upload).state == State.SUCCEEDED
